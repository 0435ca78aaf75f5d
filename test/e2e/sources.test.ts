import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it } from 'vitest';
import { MemoryTicketStore } from '../../src/authentication/ticket-store.js';
import { WsSessions, WsTickets } from '../../src/index.js';
import type { AuthOptions, Principal } from '../../src/index.js';
import { resolveOptions } from '../../src/ws-gateway.options.js';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { SECRET, token } from '../support/tokens.js';

@WebSocketGateway()
class HelloGateway {
  @SubscribeMessage('hello') hello(): string {
    return 'hello';
  }
}

afterEach(stopApps);

const ORIGIN = 'https://app.example.com';
const start = (auth: Partial<AuthOptions>): Promise<TestApp> =>
  startApp({ gateways: [HelloGateway], options: { auth, firewall: { origins: [ORIGIN] } } });

const subjectOf = async (client: Client): Promise<unknown> => {
  const { data } = await client.ask({ event: 'session', id: 1 });
  return (data as { subject?: string; code?: string }).subject ?? (data as { code: string }).code;
};

describe('a cookie', () => {
  const auth = { sources: ['cookie', 'message'], cookie: 'access_token' } as const;
  const cookie = `theme=dark; access_token=${token()}; other=x`;

  it('authenticates a page of an allowed origin', async () => {
    const { url } = await start(auth);
    const client = await Client.connect(`${url}/ws`, { headers: { cookie, origin: ORIGIN } });
    expect(await subjectOf(client)).toBe('ada');
  });

  it('does nothing for a page of another origin, nor for a request that does not say whose it is', async () => {
    const { url } = await start(auth);
    for (const origin of [
      'https://evil.example',
      'https://app.example.com.evil.example',
      'null',
      'http://app.example.com',
    ]) {
      expect(await refusal(`${url}/ws`, { headers: { cookie, origin } })).toMatchObject({
        status: 403,
        body: { code: 'ORIGIN_FORBIDDEN' },
      });
    }
    expect((await refusal(`${url}/ws`, { headers: { cookie } })).body.code).toBe('ORIGIN_FORBIDDEN');
  });

  it('of another name, or none, counts as absent; an empty one as present and bad', async () => {
    const { url } = await start(auth);
    const other = await Client.connect(`${url}/ws`, { headers: { cookie: `token=${token()}`, origin: ORIGIN } });
    expect(await subjectOf(other)).toBe('UNAUTHENTICATED');
    const empty = await Client.connect(`${url}/ws`, { headers: { cookie: 'access_token=', origin: ORIGIN } });
    expect((await empty.closed).reason).toBe('TOKEN_INVALID');
  });

  it('is not read unless it is a source', async () => {
    const { url } = await start({ sources: ['header', 'message'], cookie: 'access_token' });
    const client = await Client.connect(`${url}/ws`, { headers: { cookie, origin: ORIGIN } });
    expect(await subjectOf(client)).toBe('UNAUTHENTICATED');
  });

  it.each([
    [{ origins: [ORIGIN] }, undefined, 'auth.cookie must name'],
    [{}, 'access_token', 'firewall.origins must list'],
    [{ origins: [] }, 'access_token', 'firewall.origins must list'],
    [{ origins: [ORIGIN] }, 'a b', 'auth.cookie must be a name'],
  ])('is refused as a source with %j and the name %j', (firewall, name, problem) => {
    const options = { auth: { jwt: { secret: SECRET }, sources: ['cookie'], cookie: name }, firewall };
    expect(() => resolveOptions(options)).toThrow(problem);
  });
});

describe('a token in the query', () => {
  it('is ignored unless it is switched on', async () => {
    const { url } = await start({});
    const client = await Client.connect(`${url}/ws?access_token=${token()}&ticket=x`);
    expect(await subjectOf(client)).toBe('UNAUTHENTICATED');
  });

  it('authenticates where it is', async () => {
    const { url } = await start({ sources: ['query'] });
    expect(await subjectOf(await Client.connect(`${url}/ws?a=1&access_token=${token()}`))).toBe('ada');
    expect((await (await Client.connect(`${url}/ws?access_token=`)).closed).reason).toBe('TOKEN_INVALID');
    expect((await (await Client.connect(`${url}/ws?access_token=%ff%00`)).closed).reason).toBe('TOKEN_INVALID');
    expect((await refusal(`${url}/ws`)).body.code).toBe('UNAUTHENTICATED');
  });
});

