import { once } from 'node:events';
import { createServer, request as httpRequest } from 'node:http';
import type { Server } from 'node:http';
import { connect as connectHttp2, createSecureServer, createServer as createHttp2Server } from 'node:http2';
import type { ClientHttp2Session } from 'node:http2';
import { connect, Socket } from 'node:net';
import type { AddressInfo, ListenOptions } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { hold, SocketDeadlines } from '../../src/socket/socket-deadlines.js';
import type { SocketQuota } from '../../src/socket/socket-deadlines.js';
import { until } from '../support/app.js';
import { hasOpenssl, localTls } from '../support/certificates.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** A table that watches a server, with a clock of its own and a quota that only counts. */
async function watched(
  server: object,
  listen: ListenOptions = { port: 0, host: '127.0.0.1' },
): Promise<{ deadlines: SocketDeadlines; count: () => number; pass: (ms: number) => void; port: number }> {
  const http = server as Server; // because the servers of HTTP/2 have what is asked of them
  let [now, count] = [0, 0];
  const quota: SocketQuota = {
    isFull: false,
    checkAddress: () => undefined,
    checkAll: () => undefined,
    enter: () => count++,
    leave: () => count--,
  };
  const deadlines = new SocketDeadlines(() => now, quota, () => undefined); // prettier-ignore
  const unwatch = deadlines.watch(http);
  http.listen(listen);
  await once(http, 'listening');
  cleanups.push(async () => {
    deadlines.close();
    http.close();
    await until(() => count === 0);
    unwatch();
  });
  const pass = (ms: number): void => {
    now += ms;
    deadlines.sweep();
  };
  return { deadlines, count: () => count, pass, port: (http.address() as AddressInfo).port };
}

async function dial(options: { port: number } | { path: string }): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', ...options });
  socket.on('error', () => undefined); // resets are part of what is tested
  cleanups.push(() => socket.destroy());
  await once(socket, 'connect');
  socket.resume();
  return socket;
}

const answer = (_: unknown, response: { end(text: string): void }): void => response.end('answer');

async function askHttp2(session: ClientHttp2Session): Promise<string> {
  const stream = session.request({ ':path': '/' });
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  return text;
}

it.runIf(process.platform !== 'win32')('a silent peer on a Unix socket has ten seconds, too', async () => {
  const path = join(tmpdir(), `ws-gateway-sockets-${process.pid}`);
  const { count, pass } = await watched(createServer(answer), { path });
  const silent = await dial({ path });
  const asking = await dial({ path });
  asking.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(asking, 'data');
  await until(() => count() === 2);
  pass(9_999);
  expect(silent.destroyed).toBe(false);
  pass(1);
  await once(silent, 'close');
  expect([asking.destroyed, count()]).toEqual([false, 1]);
});

describe.runIf(hasOpenssl())('HTTP/2 over TLS', () => {
  const { ca, server } = hasOpenssl() ? localTls() : { ca: undefined, server: undefined };
  const secure = (): object => createSecureServer({ cert: server?.cert, key: server?.key, allowHTTP1: true }, answer);

  it('counts each connection once and keeps those that ask, also with HTTP/1.1', async () => {
    const { count, pass, port } = await watched(secure());
    const session = connectHttp2(`https://127.0.0.1:${port}`, { ca });
    cleanups.push(() => session.destroy());
    expect(await askHttp2(session)).toBe('answer');
    const one = connectTls({ port, host: '127.0.0.1', ca, ALPNProtocols: ['http/1.1'] });
    cleanups.push(() => one.destroy());
    await once(one, 'secureConnect');
    one.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(one, 'data');
    pass(60_000);
    expect([await askHttp2(session), one.destroyed, count()]).toEqual(['answer', false, 2]);
    session.destroy();
    one.destroy();
    await until(() => count() === 0);
  });

  it('cuts who asks for nothing in ten seconds, the handshake included', async () => {
    const { count, pass, port } = await watched(secure());
    const silent = await dial({ port });
    pass(4_000);
    const session = connectHttp2(`https://127.0.0.1:${port}`, { ca });
    session.on('error', () => undefined); // cut
    await once(session, 'connect');
    await until(() => count() === 2);
    pass(6_000);
    await once(silent, 'close');
    expect(session.destroyed).toBe(false);
    pass(4_000);
    await once(session, 'close');
    await until(() => count() === 0);
  });
});

it('HTTP/2 without TLS is watched as well', async () => {
  const { count, pass, port } = await watched(createHttp2Server(answer));
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  cleanups.push(() => session.destroy());
  expect(await askHttp2(session)).toBe('answer');
  const silent = await dial({ port });
  await until(() => count() === 2);
  pass(10_000);
  await once(silent, 'close');
  expect([await askHttp2(session), count()]).toEqual(['answer', 1]);
});

it('what comes past the event of a request is not cut: CONNECT, and Expect that the application answers', async () => {
  const http = createServer(answer);
  http.on('connect', (_, socket) => {
    socket.on('end', () => socket.end()).resume();
    socket.write('HTTP/1.1 200 Connected\r\n\r\n');
  });
  http.on('checkContinue', (_, response) => response.writeContinue());
  const { pass, port } = await watched(http);
  const tunnel = await dial({ port });
  tunnel.write('CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(tunnel, 'data');
  const upload = httpRequest({ port, host: '127.0.0.1', method: 'POST', headers: { expect: '100-continue' } });
  cleanups.push(() => upload.destroy());
  upload.on('error', () => undefined); // destroyed at the end
  upload.flushHeaders();
  await once(upload, 'continue');
  pass(60_000);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect([tunnel.destroyed, upload.destroyed]).toEqual([false, false]);
  http.closeAllConnections();
  tunnel.destroy();
});

describe('the holder of a socket', () => {
  it('hears of its end once, and only the last one does', async () => {
    const http = createServer();
    const { port } = await watched(http);
    const accepted = once(http, 'connection');
    const client = await dial({ port });
    const [socket] = (await accepted) as [Socket];
    const heard: string[] = [];
    for (const name of ['first', 'second', 'third']) hold(socket, { onClosed: () => heard.push(name) });
    client.destroy();
    await once(socket, 'close');
    socket.emit('close');
    expect(heard).toEqual(['third']);
  });

  it('of one that has closed already hears of it at once', async () => {
    const socket = new Socket();
    socket.destroy();
    await once(socket, 'close');
    let heard = 0;
    hold(socket, { onClosed: () => heard++ });
    expect(heard).toBe(1);
  });
});

it('a refused peer that comes after the end is not waited for', async () => {
  const http = createServer();
  const { deadlines, port } = await watched(http);
  const accepted = once(http, 'connection');
  const client = await dial({ port });
  const [socket] = (await accepted) as [Socket];
  deadlines.close();
  deadlines.linger(socket);
  await once(client, 'close');
  const late = await dial({ port });
  await once(late, 'close');
  expect(deadlines.size).toBe(0);
});
