import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { WebSocket } from 'ws';
import { WsSessions } from '../../src/index.js';
import type { Session } from '../../src/session/session.js';
import { until } from '../support/app.js';
import { refusal } from '../support/client.js';
import { encodeFrame } from '../support/frames.js';
import { proxy, stopProxies, tcpUpstream, upstream } from '../support/proxy.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';
import { closeOf } from '../support/upstream.js';

afterEach(stopProxies);

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Accepts each handshake by hand, and does what a test says with the connection. */
const accepting = (then: (socket: Socket) => void): ReturnType<typeof tcpUpstream> =>
  tcpUpstream((socket) => {
    socket.once('data', (data) => {
      const [, key = ''] = /sec-websocket-key: (\S+)/i.exec(data.toString()) ?? [];
      const accept = createHash('sha1').update(key + GUID).digest('base64'); // prettier-ignore
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      then(socket);
    });
  });

const frame = (spec: Parameters<typeof encodeFrame>[0]): Buffer => encodeFrame({ mask: false, ...spec });
const close = (code: number): Buffer => {
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(code);
  return frame({ opcode: 8, payload });
};

describe('an application that breaks the connection', () => {
  it.each<[string, (socket: Socket) => void, string]>([
    ['closes without a frame', (socket) => socket.end(), 'closed without a close frame'],
    ['dies', (socket) => socket.once('data', () => socket.resetAndDestroy()), 'closed without a close frame'],
    [
      'dies in a frame',
      (socket) => socket.end(frame({ opcode: 1, payload: 'x', declared: 100n })),
      'closed without a close frame',
    ],
    [
      'sends 100 MB',
      (socket) => socket.write(frame({ opcode: 2, declared: 104_857_600n })),
      'sent a message larger than maxMessageBytes',
    ],
    [
      'sends 100 MB in fragments',
      (socket) => {
        socket.write(frame({ opcode: 2, payload: 'x'.repeat(60_000), fin: false }));
        for (let i = 0; i < 100; i++) socket.write(frame({ opcode: 0, payload: 'x'.repeat(60_000), fin: false }));
      },
      'sent a message larger than maxMessageBytes',
    ],
    [
      'sends what is no UTF-8',
      (socket) => socket.write(frame({ opcode: 1, payload: Buffer.from([0xff, 0xfe]) })),
      'failed: Invalid WebSocket frame: invalid UTF-8 sequence',
    ],
    [
      'masks',
      (socket) => socket.write(encodeFrame({ opcode: 1, payload: 'x' })),
      'failed: Invalid WebSocket frame: MASK must be clear',
    ],
    [
      'sets reserved bits',
      (socket) => socket.write(frame({ opcode: 1, payload: 'x', reserved: 4 })),
      'failed: Invalid WebSocket frame: RSV1 must be clear',
    ],
    [
      'closes with 1005',
      (socket) => socket.write(close(1005)),
      'failed: Invalid WebSocket frame: invalid status code 1005',
    ],
    [
      'closes with 1006',
      (socket) => socket.write(close(1006)),
      'failed: Invalid WebSocket frame: invalid status code 1006',
    ],
    [
      'closes with 999',
      (socket) => socket.write(close(999)),
      'failed: Invalid WebSocket frame: invalid status code 999',
    ],
    [
      'closes with 5000',
      (socket) => socket.write(close(5000)),
      'failed: Invalid WebSocket frame: invalid status code 5000',
    ],
    ['is no WebSocket', (socket) => socket.write('HTTP/1.1 500 x\r\n\r\n'), 'failed: Invalid WebSocket frame'],
  ])('%s: 1014, one line that names it, and no socket is left', async (_, misbehave, why) => {
    const app = await accepting(misbehave);
    const { url, log } = await proxy(app.url);
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    client.send('x');
    expect(await client.closed).toEqual({ code: 1014, reason: 'BAD_GATEWAY' });
    expect(log.lines).toHaveLength(1);
    expect(log.lines[0]).toMatchObject({ kind: 'connection', code: 'BAD_GATEWAY', level: 'error', subject: 'ada' });
    expect(log.lines[0]?.reason).toContain(`${app.url} ${why}`);
    for (const socket of app.sockets) socket.end();
    await until(() => app.sockets.size === 0);
  });

  it('sends its first frames with the answer to the handshake: they arrive', async () => {
    const app = await accepting((socket) =>
      socket.write(Buffer.concat([frame({ opcode: 1, payload: 'a' }), frame({ opcode: 2, payload: 'b' })])),
    );
    const { url } = await proxy(app.url);
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    expect([await client.next(), await client.next()]).toEqual(['a', Buffer.from('b')]);
  });

  it.each([true, false])('hangs for ever, with half a frame sent: %s. The heartbeat finds it', async (half) => {
    const app = await accepting((socket) => {
      socket.resume();
      if (half) socket.write(frame({ opcode: 1, payload: 'x', declared: 100n }));
    });
    const { url, clock, log } = await proxy(app.url, {}, { heartbeat: { intervalMs: 1_000, timeoutMs: 1_000 } });
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    for (let i = 0; i < 12; i++) {
      clock.advance(250);
      for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    }
    expect(await client.closed).toEqual({ code: 1014, reason: 'BAD_GATEWAY' });
    expect(log.lines).toMatchObject([{ code: 'BAD_GATEWAY', reason: `${app.url} does not answer a ping` }]);
    await until(() => app.sockets.size === 0);
  });

  it('pings: it is answered, and no client hears of it', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url);
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    let pings = 0;
    client.socket.on('ping', () => pings++);
    const socket = await app.accepted();
    const pong = new Promise((resolve) => socket.once('pong', (data) => resolve(data.toString())));
    socket.ping('x');
    expect(await pong).toBe('x');
    expect(pings).toBe(0);
  });
});

