import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it } from 'vitest';
import { EmailDto, Public, RateLimit, WsFirewall, WsGatewayReload, WsMonitor, WsSessions } from '../../src/index.js';
import { Firewall } from '../../src/firewall/firewall.js';
import type { AuthOptions, BanEvent, FirewallOptions, LimitOptions } from '../../src/index.js';
import { resolveOptions } from '../../src/ws-gateway.options.js';
import { OVER_TLS, startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, fetchFrom, refusal } from '../support/client.js';
import { SECRET, token } from '../support/tokens.js';

@WebSocketGateway()
class MeteredGateway {
  @SubscribeMessage('free') free(): string {
    return 'free';
  }
  @SubscribeMessage('write') write(@MessageBody() { email }: EmailDto): string {
    return email;
  }
  @RateLimit({ limit: 2, perMs: 60_000 }) @SubscribeMessage('dear') dear(): string {
    return 'dear';
  }
  @RateLimit({ limit: 10, perMs: 1_000, cost: 5 }) @SubscribeMessage('costly') costly(): string {
    return 'costly';
  }
  @Public() @RateLimit({ limit: 1, perMs: 7_200_000 }) @SubscribeMessage('long') long(): string {
    return 'long';
  }
  @Public() @RateLimit({ limit: 1, perMs: 60_000 }) @SubscribeMessage('try') tryOut(): string {
    return 'tried';
  }
}

afterEach(stopApps);

const start = (
  firewall: FirewallOptions = {},
  limits: LimitOptions = {},
  auth: Partial<AuthOptions> = {},
): Promise<TestApp> => startApp({ gateways: [MeteredGateway], options: { firewall, limits, auth } });

/** From an address of loopback. */
const connect = (
  { url }: TestApp,
  { sub = 'ada', from = '127.0.0.1', bearer = token({ sub }) } = {},
): Promise<Client> => Client.connect(`${url}/ws`, { token: bearer, localAddress: from });
const refused = (
  { url }: TestApp,
  from = '127.0.0.1',
  headers: Record<string, string> = {},
): ReturnType<typeof refusal> => refusal(`${url}/ws`, { localAddress: from, headers });
/** `in`, or what the handshake was refused with. */
const outcomeOf = (test: TestApp, headers: Record<string, string>): Promise<string> =>
  refused(test, '127.0.0.1', headers).then(
    ({ status, body }) => `${status} ${body.code}`,
    (error: Error) => (error.message === 'The handshake was accepted' ? 'in' : Promise.reject(error)),
  );
const ask = async (client: Client, event = 'free', id: number | string = 1): Promise<unknown> => {
  const { data } = await client.ask({ event, id });
  return typeof data === 'object' && data !== null ? (data as { code: string }).code : data;
};

describe('lists', () => {
  it('deny, allow and change at runtime; deny wins', async () => {
    const test = await start({ deny: ['127.0.0.2', '127.0.1.0/24'], allow: ['127.0.0.0/16', '127.1.0.1'] });
    await connect(test);
    await connect(test, { from: '127.1.0.1' });
    for (const from of ['127.0.0.2', '127.0.1.77', '127.2.0.1']) {
      expect(await refused(test, from)).toMatchObject({ status: 403, body: { code: 'IP_FORBIDDEN' } });
    }
    const firewall = test.app.get(WsFirewall);
    await firewall.setLists({ deny: ['127.0.0.1'] });
    expect(firewall.lists).toEqual({ deny: ['127.0.0.1'], allow: ['127.0.0.0/16', '127.1.0.1'], exempt: [] });
    expect((await refused(test)).body.code).toBe('IP_FORBIDDEN');
    await connect(test, { from: '127.0.0.2' });
    await expect(firewall.setLists({ allow: ['nonsense'] })).rejects.toThrow('nonsense');
    expect(firewall.lists.allow).toHaveLength(2);
  });

  it('look at the client that a trusted proxy names', async () => {
    const test = await start({ deny: ['203.0.113.0/24'], trustProxy: ['127.0.0.1'] });
    const header = { 'x-forwarded-for': '203.0.113.9' };
    expect((await refused(test, '127.0.0.1', header)).body.code).toBe('IP_FORBIDDEN');
    // The same from somebody who is no proxy is nobody's word.
    const forged = await Client.connect(`${test.url}/ws`, { localAddress: '127.0.0.3', headers: header });
    expect(await ask(forged)).toBe('UNAUTHENTICATED');
    const real = await Client.connect(`${test.url}/ws`, {
      token: token(),
      headers: { 'x-forwarded-for': '203.0.113.9, 198.51.100.7' },
    });
    await ask(real);
    expect(test.app.get(WsSessions).find({ clientAddress: '198.51.100.7' })).toHaveLength(1);
  });
});

