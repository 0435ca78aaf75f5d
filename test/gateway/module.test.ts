import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { WsAdapter } from '@nestjs/platform-ws';
import { Test } from '@nestjs/testing';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { WsGatewayModule, WsSessions } from '../../src/index.js';
import type { WsGatewayOptions } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { SECRET, token } from '../support/tokens.js';

@WebSocketGateway()
class PlainGateway {
  @SubscribeMessage('hello') hello(): string {
    return 'hello';
  }
}

@WebSocketGateway()
class ClashingGateway {
  @SubscribeMessage('hello') hello(): string {
    return 'also hello';
  }
}

@WebSocketGateway()
class UsurpingGateway {
  @SubscribeMessage('auth') auth(): string {
    return 'come in';
  }
}

@WebSocketGateway()
class CancellingGateway {
  @SubscribeMessage('cancel') cancel(): string {
    return 'later';
  }
}

@WebSocketGateway({ path: '/other' })
class OwnEvents {
  @SubscribeMessage('ping') ping(): string {
    return 'mine';
  }
  @SubscribeMessage('session') session(): string {
    return 'mine';
  }
}

@WebSocketGateway({ path: '/other' })
class OwnEventsAgain {
  @SubscribeMessage('ping') ping(): string {
    return 'also mine';
  }
}

const options: WsGatewayOptions = { auth: { jwt: { secret: SECRET } } };

@Injectable()
class OptionsFactory {
  create(): WsGatewayOptions {
    return options;
  }
}

@Module({ providers: [OptionsFactory], exports: [OptionsFactory] })
class OptionsModule {}

afterEach(stopApps);

describe('WsGatewayModule', () => {
  it.each([
    ['a factory', { useFactory: () => options }],
    ['an async factory', { useFactory: () => Promise.resolve(options) }],
    ['a class', { useClass: OptionsFactory }],
    ['an existing provider', { imports: [OptionsModule], useExisting: OptionsFactory }],
  ])('takes its options from %s', async (_, from) => {
    @Module({ imports: [WsGatewayModule.forRootAsync(from)], providers: [PlainGateway] })
    class AppModule {}
    const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false });
    await app.listen(0, '127.0.0.1');
    const { port } = (app.getHttpServer() as { address(): AddressInfo }).address();
    const client = await Client.connect(`ws://127.0.0.1:${port}/ws`, { token: token() });
    expect(await client.ask({ event: 'hello', id: 1 })).toEqual({ event: 'hello', data: 'hello', id: 1 });
    await client.close();
    await app.close();
  });

  it('stops the start when an option is bad, naming each', async () => {
    const bad = { auth: { jwt: { secret: 'x' } }, limits: { maxJsonDepth: 0 } };
    const compiling = Test.createTestingModule({ imports: [WsGatewayModule.forRoot(bad)] }).compile();
    await expect(compiling).rejects.toThrow(/auth\.jwt\.secret[\s\S]*limits\.maxJsonDepth/);
  });

  it('stops the start when another adapter takes its place', async () => {
    const starting = startApp({ before: (app) => app.useWebSocketAdapter(new WsAdapter(app)) });
    await expect(starting).rejects.toThrow('useWebSocketAdapter');
  });

  it('stops the start when it is imported twice', async () => {
    const starting = startApp({ imports: [WsGatewayModule.forRoot({ ...options, path: '/second' })] });
    await expect(starting).rejects.toThrow('more than once');
  });

  it('stops the start when two gateways of one path handle the same event', async () => {
    await expect(startApp({ gateways: [PlainGateway, ClashingGateway] })).rejects.toThrow(
      'ClashingGateway handles "hello"',
    );
    await expect(startApp({ gateways: [UsurpingGateway] })).rejects.toThrow('UsurpingGateway handles "auth"');
    await expect(startApp({ gateways: [CancellingGateway] })).rejects.toThrow('CancellingGateway handles "cancel"');
  });

  it("lets an application's handler for ping or session take the place of the package's, on its path", async () => {
    const { url } = await startApp({ gateways: [PlainGateway, OwnEvents] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const other = await Client.connect(`${url}/other`, { token: token() });
    expect(await other.ask({ event: 'ping', id: 1 })).toEqual({ event: 'ping', data: 'mine', id: 1 });
    expect(await other.ask({ event: 'session', id: 2 })).toEqual({ event: 'session', data: 'mine', id: 2 });
    expect(await client.ask({ event: 'ping', id: 1 })).toEqual({ event: 'pong', data: null, id: 1 });
    expect(await client.ask({ event: 'session', id: 2 })).toMatchObject({ data: { subject: 'ada' } });
    const stranger = await Client.connect(`${url}/other`);
    expect(await stranger.ask({ event: 'ping', id: 1 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
    await expect(startApp({ gateways: [OwnEvents, OwnEventsAgain] })).rejects.toThrow('OwnEventsAgain handles "ping"');
  });

  it('serves two applications of one process, each on its own', async () => {
    const first = await startApp({ gateways: [PlainGateway] });
    const second = await startApp({
      gateways: [PlainGateway],
      options: { auth: { jwt: { secret: SECRET, issuer: 'x' } } },
    });
    const client = await Client.connect(`${first.url}/ws`, { token: token() });
    expect(await client.ask({ event: 'hello', id: 1 })).toMatchObject({ data: 'hello' });
    const stranger = await Client.connect(`${second.url}/ws`, { token: token() });
    expect((await stranger.closed).reason).toBe('TOKEN_INVALID');
    expect(first.app.get(WsSessions).count()).toBe(1);
    expect(second.app.get(WsSessions).count()).toBe(0);
  });

  it('names exceptions as it is told to', async () => {
    const { url } = await startApp({ options: { errors: { event: 'error' } } });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    expect(await client.ask({ event: 'nope', id: 1 })).toMatchObject({
      event: 'error',
      data: { code: 'UNKNOWN_EVENT' },
    });
  });
});
