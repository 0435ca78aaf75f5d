import { Injectable, Scope } from '@nestjs/common';
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { APP_GUARD, REQUEST } from '@nestjs/core';
import { Inject } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { INestApplication } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { Authorize, RateLimit, Roles, WsGatewayModule, WsGuard } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { SECRET, token } from '../support/tokens.js';

@WebSocketGateway()
class OrdersGateway {
  @SubscribeMessage('hello') hello(): string {
    return 'hello';
  }
  @Roles('admin') @SubscribeMessage('admin') admin(): string {
    return 'admin';
  }
  @RateLimit({ limit: 1, perMs: 60_000 }) @SubscribeMessage('limited') limited(): string {
    return 'limited';
  }
  @Authorize(() => false) @SubscribeMessage('ruled') ruled(): string {
    return 'ruled';
  }
}

/** What the guards were asked, by their kind. */
const asked: string[] = [];
let answer: boolean | Promise<boolean> = true;

class Asked implements CanActivate {
  readonly kind: string = 'static';
  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    asked.push(`${this.kind} ${context.getType()} ${context.getClass().name}.${context.getHandler().name}`);
    return answer;
  }
}

@Injectable({ scope: Scope.REQUEST })
class OfRequest extends Asked {
  override readonly kind = 'request';
  constructor(@Inject(REQUEST) readonly request: unknown) {
    super();
  }
}

@Injectable({ scope: Scope.TRANSIENT })
class OfTransient extends Asked {
  override readonly kind = 'transient';
}

@Injectable()
class OfApplication extends Asked {}

afterEach(async () => {
  asked.length = 0;
  answer = true;
  await stopApps();
});

describe('an APP_GUARD', () => {
  it.each([
    ['static', OfApplication],
    ['request', OfRequest],
    ['transient', OfTransient],
  ])('of %s scope is asked', async (kind, useClass) => {
    const scope = kind === 'request' ? Scope.REQUEST : kind === 'transient' ? Scope.TRANSIENT : Scope.DEFAULT;
    const { url } = await startApp({
      gateways: [OrdersGateway],
      providers: [{ provide: APP_GUARD, useClass, scope }],
    });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    expect(await client.ask({ event: 'hello', id: 1 })).toEqual({ event: 'hello', data: 'hello', id: 1 });
    expect(asked).toEqual([`${kind} ws OrdersGateway.hello`]);
    answer = Promise.resolve(false);
    expect(await client.ask({ event: 'hello', id: 2 })).toMatchObject({ data: { code: 'FORBIDDEN' }, id: 2 });
    expect(asked).toHaveLength(2);
    expect(await client.ask({ event: 'ping', id: 3 })).toMatchObject({ event: 'pong' });
  });
});

describe('overrideProvider(WsGuard)', () => {
  async function start(guard: object): Promise<{ app: INestApplication; url: string }> {
    const module = await Test.createTestingModule({
      imports: [WsGatewayModule.forRoot({ auth: { jwt: { secret: SECRET } } })],
      providers: [OrdersGateway],
    })
      .overrideProvider(WsGuard)
      .useValue(guard)
      .compile();
    const app = module.createNestApplication({ logger: false });
    await app.listen(0, '127.0.0.1');
    const { port } = (app.getHttpServer() as { address(): AddressInfo }).address();
    return { app, url: `ws://127.0.0.1:${port}/ws` };
  }

  it('opens what the guard in its place opens', async () => {
    const { app, url } = await start(new Asked());
    const client = await Client.connect(url);
    expect(await client.ask({ event: 'hello', id: 1 })).toMatchObject({ data: 'hello' });
    expect(await client.ask({ event: 'admin', id: 2 })).toMatchObject({ data: 'admin' });
    answer = false;
    expect(await client.ask({ event: 'hello', id: 3 })).toMatchObject({ data: { code: 'FORBIDDEN' } });
    answer = Promise.resolve(true);
    expect(await client.ask({ event: 'admin', id: 4 })).toMatchObject({ data: 'admin' });
    expect(asked).toHaveLength(4);
    await client.close();
    await app.close();
  });

  it('leaves budgets, rules and the events of the package as they are', async () => {
    const { app, url } = await start(new Asked());
    const client = await Client.connect(url);
    expect(await client.ask({ event: 'limited', id: 1 })).toMatchObject({ data: 'limited' });
    expect(await client.ask({ event: 'limited', id: 2 })).toMatchObject({ data: { code: 'RATE_LIMITED' } });
    expect(await client.ask({ event: 'ruled', id: 3 })).toMatchObject({ data: { code: 'FORBIDDEN' } });
    expect(await client.ask({ event: 'session', id: 4 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
    client.send({ event: 'auth', data: { token: token() }, id: 5 });
    expect(await client.next()).toMatchObject({ event: 'auth', data: { subject: 'ada' } });
    await client.close();
    await app.close();
  });

  it('stops the start for what is no guard', async () => {
    await expect(start({})).rejects.toThrow('WsGuard');
  });
});
