import { Injectable, UseGuards } from '@nestjs/common';
import type { CanActivate, Type } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createWebSocketStream } from 'ws';
import type { RawData, WebSocket } from 'ws';
import { Authorize, RateLimit, RawGateway, Roles, WsRooms, WsSession, WsSessions } from '../../src/index.js';
import type { WsGatewayOptions } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { refusal } from '../support/client.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';

/** What the gateway has heard, and what it does with a socket; set by each test. */
const heard: unknown[] = [];
let connected: (socket: WebSocket) => unknown;

const listen = (socket: WebSocket): unknown =>
  socket.on('message', (data: RawData, isBinary) => {
    heard.push(isBinary ? data : (data as Buffer).toString());
    socket.send(data as Buffer, { binary: isBinary });
  });

class Hooked {
  handleConnection(socket: WebSocket): unknown {
    return connected(socket);
  }
}

@RawGateway()
@WebSocketGateway({ path: '/raw' })
class Raw extends Hooked {}

@RawGateway({ exceptions: true, disconnects: true, subprotocols: ['media.v2'] })
@WebSocketGateway({ path: '/telling' })
class Telling extends Hooked {}

@Roles('editor')
@RawGateway()
@WebSocketGateway({ path: '/editors' })
class Editors extends Hooked {}

@WebSocketGateway()
class Ordinary {
  @SubscribeMessage('hello') hello(): string {
    return 'hello';
  }
}

type Options = Omit<WsGatewayOptions, 'auth'> & { auth?: object };

const start = (
  { auth, ...options }: Options = {},
  gateways: Type[] = [Raw, Telling, Editors, Ordinary],
): Promise<TestApp> =>
  startApp({ gateways, options: { ...options, auth: { sources: ['header', 'message'], ...auth } } });

beforeEach(() => {
  heard.length = 0;
  connected = listen;
});
afterEach(stopApps);

