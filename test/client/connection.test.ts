import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ClientState, TokenReason } from '../../src/client/index.js';
import { until } from '../support/app.js';
import { answering, failureOf, is, isOpen, ScriptedServer, stopAll, testClient } from './support.js';
import type { TestClient } from './support.js';

let server: ScriptedServer;
let test: TestClient;
beforeEach(async () => {
  server = await ScriptedServer.start();
  test = testClient({ url: server.url });
});
afterEach(stopAll);

describe('a connection', () => {
  it('is open with the first good answer, not with the upgrade', async () => {
    server.script = () => undefined;
    const opened = test.client.connect();
    await is(test.client, 'opening');
    expect(server.peer.protocols).toBe('ws-gateway.v1');
    test.clock.advance(10_000);
    expect(test.client.state).toMatchObject({ status: 'waiting', lastDisconnect: { code: 'CONNECT_TIMEOUT' } });
    server.script = answering;
    test.clock.advance(1_000);
    expect(await opened).toBeUndefined();
    expect(test.client.state).toMatchObject({ status: 'open', attempt: 1 });
    test.clock.advance(10_000);
    expect(test.client.state.attempt).toBe(0);
  });

  it.each([
    ['message', 'auth', { token: 'a.b.c' }],
    ['subprotocol', 'session', undefined],
  ] as const)('shows its token as %s', async (via, proof, data) => {
    const { client } = testClient({ url: server.url, auth: { token: () => Promise.resolve('a.b.c'), via } });
    expect(await client.connect()).toMatchObject({ subject: 'ada' });
    expect(server.received(proof)[0]?.data).toEqual(data);
    expect(server.peer.protocols?.includes('bearer.a.b.c')).toBe(via === 'subprotocol');
    expect(client.state.session?.subject).toBe('ada');
  });

  it('takes a new ticket and a new URL for every attempt', async () => {
    let tickets = 0;
    const { client, clock } = testClient({
      url: () => `${server.url}/ws?v=1`,
      auth: { ticket: () => `t ${++tickets}` },
    });
    await client.connect();
    server.proxy.cut();
    await is(client, 'waiting');
    clock.advance(1_000);
    await isOpen(client);
    expect(server.peers.map(({ url }) => url)).toEqual(['/ws?v=1&ticket=t%201', '/ws?v=1&ticket=t%202']);
  });

  it.each([
    ['an explicit no', (): void => server.peer.disconnect('SESSION_REVOKED', 4410, { reconnect: false }), 'closed'],
    [
      'an explicit yes behind a close that says no',
      (): void => server.peer.disconnect('X', 4400, { reconnect: true }),
      'waiting',
    ],
    ['1000 of a proxy', (): void => server.peer.socket.close(1000), 'waiting'],
    ['1001', (): void => server.peer.socket.close(1001), 'waiting'],
    ['1005, a close without a code', (): void => server.peer.socket.close(), 'waiting'],
    ['1002', (): void => server.peer.socket.close(1002), 'closed'],
    ['1011', (): void => server.peer.socket.close(1011), 'waiting'],
    ['3000', (): void => server.peer.socket.close(3000), 'closed'],
    ['3008', (): void => server.peer.socket.close(3008), 'waiting'],
    ['4129', (): void => server.peer.socket.close(4129), 'waiting'],
    ['4409', (): void => server.peer.socket.close(4409), 'closed'],
    ['4999', (): void => server.peer.socket.close(4999), 'waiting'],
    ['a reset', (): void => server.proxy.cut(), 'waiting'],
  ] as const)('comes back or stays away: %s', async (_, end, status) => {
    await test.client.connect();
    end();
    await is(test.client, status);
    expect(test.client.state.session).toBeUndefined();
  });

  it('waits with full jitter, longer each time, and as long as the server says', async () => {
    const pauses: number[] = [];
    test.client.subscribe(({ status, retryAt }) => {
      if (status === 'waiting') pauses.push((retryAt ?? 0) - test.clock.timeOfDay());
    });
    server.script = (_, peer) => peer.socket.terminate();
    test.client.connect().catch(() => undefined);
    for (let n = 1; n <= 7; n++) {
      await until(() => pauses.length === n);
      test.clock.advance(pauses.at(-1) ?? 0);
    }
    await until(() => pauses.length === 8);
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    expect(test.client.state.hint).toBe('handshake refused');
    server.script = answering;
    test.clock.advance(30_000);
    await isOpen(test.client);
    expect(test.client.state.hint).toBeUndefined();
    test.clock.advance(10_000);
    server.peer.disconnect('SHUTTING_DOWN', 1012, { reconnect: true, retryAfterMs: 5_000 });
    await is(test.client, 'waiting');
    expect(pauses.at(-1)).toBe(5_500);
    test.client.retryNow();
    expect(pauses.at(-1)).toBe(5_000);
    test.clock.advance(4_999);
    expect(test.client.state.status).toBe('waiting');
  });

  it('gives up after maxAttempts', async () => {
    const { client, clock } = testClient({ url: 'ws://127.0.0.1:1', reconnect: { maxAttempts: 2 } });
    const failed = failureOf(client.connect());
    for (let n = 0; n < 3; n++) {
      await until(() => client.state.status === 'waiting' || client.state.status === 'closed');
      clock.advance(2_000);
    }
    expect(await failed).toMatchObject({ code: 'CLOSED', maybeExecuted: false });
    expect(client.state.status).toBe('closed');
  });
});