describe('behind a trusted proxy', () => {
  const CLIENT = '203.0.113.9';
  const PROXIED = { trustProxy: ['127.0.0.1'] };
  const behind = { 'x-forwarded-for': CLIENT };
  const bearer = (of: string): Record<string, string> => ({ ...behind, authorization: `Bearer ${of}` });

  it.each<[string, FirewallOptions, (test: TestApp) => Promise<unknown>]>([
    ['BAD_UPGRADE', {}, ({ url }) => refusal(`${url}/ws`, { headers: behind, protocolVersion: 8 })],
    ['UNAUTHENTICATED', {}, (test) => refused(test, '127.0.0.1', behind)],
    ['TOKEN_INVALID', {}, (test) => refused(test, '127.0.0.1', bearer('bad'))],
    ['TOKEN_EXPIRED', {}, (test) => refused(test, '127.0.0.1', bearer(token({ exp: 1 })))],
    ['ORIGIN_FORBIDDEN', {}, (test) => refused(test, '127.0.0.1', { ...behind, origin: 'https://evil.test' })],
    ['IP_FORBIDDEN', { deny: [CLIENT] }, (test) => refused(test, '127.0.0.1', behind)],
    [
      'BANNED',
      {},
      async (test) => {
        await test.app.get(WsFirewall).ban({ address: CLIENT }, { forMs: 60_000 });
        return refused(test, '127.0.0.1', behind);
      },
    ],
    [
      'TOO_MANY_CONNECTIONS',
      { maxConnectionsPerAddress: 1 },
      async (test) => {
        await Client.connect(`${test.url}/ws`, { headers: bearer(token()) });
        return refused(test, '127.0.0.1', behind);
      },
    ],
    [
      'OVERLOADED',
      { maxConnections: 1 },
      async (test) => {
        await connect(test);
        return refused(test, '127.0.0.1', behind);
      },
    ],
    ['NOT_FOUND', {}, ({ url }) => refusal(`${url}/nowhere`, { headers: behind })],
    ['UPGRADE_REQUIRED', {}, ({ url }) => fetchFrom(url, '/ws', { headers: behind })],
  ])("%s has one line, under the client's address", async (code, firewall, provoke) => {
    const test = await start({ ...PROXIED, ...firewall }, {}, { reject: 'handshake', sources: ['header'] });
    await provoke(test);
    expect(test.log.lines.filter((line) => line.code === code)).toMatchObject([{ clientAddress: CLIENT }]);
  });

  it('so is what was turned away right after the upgrade', async () => {
    const test = await start(PROXIED);
    await (
      await Client.connect(`${test.url}/ws`, { headers: bearer('bad') })
    ).closed;
    expect(test.log.lines).toMatchObject([{ code: 'TOKEN_INVALID', clientAddress: CLIENT }]);
  });

  it.skipIf(OVER_TLS)('on a Unix domain socket clients are told apart', async () => {
    const socketPath = join(mkdtempSync(join(tmpdir(), 'ws-gateway-')), 'socket');
    const firewall = { ...PROXIED, maxConnectionsPerAddress: 1 };
    const test = await startApp({ gateways: [MeteredGateway], options: { firewall }, socketPath });
    await Client.connect(`${test.url}/ws`, { headers: behind });
    await Client.connect(`${test.url}/ws`, { headers: { 'x-forwarded-for': '203.0.113.10' } });
    expect((await refusal(`${test.url}/ws`, { headers: behind })).body.code).toBe('TOO_MANY_CONNECTIONS');
    expect(test.log.lines.at(-1)).toMatchObject({ clientAddress: CLIENT });
  });
});

it('a header of a proxy that is not trusted is worth one warning', async () => {
  const test = await start();
  const told: unknown[] = [];
  test.app.get(WsMonitor).on('proxy', (event) => told.push(event));
  await connect(test);
  expect(told).toEqual([]);
  for (const from of ['127.0.0.1', '127.0.0.1', '127.0.0.2']) {
    await Client.connect(`${test.url}/ws`, { localAddress: from, headers: { forwarded: 'for=203.0.113.9' } });
  }
  expect(told).toEqual([{ kind: 'proxy', clientAddress: '127.0.0.1' }]);
  expect(test.log.notices).toMatchObject([{ level: 'warn', clientAddress: '127.0.0.1' }]);
  expect(test.log.notices[0]?.message).toContain('set firewall.trustProxy');
});

