import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { WebSocket } from 'ws';
import { WsFirewall, WsHealth, WsSessions } from '../../src/index.js';
import type { Session } from '../../src/session/session.js';
import { startApp, UNLIMITED, until } from '../support/app.js';
import { refusal } from '../support/client.js';
import { encodeFrame } from '../support/frames.js';
import { proxy, stopProxies, tcpUpstream, upstream } from '../support/proxy.js';
import { RawClient } from '../support/raw-client.js';
import { handshake, openTcp } from '../support/tcp.js';
import { token } from '../support/tokens.js';
import { closeOf, echo } from '../support/upstream.js';

afterEach(stopProxies);

const authorization = (): { authorization: string } => ({ authorization: `Bearer ${token()}` });

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
};

/** The 101 of an application, as bytes. */
function acceptance(request: Buffer, ...lines: string[]): string {
  const [, key = ''] = /sec-websocket-key: (\S+)/i.exec(request.toString()) ?? [];
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  const head = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade'];
  return [...head, `Sec-WebSocket-Accept: ${accept}`, ...lines, '\r\n'].join('\r\n');
}

/** The head of the answer to a handshake as it is written here. */
async function answerTo(port: number, path: string, lines: string[] = []): Promise<string> {
  const socket = await openTcp(port);
  socket.write(handshake(path, [`Authorization: Bearer ${token()}`, ...lines]));
  const [answer] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return answer.toString('latin1').split('\r\n\r\n', 1)[0] ?? '';
}

