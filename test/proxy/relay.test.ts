import { afterEach, describe, expect, it } from 'vitest';
import { WsFirewall, WsSessions } from '../../src/index.js';
import type { Session } from '../../src/session/session.js';
import { stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { refusal } from '../support/client.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';
import { proxy, stopProxies, tcpUpstream, upstream } from '../support/proxy.js';
import { closeOf, echo } from '../support/upstream.js';

afterEach(stopProxies);

describe('a relayed session', () => {
  it('passes texts and bytes both ways, unparsed', async () => {
    const { url } = await proxy((await upstream()).url);
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    const messages = [
      'not JSON',
      '{"event":"auth","data":{"token":"x"},"id":1}',
      Buffer.from([1, 2, 3]),
      '',
      'ä'.repeat(20_000),
    ];
    for (const message of messages) {
      client.send(message);
      expect(await client.next()).toEqual(message);
    }
  });

  it('never reaches the application without a session', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, {}, { firewall: { origins: ['https://a.example'] } });
    expect(await refusal(`${url}/chat`)).toMatchObject({ status: 401, body: { code: 'UNAUTHENTICATED' } });
    const headers = { origin: 'https://b.example', authorization: `Bearer ${token()}` };
    expect(await refusal(`${url}/chat`, { headers })).toMatchObject({ status: 403 });
    expect(await (await RawClient.connect(`${url}/chat`, { token: 'bad' })).closed).toEqual({
      code: 3000,
      reason: 'TOKEN_INVALID',
    });
    expect(app.requests).toHaveLength(0);
  });

  it.each([
    [1000, ''],
    [4001, 'an own reason'],
    [1011, 'it broke'],
    [3999, 'ä'],
    [undefined, ''],
  ])('arrives with the close code %s and the reason %j of the application', async (code, reason) => {
    const app = await upstream();
    const { url, log } = await proxy(app.url);
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    (await app.accepted()).close(code, reason);
    expect(await client.closed).toEqual({ code: code ?? 1005, reason });
    expect(log.lines.filter(({ kind }) => kind === 'connection')).toMatchObject([
      code === 1011
        ? { code: 'CLOSED', level: 'error', reason: `${app.url} has failed` } // what it says when it has thrown
        : { code: 'CLOSED', level: 'debug' },
    ]);
  });

  it.each([
    [1000, 'done'],
    [4444, ''],
    [undefined, ''],
  ])('tells the application the close code %s and the reason %j of the client', async (code, reason) => {
    const app = await upstream();
    const { url } = await proxy(app.url);
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    const closed = closeOf(await app.accepted());
    client.socket.close(code, reason);
    expect(await closed).toEqual({ code: code ?? 1005, reason });
    await until(() => app.tcp.size === 0);
  });

  it('breaks at the application when the client breaks', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url);
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    const closed = closeOf(await app.accepted());
    client.socket.terminate();
    expect(await closed).toMatchObject({ code: 1006 });
  });

  it('hands on what the application says before it closes', async () => {
    const app = await upstream((socket) => {
      socket.send('hello');
      socket.close(4001, 'enough');
    });
    const { url } = await proxy(app.url);
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    expect(await client.next()).toBe('hello');
    expect(await client.closed).toEqual({ code: 4001, reason: 'enough' });
  });
});

describe('the end of a session', () => {
  it.each<[string, number, string, (test: TestApp) => unknown]>([
    ['expiry', 4101, 'TOKEN_EXPIRED', ({ clock }) => clock.advance(3_700_000)],
    ['revocation', 4410, 'SESSION_REVOKED', ({ app }) => app.get(WsSessions).revoke({ subject: 'ada' })],
    [
      'a ban',
      4429,
      'BANNED',
      ({ app }) => app.get(WsFirewall).ban({ subject: 'ada' }, { forMs: 60_000, reason: 'test' }),
    ],
    ['a drain', 1012, 'SHUTTING_DOWN', () => void stopApps()],
  ])('by %s ends both sides with %i', async (_, code, reason, end) => {
    const app = await upstream();
    // No heartbeat before the token expires.
    const test = await proxy(app.url, {}, { heartbeat: { intervalMs: 3_600_000 } });
    const client = await RawClient.connect(`${test.url}/chat`, {
      token: token({ exp: Math.floor(test.clock.now() / 1_000) + 3_600 }),
    });
    const closed = closeOf(await app.accepted());
    await end(test);
    expect(await closed).toEqual({ code, reason });
    expect(await client.closed).toEqual({ code, reason });
    await until(() => app.tcp.size === 0);
  });

  it('by a flood ends both sides, and no message over the budget reaches the application', async () => {
    let heard = 0;
    const app = await upstream((socket) => socket.on('message', () => heard++));
    const { url } = await proxy(app.url, {}, { limits: { messagesPerSecond: 1, messageBurst: 5 } });
    const client = await RawClient.connect(`${url}/chat`, { token: token() });
    const closed = closeOf(await app.accepted());
    for (let i = 0; i < 100; i++) client.send('x');
    expect(await client.closed).toEqual({ code: 4129, reason: 'RATE_LIMITED' });
    expect(await closed).toEqual({ code: 4129, reason: 'RATE_LIMITED' });
    expect(heard).toBe(5);
  });
});

