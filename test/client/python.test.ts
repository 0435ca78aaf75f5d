import { execFile, spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startApp, stopApps, until } from '../support/app.js';
import { hasProgram } from '../support/service.js';
import { token } from '../support/tokens.js';
import { OrdersGateway } from '../apps/orders/orders.gateway.js';
import { answering, ScriptedServer, stopAll } from './support.js';

const python = '/usr/bin/python3'; // Debian's, which has the package; another one on PATH may not
const clients = new URL('../apps/clients', import.meta.url).pathname;
const driver = new URL('driver.py', import.meta.url).pathname;

type Said = Record<string, unknown>;

describe.runIf(hasProgram('python3-websockets', python, ['-c', 'import websockets']))('a Python client', () => {
  let server: ScriptedServer;
  let child: ChildProcessWithoutNullStreams;
  const said: Said[] = [];
  let acts = 0;
  beforeEach(async () => {
    server = await ScriptedServer.start();
    said.length = acts = 0;
  });
  afterEach(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'close');
    }
    await stopAll();
    await stopApps();
  });

  const start = async (channels: readonly string[] = []): Promise<void> => {
    child = spawn(python, ['-B', driver, clients, server.url, ...channels]);
    let faults = '';
    child.stderr.on('data', (text: Buffer) => (faults += text.toString()));
    child.on('close', () => expect(faults).toBe(''));
    createInterface(child.stdout).on('line', (line) => said.push(JSON.parse(line) as Said));
    await until(() => server.received('auth').length === 1);
  };
  /** What comes of an act. */
  const does = async (act: object): Promise<Said> => {
    const n = ++acts;
    child.stdin.write(`${JSON.stringify({ ...act, n })}\n`);
    await until(() => said.some((line) => line.n === n));
    const { n: _, ...result } = said.find((line) => line.n === n) as Said; // because it is there
    return result;
  };
  const asks = (event: string, data?: unknown, options = {}): Promise<Said> =>
    does({ do: 'request', event, data, options });
  const reasons = (): unknown[] => said.flatMap(({ reason }) => reason ?? []);

  it('asks, gets pushes, comes back and stays away as the server says', async () => {
    await start();
    expect(await asks('echo', { a: 1 })).toEqual({ value: { a: 1 } });
    server.peer.send({ event: 'news', data: 1 });
    await until(() => said.some(({ news }) => news === 1));
    const lost = asks('never');
    await until(() => server.received('never').length === 1);
    const cutAt = performance.now();
    server.peer.disconnect('SHUTTING_DOWN', 1012, { reconnect: true, retryAfterMs: 250 });
    expect(await lost).toEqual({ code: 'CONNECTION_LOST', maybe: true });
    expect(await asks('echo', 2)).toEqual({ value: 2 });
    expect(performance.now() - cutAt).toBeGreaterThanOrEqual(250);
    server.peer.disconnect('TOKEN_EXPIRED', 4101, { reconnect: true });
    await until(() => server.received('auth').length === 3);
    server.peer.send({ event: 'auth.expiring', data: { expiresAt: 0 } });
    await until(() => server.received('auth').length === 4);
    expect(reasons()).toEqual(['connect', 'reconnect', 'expired', 'expiring']);
    server.peer.disconnect('SESSION_REVOKED', 4410, { reconnect: false });
    await until(() => server.live === 0);
    expect(await asks('echo', 3)).toEqual({ code: 'CLOSED', maybe: false });
    expect(server.peers).toHaveLength(3);
  });

  it('finds a connection on which nothing comes any more', async () => {
    await start();
    server.proxy.isSilent = true;
    await until(() => server.proxy.count === 2);
    server.proxy.isSilent = false;
    expect(await asks('echo', 1)).toEqual({ value: 1 });
  });

  it('waits for its budget, and asks again what does no harm', async () => {
    let refused = 0;
    server.script = (frame, peer) => {
      if (frame.event !== 'echo') return answering(frame, peer);
      if (refused++ > 0) return answering(frame, peer);
      const data = { code: 'RATE_LIMITED', message: '', retryable: true, retryAfterMs: 100 };
      peer.send({ event: 'exception', data, id: frame.id });
    };
    await start();
    expect(await asks('echo', 1)).toEqual({ value: 1 });
    refused = 0;
    expect(await asks('echo', 1, { timeout: 0.05 })).toMatchObject({ code: 'RATE_LIMITED' });
    server.script = (frame, peer) => {
      if (frame.event === 'once' && server.received('once').length === 1) peer.socket.terminate();
      else answering({ ...frame, event: frame.event === 'once' ? 'echo' : frame.event }, peer);
    };
    expect(await asks('once', 7, { idempotent: true })).toEqual({ value: 7 });
    expect(await asks('never', 7, { timeout: 0.05 })).toEqual({ code: 'TIMEOUT', maybe: true });
  });

  it('reads streams, cancels what it leaves, and goes on after a lost connection', async () => {
    server.script = (frame, peer) => {
      if (frame.event !== 'numbers') return answering(frame, peer);
      const { from } = (frame.data ?? { from: 0 }) as { from: number };
      for (const n of [from, from + 1]) peer.send({ event: 'numbers', data: n, id: frame.id });
      if (from > 0) peer.send({ event: 'numbers', id: frame.id, done: true });
      else if (frame.data !== undefined) peer.socket.close(1012);
    };
    await start();
    expect(await does({ do: 'stream', event: 'numbers', most: 2 })).toEqual({ value: [0, 1] });
    await until(() => server.received('cancel').length === 1);
    expect(server.received('cancel')[0]?.data).toEqual({ id: server.received('numbers')[0]?.id });
    const resumed = await does({ do: 'stream', event: 'numbers', data: { from: 0 }, most: 9 });
    expect(resumed).toEqual({ value: [0, 1, 2, 3] });
  });

  it('comes back to its channels from its position, in one frame, and says what it has missed', async () => {
    const answers: object[][] = [
      [{ channel: 'a', epoch: 'e', offset: 5 }, { channel: 'b' }],
      [
        { channel: 'a', epoch: 'e', offset: 8, recovered: true, replayed: 2 },
        { channel: 'b', error: { code: 'RATE_LIMITED', message: '', retryable: true, retryAfterMs: 10 } },
      ],
      [{ channel: 'b', error: { code: 'FORBIDDEN', message: 'no', retryable: false } }],
      [{ channel: 'a', epoch: 'f', offset: 1, recovered: false, reason: 'epoch' }, { channel: 'b' }],
    ];
    const publish = (offset: number): void => server.peer.send({ event: 'chat', data: offset, channel: 'a', offset });
    server.script = (frame, peer) => {
      if (frame.event !== 'subscribe') return answering(frame, peer);
      const channels = answers.shift();
      peer.send({ event: 'subscribe', data: { channels }, id: frame.id });
      if (answers.length === 2) for (const offset of [7, 8]) publish(offset);
    };
    await start(['a', 'b']);
    const told = (): unknown[] =>
      said.flatMap(({ channel, event, data }) => (channel === undefined ? [] : [[channel, event, data]]));
    await until(() => server.received('subscribe').length === 1);
    for (const offset of [5, 6, 6]) publish(offset);
    await until(() => told().length === 1);
    server.peer.socket.close(1012);
    await until(() => server.received('subscribe').length === 3 && told().length === 5);
    server.peer.socket.close(1012);
    await until(() => server.received('subscribe').length === 4 && told().length === 6);
    const since = { epoch: 'e', offset: 6 };
    expect(server.received('subscribe').map(({ data }) => data)).toEqual([
      { channels: [{ channel: 'a' }, { channel: 'b' }] },
      { channels: [{ channel: 'a', since }, { channel: 'b' }] },
      { channels: [{ channel: 'b' }] },
      { channels: [{ channel: 'a', since: { epoch: 'e', offset: 8 } }, { channel: 'b' }] },
    ]);
    expect(told()).toEqual([
      ['a', 'chat', 6],
      ['b', 'unsubscribed', { code: 'RATE_LIMITED', message: '', resubscribe: true }],
      ['a', 'chat', 7],
      ['a', 'chat', 8],
      ['b', 'unsubscribed', { code: 'FORBIDDEN', message: 'no', resubscribe: false }],
      ['a', 'gap', { epoch: 'f', offset: 1, reason: 'epoch', reloadAfterMs: 0 }],
    ]);
  });

  it('gives what comes of channels that the server has joined to the listeners of pushes', async () => {
    await start();
    server.peer.send({ event: 'news', data: 2, channel: 'joined', offset: 1 });
    await until(() => said.some(({ news }) => news === 2));
  });

  it('leaves a channel that is still asked for, joins it anew, and leaves the first one only once', async () => {
    const asked: unknown[] = [];
    server.script = (frame, peer) => {
      if (frame.event !== 'subscribe') return answering(frame, peer);
      asked.push(frame.id);
      if (asked.length < 2) return;
      const data = { channels: [{ channel: 'a' }] };
      peer.send({ event: 'subscribe', data, id: asked[0] });
      peer.send({ event: 'old', data: 1, channel: 'a' });
      peer.send({ event: 'subscribe', data, id: asked[1] });
      peer.send({ event: 'new', data: 2, channel: 'a' });
    };
    await start(['a']);
    await until(() => asked.length === 1);
    await does({ do: 'rejoin', channel: 'a' });
    await until(() => said.some(({ channel }) => channel === 'a'));
    expect(said.filter(({ channel }) => channel === 'a')).toEqual([{ channel: 'a', event: 'new', data: 2 }]);
    expect(await asks('echo', 1)).toEqual({ value: 1 });
    expect(server.received('unsubscribe')).toHaveLength(1);
  });

  it('is the one of the README, with the gateway of the README', async () => {
    const { url } = await startApp({ gateways: [OrdersGateway] });
    const args = [`${clients}/orders.py`, `${url}/ws`, token({ roles: ['buyer'] })];
    const { stdout } = await promisify(execFile)(python, args, { env: { PYTHONDONTWRITEBYTECODE: '1' } });
    expect(stdout.trim().split('\n')).toEqual(['placed by ada', 'ORDER_CLOSED']);
  });
});