describe('connections', () => {
  it('of one address have a number, and going makes room', async () => {
    const test = await start({ maxConnectionsPerAddress: 2 });
    const first = await connect(test);
    await connect(test);
    const { status, body, headers } = await refused(test);
    expect([status, body.code, headers['retry-after']]).toEqual([429, 'TOO_MANY_CONNECTIONS', '5']);
    await connect(test, { from: '127.0.0.2' });
    await first.close();
    await until(() => test.app.get(Firewall).connections.size === 2);
    await connect(test);
  });

  it('count also while they have no session: refused tokens hold none for long', async () => {
    const test = await start({ maxConnectionsPerAddress: 2 }, {}, { reject: 'handshake' });
    for (let i = 0; i < 10; i++) {
      expect((await refused(test, '127.0.0.1', { authorization: 'Bearer bad' })).body.code).toBe('TOKEN_INVALID');
      await until(() => test.app.get(Firewall).connections.size === 0);
    }
  });

  it('of the process have a number, too', async () => {
    const test = await start({ maxConnections: 1 });
    await connect(test);
    const { status, body, headers } = await refused(test, '127.0.0.2');
    expect([status, body.code, headers['retry-after']]).toEqual([503, 'OVERLOADED', '5']);
  });

  it('may be made so fast and no faster', async () => {
    const test = await start({ handshakesPerSecondPerAddress: 2, handshakeBurstPerAddress: 3 });
    for (let i = 0; i < 3; i++) await connect(test);
    const { status, body, headers } = await refused(test);
    expect([status, body.code, headers['retry-after']]).toEqual([429, 'TOO_MANY_CONNECTIONS', '1']);
    await connect(test, { from: '127.0.0.2' });
    test.clock.advance(500);
    await connect(test);
    expect((await refused(test)).status).toBe(429);
  });

  it('with bad tokens are fewer', async () => {
    const test = await start({ failedAuthenticationsPerMinutePerAddress: 3 });
    for (let i = 0; i < 3; i++) await (await connect(test, { bearer: `bad.${i}` })).closed;
    const { status, headers } = await refused(test);
    expect([status, headers['retry-after']]).toEqual([429, '20']);
    test.clock.advance(20_000);
    await connect(test);
  });
});

