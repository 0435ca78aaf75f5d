import { Controller, Logger, Module } from '@nestjs/common';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Transport } from '@nestjs/microservices';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CurrentPrincipal, WsGatewayModule, WsSessions } from '../../src/index.js';
import type { Principal } from '../../src/index.js';
import { Client, refusal } from '../support/client.js';
import { freePort } from '../support/tcp.js';
import { SECRET, token } from '../support/tokens.js';

class Gateway {
  @SubscribeMessage('whoami') whoami(@CurrentPrincipal() principal: Principal): string {
    return principal.subject;
  }
}

@Controller()
class OrdersController {
  @MessagePattern('order') order(): string {
    return 'order';
  }
}

const TCP = { transport: Transport.TCP as const, options: { host: '127.0.0.1', port: 0 } };
const running: INestApplicationContext[] = [];

@Module({})
class AppModule {}

/** An application whose gateway is on a port, or none. */
function moduleWith(port?: number): object {
  const gateway = class OrdersGateway extends Gateway {};
  WebSocketGateway(...((port === undefined ? [] : [port]) as [number]))(gateway);
  const options = { auth: { jwt: { secret: SECRET } }, shutdown: { drainMs: 1_000 } };
  return {
    module: AppModule,
    imports: [WsGatewayModule.forRoot(options)],
    providers: [gateway],
    controllers: [OrdersController],
  };
}

afterEach(async () => {
  for (const app of running.splice(0)) await app.close();
  vi.restoreAllMocks();
});

describe('a microservice', () => {
  it('has gateways on ports of their own', async () => {
    const port = await freePort();
    const app = await NestFactory.createMicroservice(moduleWith(port) as never, { ...TCP, logger: false });
    running.push(app);
    await app.listen();
    const client = await Client.connect(`ws://127.0.0.1:${port}/ws`, { token: token() });
    expect(await client.ask({ event: 'whoami', id: 1 })).toEqual({ event: 'whoami', data: 'ada', id: 1 });
    expect(await client.ask({ event: 'session', id: 2 })).toMatchObject({ data: { subject: 'ada' } });
    expect(await refusal(`ws://127.0.0.1:${port}/nope`)).toMatchObject({ status: 404 });
    expect(app.get(WsSessions).count()).toBe(1);
    await app.close();
    expect(client.frames.at(-1)).toMatchObject({ event: 'disconnect', data: { code: 'SHUTTING_DOWN' } });
    expect((await client.closed).code).toBe(1012);
    await expect(Client.connect(`ws://127.0.0.1:${port}/ws`)).rejects.toThrow();
  });

  it('stops the start for a gateway without a port, naming it', async () => {
    const error = vi.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined);
    const app = await NestFactory.createMicroservice(moduleWith() as never, { ...TCP, logger: false });
    await expect(app.listen()).rejects.toThrow(/OrdersGateway .*port/);
    expect(error).not.toHaveBeenCalled();
  });
});

describe('a hybrid application', () => {
  it.each([true, false])(
    'has gateways on its server and on ports of their own (inheritAppConfig: %s)',
    async (inherit) => {
      const port = await freePort();
      const gateway = class SecondGateway extends Gateway {};
      WebSocketGateway()(gateway);
      const dynamic = moduleWith(port) as { providers: unknown[] };
      dynamic.providers.push(gateway);
      const app = await NestFactory.create(dynamic as never, { logger: false });
      running.push(app);
      app.connectMicroservice(TCP, { inheritAppConfig: inherit });
      await app.startAllMicroservices();
      await app.listen(0, '127.0.0.1');
      const { port: own } = (app.getHttpServer() as { address(): AddressInfo }).address();
      for (const each of [port, own]) {
        const client = await Client.connect(`ws://127.0.0.1:${each}/ws`, { token: token() });
        expect(await client.ask({ event: 'whoami', id: 1 })).toMatchObject({ data: 'ada' });
      }
      expect(app.get(WsSessions).count()).toBe(2);
    },
  );
});