describe('a hostile client', () => {
  it.each([
    ['/files/*path', 'ROOT', '/files/a\\..\\..\\admin'],
    ['/files/*path', 'ROOT/f/*path', '/files/a\\..\\..\\admin'],
    ['/files/*path', 'ROOT', '/files/%2e%2e\\admin'],
    ['/u-:name', 'ROOT/users/:name/mail', '/u-..'],
    ['/u-:name', 'ROOT/users/.:name/mail', '/u-.'],
    ['/u-:name', 'ROOT', '/u-/../../admin'],
    ['/files/*path', 'ROOT', '/files/.\t./admin'],
    ['/{*path}', 'ROOT', '/files/..%5C..\\admin'],
  ])('of %s in front of %s climbs nowhere with %s', async (path, to, asked) => {
    const app = await upstream();
    const { port } = await startApp({
      options: { auth: { sources: ['header'] }, upstreams: { [path]: { urls: [to.replace('ROOT', app.url)] } } },
    });
    const answer = await answerTo(port, asked);
    const seen = app.requests.map(({ url }) => url);
    expect(seen.filter((url) => !/^\/(?:files\/|f\/|u-)/.test(url ?? ''))).toEqual([]);
    expect(answer).toMatch(/^HTTP\/1\.1 (?:400|404|101) /);
  });

  it.each(['X.Auth.Subject', 'X!Auth~Subject', "x'auth_subject", 'X-AUTH_SUBJECT'])(
    'writes no %s, which some servers know as X-Auth-Subject',
    async (name) => {
      const app = await upstream();
      const { port } = await proxy(app.url);
      expect(await answerTo(port, '/chat', [`${name}: root`, `${name}: admin`])).toContain('101');
      const { rawHeaders } = app.requests[0] as { rawHeaders: string[] };
      expect(rawHeaders.filter((text) => /auth.subject/i.test(text))).toEqual(['X-Auth-Subject']);
      expect(rawHeaders).not.toContain('root');
    },
  );

  it.each<[string, string[]]>([
    ['Transfer-Encoding: chunked', ['Transfer-Encoding: chunked']],
    ['a Content-Length', ['Content-Length: 5']],
    ['Connection that names what the gateway writes', ['Connection: X-Auth-Subject, X-Forwarded-For, Cookie, Origin']],
    ['Upgrade twice', ['Upgrade: h2c']],
    ['Expect', ['Expect: 100-continue']],
    ['HTTP2-Settings', ['HTTP2-Settings: AAMAAABkAAQAAP__']],
  ])('smuggles nothing by %s', async (_, lines) => {
    const app = await upstream();
    const { port } = await proxy(app.url);
    const socket = await openTcp(port);
    const smuggled = '5\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n';
    socket.write(handshake('/chat', [`Authorization: Bearer ${token()}`, ...lines]) + smuggled);
    await once(socket, 'data');
    await turns(20);
    socket.destroy();
    expect(app.requests.filter(({ url }) => url !== '/chat')).toEqual([]);
    for (const { headers } of app.requests) {
      expect(headers).toMatchObject({ connection: 'Upgrade', upgrade: 'websocket', 'x-auth-subject': 'ada' });
      for (const name of ['transfer-encoding', 'content-length', 'expect', 'http2-settings'])
        expect(headers).not.toHaveProperty(name);
    }
    await until(() => app.tcp.size === 0);
  });

  it('makes no gateway unready by a request that the application fails for', async () => {
    const app = await upstream(echo, { verify: ({ url }) => (url === '/chat?bad' ? 500 : undefined) });
    const test = await proxy(app.url);
    expect(await refusal(`${test.url}/chat?bad`, { headers: authorization() })).toMatchObject({ status: 502 });
    expect(test.app.get(WsHealth).readiness()).toMatchObject({ ready: true });
  });

  it.each<[string, string, (test: Awaited<ReturnType<typeof proxy>>) => unknown]>([
    [
      'its address is banned',
      'Unexpected server response: 403',
      ({ app }) => app.get(WsFirewall).ban({ address: '127.0.0.1' }, { forMs: 60_000, reason: 'x' }),
    ],
    [
      'its subject is banned',
      'BANNED',
      ({ app }) => app.get(WsFirewall).ban({ subject: 'ada' }, { forMs: 60_000, reason: 'x' }),
    ],
    ['its sessions are revoked', 'SESSION_REVOKED', ({ app }) => app.get(WsSessions).revoke({ subject: 'ada' })],
    ['its token expires', 'TOKEN_EXPIRED', ({ clock }) => clock.advance(50_000)],
  ])('gets no session when %s while the application is asked', async (_, told, meanwhile) => {
    let answer = (): void => undefined;
    const app = await tcpUpstream((socket) =>
      socket.once('data', (data) => (answer = () => socket.write(acceptance(data)))),
    );
    const test = await proxy(app.url, { connectTimeoutMs: 60_000 });
    const connecting = RawClient.connect(`${test.url}/chat`, {
      token: token({ exp: Math.floor(test.clock.now() / 1_000) + 30 }),
    }).then(
      async (client) => (await client.closed).reason,
      (error: Error) => error.message,
    );
    await until(() => app.sockets.size === 1);
    await turns(20);
    await meanwhile(test);
    answer();
    const end = await connecting;
    expect(end).toBe(told);
    expect(test.app.get(WsSessions).find()).toEqual([]);
    for (const socket of app.sockets) socket.end();
    await until(() => app.sockets.size === 0);
  });
});