describe('a raw gateway', () => {
  it('hears texts and bytes as they are, and nothing else is written', async () => {
    const { url } = await start();
    const client = await RawClient.connect(`${url}/raw`, { token: token() });
    for (const message of ['not JSON', '{"event":"auth","data":{"token":"x"},"id":1}', Buffer.from([1, 2, 3]), '']) {
      client.send(message);
      expect(await client.next()).toEqual(message);
    }
    expect(heard).toHaveLength(4);
  });

  it('refuses a stranger: there is no message to authenticate with', async () => {
    const { url } = await start({ firewall: { origins: ['https://a.example'] } });
    let calls = 0;
    connected = () => calls++;
    expect(await refusal(`${url}/raw`)).toMatchObject({ status: 401, body: { code: 'UNAUTHENTICATED' } });
    const headers = { origin: 'https://b.example', authorization: `Bearer ${token()}` };
    expect(await refusal(`${url}/raw`, { headers })).toMatchObject({ status: 403 });
    expect(calls).toBe(0);
  });

  it.each([
    ['/raw', 0],
    ['/telling', 1],
  ])('%s tells a bad token by %i frames and the close code', async (path, frames) => {
    const { url } = await start();
    const client = await RawClient.connect(`${url}${path}`, { token: 'bad' });
    expect(await client.closed).toEqual({ code: 3000, reason: 'TOKEN_INVALID' });
    expect(await client.rest()).toHaveLength(frames);
    expect(heard).toEqual([]);
  });

  it('hears strangers where they need no token', async () => {
    const { url } = await start({ auth: { anonymous: true } });
    const client = await RawClient.connect(`${url}/raw`);
    client.send('x');
    expect(await client.next()).toBe('x');
  });

  it('has its frames held while handleConnection runs', async () => {
    const { url } = await start();
    let settle: (() => void) | undefined;
    connected = async (socket) => {
      await new Promise<void>((resolve) => (settle = resolve));
      listen(socket);
    };
    const client = await RawClient.connect(`${url}/raw`, { token: token() });
    client.send('text');
    client.send(Buffer.from('bytes'));
    settle?.();
    expect([await client.next(), await client.next()]).toEqual(['text', Buffer.from('bytes')]);
  });

  it('ends a session that is over its budget, since no frame may say that a message is lost', async () => {
    const { url, log } = await start({ limits: { messagesPerSecond: 1, messageBurst: 2 } });
    const client = await RawClient.connect(`${url}/raw`, { token: token() });
    for (const message of ['1', '2', '3', '4']) client.send(message);
    expect(await client.closed).toMatchObject({ reason: 'RATE_LIMITED' });
    expect(heard).toEqual(['1', '2']);
    expect(log.lines.map(({ code }) => code)).toEqual(['RATE_LIMITED']);
  });

  it('says so where it may, and the session goes on', async () => {
    const { url, clock } = await start({ limits: { messagesPerSecond: 1, messageBurst: 2 } });
    const client = await RawClient.connect(`${url}/telling`, { token: token(), protocols: ['media.v2'] });
    expect(client.socket.protocol).toBe('media.v2');
    for (const message of ['1', '2', '3']) client.send(message);
    expect([await client.next(), await client.next()]).toEqual(['1', '2']);
    expect(await client.json()).toMatchObject({ event: 'exception', data: { code: 'RATE_LIMITED' } });
    clock.jump(1_000);
    client.send('4');
    expect(await client.next()).toBe('4');
  });

  it('is closed for a message that is too big', async () => {
    const { url } = await start({ limits: { maxMessageBytes: 1_024 } });
    const client = await RawClient.connect(`${url}/raw`, { token: token() });
    client.send(Buffer.alloc(1_025));
    expect((await client.closed).code).toBe(1009);
    expect([heard, await client.rest()]).toEqual([[], []]);
  });

  it.each([
    ['/raw', 0],
    ['/telling', 1],
  ])('%s is told of a revocation by %i frames and the close code', async (path, frames) => {
    const { url, app } = await start();
    const client = await RawClient.connect(`${url}${path}`, { token: token() });
    client.send('x');
    await client.next();
    await app.get(WsSessions).revoke({ subject: 'ada' });
    client.send('late');
    expect((await client.closed).reason).toBe('SESSION_REVOKED');
    expect(await client.rest()).toHaveLength(frames);
    expect(heard).toEqual(['x']);
  });

  it('is closed by the code when the process shuts down', async () => {
    const { url, app } = await start();
    const client = await RawClient.connect(`${url}/raw`, { token: token() });
    void app.close();
    expect(await client.closed).toEqual({ code: 1012, reason: 'SHUTTING_DOWN' });
    expect(await client.rest()).toEqual([]);
  });

  it('is closed by the code when its token ends, of which no frame warns it', async () => {
    const { url, clock } = await start();
    const exp = Math.floor(clock.now() / 1000) + 20;
    const client = await RawClient.connect(`${url}/raw`, { token: token({ exp }) });
    client.send('x');
    await client.next();
    clock.advance(30_000);
    expect(await client.closed).toMatchObject({ reason: 'TOKEN_EXPIRED' });
    expect(await client.rest()).toEqual([]);
  });

  it('is closed by the code when no pong comes', async () => {
    const { url, clock } = await start();
    const client = await RawClient.connect(`${url}/raw`, { token: token(), autoPong: false });
    clock.advance(26_000);
    await once(client.socket, 'ping');
    clock.advance(11_000);
    expect(await client.closed).toMatchObject({ reason: 'NO_PONG' });
    expect(await client.rest()).toEqual([]);
  });

  it('is closed when it reads too slowly what the application sends', async () => {
    const { url } = await start({ limits: { maxOutboundBytes: 65_536 } });
    connected = (socket) => {
      for (let i = 0; i < 64; i++) socket.send(Buffer.alloc(1_048_576));
    };
    const client = await RawClient.connect(`${url}/raw`, { token: token() });
    client.socket.on('message', () => undefined);
    expect(await client.closed).toMatchObject({ code: expect.toBeOneOf([4113, 1006]) as number });
  });

  it('closes with the code and the text of the application', async () => {
    const { url } = await start();
    connected = (socket) => socket.on('message', () => socket.close(4001, 'bye now'));
    const client = await RawClient.connect(`${url}/raw`, { token: token() });
    client.send('x');
    client.send('y');
    expect(await client.closed).toEqual({ code: 4001, reason: 'bye now' });
    expect(await client.rest()).toEqual([]);
  });

  it('asks for the roles of its class before handleConnection, and before every message', async () => {
    let roles = ['editor'];
    const revalidate = (principal: object): object => ({ ...principal, roles });
    const { url, clock } = await start({ auth: { revalidate, revalidateEveryMs: 10_000 } });
    let calls = 0;
    connected = (socket) => {
      calls++;
      return listen(socket);
    };
    const reader = await RawClient.connect(`${url}/editors`, { token: token({ roles: ['reader'] }) });
    expect(await reader.closed).toMatchObject({ reason: 'FORBIDDEN' });
    const client = await RawClient.connect(`${url}/editors`, { token: token({ roles }) });
    client.send('x');
    expect(await client.next()).toBe('x');
    expect(calls).toBe(1);
    roles = ['reader'];
    clock.advance(10_000);
    await new Promise(setImmediate);
    client.send('y');
    expect(await client.closed).toMatchObject({ reason: 'FORBIDDEN' });
    expect([heard, await client.rest()]).toEqual([['x'], []]);
  });

  it('is left out of broadcasts and rooms, and send() sends nothing', async () => {
    const { url, app } = await start();
    let session: WsSession | undefined;
    connected = (socket) => {
      session = WsSession.of(socket);
      return listen(socket);
    };
    const client = await RawClient.connect(`${url}/raw`, { token: token() });
    client.send('x');
    expect(await client.next()).toBe('x');
    expect(app.get(WsSessions).broadcast('news', 1)).toBe(0);
    expect(session?.send('news', 1)).toBe(false);
    session?.join('lobby');
    await app.get(WsRooms).publish('lobby', 'news', 1);
    await app.get(WsRooms).broadcast('news', 1);
    client.send('y');
    expect(await client.next()).toBe('y');
  });

  it('goes on when its listener throws, which the log has', async () => {
    const { url, log } = await start();
    connected = (socket) =>
      socket.on('message', () => {
        socket.send('there');
        throw new Error('of the listener');
      });
    const client = await RawClient.connect(`${url}/raw`, { token: token() });
    client.send('x');
    expect(await client.next()).toBe('there');
    client.send('y');
    expect(await client.next()).toBe('there');
    expect(log.lines.map(({ code, level }) => [code, level])).toEqual([
      ['INTERNAL', 'error'],
      ['INTERNAL', 'error'],
    ]);
  });

  it('leaves other gateways as they are', async () => {
    const { url } = await start();
    const client = await RawClient.connect(`${url}/ws`, { token: token() });
    expect(await client.ask({ event: 'hello', id: 1 })).toEqual({ event: 'hello', data: 'hello', id: 1 });
  });
});