describe('a token', () => {
  const withToken = (token: (reason: TokenReason) => string | Promise<string>): TestClient =>
    testClient({ url: server.url, auth: { token: ({ reason }) => token(reason) } });

  it('is asked for with the reason, and at once after it expired', async () => {
    const reasons: TokenReason[] = [];
    test = withToken((reason) => `t.${reasons.push(reason)}.t`);
    await test.client.connect();
    server.proxy.cut();
    await is(test.client, 'waiting');
    test.clock.advance(1_000);
    await isOpen(test.client);
    test.clock.advance(10_000);
    server.peer.disconnect('TOKEN_EXPIRED', 4101, { reconnect: true });
    await is(test.client, 'waiting');
    test.clock.advance(0);
    await isOpen(test.client);
    expect(reasons).toEqual(['connect', 'reconnect', 'expired']);
  });

  it('that has expired is not shown again: that backs off', async () => {
    test = withToken(() => 'the.same.token');
    await test.client.connect();
    test.clock.advance(10_000);
    server.peer.disconnect('TOKEN_EXPIRED', 4101, { reconnect: true });
    await is(test.client, 'waiting');
    test.clock.advance(0);
    await until(() => test.client.state.lastDisconnect?.code === 'SAME_TOKEN');
    expect(test.client.state.status).toBe('waiting');
    expect(server.received('auth')).toHaveLength(1);
  });

  it('that cannot be fetched backs off, unless that is permanent', async () => {
    let permanent = false;
    test = withToken(() => Promise.reject(Object.assign(new Error('signed out'), { permanent })));
    const failed = failureOf(test.client.connect());
    await is(test.client, 'waiting');
    expect(test.client.state.lastDisconnect).toMatchObject({ code: 'NO_TOKEN', message: 'signed out' });
    permanent = true;
    test.clock.advance(1_000);
    expect(await failed).toMatchObject({ code: 'CLOSED' });
    expect(server.peers).toEqual([]);
  });

  it('is refreshed in place before it expires, one fetch at a time, and tried again', async () => {
    let fetches = 0;
    test = withToken((reason) => {
      fetches++;
      if (reason === 'expiring' && fetches < 4) throw new Error('not now');
      return `t.${fetches}.t`;
    });
    await test.client.connect();
    const expiresAt = test.clock.timeOfDay() + 30_000;
    server.peer.send({ event: 'auth.expiring', data: { expiresAt } });
    for (const [count, ms] of [
      [2, 1_000],
      [3, 2_000],
      [4, 0],
    ] as const) {
      await until(() => fetches === count);
      await new Promise(setImmediate);
      test.clock.advance(ms);
    }
    await until(() => server.received('auth').length === 2);
    expect(server.peers).toHaveLength(1);
    const both = Promise.all([test.client.authenticate(), test.client.authenticate()]);
    await both;
    expect(fetches).toBe(5);
  });

  it('of another person closes for good, as the server says', async () => {
    test = withToken(() => 'a.b.c');
    await test.client.connect();
    server.script = (frame, peer) => {
      peer.send({
        event: 'exception',
        id: frame.id,
        data: { status: 'error', code: 'FORBIDDEN', message: 'no', retryable: false },
      });
      peer.disconnect('FORBIDDEN', 3003, { reconnect: false });
    };
    expect(await failureOf(test.client.authenticate())).toMatchObject({ code: 'FORBIDDEN' });
    await is(test.client, 'closed');
    expect(test.client.state.lastDisconnect?.code).toBe('FORBIDDEN');
  });

  it('that the server refuses is answered by its disconnect, not by its exception', async () => {
    server.script = (frame, peer) => {
      peer.send({
        event: 'exception',
        id: frame.id,
        data: { status: 'error', code: 'TOKEN_EXPIRED', message: 'no', retryable: false },
      });
      peer.disconnect('TOKEN_EXPIRED', 4101, { reconnect: true });
    };
    test = withToken(() => 'a.b.c');
    test.client.connect().catch(() => undefined);
    await until(() => test.client.state.lastDisconnect !== undefined);
    expect(test.client.state).toMatchObject({ lastDisconnect: { code: 'TOKEN_EXPIRED', reconnect: true } });
    expect(test.client.state.status).not.toBe('closed');
  });
});