describe('an origin', () => {
  const listed = { origins: ['https://app.example.com', 'capacitor://localhost', 'chrome-extension://abcdefgh'] };
  it.each([
    [{}, {}, 'in'],
    [{}, { cookie: 'AWSALB=x; session_affinity=y' }, 'in'],
    [{ allowMissingOrigin: true }, { cookie: 'a=b' }, 'in'],
    [{ allowMissingOrigin: false }, {}, '403 ORIGIN_FORBIDDEN'],
    [{}, { origin: 'null' }, '403 ORIGIN_FORBIDDEN'],
    [{ allowNullOrigin: true }, { origin: 'null' }, 'in'],
    [{ origins: ['https://*.example.com'] }, { origin: 'https://a.example.com' }, 'in'],
    [{ origins: ['https://*.example.com'] }, { origin: 'https://example.com.evil.test' }, '403 ORIGIN_FORBIDDEN'],
    [listed, { origin: 'capacitor://localhost' }, 'in'],
    [listed, { origin: 'chrome-extension://abcdefgh' }, 'in'],
    [listed, { origin: 'chrome-extension://hgfedcba' }, '403 ORIGIN_FORBIDDEN'],
    [{ origins: ['*'] }, { origin: 'https://anybody.test' }, 'in'],
    [{ origins: ['*'] }, { origin: 'null' }, 'in'],
  ] as [FirewallOptions, Record<string, string>, string][])(
    'with %j and %j: %s',
    async (firewall, headers, outcome) => {
      const test = await start(firewall);
      expect(await outcomeOf(test, headers)).toBe(outcome);
    },
  );

  it.each([
    [{ cookie: 'AWSALB=x' }, 'in'],
    [{ cookie: `AWSALB=x; sid=${token()}` }, '403 ORIGIN_FORBIDDEN'],
    [{ cookie: `sid=${token()}`, authorization: `Bearer ${token()}` }, '403 ORIGIN_FORBIDDEN'],
    [{ cookie: `sid=${token()}`, origin: 'https://app.example.com' }, 'in'],
  ] as [Record<string, string>, string][])(
    'where the cookie is a source, is needed beside that cookie and no other: %j, %s',
    async (headers, outcome) => {
      const test = await start(listed, {}, { sources: ['header', 'cookie', 'message'], cookie: 'sid' });
      expect(await outcomeOf(test, headers)).toBe(outcome);
    },
  );

  it('that is refused stands in the log with the Host that it met, short and in plain characters', async () => {
    const test = await start();
    const { port, log } = test;
    await refused(test, '127.0.0.1', { origin: 'https://evil.test' });
    expect(log.lines.at(-1)).toMatchObject({
      code: 'ORIGIN_FORBIDDEN',
      reason: `Origin "https://evil.test" met Host "127.0.0.1:${port}"`,
    });
    await refused(test, '127.0.0.1', { origin: `https://\x9b"${'x'.repeat(1_000)}.test` });
    const { reason = '' } = log.lines.at(-1) ?? {};
    expect(reason).toMatch(/^Origin "https:\/\/\?\?x{100,}…" met Host "/);
    expect(reason.length).toBeLessThan(300);
    await start({ allowMissingOrigin: false }).then(async (other) => {
      await refused(other);
      expect(other.log.lines.at(-1)?.reason).toBe(`no Origin met Host "127.0.0.1:${other.port}"`);
    });
  });
});

describe('the budget of messages', () => {
  const limits = { messagesPerSecond: 10, messageBurst: 5 };

  it('first answers RATE_LIMITED with the exact time, under the id of the request', async () => {
    const test = await start({}, limits);
    const client = await connect(test);
    for (let id = 0; id < 5; id++) expect(await ask(client)).toBe('free');
    const answer = await client.ask({ event: 'free', id: 'the-id' });
    expect(answer).toEqual({
      event: 'exception',
      id: 'the-id',
      data: { status: 'error', code: 'RATE_LIMITED', message: 'Too many messages', retryable: true, retryAfterMs: 100 },
    });
    test.clock.jump(99);
    expect(await ask(client)).toBe('RATE_LIMITED');
    test.clock.jump(1);
    expect(await ask(client)).toBe('free');
  });

  it('then, with a burst of messages more, closes with 4129', async () => {
    const test = await start({}, limits);
    const client = await connect(test);
    for (let id = 0; id < 12; id++) client.send({ event: 'free', id });
    const frames = await client.rest();
    expect(frames.filter(({ event }) => event === 'free')).toHaveLength(5);
    expect(frames.filter(({ event }) => event === 'exception').map(({ id }) => id)).toEqual([5, 6, 7, 8, 9]);
    expect(frames.at(-1)).toEqual({
      event: 'disconnect',
      data: { code: 'RATE_LIMITED', message: 'Too many messages', closeCode: 4129, reconnect: true, retryAfterMs: 100 },
    });
    expect(await client.closed).toEqual({ code: 4129, reason: 'RATE_LIMITED' });
  });

  it('closes nobody who waits as long as it is told', async () => {
    const test = await start({}, limits);
    const client = await connect(test);
    let refusals = 0;
    for (let id = 0; id < 60; id++) {
      const { data } = await client.ask({ event: 'free', id });
      if (typeof data === 'string') continue;
      refusals++;
      test.clock.jump((data as { retryAfterMs: number }).retryAfterMs);
    }
    expect(refusals).toBeGreaterThan(20);
  });

  it.each([
    ['pings', (client: Client) => client.socket.ping()],
    ['pongs', (client: Client) => client.socket.pong()],
    ['empty messages', (client: Client) => client.send('')],
    ['what is no JSON', (client: Client) => client.send('{')],
  ])('counts %s', async (_, send) => {
    const test = await start({}, { ...limits, maxBadFrames: 1_000 });
    const client = await connect(test);
    await ask(client);
    for (let i = 0; i < 9; i++) send(client);
    expect((await client.closed).reason).toBe('RATE_LIMITED');
  });

  it('is of bytes as well', async () => {
    const test = await start({}, { bytesPerSecond: 1_000, maxMessageBytes: 2_000 });
    const client = await connect(test);
    const message = { event: 'free', id: 1, data: 'x'.repeat(1_500) };
    expect(await client.ask(message)).toMatchObject({ data: 'free' });
    const { data } = await client.ask(message);
    expect(data).toMatchObject({ code: 'RATE_LIMITED' });
    test.clock.jump((data as { retryAfterMs: number }).retryAfterMs);
    expect(await client.ask(message)).toMatchObject({ data: 'free' });
  });

  it('of a subject is for all its sessions', async () => {
    const test = await start({}, { messagesPerSecondPerSubject: 5 });
    const clients = [await connect(test), await connect(test)];
    const answers = [];
    for (let i = 0; i < 12; i++) answers.push(await ask(clients[i % 2] as Client));
    expect(answers.filter((answer) => answer === 'free')).toHaveLength(10);
    expect(await ask(await connect(test, { sub: 'eve' }))).toBe('free');
    // To come back is no way to a new budget.
    await Promise.all(clients.map((client) => client.close()));
    await until(() => test.app.get(WsSessions).count({ subject: 'ada' }) === 0);
    expect(await ask(await connect(test))).toBe('RATE_LIMITED');
  });

  it('is charged for refused payloads, by what they are to look at, and a flood of them is a violation', async () => {
    const generous = { messagesPerSecond: 10, messageBurst: 20, messagesPerSecondPerSubject: 1_000 };
    const test = await start({ ban: { violations: 3 } }, generous);
    const client = await connect(test);
    const write = async (data: object): Promise<unknown> => {
      const reply = await client.ask({ event: 'write', data, id: 1 });
      return (reply.data as { code?: string }).code ?? reply.data;
    };
    const bad = { email: 'nobody' };
    for (let i = 0; i < 4; i++) expect(await write(bad)).toBe('VALIDATION_FAILED');
    expect(await write(bad)).toBe('RATE_LIMITED');
    test.clock.advance(3_000);
    for (let i = 0; i < 20; i++) expect(await write({ email: 'ada@example.com' })).toBe('ada@example.com');
    test.clock.advance(3_000);
    const large = { ...bad, ...Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`k${i}`, {}])) };
    expect(await write(large)).toBe('VALIDATION_FAILED');
    test.clock.advance(2_000);
    expect(await write(bad)).toBe('RATE_LIMITED'); // more than a burst was owed
    expect(await write(bad)).toBe('RATE_LIMITED');
    expect(test.app.get(WsFirewall).bans()).toMatchObject([{ subject: 'ada' }]);
  });

  it('is not for who is exempt', async () => {
    const test = await start({ exempt: ['127.0.0.1'] }, { messagesPerSecond: 1, messageBurst: 1 });
    const client = await connect(test);
    for (let i = 0; i < 20; i++) expect(await ask(client)).toBe('free');
  });
});