describe('the token as first message', () => {
  const later = { auth: { sources: ['message'] } };

  it.each([
    ['auth', () => ({ event: 'auth', data: { token: token() }, id: 1 })],
    ['a bare token', () => token()],
  ])('by %s connects the application, and only then messages go on', async (_, first) => {
    const app = await upstream();
    const { url } = await proxy(app.url, {}, later);
    const client = await RawClient.connect(`${url}/chat`);
    client.send({ event: 'hello', id: 7 });
    expect(await client.json()).toMatchObject({ event: 'exception', id: 7, data: { code: 'UNAUTHENTICATED' } });
    expect(app.requests).toHaveLength(0);
    client.send(first());
    client.send('held');
    expect(await client.json()).toMatchObject({ event: 'auth', data: { subject: 'ada' } });
    expect(await client.next()).toBe('held');
    expect(app.requests[0]?.headers['x-auth-subject']).toBe('ada');
    client.send('{"event":"ping"}');
    expect(await client.next()).toBe('{"event":"ping"}');
  });

  it('is all that is answered before it: the channels of the gateway are for its own paths', async () => {
    const app = await upstream(echo);
    const rules = [{ pattern: 'news', subscribe: { anonymous: true }, publish: { anonymous: true } }];
    const { url } = await proxy(app.url, {}, { ...later, channels: { rules } });
    const client = await RawClient.connect(`${url}/chat`);
    expect(await client.ask({ event: 'subscribe', data: { channel: 'news' }, id: 1 })).toMatchObject({
      event: 'exception',
      data: { code: 'UNAUTHENTICATED' },
    });
  });

  it('that is bad never reaches the application', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, {}, later);
    const client = await RawClient.connect(`${url}/chat`);
    client.send({ event: 'auth', data: { token: 'bad' }, id: 1 });
    expect(await client.closed).toEqual({ code: 3000, reason: 'TOKEN_INVALID' });
    expect(app.requests).toHaveLength(0);
  });

  it('is followed by 1013 where the application does not answer in time; what comes meanwhile is held within its bound', async () => {
    const silent = await tcpUpstream((socket) => socket.resume());
    const test = await proxy(silent.url, {}, later);
    const [patient, flooding] = [
      await RawClient.connect(`${test.url}/chat`),
      await RawClient.connect(`${test.url}/chat`),
    ];
    for (const client of [patient, flooding]) client.send(token());
    await until(() => silent.sockets.size === 2);
    for (let i = 0; i < 1_000; i++) flooding.send('x'.repeat(60_000));
    for (let i = 0; i < 200; i++) await new Promise(setImmediate);
    const held = test.app.get(WsSessions).find() as Session[]; // because there are no others
    expect(Math.max(...held.map(({ intake }) => intake.handling))).toBeLessThan(500_000);
    test.clock.advance(6_000);
    expect(await patient.closed).toEqual({ code: 1013, reason: 'UNAVAILABLE' });
    await until(() => silent.sockets.size === 0);
  });

  it('does not come in time', async () => {
    const app = await upstream();
    const { url, clock } = await proxy(app.url, {}, later);
    const client = await RawClient.connect(`${url}/chat`);
    clock.advance(11_000);
    expect(await client.closed).toEqual({ code: 3008, reason: 'AUTH_TIMEOUT' });
    expect(app.requests).toHaveLength(0);
  });

  it('is followed by 1014 where the application refuses, and by 1013 where it cannot be reached', async () => {
    const app = await upstream(echo, { verify: () => 403 });
    const { url, log } = await proxy(app.url, {}, later);
    const client = await RawClient.connect(`${url}/chat`);
    client.send(token());
    expect(await client.closed).toEqual({ code: 1014, reason: 'BAD_GATEWAY' });
    expect(log.lines.filter(({ code }) => code === 'BAD_GATEWAY')).toMatchObject([
      { reason: `${app.url} answers 403` },
    ]);
    await app.stop();
    const other = await RawClient.connect(`${url}/chat`);
    other.send(token());
    expect(await other.closed).toEqual({ code: 1013, reason: 'UNAVAILABLE' });
  });
});