describe('a client that breaks the connection', () => {
  it.each<[string, Buffer, number]>([
    ['sends too much', encodeFrame({ opcode: 1, declared: 100_000_000n }), 1009],
    ['sends what is no UTF-8', encodeFrame({ opcode: 1, payload: Buffer.from([0xff]) }), 1007],
    ['does not mask', encodeFrame({ opcode: 1, payload: 'x', mask: false }), 1002],
  ])('%s: the application is told', async (_, bytes, code) => {
    const app = await upstream();
    const { url } = await proxy(app.url);
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    const closed = closeOf(await app.accepted());
    (client.socket as unknown as { _socket: Socket })._socket.write(bytes); // because ws does not show it
    expect((await client.closed).code).toBe(code);
    expect((await closed).code).toBe(code);
  });
});

describe('a reader that never reads', () => {
  const MAX = 262_144;
  const limits = { maxOutboundBytes: MAX, maxMessageBytes: 16_384 };

  /** Sends until a while after the other side has stopped the reading. */
  async function flood(socket: WebSocket, stopped: () => boolean): Promise<void> {
    const message = Buffer.alloc(8_000, 'x');
    while (!stopped() && socket.readyState === socket.OPEN) {
      socket.send(message);
      await new Promise(setImmediate);
    }
    for (let i = 0; i < 50; i++) socket.send(message);
    for (let i = 0; i < 50; i++) await new Promise(setImmediate);
  }

  it('as client stops the application, holds no more than its bound, and ends as SLOW_CONSUMER', async () => {
    const app = await upstream();
    const test = await proxy(app.url, {}, { limits, heartbeat: { intervalMs: 3_600_000 } });
    const client = await RawClient.connect(`${test.url}/chat`, { token: token() });
    client.socket.pause();
    const session = test.app.get(WsSessions).find()[0] as Session; // because there is one
    const application = await app.accepted();
    const closed = closeOf(application);
    await flood(application, () => session.link?.isHeldUp === true);
    expect(session.socket.bufferedAmount).toBeGreaterThan(MAX / 2);
    expect(session.socket.bufferedAmount).toBeLessThanOrEqual(MAX);
    test.clock.advance(20_000);
    expect(await closed).toEqual({ code: 4113, reason: 'SLOW_CONSUMER' });
    expect(test.log.lines).toMatchObject([{ code: 'SLOW_CONSUMER', closeCode: 4113 }]);
  });

  it('as application stops the client, holds no more than its bound, and is BAD_GATEWAY', async () => {
    const app = await upstream((socket) => socket.pause());
    const test = await proxy(app.url, {}, { limits, heartbeat: { intervalMs: 3_600_000 } });
    const client = await RawClient.connect(`${test.url}/chat`, { token: token() });
    const session = test.app.get(WsSessions).find()[0] as Session; // because there is one
    await flood(client.socket, () => session.socket.isStopped);
    expect((session.link as unknown as WebSocket).bufferedAmount).toBeLessThanOrEqual(MAX);
    test.clock.advance(20_000);
    expect(await client.closed).toEqual({ code: 1014, reason: 'BAD_GATEWAY' });
    expect(test.log.lines).toMatchObject([{ code: 'BAD_GATEWAY', reason: `${app.url} reads too slowly` }]);
    (await app.accepted()).resume();
    await until(() => app.tcp.size === 0);
  });

  it('holds with all others no more than they may together', async () => {
    const app = await upstream((socket) => socket.pause());
    const all = { maxOutboundBytes: 1_048_576, maxOutboundBytesTotal: 1_048_576, maxMessageBytes: 16_384 };
    const test = await proxy(app.url, {}, { limits: all, heartbeat: { intervalMs: 3_600_000 } });
    const clients = await Promise.all(
      Array.from({ length: 4 }, () => RawClient.connect(`${test.url}/chat`, { token: token() })),
    );
    const sessions = test.app.get(WsSessions).find() as Session[]; // because there are no others
    for (const [index, { socket }] of clients.entries())
      await flood(socket, () => (sessions[index] as Session).socket.isStopped);
    const held = (): number => sessions.filter(({ isLive }) => isLive).reduce((sum, { outbound }) => sum + outbound, 0);
    expect(held()).toBeGreaterThan(1_048_576);
    test.clock.advance(250);
    expect(held()).toBeLessThanOrEqual(1_048_576);
    expect(held()).toBeGreaterThan(0);
    expect(sessions.filter(({ isLive }) => !isLive).reduce((sum, { outbound }) => sum + outbound, 0)).toBe(0);
    for (let i = 0; i < 4; i++) (await app.accepted()).resume();
  });

  it.each(['client', 'application'])('as %s that reads again gets all of it in its order', async (side) => {
    const app = await upstream((socket) => void socket);
    const test = await proxy(app.url, {}, { limits, heartbeat: { intervalMs: 3_600_000 } });
    const client = await RawClient.connect(`${test.url}/chat`, { token: token() });
    const application = await app.accepted();
    const [from, to] = side === 'client' ? [application, client.socket] : [client.socket, application];
    to.pause();
    const heard: number[] = [];
    to.on('message', (data: Buffer) => heard.push(data.readUInt32BE(0)));
    const count = 2_000;
    for (let i = 0; i < count; i++) {
      const message = Buffer.alloc(i % 2 === 0 ? 9_000 : 100);
      message.writeUInt32BE(i);
      from.send(message);
    }
    for (let i = 0; i < 100; i++) await new Promise(setImmediate);
    to.resume();
    await until(() => heard.length === count);
    expect(heard).toEqual(Array.from({ length: count }, (_, index) => index));
  });

  it('takes a burst of small messages that is larger than its bound', async () => {
    const app = await upstream((socket) => {
      for (let i = 0; i < 20_000; i++) socket.send(String(i));
      socket.close(4000, 'done');
    });
    const small = { maxOutboundBytes: 4_096, maxMessageBytes: 1_024 };
    const { url } = await proxy(app.url, {}, { limits: small });
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    expect((await client.closed).code).toBe(4000);
    expect(await client.rest()).toEqual(Array.from({ length: 20_000 }, (_, index) => String(index)));
  });
});