describe('a client that goes on', () => {
  it('as another user: listeners stay, and what was asked before settles', async () => {
    let user = 'ada';
    test = testClient({ url: server.url, auth: { token: () => `${user}.t.t` } });
    server.script = ({ event, data, id }, peer) => {
      const [subject] = ((data as { token?: string } | undefined)?.token ?? '').split('.');
      if (event === 'auth') peer.send({ event, data: { sessionId: 's', subject, expiresAt: 0 }, id });
    };
    const seen: unknown[] = [];
    test.client.on('news', (data) => seen.push(data));
    expect(await test.client.connect()).toMatchObject({ subject: 'ada' });
    const asked = failureOf(test.client.request('never'));
    await until(() => server.received('never').length === 1);
    user = 'bob';
    test.client.reconnect();
    expect(await asked).toMatchObject({ code: 'CONNECTION_LOST', maybeExecuted: true });
    expect(test.client.state.session).toBeUndefined();
    test.clock.advance(300);
    await isOpen(test.client);
    expect(test.client.state.session?.subject).toBe('bob');
    server.peer.send({ event: 'news', data: 1 });
    await until(() => seen.length === 1);
    await until(() => server.live === 1);
  });

  it('with a refresh that spans a reconnect: it belongs to the connection that is over', async () => {
    const given: ((token: string) => void)[] = [];
    test = testClient({ url: server.url, auth: { token: () => new Promise((resolve) => given.push(resolve)) } });
    const opened = test.client.connect();
    await until(() => given.length === 1);
    given[0]?.('first.t.t');
    await opened;
    server.peer.send({ event: 'auth.expiring', data: { expiresAt: test.clock.timeOfDay() + 30_000 } });
    await until(() => given.length === 2);
    server.proxy.cut();
    await is(test.client, 'waiting');
    test.clock.advance(1_000);
    given[1]?.('second.t.t'); // one fetch at a time: the attempt waits for the same
    await isOpen(test.client);
    await test.client.request('echo');
    expect(server.received('auth').map(({ data }) => data)).toEqual([{ token: 'first.t.t' }, { token: 'second.t.t' }]);
    expect([given.length, server.peers.length, server.live]).toEqual([2, 2, 1]);
  });
});

describe('liveness', () => {
  it('finds a connection on which nothing comes any more', async () => {
    await test.client.connect();
    server.proxy.isSilent = true;
    test.clock.advance(30_000);
    expect(test.client.state.status).toBe('open');
    test.clock.advance(10_000);
    expect(test.client.state).toMatchObject({ status: 'waiting', lastDisconnect: { code: 'NO_PONG' } });
  });

  it('lets any frame be life', async () => {
    await test.client.connect();
    for (let n = 0; n < 5; n++) {
      const pings = server.received('ping').length;
      test.clock.advance(29_000);
      await test.client.request('echo');
      expect(server.received('ping').length).toBe(pings);
    }
  });

  it('asks once more when the timer was late: the page slept', async () => {
    await test.client.connect();
    test.clock.advance(30_000);
    test.clock.sleep(60_000);
    test.clock.advance(0);
    expect(test.client.state.status).toBe('open');
    await until(() => server.received('ping').length >= 2);
    await test.client.request('echo');
    test.clock.advance(10_000);
    expect(test.client.state.status).toBe('open');
  });

  it('asks at once when the network or the page is back', async () => {
    await test.client.connect();
    server.proxy.isSilent = true;
    test.signals.online();
    test.clock.advance(3_000);
    expect(test.client.state).toMatchObject({ status: 'waiting', lastDisconnect: { code: 'NO_PONG' } });
  });
});