describe('@RateLimit()', () => {
  it('is a budget of one event, of the subject over its sessions', async () => {
    const test = await start();
    const [one, two] = [await connect(test), await connect(test)];
    expect([await ask(one, 'dear'), await ask(two, 'dear'), await ask(one, 'dear')]).toEqual([
      'dear',
      'dear',
      'RATE_LIMITED',
    ]);
    const { data } = await two.ask({ event: 'dear', id: 1 });
    expect(data).toMatchObject({ code: 'RATE_LIMITED', retryAfterMs: 30_000, retryable: true });
    expect(await ask(one)).toBe('free');
    expect(await ask(await connect(test, { sub: 'eve' }), 'dear')).toBe('dear');
    await Promise.all([one.close(), two.close()]);
    await until(() => test.app.get(WsSessions).count({ subject: 'ada' }) === 0);
    test.clock.advance(29_000);
    const back = await connect(test);
    expect(await ask(back, 'dear')).toBe('RATE_LIMITED');
    test.clock.jump(1_000);
    expect(await ask(back, 'dear')).toBe('dear');
  });

  it('counts what a request costs', async () => {
    const client = await connect(await start());
    expect([await ask(client, 'costly'), await ask(client, 'costly'), await ask(client, 'costly')]).toEqual([
      'costly',
      'costly',
      'RATE_LIMITED',
    ]);
  });

  it('is of the address while there is no subject, and costs nothing where the caller may not ask', async () => {
    const test = await start();
    const [one, two] = [await Client.connect(`${test.url}/ws`), await Client.connect(`${test.url}/ws`)];
    const other = await Client.connect(`${test.url}/ws`, { localAddress: '127.0.0.2' });
    expect([await ask(one, 'try'), await ask(two, 'try'), await ask(other, 'try')]).toEqual([
      'tried',
      'RATE_LIMITED',
      'tried',
    ]);
    for (let i = 0; i < 5; i++) expect(await ask(one, 'dear')).toBe('UNAUTHENTICATED');
    expect(await ask(await connect(test), 'try')).toBe('tried'); // a subject has one of its own
  });

  it('is no fresher for those who come back, as long as it takes to fill', async () => {
    const test = await start();
    const answers = [];
    for (let i = 0; i < 30; i++) {
      const client = await Client.connect(`${test.url}/ws`);
      answers.push(await ask(client, 'try'), await ask(client, 'long'));
      await client.close();
    }
    expect(answers.filter((answer) => answer !== 'RATE_LIMITED')).toEqual(['tried', 'long']);
    test.clock.advance(3_600_000);
    const late = await Client.connect(`${test.url}/ws`);
    expect([await ask(late, 'try'), await ask(late, 'long')]).toEqual(['tried', 'RATE_LIMITED']);
  });

  it.each([
    { limit: 0, perMs: 1 },
    { limit: 1, perMs: 0 },
    { limit: 1, perMs: 1, cost: 2 },
    { limit: 1.5, perMs: 1 },
  ])('refuses %j where it is written', (options) => {
    expect(() => RateLimit(options)).toThrow(TypeError);
  });
});