describe('a hostile application', () => {
  /** Accepts, then does what a test says. */
  const accepting = (then: (socket: Socket) => void, ...lines: string[]): ReturnType<typeof tcpUpstream> =>
    tcpUpstream((socket) =>
      socket.once('data', (data) => {
        socket.write(acceptance(data, ...lines));
        then(socket);
      }),
    );

  it('that floods with pings and reads no pong holds no more than a few', async () => {
    const ping = encodeFrame({ opcode: 9, payload: 'x'.repeat(125), mask: false });
    const flood = Buffer.concat(Array<Buffer>(10_000).fill(ping));
    let isFull = false;
    const app = await accepting((socket) => {
      socket.pause();
      const more = (left: number): void => {
        if (left === 0) isFull = true;
        else socket.write(flood, () => more(left - 1));
      };
      more(20); // 25 MB
    });
    const test = await proxy(app.url);
    const client = await RawClient.connect(`${test.url}/chat`, { token: token() });
    const [session] = test.app.get(WsSessions).find() as [Session];
    const link = session.link as unknown as WebSocket; // because the link of a relayed session is one
    let most = 0;
    await until(() => {
      most = Math.max(most, link.bufferedAmount);
      return isFull;
    });
    expect(most).toBeLessThan(262_144);
    expect(test.app.get(WsSessions).find()).toHaveLength(1);
    client.socket.terminate();
    for (const socket of app.sockets) socket.resume();
    await until(() => app.sockets.size === 0);
  });

  it('sets no cookie, and no other header of the answer', async () => {
    const app = await accepting(() => undefined, 'Set-Cookie: sid=1', 'X-Secret: 1', 'Location: http://evil.example');
    const { port } = await proxy(app.url);
    const head = await answerTo(port, '/chat');
    expect(head).toMatch(/^HTTP\/1\.1 101 /);
    expect(head).not.toMatch(/cookie|secret|location/i);
  });

  it.each(['Sec-WebSocket-Extensions: permessage-deflate', 'Sec-WebSocket-Protocol: other'])(
    'selects nothing that was not offered: %s',
    async (line) => {
      const app = await accepting(() => undefined, line);
      const { port } = await proxy(app.url);
      expect(await answerTo(port, '/chat')).toMatch(/^HTTP\/1\.1 50[23] /);
      await until(() => app.sockets.size === 0);
    },
  );

  it('that always has more to say than a pong can overtake is there', async () => {
    const text = encodeFrame({ opcode: 1, payload: 'x', mask: false });
    const app = await accepting((socket) => socket.resume());
    const test = await proxy(app.url, {}, { heartbeat: { intervalMs: 1_000, timeoutMs: 1_000 } });
    const client = await RawClient.connect(`${test.url}/chat`, { token: token() });
    for (let i = 0; i < 20; i++) {
      for (const socket of app.sockets) socket.write(text);
      await client.next();
      test.clock.advance(250);
      await turns(5);
    }
    expect(client.socket.readyState).toBe(client.socket.OPEN);
    client.socket.terminate();
  });
});

describe('many handshakes that hang', () => {
  it.each([
    ['maxConnectionsPerAddress', 429],
    ['maxConnections', 503],
  ])('count as connections: no more than %s', async (bound, status) => {
    const app = await tcpUpstream((socket) => socket.resume());
    const { url, port } = await proxy(app.url, {}, { firewall: { [bound]: 3 } });
    const lines = [`Authorization: Bearer ${token()}`];
    const clients = await Promise.all(Array.from({ length: 3 }, () => openTcp(port)));
    for (const client of clients) client.write(handshake('/chat', lines));
    await until(() => app.sockets.size === 3);
    expect(await refusal(`${url}/chat`, { headers: authorization() })).toMatchObject({ status });
    expect(app.sockets.size).toBe(3);
    for (const client of clients) client.destroy();
    await until(() => app.sockets.size === 0);
  });

  it('of clients that have sent a message and left leave no socket', async () => {
    const app = await tcpUpstream((socket) => socket.resume());
    const { port, clock } = await proxy(app.url);
    const client = await openTcp(port);
    client.write(handshake('/chat', [`Authorization: Bearer ${token()}`]));
    await until(() => app.sockets.size === 1);
    client.end(encodeFrame({ opcode: 1, payload: 'x' }));
    await turns(20);
    clock.advance(5_500);
    await until(() => app.sockets.size === 0);
  });

  it('of a gateway in front of itself end by the bound of an address', async () => {
    let back = 0;
    const loop = await tcpUpstream((socket) => {
      const other = connect(back, '127.0.0.1');
      for (const each of [socket, other])
        each.on('error', () => undefined).on('close', () => [socket, other].map((one) => one.destroy()));
      socket.pipe(other).pipe(socket);
    });
    const firewall = { maxConnectionsPerAddress: 20, ban: { violations: Infinity } };
    const test = await proxy(loop.url, {}, { auth: { anonymous: true }, firewall });
    back = test.port;
    expect(await refusal(`${test.url}/chat`)).toMatchObject({ status: 502 });
    expect(test.app.get(WsSessions).find()).toEqual([]);
    await until(() => loop.sockets.size === 0);
  });
});