describe('what happens around', () => {
  it('hurries when the network is back or the page is seen', async () => {
    for (const signal of ['online', 'visible'] as const) {
      await test.client.connect();
      server.proxy.cut();
      await is(test.client, 'waiting');
      test.signals[signal]();
      test.clock.advance(300);
      await isOpen(test.client);
    }
  });

  it('is slow while the page is hidden, and waits where the application says so', async () => {
    await test.client.connect();
    test.signals.hidden();
    server.proxy.cut();
    await is(test.client, 'waiting');
    expect((test.client.state.retryAt ?? 0) - test.clock.timeOfDay()).toBe(30_000);
    const paused = testClient({ url: server.url, whenHidden: 'pause' });
    await paused.client.connect();
    paused.signals.hidden();
    server.proxy.cut();
    await is(paused.client, 'waiting');
    paused.clock.advance(3_600_000);
    expect(paused.client.state).toMatchObject({ status: 'waiting' });
    expect(paused.client.state.retryAt).toBeUndefined();
    paused.signals.visible();
    paused.clock.advance(300);
    await isOpen(paused.client);
  });

  it('lets the socket go for the back/forward cache, and comes back', async () => {
    await test.client.connect();
    test.signals.suspend();
    expect(test.client.state.status).toBe('waiting');
    await until(() => server.live === 0);
    test.clock.advance(3_600_000);
    test.client.retryNow();
    test.clock.advance(3_600_000);
    expect(server.peers).toHaveLength(1);
    test.signals.resume();
    test.clock.advance(300);
    await isOpen(test.client);
  });

  it('stays closed after close(), whatever happens, and leaves nothing behind', async () => {
    await test.client.connect();
    const signals = test.signals;
    const waiting = failureOf(test.client.request('never'));
    test.client.close();
    expect(await waiting).toMatchObject({ code: 'CLOSED', maybeExecuted: true });
    for (const signal of ['offline', 'online', 'hidden', 'visible', 'suspend', 'resume'] as const) signals[signal]();
    test.client.retryNow();
    expect([test.clock.pending, test.listening(), test.client.state.status]).toEqual([0, 0, 'closed']);
    expect(await failureOf(test.client.request('echo'))).toMatchObject({ code: 'CLOSED', maybeExecuted: false });
    await until(() => server.live === 0);
    expect(server.peers).toHaveLength(1);
  });
});

describe('a client that is told what to do while it is doing it', () => {
  it.each(['connect', 'reconnect', 'retryNow'] as const)(
    '%s() in every listener leaves no second socket',
    async (act) => {
      const seen: ClientState['status'][] = [];
      let left = 20;
      test.client.subscribe(({ status }) => {
        seen.push(status);
        if (left-- <= 0) return;
        if (act === 'connect') test.client.connect().catch(() => undefined);
        else test.client[act]();
      });
      test.client.connect().catch(() => undefined);
      for (let n = 0; n < 50; n++) {
        test.clock.advance(1_000);
        await new Promise(setImmediate);
      }
      left = 0;
      test.clock.advance(30_000);
      await isOpen(test.client);
      await until(() => server.live === 1);
      expect(await test.client.request('echo', 1)).toBe(1);
    },
  );

  it('is closed by a listener as soon as it begins', async () => {
    test.client.subscribe(() => test.client.close());
    expect(await failureOf(test.client.connect())).toMatchObject({ code: 'CLOSED' });
    expect([test.client.state.status, server.live, test.clock.pending, test.listening()]).toEqual(['closed', 0, 0, 0]);
  });

  it('drops what belongs to an attempt that is over', async () => {
    const given: ((token: string) => void)[] = [];
    test = testClient({ url: server.url, auth: { token: () => new Promise((resolve) => given.push(resolve)) } });
    test.client.connect().catch(() => undefined);
    await until(() => given.length === 1);
    test.client.close();
    given[0]?.('a.b.c');
    await new Promise(setImmediate);
    expect([server.peers.length, test.client.state.status]).toEqual([0, 'closed']);
  });
});

describe('retain()', () => {
  it('is counted, and closes a second after the last release', async () => {
    const releases = [test.client.retain(), test.client.retain()];
    await isOpen(test.client);
    releases[0]?.();
    releases[0]?.();
    test.clock.advance(2_000);
    expect(test.client.state.status).toBe('open');
    releases[1]?.();
    const again = test.client.retain(); // what StrictMode does
    test.clock.advance(2_000);
    expect(test.client.state.status).toBe('open');
    again();
    test.clock.advance(1_000);
    expect(test.client.state.status).toBe('closed');
    expect(server.peers).toHaveLength(1);
    test.client.retain();
    await isOpen(test.client);
  });
});