describe('bans', () => {
  const ban = { violations: 3, withinMs: 60_000, forMs: [10_000, 60_000] };

  it('come with violations, are longer each time, and end by themselves', async () => {
    const test = await start({ ban });
    let guesses = 0;
    const misbehave = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) await (await connect(test, { bearer: `bad.${guesses++}` })).closed;
    };
    await misbehave();
    expect(await refused(test)).toMatchObject({
      status: 403,
      headers: { 'retry-after': '10' },
      body: { code: 'BANNED' },
    });
    await connect(test, { from: '127.0.0.2' });
    expect(test.app.get(WsFirewall).bans()).toEqual([
      { address: '127.0.0.1', until: test.clock.now() + 10_000, reason: 'repeated violations' },
    ]);
    test.clock.advance(10_000);
    await misbehave();
    expect(await refused(test)).toMatchObject({ headers: { 'retry-after': '60' } });
    test.clock.advance(60_000);
    await connect(test);
  });

  it('of an address do not come from one bad subject among many, and end that subject', async () => {
    const test = await start({ ban });
    const good = await connect(test, { sub: 'good' });
    const bad = await connect(test, { sub: 'bad' });
    const badToo = await connect(test, { sub: 'bad' });
    for (let i = 0; i < 3; i++) bad.send('{');
    expect((await bad.rest()).at(-1)).toMatchObject({
      event: 'disconnect',
      data: { code: 'BANNED', retryAfterMs: 10_000 },
    });
    expect(await bad.closed).toEqual({ code: 4429, reason: 'BANNED' });
    expect((await badToo.closed).reason).toBe('BANNED');
    expect(await ask(good)).toBe('free');
    expect(await ask(await connect(test, { sub: 'other' }))).toBe('free');
    expect((await (await connect(test, { sub: 'bad' })).closed).reason).toBe('BANNED');
    const byMessage = await Client.connect(`${test.url}/ws`);
    byMessage.send({ event: 'auth', data: { token: token({ sub: 'bad' }) }, id: 1 });
    expect((await byMessage.closed).reason).toBe('BANNED');
    expect(test.app.get(WsFirewall).bans()).toMatchObject([{ subject: 'bad' }]);
  });

  it('of an address that came by themselves end its strangers, and leave those who have authenticated', async () => {
    const test = await start({ ban });
    const good = await connect(test, { sub: 'good' });
    const stranger = await Client.connect(`${test.url}/ws`);
    for (let i = 0; i < 3; i++) await (await connect(test, { bearer: `bad.${i}` })).closed;
    expect((await stranger.closed).reason).toBe('BANNED');
    expect(await ask(good)).toBe('free');
  });

  it('let a session that is over its budget come to its own end', async () => {
    const test = await start({ ban }, { messagesPerSecond: 1, messageBurst: 5 });
    const client = await connect(test);
    for (let i = 0; i < 10; i++) client.send({ event: 'free', id: i });
    expect((await client.closed).reason).toBe('RATE_LIMITED');
    expect((await (await connect(test)).closed).reason).toBe('BANNED');
  });

  it('are refused at the handshake where bad tokens are', async () => {
    const test = await start({}, {}, { reject: 'handshake' });
    await test.app.get(WsFirewall).ban({ subject: 'ada' }, { forMs: 5_000 });
    const { status, body, headers } = await refused(test, '127.0.0.1', { authorization: `Bearer ${token()}` });
    expect([status, body.code, headers['retry-after']]).toEqual([403, 'BANNED', '5']);
  });

  it('are made and lifted by the application, and end everybody who is meant', async () => {
    const test = await start();
    const firewall = test.app.get(WsFirewall);
    const [ada, eve] = [await connect(test), await connect(test, { sub: 'eve', from: '127.0.0.2' })];
    await firewall.ban({ address: '127.0.0.1' }, { forMs: 5_000, reason: 'because' });
    expect((await ada.closed).reason).toBe('BANNED');
    expect((await refused(test)).body.code).toBe('BANNED');
    expect(await ask(eve)).toBe('free');
    expect(await firewall.unban({ address: '127.0.0.1' })).toBe(true);
    expect(await firewall.unban({ address: '127.0.0.1' })).toBe(false);
    await connect(test);
    await firewall.ban({ address: '2001:db8::1' }, { forMs: 5_000 });
    expect(await firewall.unban({ address: '2001:db8::2' })).toBe(true);
    for (const target of [{}, { address: 'x' }, { subject: '' }, { address: '::1', subject: 'a' }]) {
      await expect(firewall.ban(target as never, { forMs: 1 })).rejects.toThrow(TypeError);
    }
    for (const forMs of [0, NaN, Infinity, 1.5])
      await expect(firewall.ban({ subject: 'a' }, { forMs })).rejects.toThrow(TypeError);
  });

  it('of operators are not pushed out by strangers, and are told when there are too many', async () => {
    const test = await start({ ban: { ...ban, violations: 1 } });
    const firewall = test.app.get(Firewall);
    const told: BanEvent[] = [];
    test.app.get(WsMonitor).on('ban', (event) => told.push(event));
    await firewall.ban({ subject: 'eve' }, { forMs: 31_536_000_000 });
    const stranger = (i: number): Parameters<Firewall['violations']['count']>[0] =>
      firewall.admission.clientOf(
        { headers: {} } as never,
        { remoteAddress: `2001:db8:${(i >> 8).toString(16)}:${(i & 255).toString(16)}::1` } as never,
      );
    for (let i = 0; i < 10_050; i++) firewall.violations.count(stranger(i), undefined);
    expect(firewall.bans().filter((held) => 'subject' in held)).toMatchObject([{ subject: 'eve' }]);
    expect((await (await connect(test, { sub: 'eve' })).closed).reason).toBe('BANNED');
    expect(told.filter(({ action }) => action === 'dropped')).toHaveLength(50);
    expect(told.find(({ action }) => action === 'dropped')).toMatchObject({ target: { address: '2001:db8:0:0::/64' } });
    for (let i = 1; i < 10_000; i++) await firewall.ban({ subject: `s${i}` }, { forMs: 60_000 });
    await expect(firewall.ban({ subject: 'one more' }, { forMs: 60_000 })).rejects.toThrow('no more');
    await firewall.ban({ subject: 'eve' }, { forMs: 60_000 });
    test.clock.advance(70_000);
    expect(told.filter(({ action }) => action === 'expired').length).toBeGreaterThan(10_000);
    await firewall.ban({ subject: 'one more' }, { forMs: 60_000 });
    expect(test.log.notices.filter(({ message }) => message === 'Ban dropped').length).toBeGreaterThan(0);
  });

  it('that were made in a dry run are not enforced later', async () => {
    const test = await start({ dryRun: ['bans'] });
    const firewall = test.app.get(WsFirewall);
    await firewall.ban({ subject: 'ada' }, { forMs: 60_000 });
    await test.app.get(WsGatewayReload).replace({ auth: { jwt: { secret: SECRET } }, firewall: {} });
    expect(await ask(await connect(test))).toBe('free');
    await firewall.ban({ subject: 'ada' }, { forMs: 60_000 });
    expect((await (await connect(test)).closed).reason).toBe('BANNED');
    await test.app.get(WsGatewayReload).replace({ auth: { jwt: { secret: SECRET } }, firewall: { dryRun: ['bans'] } });
    expect(firewall.bans()).toMatchObject([{ subject: 'ada', dryRun: true }]);
    expect(await ask(await connect(test))).toBe('free');
  });

  it('never meet who is exempt', async () => {
    const test = await start({ ban, exempt: ['127.0.0.0/30'] });
    for (let i = 0; i < 10; i++) await (await connect(test, { bearer: `bad.${i}` })).closed;
    await test.app.get(WsFirewall).ban({ address: '127.0.0.1' }, { forMs: 5_000 });
    expect(await ask(await connect(test))).toBe('free');
  });
});

