import { Injectable, UseInterceptors } from '@nestjs/common';
import type { NestInterceptor } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsInt } from 'class-validator';
import { of } from 'rxjs';
import type { Observable } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Authorize, GatewayError, Public } from '../../src/index.js';
import type { AuthorizationRule, ClaimNames, WsSession } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

class OrderDto {
  @IsInt() order!: number;
}

@Injectable()
class Orders {
  ownerOf(order: number): string {
    return order < 10 ? 'ada' : 'eve';
  }
}

/** No provider of its own: it is made where it is named. */
@Injectable()
class OwnsOrder implements AuthorizationRule {
  constructor(private readonly orders: Orders) {}

  async authorize({ principal }: WsSession, data: OrderDto): Promise<boolean> {
    await Promise.resolve();
    expect(data).toBeInstanceOf(OrderDto);
    return this.orders.ownerOf(data.order) === principal?.subject;
  }
}

const asked: string[] = [];
const says = (name: string, answer: unknown) => (): boolean => {
  asked.push(name);
  return answer as boolean;
};

/** It answers by itself, as a cache does. */
class Cached implements NestInterceptor {
  intercept(): Observable<unknown> {
    return of('cached');
  }
}

let release: (() => void) | undefined;
let called = 0;

@WebSocketGateway()
class OrdersGateway {
  @Authorize(OwnsOrder) @SubscribeMessage('show') show(@MessageBody() { order }: OrderDto): number {
    return order;
  }
  @Authorize(OwnsOrder) @UseInterceptors(Cached) @SubscribeMessage('show-cached') cached(
    @MessageBody() order: OrderDto,
  ): void {
    called += order.order;
  }
  @Authorize((session: WsSession, data: { word: string }) => data.word === session.principal?.subject)
  @SubscribeMessage('word')
  word(@MessageBody() data: unknown): unknown {
    return data;
  }
  @Authorize(says('truthy', 1) as () => boolean) @SubscribeMessage('truthy') truthy(): void {
    called++;
  }
  @Authorize(() => {
    throw new Error('the password is hunter2');
  })
  @SubscribeMessage('throws')
  throws(): void {
    called++;
  }
  @Authorize(() => Promise.reject(new GatewayError('NOT_FOUND')))
  @SubscribeMessage('hides')
  hides(): void {
    called++;
  }
  @Authorize(() => new Promise<boolean>((resolve) => (release = () => resolve(true))))
  @SubscribeMessage('slow')
  slow(): void {
    called++;
  }
  @Public() @Authorize(says('contradiction', true)) @SubscribeMessage('both') both(): string {
    return 'in';
  }
}

@Authorize(says('class', true))
@WebSocketGateway()
class RuledGateway {
  @Authorize(says('first', true), says('second', true)) @SubscribeMessage('all') all(): string {
    return 'in';
  }
  @Authorize(says('no', false), says('never', true)) @SubscribeMessage('one-no') no(): string {
    return 'never';
  }
  @SubscribeMessage('class-only') only(): string {
    return 'in';
  }
  @Public() @SubscribeMessage('open') open(): string {
    return 'in';
  }
}

let test: TestApp;
let client: Client;
beforeEach(async () => {
  asked.length = 0;
  called = 0;
  test = await startApp({ gateways: [OrdersGateway, RuledGateway], providers: [Orders] });
  client = await Client.connect(`${test.url}/ws`, { token: token() });
});
afterEach(stopApps);

const ask = async (event: string, data?: unknown): Promise<unknown> => {
  const { event: answered, data: answer } = await client.ask({ event, data, id: 1 });
  return answered === 'exception' ? (answer as { code: string }).code : answer;
};