it('the order of the sources decides between two tokens', async () => {
  const two = { token: token({ sub: 'header' }) };
  const query = `access_token=${token({ sub: 'query' })}`;
  for (const [first, second] of [
    ['header', 'query'],
    ['query', 'header'],
  ] as const) {
    const { url } = await start({ sources: [first, second] });
    expect(await subjectOf(await Client.connect(`${url}/ws?${query}`, two))).toBe(first);
  }
});

describe('a ticket', () => {
  const sources = ['header', 'ticket', 'message'] as const;
  const principal = (test: TestApp, rest: Partial<Principal> = {}): Principal => ({
    subject: 'ada',
    roles: ['buyer'],
    scopes: [],
    claims: {},
    expiresAt: test.clock.now() + 600_000,
    ...rest,
  });

  it('makes its bearer the principal, once', async () => {
    const test = await start({ sources });
    const tickets = test.app.get(WsTickets);
    const { ticket, expiresAt } = await tickets.issue(principal(test));
    expect(Buffer.from(ticket, 'base64url')).toHaveLength(32);
    expect(expiresAt).toBe(test.clock.now() + 30_000);
    const client = await Client.connect(`${test.url}/ws?ticket=${ticket}`);
    expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({
      data: { subject: 'ada', roles: ['buyer'], expiresAt: test.clock.now() + 600_000 },
    });
    const replayed = await Client.connect(`${test.url}/ws?ticket=${ticket}`);
    expect(await replayed.closed).toEqual({ code: 3000, reason: 'TOKEN_INVALID' });
    expect(test.app.get(MemoryTicketStore, { strict: false }).size).toBe(0);
  });

  it('is TOKEN_INVALID when it is unknown, empty or too old', async () => {
    const test = await start({ sources });
    const { ticket } = await test.app.get(WsTickets).issue(principal(test));
    test.clock.jump(30_000);
    for (const bad of [ticket, '', 'x', token()]) {
      const client = await Client.connect(`${test.url}/ws?ticket=${bad}`);
      expect((await client.closed).reason).toBe('TOKEN_INVALID');
    }
  });

  it('lasts no longer than its principal', async () => {
    const test = await start({ sources });
    const { expiresAt } = await test.app.get(WsTickets).issue(principal(test, { expiresAt: test.clock.now() + 5_000 }));
    expect(expiresAt).toBe(test.clock.now() + 5_000);
  });

  it.each([
    [{ clientAddress: '127.0.0.1' }, true],
    [{ clientAddress: '10.0.0.1' }, false],
    [{ origin: ORIGIN }, true],
    [{ origin: 'https://other.example' }, false],
    [{ origin: ORIGIN, clientAddress: '::1' }, false],
  ])('bound to %j, and shown from loopback by a page of the origin: %j', async (binding, isGood) => {
    const test = await start({ sources });
    const { ticket } = await test.app.get(WsTickets).issue(principal(test), binding);
    const connect = (): Promise<Client> =>
      Client.connect(`${test.url}/ws?ticket=${ticket}`, { headers: { origin: ORIGIN } });
    const first = await connect();
    const outcome = await first.ask({ event: 'session', id: 1 });
    expect(outcome).toMatchObject({ data: isGood ? { subject: 'ada' } : { code: 'TOKEN_INVALID' } });
    // Good or not, it is gone.
    expect((await (await connect()).closed).reason).toBe('TOKEN_INVALID');
  });

  it('bound to an origin is of no use without one', async () => {
    const test = await start({ sources });
    const { ticket } = await test.app.get(WsTickets).issue(principal(test), { origin: ORIGIN });
    expect((await (await Client.connect(`${test.url}/ws?ticket=${ticket}`)).closed).reason).toBe('TOKEN_INVALID');
  });

  it('is forgotten by the sweep, and a subject has no more than sixteen open', async () => {
    const test = await start({ sources });
    const tickets = test.app.get(WsTickets);
    const first = await tickets.issue(principal(test));
    for (let i = 0; i < 40; i++) await tickets.issue(principal(test));
    await tickets.issue(principal(test, { subject: 'eve' }));
    expect(test.app.get(MemoryTicketStore, { strict: false }).size).toBe(17);
    const gone = await Client.connect(`${test.url}/ws?ticket=${first.ticket}`);
    expect((await gone.closed).reason).toBe('TOKEN_INVALID');
    test.clock.advance(30_250);
    expect(test.app.get(MemoryTicketStore, { strict: false }).size).toBe(0);
  });

  it('is not made for a principal whose time is over', async () => {
    const test = await start({ sources });
    const over = principal(test, { expiresAt: test.clock.now() });
    await expect(test.app.get(WsTickets).issue(over)).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' });
  });

  it('is not made for what is no principal', async () => {
    const test = await start({ sources });
    await expect(test.app.get(WsTickets).issue(principal(test, { subject: '' }))).rejects.toThrow(TypeError);
    await expect(test.app.get(WsTickets).issue(undefined as unknown as Principal)).rejects.toThrow(TypeError);
  });
});