describe('listeners of the wild', () => {
  it('of the style of browsers', async () => {
    const { url } = await start();
    connected = (socket) => {
      socket.addEventListener('message', ({ data }) => socket.send(`1 ${data as string}`));
      socket.onmessage = ({ data }) => socket.send(`2 ${data as string}`);
    };
    const client = await RawClient.connect(`${url}/raw`, { token: token() });
    client.send('x');
    expect([await client.next(), await client.next()]).toEqual(['1 x', '2 x']);
  });

  it('of a Yjs provider: array buffers in, bytes out to all of the room', async () => {
    const room = new Set<WebSocket>();
    const { url } = await start();
    connected = (socket) => {
      socket.binaryType = 'arraybuffer';
      room.add(socket);
      socket.on('message', (message: ArrayBuffer) => {
        heard.push(message instanceof ArrayBuffer && message.byteLength);
        for (const peer of room) if (peer !== socket) peer.send(new Uint8Array(message));
      });
      socket.on('close', () => room.delete(socket));
      socket.send(Buffer.from([0, 0]));
    };
    const [ada, bob] = await Promise.all(
      ['ada', 'bob'].map((sub) => RawClient.connect(`${url}/raw`, { token: token({ sub }) })),
    );
    expect([await ada?.next(), await bob?.next()]).toEqual([Buffer.from([0, 0]), Buffer.from([0, 0])]);
    ada?.send(Buffer.from([0, 2, 1, 1]));
    expect(await bob?.next()).toEqual(Buffer.from([0, 2, 1, 1]));
    expect(heard).toEqual([4]);
    await ada?.close();
    await until(() => room.size === 1);
  });

  it.each(['fragments', 'blob'])('that ask for %s', async (type) => {
    const { url } = await start();
    connected = (socket) => {
      socket.binaryType = type as WebSocket['binaryType']; // because @types/ws lacks blob
      socket.on('message', async (data: Buffer[] | Blob) => {
        const bytes = Array.isArray(data) ? Buffer.concat(data) : Buffer.from(await data.arrayBuffer());
        socket.send(bytes);
      });
    };
    const client = await RawClient.connect(`${url}/raw`, { token: token() });
    client.send(Buffer.from('parts'));
    expect(await client.next()).toEqual(Buffer.from('parts'));
  });

  it('of a media stream, which pauses the socket by itself', async () => {
    const { url } = await start();
    connected = (socket) => {
      const media = createWebSocketStream(socket, { highWaterMark: 4_096 });
      media.on('error', () => undefined);
      media.pipe(media);
    };
    const client = await RawClient.connect(`${url}/raw`, { token: token() });
    const packets = Array.from({ length: 400 }, (_, index) => Buffer.alloc(160, index));
    for (const packet of packets) client.send(packet);
    let bytes = Buffer.alloc(0);
    while (bytes.length < 400 * 160) bytes = Buffer.concat([bytes, (await client.next()) as Buffer]);
    expect(bytes.equals(Buffer.concat(packets))).toBe(true);
  });
});