describe('a rule', () => {
  it('with dependencies decides by what the pipe has let through', async () => {
    expect(await ask('show', { order: 5 })).toBe(5);
    expect(await ask('show', { order: 50 })).toBe('FORBIDDEN');
    expect(await ask('show', { order: { $ne: null } })).toBe('VALIDATION_FAILED');
  });

  it('is asked before an interceptor can answer in its place', async () => {
    expect(await ask('show-cached', { order: 5 })).toBe('cached');
    expect(await ask('show-cached', { order: 50 })).toBe('FORBIDDEN');
    expect(await ask('show-cached', { order: 'x' })).toBe('VALIDATION_FAILED');
    expect(called).toBe(0);
  });

  it('as a function gets session and data', async () => {
    expect(await ask('word', { word: 'ada' })).toEqual({ word: 'ada' });
    expect(await ask('word', { word: 'eve' })).toBe('FORBIDDEN');
  });

  it('lets through by true and by nothing else', async () => {
    expect(await ask('truthy')).toBe('FORBIDDEN');
    expect(called).toBe(0);
  });

  it('that says no tells the client nothing of itself, and the log its name', async () => {
    const answer = await client.ask({ event: 'show', data: { order: 50 }, id: 1 });
    expect(answer.data).toEqual({ status: 'error', code: 'FORBIDDEN', message: 'Not allowed', retryable: false });
    expect(test.log.lines.at(-1)).toMatchObject({
      code: 'FORBIDDEN',
      event: 'show',
      subject: 'ada',
      reason: 'rule OwnsOrder',
    });
  });

  it('that throws is INTERNAL, unless it throws a code', async () => {
    expect(await ask('throws')).toBe('INTERNAL');
    expect(await ask('hides')).toBe('NOT_FOUND');
    expect(JSON.stringify(client.frames)).not.toContain('hunter2');
    expect(called).toBe(0);
  });

  it('that outlives the session calls no handler', async () => {
    client.send({ event: 'slow', id: 1 });
    await until(() => release !== undefined);
    test.clock.advance(3_600_250);
    await client.closed;
    release?.();
    await new Promise(setImmediate);
    expect(called).toBe(0);
  });
});

describe('rules', () => {
  it('of class and handler all have to say yes, those of the class first', async () => {
    expect(await ask('all')).toBe('in');
    expect(asked).toEqual(['class', 'first', 'second']);
    expect(await ask('one-no')).toBe('FORBIDDEN');
    expect(asked.slice(3)).toEqual(['class', 'no']);
    expect(await ask('class-only')).toBe('in');
  });

  it('close a handler: what says both public and rules is closed, and a public one in a ruled class is open', async () => {
    const anonymous = await Client.connect(`${test.url}/ws`);
    expect(await anonymous.ask({ event: 'both', id: 1 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
    expect(await anonymous.ask({ event: 'all', id: 1 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
    expect(await anonymous.ask({ event: 'open', id: 1 })).toMatchObject({ data: 'in' });
    expect(asked).toEqual([]);
  });
});

describe('roles and scopes', () => {
  const claims = {
    roles: ['plain'],
    realm_access: { roles: ['a', 'b'] },
    'https://example.com/roles': ['url'],
    scope: 'x y',
    permissions: ['p'],
    number: 7,
  };
  it.each<[ClaimNames, string[]]>([
    ['roles', ['plain']],
    ['realm_access.roles', ['a', 'b']],
    ['https://example.com/roles', ['url']],
    [
      ['roles', 'realm_access.roles', 'roles'],
      ['plain', 'a', 'b'],
    ],
    ['scope', ['x', 'y']],
    ['number', []],
    ['realm_access', []],
    ['roles.length', []],
    ['__proto__.roles', []],
    ['missing.at.all', []],
    [(all) => [...(all.permissions as string[]), 'made'], ['p', 'made']],
  ])('are taken from %j', async (where, names) => {
    const app = await startApp({ options: { auth: { claims: { roles: where, scopes: where } } } });
    const session = await Client.connect(`${app.url}/ws`, { token: token(claims) });
    expect(await session.ask({ event: 'session', id: 1 })).toMatchObject({ data: { roles: names, scopes: names } });
  });

  it('from a function that does not return a list are INTERNAL', async () => {
    const roles = (): string[] => 'admin' as unknown as string[];
    const app = await startApp({ options: { auth: { claims: { roles } } } });
    const session = await Client.connect(`${app.url}/ws`, { token: token(claims) });
    expect((await session.closed).reason).toBe('INTERNAL');
  });
});