describe('the same bad token again', () => {
  const ban = { violations: 3, withinMs: 120_000 };
  const byHandshake = async (test: TestApp, bearer: string): Promise<void> =>
    void (await (
      await connect(test, { bearer })
    ).closed);
  const byMessage = async ({ url }: TestApp, bearer: string): Promise<void> => {
    const client = await Client.connect(`${url}/ws`);
    client.send({ event: 'auth', data: { token: bearer } });
    expect((await client.closed).reason).toBe('TOKEN_INVALID');
  };
  const byRefresh = async (test: TestApp, bearer: string): Promise<void> => {
    const client = await connect(test);
    client.send({ event: 'auth', data: { token: bearer } });
    expect((await client.closed).reason).toBe('TOKEN_INVALID');
  };

  it.each([
    ['at the handshake', byHandshake],
    ['by message', byMessage],
    ['in a refresh', byRefresh],
  ])('is no guessing, but another one is: %s', async (_, present) => {
    const test = await start({ ban, failedAuthenticationsPerMinutePerAddress: 5 });
    for (let i = 0; i < 20; i++) await present(test, 'a.stale.one');
    expect(test.app.get(WsFirewall).bans()).toEqual([]);
    await present(test, 'a.second.one');
    await present(test, 'a.third.one');
    expect(test.app.get(WsFirewall).bans()).toHaveLength(1);
  });

  it('counts once in the time, and from each address', async () => {
    const test = await start({ ban: { ...ban, violations: 2 } });
    await byHandshake(test, 'a.stale.one');
    await (
      await connect(test, { bearer: 'a.stale.one', from: '127.0.0.2' })
    ).closed;
    expect(test.app.get(WsFirewall).bans()).toEqual([]);
    test.clock.advance(119_000);
    await byHandshake(test, 'a.stale.one');
    expect(test.app.get(WsFirewall).bans()).toEqual([]);
    test.clock.advance(1_000);
    await byHandshake(test, 'a.stale.one');
    await byHandshake(test, 'a.second.one');
    expect(test.app.get(WsFirewall).bans()).toHaveLength(1);
  });

  it('by message counts among the bad tokens of the address, too', async () => {
    const test = await start({ failedAuthenticationsPerMinutePerAddress: 2 });
    await byMessage(test, 'a.first.one');
    await byMessage(test, 'a.second.one');
    expect((await refused(test)).status).toBe(429);
  });
});