describe('a path that takes JSON alone', () => {
  const deep = `${'['.repeat(40)}${']'.repeat(40)}`;
  it.each<[string | Buffer, number, string]>([
    ['not JSON', 4400, 'BAD_FRAME'],
    [deep, 4400, 'BAD_FRAME'],
    ['{"__proto__":1}', 4400, 'BAD_FRAME'],
    [Buffer.from('{}'), 1003, 'UNSUPPORTED_DATA'],
  ])('ends for %j with %i', async (message, code, reason) => {
    const heard: string[] = [];
    const app = await upstream((socket) => socket.on('message', (data: Buffer) => heard.push(data.toString())));
    const { url } = await proxy(app.url, { json: true });
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    const closed = closeOf(await app.accepted());
    client.send('{"a":[1]}');
    client.send(message);
    expect(await client.closed).toEqual({ code, reason });
    expect(await closed).toEqual({ code, reason });
    expect(heard).toEqual(['{"a":[1]}']);
  });

  it('answers with an exception where that is allowed, and goes on', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, { json: true, exceptions: true });
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    expect(await client.ask('not JSON')).toMatchObject({ event: 'exception', data: { code: 'BAD_FRAME' } });
    expect(await client.ask('"x"')).toBe('x');
  });
});

describe('what a path says of itself', () => {
  it('holds for its application: limits', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, {}, { paths: { '/chat': { limits: { maxMessageBytes: 10 } } } });
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    client.send('x'.repeat(11));
    expect((await client.closed).code).toBe(1009);
  });

  it('holds for its application: who may be there without a token, and where tokens are looked for', async () => {
    const app = await upstream();
    const upstreams = { '/open': { urls: [app.url] }, '/query': { urls: [app.url] } };
    const paths = { '/open': { auth: { anonymous: true } }, '/query': { auth: { sources: ['query'] } } } as const;
    const { url } = await proxy(app.url, {}, { upstreams, paths });
    const open = await RawClient.connect(`${url}/open`);
    open.send('x');
    expect(await open.next()).toBe('x');
    expect(await refusal(`${url}/query`, { headers: { authorization: `Bearer ${token()}` } })).toMatchObject({
      status: 401,
    });
    const client = await RawClient.connect(`${url}/query?access_token=${token()}&a=1`);
    client.send('y');
    expect(await client.next()).toBe('y');
    expect(app.requests.at(-1)?.url).toBe('/query?a=1');
  });
});