describe('where one may be anonymous', () => {
  const auth = { sources: ['cookie', 'header', 'message'], cookie: 'access_token', anonymous: true } as const;
  const withCookie = ({ url }: TestApp, value: string, more: object = {}): Promise<Client> =>
    Client.connect(`${url}/ws`, { headers: { cookie: `access_token=${value}`, origin: ORIGIN }, ...more });

  it.each([
    ['expired', 'TOKEN_EXPIRED', () => token({ exp: 1 })],
    ['bad', 'TOKEN_INVALID', () => token({}, 'another-secret-of-at-least-32-bytes!')],
    ['empty', 'TOKEN_INVALID', () => ''],
  ])('a cookie that is %s locks no visitor out, and the log has it', async (_, code, cookie) => {
    const test = await start(auth);
    const client = await withCookie(test, cookie());
    expect(await subjectOf(client)).toBe('UNAUTHENTICATED');
    expect(await client.ask({ event: 'ping', id: 2 })).toMatchObject({ event: 'pong' });
    expect(test.log.lines.filter((line) => line.code === code)).toEqual([
      expect.objectContaining({
        level: 'info',
        clientAddress: '127.0.0.1',
        reason: expect.stringContaining('the cookie counts as absent') as string,
      }),
    ]);
    expect(await client.ask({ event: 'auth', data: { token: token() }, id: 3 })).toMatchObject({ event: 'auth' });
  });

  it('a cookie that is bad leaves the word to the next source', async () => {
    const test = await start(auth);
    const both = { cookie: 'access_token=x', origin: ORIGIN, authorization: `Bearer ${token()}` };
    expect(await subjectOf(await Client.connect(`${test.url}/ws`, { headers: both }))).toBe('ada');
  });

  it('a good cookie authenticates, and what a page says itself never counts as absent', async () => {
    const test = await start(auth);
    expect(await subjectOf(await withCookie(test, token()))).toBe('ada');
    const said = await Client.connect(`${test.url}/ws`, { token: token({ exp: 1 }) });
    expect((await said.closed).reason).toBe('TOKEN_EXPIRED');
  });

  it('a revoked cookie is told so', async () => {
    const cookie = token(); // before the clock of the test begins: a token of a later second is good
    const test = await start(auth);
    await test.app.get(WsSessions).revoke({ subject: 'ada' });
    expect((await (await withCookie(test, cookie)).closed).reason).toBe('SESSION_REVOKED');
  });

  it('and nowhere else a bad cookie counts as absent', async () => {
    const test = await start({ ...auth, anonymous: false });
    expect((await (await withCookie(test, token({ exp: 1 }))).closed).reason).toBe('TOKEN_EXPIRED');
  });
});