describe('the start stops', () => {
  @Injectable()
  class Guard implements CanActivate {
    canActivate(): boolean {
      return false;
    }
  }

  @Authorize(() => true)
  @RateLimit({ limit: 1, perMs: 1_000 })
  @UseGuards(Guard)
  @RawGateway()
  @WebSocketGateway({ path: '/raw' })
  class Asking extends Hooked {}

  @RawGateway()
  @WebSocketGateway({ path: '/raw' })
  class Handling extends Hooked {
    @SubscribeMessage('note') note(): void {}
  }

  @WebSocketGateway({ path: '/raw' })
  class Sharing extends Hooked {}

  it.each<[string, Type[], object, RegExp]>([
    [
      'where only `message` would be left',
      [Raw],
      { sources: ['message'] },
      /Raw at \/raw is a @RawGateway\(\) .* auth\.sources needs one/,
    ],
    [
      'for what would be asked of no message',
      [Asking],
      {},
      /has @Authorize\(\), @RateLimit\(\), @UseGuards\(\), which/,
    ],
    [
      'for handlers that no message reaches',
      [Handling],
      {},
      /Handling .* has handlers, which no message reaches: note/,
    ],
    ['for a gateway that shares its path', [Raw, Sharing], {}, /Raw .* shares \/raw with Sharing/],
    ['for a gateway that it is second to', [Sharing, Raw], {}, /Raw .* shares \/raw with Sharing/],
  ])('%s', async (_, gateways, auth, message) => {
    await expect(start({ auth }, gateways)).rejects.toThrow(message);
  });

  it('not where strangers are let in', async () => {
    await start({ auth: { sources: ['message'], anonymous: true } }, [Raw]);
  });
});