describe('a dry run', () => {
  it('decides and says so, and lets everybody through', async () => {
    const test = await start(
      {
        dryRun: true,
        deny: ['127.0.0.1'],
        origins: [],
        maxConnections: 1,
        maxConnectionsPerAddress: 1,
        handshakesPerSecondPerAddress: 1,
        handshakeBurstPerAddress: 1,
        ban: { violations: 1 },
      },
      { messagesPerSecond: 1, messageBurst: 1 },
    );
    for (let i = 0; i < 3; i++) {
      const client = await Client.connect(`${test.url}/ws`, {
        token: token(),
        headers: { origin: 'https://evil.test' },
      });
      for (let id = 0; id < 5; id++) expect(await ask(client)).toBe('free');
    }
    expect(test.app.get(WsFirewall).bans()).toEqual([]); // what is not enforced is no violation
  });

  it.each<[string, FirewallOptions, string, Record<string, string>]>([
    ['origins', {}, 'ORIGIN_FORBIDDEN', { origin: 'https://evil.test' }],
    ['lists', { deny: ['127.0.0.1'] }, 'IP_FORBIDDEN', {}],
    ['connections', { maxConnectionsPerAddress: 1 }, 'TOO_MANY_CONNECTIONS', {}],
    ['handshakes', { handshakesPerSecondPerAddress: 1, handshakeBurstPerAddress: 1 }, 'TOO_MANY_CONNECTIONS', {}],
  ])('of %s counts no violations, and bans nobody', async (rule, firewall, code, headers) => {
    const test = await start({ ...firewall, dryRun: [rule as 'origins'], ban: { violations: 2 } });
    const told: unknown[] = [];
    test.app.get(WsMonitor).on('admission', (event) => told.push(event));
    for (let i = 0; i < 6; i++) {
      const client = await Client.connect(`${test.url}/ws`, { token: token(), headers });
      expect(await ask(client)).toBe('free');
    }
    expect(test.app.get(WsFirewall).bans()).toEqual([]);
    expect(told.length).toBeGreaterThanOrEqual(5);
    expect(told[0]).toMatchObject({ kind: 'admission', rule, code, enforced: false, clientAddress: '127.0.0.1' });
    expect(test.log.notices).toHaveLength(told.length);
    const line = { level: 'info', message: 'Dry run: would have refused', rule, code, clientAddress: '127.0.0.1' };
    expect(test.log.notices[0]).toMatchObject(line);
  });

  it('of budgets says so, and ends nobody', async () => {
    const test = await start(
      { dryRun: ['budgets'], ban: { violations: 1 } },
      { messagesPerSecond: 1, messageBurst: 1 },
    );
    const client = await connect(test);
    for (let i = 0; i < 5; i++) expect(await ask(client)).toBe('free');
    expect(test.log.notices).toHaveLength(4);
    expect(test.log.notices[0]).toMatchObject({
      rule: 'budgets',
      budget: 'messages',
      code: 'RATE_LIMITED',
      clientAddress: '127.0.0.1',
      subject: 'ada',
    });
    expect(test.app.get(WsFirewall).bans()).toEqual([]);
  });

  it('of bans tells of whom it would have refused', async () => {
    const test = await start({ dryRun: ['bans'] });
    const told: unknown[] = [];
    test.app.get(WsMonitor).on('admission', (event) => told.push(event));
    await test.app.get(WsFirewall).ban({ address: '127.0.0.1' }, { forMs: 60_000 });
    await test.app.get(WsFirewall).ban({ subject: 'ada' }, { forMs: 60_000 });
    expect(test.app.get(WsFirewall).bans()).toMatchObject([{ dryRun: true }, { dryRun: true }]);
    expect(await ask(await connect(test))).toBe('free');
    const would = { kind: 'admission', rule: 'bans', code: 'BANNED', enforced: false, clientAddress: '127.0.0.1' };
    expect(told).toEqual([would, { ...would, subject: 'ada' }]);
    expect(test.log.notices.slice(-1)).toMatchObject([{ rule: 'bans', code: 'BANNED', subject: 'ada' }]);
  });

  it('of one rule leaves the others in force', async () => {
    const test = await start({ dryRun: ['connections'], maxConnectionsPerAddress: 1, deny: ['127.0.0.2'] });
    await connect(test);
    await connect(test);
    expect((await refused(test, '127.0.0.2')).body.code).toBe('IP_FORBIDDEN');
  });
});

it.each<[object, string]>([
  [{ trustProxy: true }, 'firewall.trustProxy must be'],
  [{ trustProxy: ['x'] }, 'firewall.trustProxy must be'],
  [{ trustProxy: -1 }, 'firewall.trustProxy must be'],
  [{ deny: ['10.0.0.0/40'] }, 'firewall.deny must hold'],
  [{ exempt: 'x' }, 'firewall.exempt must hold'],
  [{ maxConnections: 0 }, 'firewall.maxConnections must be'],
  [{ ban: { forMs: [] } }, 'firewall.ban.forMs must be'],
  [{ ban: { violations: 0 } }, 'firewall.ban.violations must be'],
  [{ dryRun: ['nonsense'] }, 'firewall.dryRun must be'],
  [{ allowMissingOrigin: 'without-cookies' }, 'firewall.allowMissingOrigin must be true or false'],
])('the options %j stop the start', (firewall, problem) => {
  expect(() => resolveOptions({ auth: { jwt: { secret: SECRET } }, firewall })).toThrow(problem);
});

it.each([
  'app.example.com',
  'capacitor://',
  'wss://a.test',
  'file:///',
  'app://*',
  'app://a/b',
  'https://*',
  '*.a.test',
])('the origin %j stops the start', (origin) => {
  expect(() => resolveOptions({ auth: { jwt: { secret: SECRET } }, firewall: { origins: [origin] } })).toThrow(
    'firewall.origins must hold',
  );
});

describe('where a browser authenticates by itself, any page must not be the user', () => {
  const origins = ['https://app.example.com'];
  it.each([
    [{ origins, allowNullOrigin: true }, 'firewall.allowNullOrigin must be false'],
    [{ origins, dryRun: true }, 'firewall.dryRun must not have "origins"'],
    [{ origins, dryRun: ['lists', 'origins'] }, 'firewall.dryRun must not have "origins"'],
    [{ origins: ['*'] }, 'firewall.origins must not have "*"'],
    [{ origins: [...origins, '*'] }, 'firewall.origins must not have "*"'],
  ] as const)('%j stops the start', (firewall, problem) => {
    const jwt = { secret: SECRET };
    for (const auth of [{ sources: ['cookie'], cookie: 'sid' }, { sources: ['header', 'certificate'] }]) {
      expect(() => resolveOptions({ auth: { jwt, ...auth }, firewall })).toThrow(problem);
    }
    expect(() => resolveOptions({ auth: { jwt }, firewall })).not.toThrow();
  });
});