describe('two sides that both send and do not read', () => {
  it('get all of it when they read at last', async () => {
    const app = await upstream(() => undefined);
    const limits = {
      maxOutboundBytes: 65_536,
      maxMessageBytes: 16_384,
      messagesPerSecond: 100_000,
      messageBurst: 100_000,
      bytesPerSecond: Infinity,
    };
    const test = await proxy(app.url, {}, { limits, heartbeat: { intervalMs: 3_600_000 } } as object);
    const client = await RawClient.connect(`${test.url}/chat`, { token: token() });
    const application = await app.accepted();
    const sides = [client.socket, application];
    const heard = [0, 0];
    for (const [index, side] of sides.entries()) {
      side.on('message', () => (heard[index] = (heard[index] ?? 0) + 1));
      side.pause();
    }
    for (let i = 0; i < 800; i++) for (const side of sides) side.send(Buffer.alloc(10_000));
    const [session] = test.app.get(WsSessions).find() as [Session];
    await until(() => session.socket.isStopped && session.link?.isHeldUp === true);
    for (const side of sides) side.resume();
    await until(() => heard[0] === 800 && heard[1] === 800);
  });
});

it('a client whose pong is behind what a slow application has yet to read is there', async () => {
  const app = await upstream((socket) => socket.pause());
  const limits = { maxOutboundBytes: 65_536, maxMessageBytes: 16_384 };
  const heartbeat = { intervalMs: 1_000, timeoutMs: 1_000 };
  const test = await proxy(app.url, {}, { limits: { ...limits, ...UNLIMITED.limits }, heartbeat });
  const client = await RawClient.connect(`${test.url}/chat`, { token: token(), autoPong: false } as object);
  const pinged = once(client.socket, 'ping');
  const [session] = test.app.get(WsSessions).find() as [Session];
  while (!session.socket.isStopped) {
    client.send(Buffer.alloc(10_000));
    await turns(1);
  }
  const application = await app.accepted();
  application.on('pong', () => undefined);
  test.clock.advance(1_250);
  await pinged;
  test.clock.advance(1_000);
  let heard = 0;
  application.on('message', (data: Buffer) => (heard = data.readUInt32BE(0)));
  application.resume();
  await until(() => !session.socket.isStopped);
  for (let i = 1; i <= 8; i++) {
    const message = Buffer.alloc(4);
    message.writeUInt32BE(i);
    client.send(message);
    await until(() => heard === i);
    test.clock.advance(250);
  }
  expect(session.isLive).toBe(true);
  for (let i = 0; i < 8; i++) test.clock.advance(250); // and says nothing any more
  expect((await client.closed).reason).toBe('NO_PONG');
});

describe('an application at IPv6', () => {
  it('is reached', async () => {
    const app = await upstream(echo, { host: '::1' });
    const { url } = await proxy(app.url);
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    expect(app.requests[0]?.headers.host).toBe(new URL(app.url).host);
    client.socket.terminate();
  });
});

describe('an end', () => {
  it('by a later session of the same subject reaches both sides', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, {}, { auth: { maxSessionsPerSubject: 1, onSessionLimit: 'replace-oldest' } });
    const first = await RawClient.connect(`${url}/chat`, { token: token() });
    const closed = closeOf(await app.accepted());
    const second = await RawClient.connect(`${url}/chat`, { token: token() });
    const end = await first.closed;
    expect(end).toMatchObject({ reason: 'SESSION_REPLACED' });
    expect(await closed).toEqual(end);
    second.socket.terminate();
  });

  it('by a client that answers no ping reaches the application', async () => {
    const app = await upstream();
    const { port, clock } = await proxy(app.url, {}, { heartbeat: { intervalMs: 1_000, timeoutMs: 1_000 } });
    const client = await openTcp(port);
    client.write(handshake('/chat', [`Authorization: Bearer ${token()}`]));
    client.resume();
    const closed = closeOf(await app.accepted());
    for (let i = 0; i < 12; i++) {
      clock.advance(250);
      await turns(20);
    }
    expect((await closed).reason).toBe('NO_PONG');
    client.destroy();
  });
});

describe('the configuration', () => {
  it('names a parameter that the path does not have', async () => {
    const upstreams = { '/rooms/:room': { urls: ['ws://127.0.0.1:1/r/:rom'] } };
    await expect(startApp({ options: { upstreams } }).then(() => undefined)).rejects.toThrow(
      'upstreams["/rooms/:room"] cannot be read: ws://127.0.0.1:1/r/:rom needs "rom", which the path does not have',
    );
  });
});
