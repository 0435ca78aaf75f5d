import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RawData, WebSocket } from 'ws';
import { WsSession, WsSessions } from '../../src/index.js';
import type { WsGatewayOptions } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

/** What the application's own listeners have heard. */
const heard: string[] = [];
/** What `handleConnection` does with a socket; set by each test. */
let connected: (socket: WebSocket) => unknown;

const WAYS: Record<string, (socket: WebSocket) => void> = {
  'socket.on()': (socket) => socket.on('message', (data: RawData) => heard.push((data as Buffer).toString())),
  'socket.addEventListener()': (socket) => socket.addEventListener('message', ({ data }) => heard.push(data as string)),
  'socket.onmessage': (socket) => (socket.onmessage = ({ data }) => heard.push(data as string)),
};

@WebSocketGateway()
class ListeningGateway {
  handleConnection(socket: WebSocket): unknown {
    return connected(socket);
  }
  @SubscribeMessage('note') note(): string {
    return 'noted';
  }
}

const start = (options: Omit<WsGatewayOptions, 'auth'> & { auth?: object } = {}): ReturnType<typeof startApp> =>
  startApp({ gateways: [ListeningGateway], options: { auth: { sources: ['header', 'message'] }, ...options } });

beforeEach(() => {
  heard.length = 0;
  connected = WAYS['socket.on()'] as typeof connected;
});
afterEach(stopApps);

describe.each(Object.keys(WAYS))('what the application hears by %s', (way) => {
  beforeEach(() => {
    connected = WAYS[way] as typeof connected;
  });

  it('is nothing of a stranger, and nothing of its `auth`', async () => {
    const { url } = await start();
    const client = await Client.connect(`${url}/ws`);
    expect(await client.ask({ event: 'note', id: 1 })).toMatchObject({ event: 'exception', id: 1 });
    await client.ask({ event: 'auth', data: { token: token() }, id: 2 });
    await client.ask({ event: 'note', id: 3 });
    expect(heard).toEqual(['{"event":"note","id":3}']);
  });

  it('is nothing of a bare token', async () => {
    const { url } = await start();
    const client = await Client.connect(`${url}/ws`);
    await client.ask(token());
    await client.ask({ event: 'note', id: 1 });
    expect(heard).toEqual(['{"event":"note","id":1}']);
  });

  it('is what those send who need no token', async () => {
    const { url } = await start({ auth: { sources: ['header'], anonymous: true } });
    const client = await Client.connect(`${url}/ws`);
    await client.ask({ event: 'nothing', id: 1 });
    expect(heard).toEqual(['{"event":"nothing","id":1}']);
  });

  it('is nothing past the budget', async () => {
    const { url } = await start({ limits: { messagesPerSecond: 1, messageBurst: 3 } });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    client.together(() => {
      for (let id = 1; id <= 5; id++) client.send({ event: 'note', id });
    });
    for (let id = 1; id <= 5; id++) await client.next();
    expect(heard).toHaveLength(3);
  });

  it('is nothing after the end of the session', async () => {
    const { url, app } = await start();
    const client = await Client.connect(`${url}/ws`, { token: token() });
    await client.ask({ event: 'note', id: 1 });
    app.get(WsSessions).find()[0]?.close();
    client.send({ event: 'note', id: 2 }); // the close has not arrived yet
    await client.closed;
    expect(heard).toEqual(['{"event":"note","id":1}']);
  });

  it('is nothing when the token is over, before the sweep has come by', async () => {
    const { url, clock } = await start();
    const exp = Math.floor(clock.now() / 1000) + 60;
    const client = await Client.connect(`${url}/ws`, { token: token({ exp }) });
    await client.ask({ event: 'note', id: 1 });
    clock.jump(120_000);
    client.send({ event: 'note', id: 2 });
    expect((await client.closed).reason).toBe('TOKEN_EXPIRED');
    expect(heard).toEqual(['{"event":"note","id":1}']);
  });
});

describe('the application that listens itself', () => {
  it('hears a message before its handler, and both work', async () => {
    const { url } = await start();
    const client = await Client.connect(`${url}/ws`, { token: token() });
    expect(await client.ask({ event: 'note', id: 1 })).toEqual({ event: 'note', data: 'noted', id: 1 });
    expect(heard).toEqual(['{"event":"note","id":1}']);
  });

  it('hears what came while its handleConnection ran when that has settled', async () => {
    const { url } = await start();
    let settle: (() => void) | undefined;
    connected = async (socket) => {
      await new Promise<void>((resolve) => (settle = resolve));
      WAYS['socket.on()']?.(socket);
    };
    const client = await Client.connect(`${url}/ws`, { token: token() });
    client.send({ event: 'note', id: 1 });
    client.socket.ping();
    settle?.();
    await client.next();
    expect(heard).toEqual(['{"event":"note","id":1}']);
  });

  it('may end the session from its listener: no handler is called then', async () => {
    const { url } = await start();
    connected = (socket) =>
      socket.on('message', () => {
        WsSession.of(socket).close('CONFLICT');
      });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    client.send({ event: 'note', id: 1 });
    await client.closed;
    expect(client.frames.map(({ event }) => event)).toEqual(['disconnect']);
  });

  it('pauses the socket by itself: the session does not resume it', async () => {
    const { url } = await start();
    let server: WebSocket | undefined;
    connected = (socket) => {
      server = socket;
      WAYS['socket.on()']?.(socket);
    };
    const client = await Client.connect(`${url}/ws`, { token: token() });
    await client.ask({ event: 'note', id: 1 });
    server?.pause();
    client.send({ event: 'note', id: 2 });
    client.socket.ping();
    expect(server?.isPaused).toBe(true);
    expect(heard).toHaveLength(1);
    server?.resume();
    await once(client.socket, 'pong');
    expect(heard).toHaveLength(2);
  });
});
