import { Injectable } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it } from 'vitest';
import {
  Authenticator,
  GatewayError,
  Public,
  userAndPassword,
  WsFirewall,
  WsMetrics,
  WsSessions,
} from '../../src/index.js';
import type {
  AuthenticationContext,
  AuthOptions,
  ConnectionGuard,
  PrincipalInit,
  WsGatewayOptions,
} from '../../src/index.js';
import { resolveOptions } from '../../src/ws-gateway.options.js';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { token } from '../support/tokens.js';

/** Credentials that are no JWTs, and the Authenticator of the application that judges them. */

const ORIGIN = 'https://app.example.com';
const seen: [credential: string, context: Omit<AuthenticationContext, 'request'>, url: string | undefined][] = [];

afterEach(stopApps);
afterEach(() => void (seen.length = 0));

const WRONG = 'wrong-secret-9f8e7d';

@Injectable()
class Keys extends Authenticator {
  override readonly kinds = ['basic', 'header', 'query', 'cookie'] as const;

  override authenticate(
    credential: string,
    { request, ...context }: AuthenticationContext,
  ): PrincipalInit | Promise<PrincipalInit> {
    seen.push([credential, context, request?.url]);
    const { password } = context.kind === 'basic' ? userAndPassword(credential) : { password: credential };
    if (password.startsWith('quoted')) throw new Error(`no row for ${credential}`, { cause: new Error(password) });
    if (password.startsWith('later')) return Promise.reject(new Error(`no row for ${credential}`));
    if (password.startsWith('told')) {
      throw new GatewayError('TOKEN_INVALID', { message: `${password} is not known`, cause: credential });
    }
    if (password.startsWith('detailed')) throw new GatewayError('KEY_LOCKED', { details: [{ credential }] });
    if (password !== 'good' && password !== 'göö:d') throw new GatewayError('TOKEN_INVALID');
    return { subject: 'robot', expiresAt: Date.now() + 3_600_000, roles: [context.kind] };
  }
}

const providers = [{ provide: Authenticator, useClass: Keys }];
const SOURCES = ['header', 'basic', { header: 'X-API-Key' }, { query: 'key' }, { cookie: 'sid' }, 'message'] as const;

@WebSocketGateway()
class NewsGateway {
  @Public() @SubscribeMessage('news') news(): string {
    return 'news';
  }
}

const start = (auth: AuthOptions = {}, more: Partial<WsGatewayOptions> = {}): Promise<TestApp> =>
  startApp({
    providers,
    gateways: [NewsGateway],
    options: { auth: { sources: SOURCES, ...auth }, firewall: { origins: [ORIGIN] }, ...more },
  });

const base64 = (text: string | Uint8Array): string => Buffer.from(text).toString('base64');
const basic = (text: string): Record<string, string> => ({ authorization: `Basic ${base64(text)}` });

async function sessionOf({ url }: TestApp, headers: Record<string, string>, query = ''): Promise<unknown> {
  const client = await Client.connect(`${url}/ws${query}`, { headers });
  client.send({ event: 'session', id: 1 });
  const { data } = await client.next();
  const { subject, roles, code } = data as { subject?: string; roles?: string[]; code?: string };
  return code ?? [subject, roles];
}

describe('a credential that is no JWT', () => {
  it.each([
    ['basic', basic('ann:good'), '', { source: 'basic', kind: 'basic' }, 'ann:good'],
    ['basic', basic('änn:göö:d'), '', { source: 'basic', kind: 'basic' }, 'änn:göö:d'],
    ['header', { 'x-api-key': 'good' }, '', { source: 'header:x-api-key', kind: 'header', name: 'x-api-key' }, 'good'],
    ['query', {}, '?a=1&key=go%6fd', { source: 'query:key', kind: 'query', name: 'key' }, 'good'],
    [
      'cookie',
      { cookie: 'a=1; sid=good', origin: ORIGIN },
      '',
      { source: 'cookie:sid', kind: 'cookie', name: 'sid' },
      'good',
    ],
  ] as const)(
    'of the kind %s comes to the Authenticator, with its kind and the request',
    async (kind, headers, query, context, credential) => {
      const test = await start();
      expect(await sessionOf(test, headers, query)).toEqual(['robot', [kind]]);
      expect(seen).toEqual([[credential, { ...context, isSuspect: false }, `/ws${query}`]]);
    },
  );

  it('leaves bearer tokens to auth.jwt where the kinds leave them out', async () => {
    const test = await start();
    expect(await sessionOf(test, { authorization: `Bearer ${token({ roles: ['buyer'] })}` })).toEqual([
      'ada',
      ['buyer'],
    ]);
    expect(await sessionOf(test, { authorization: 'Bearer good' })).toBe('TOKEN_INVALID');
    expect(seen).toEqual([]);
  });

  it.each([
    ['an empty header', { 'x-api-key': '' }, ''],
    ['an empty parameter', {}, '?key='],
    ['two parameters', {}, '?key=good&key=good'],
    ['an empty cookie', { cookie: 'sid=', origin: ORIGIN }, ''],
    ['Basic without a colon', basic('good'), ''],
    ['Basic that is no base64', { authorization: 'Basic g=od' }, ''],
    ['Basic that is empty', { authorization: 'Basic' }, ''],
    ['Basic that is no UTF-8', { authorization: `Basic ${base64(Uint8Array.of(0xff, 0x3a, 0x61))}` }, ''],
    ['Basic with a control character', basic('ann:go\nod'), ''],
    ['more than 8 KiB', { 'x-api-key': 'x'.repeat(8_193) }, ''],
  ])('is TOKEN_INVALID without a question for %s', async (_, headers, query) => {
    const test = await start();
    expect(await sessionOf(test, headers, query)).toBe('TOKEN_INVALID');
    expect(seen).toEqual([]);
  });

  it('is TOKEN_INVALID in a header that is there twice', async () => {
    const { url } = await start();
    const client = await Client.connect(`${url}/ws`, {
      headers: { 'x-api-key': ['good', 'good'] as unknown as string },
    });
    expect(await client.next()).toMatchObject({ data: { code: 'TOKEN_INVALID' } });
  });

  it('counts as a failed authentication of its address', async () => {
    const test = await start({}, { firewall: { origins: [ORIGIN], failedAuthenticationsPerMinutePerAddress: 3 } });
    for (const guess of ['a', 'b', 'c']) {
      expect(await sessionOf(test, basic(`ann:${guess}`))).toBe('TOKEN_INVALID');
    }
    expect((await refusal(`${test.url}/ws`, { headers: basic('ann:good') })).status).toBe(429);
  });

  it('is refused until its principal expires once its session is revoked, and no other is', async () => {
    const test = await start();
    const sessions = test.app.get(WsSessions);
    const client = await Client.connect(`${test.url}/ws`, { headers: basic('ann:good') });
    const { data } = await client.ask({ event: 'session', id: 1 });
    await sessions.revoke({ sessionId: (data as { sessionId: string }).sessionId });
    expect((await client.closed).reason).toBe('SESSION_REVOKED');
    expect(await sessionOf(test, basic('ann:good'))).toBe('SESSION_REVOKED');
    // The same bytes, spelled with other unused bits, and without padding.
    for (const respelled of ['YW5uOmdvb2R=', 'YW5uOmdvb2Q']) {
      expect(await sessionOf(test, { authorization: `Basic ${respelled}` })).toBe('SESSION_REVOKED');
    }
    expect(await sessionOf(test, basic('eve:good'))).toEqual(['robot', ['basic']]);
    expect(await sessionOf(test, { 'x-api-key': 'good' })).toEqual(['robot', ['header']]);
  });

  it('cannot be sent in a message: `auth` takes bearer tokens, of the same subject', async () => {
    const { url } = await start();
    const client = await Client.connect(`${url}/ws`, { headers: { 'x-api-key': 'good' } });
    const fresh = await client.ask({ event: 'auth', data: { token: token({ sub: 'robot' }) }, id: 1 });
    expect(fresh).toMatchObject({ event: 'auth', data: { subject: 'robot' } });
    expect(await client.ask({ event: 'auth', data: { token: 'good' }, id: 2 })).toMatchObject({
      data: { code: 'TOKEN_INVALID' },
    });
    const other = await Client.connect(`${url}/ws`, { headers: { 'x-api-key': 'good' } });
    expect(await other.ask({ event: 'auth', data: { token: token() }, id: 1 })).toMatchObject({
      data: { code: 'FORBIDDEN' },
    });
  });

  it('ends its session when its principal expires, and may be shown again', async () => {
    const { url, clock } = await start();
    const client = await Client.connect(`${url}/ws`, { headers: { 'x-api-key': 'good' } });
    await client.ask({ event: 'session', id: 1 });
    clock.set(7_200_000);
    clock.advance(1_000);
    await client.closed;
    expect(client.frames.at(-1)?.data).toMatchObject({ code: 'TOKEN_EXPIRED', closeCode: 4101, reconnect: true });
  });
});

describe('a cookie that the application names', () => {
  it('is refused without an Origin, and from a page that is not listed', async () => {
    const { url } = await start();
    for (const origin of [undefined, 'https://evil.test']) {
      const headers = { cookie: 'sid=good', ...(origin !== undefined && { origin }) };
      expect(await refusal(`${url}/ws`, { headers })).toMatchObject({
        status: 403,
        body: { code: 'ORIGIN_FORBIDDEN' },
      });
    }
    expect(seen).toEqual([]);
  });

  it('counts as absent where it is bad and clients may be anonymous', async () => {
    const { url, log } = await start({ anonymous: true });
    const client = await Client.connect(`${url}/ws`, { headers: { cookie: `sid=${WRONG}`, origin: ORIGIN } });
    expect(await client.ask({ event: 'news', id: 1 })).toMatchObject({ data: 'news' });
    expect(log.lines).toMatchObject([
      { code: 'TOKEN_INVALID', reason: expect.stringContaining('cookie:sid') as string },
    ]);
    expect(JSON.stringify(log.lines)).not.toContain(WRONG);
    const strict = await Client.connect(`${url}/ws`, { headers: { 'x-api-key': WRONG } });
    expect(await strict.next()).toMatchObject({ data: { code: 'TOKEN_INVALID' } });
  });
});

describe('the text of a credential', () => {
  const BAD = ['quoted', 'later', 'told', 'detailed'].map((how) => `${how}-7f3a9c2b1d`);

  it.each(BAD)('%s is in no log, frame, close or metric, also where the Authenticator quotes it', async (secret) => {
    const { app, url, log } = await start({}, { monitoring: { metrics: true } });
    const places: [headers: Record<string, string>, query: string][] = [
      [basic(`ann:${secret}`), ''],
      [{ 'x-api-key': secret }, ''],
      [{}, `?key=${secret}`],
      [{ cookie: `sid=${secret}`, origin: ORIGIN }, ''],
    ];
    for (const [headers, query] of places) {
      const client = await Client.connect(`${url}/ws${query}`, { headers });
      const { reason } = await client.closed;
      expect(JSON.stringify([client.frames, reason])).not.toContain('7f3a9c2b1d');
    }
    expect(log.lines).toHaveLength(4);
    const written = `${JSON.stringify(log.lines)} ${(await app.get(WsMetrics).text()).body}`;
    expect(written).not.toContain('7f3a9c2b1d');
    expect(written).not.toContain(base64(`ann:${secret}`).slice(6, 16));
    expect(written).toMatch(/source="header:x-api-key"/);
  });

  it('leaves the code, and the place where it was thrown', async () => {
    const test = await start();
    expect(await sessionOf(test, { 'x-api-key': 'quoted-7f3a9c2b1d' })).toBe('INTERNAL');
    const [line] = test.log.lines;
    expect(line?.stack).toMatch(/quotes the credential\n +at Keys\.authenticate/);
    expect(await sessionOf(test, { 'x-api-key': 'detailed-7f3a9c2b1d' })).toBe('KEY_LOCKED');
  });

  it('in a URL is hidden where other code quotes the URL', async () => {
    const connectionGuards: ConnectionGuard[] = [
      {
        canConnect: ({ request }) => {
          throw new Error(`cannot parse ${request.url}`);
        },
      },
    ];
    const test = await start({ connectionGuards });
    await Client.connect(`${test.url}/ws?a=1&k%65y=good&ticket=t1c&b=2`).then((client) => client.closed);
    expect(JSON.stringify(test.log.lines)).toContain('?a=1&k%65y=[hidden]&ticket=[hidden]&b=2');
  });
});

describe('a connection guard with `guard` among the sources', () => {
  const named = (answer: unknown, sources: AuthOptions['sources'] = ['header', 'guard']): Promise<TestApp> =>
    startApp({ options: { auth: { sources, connectionGuards: [{ canConnect: () => answer } as ConnectionGuard] } } });

  it('names the principal of a client without a credential', async () => {
    const test = await named({ subject: 'meter', roles: ['device'], expiresAt: Date.now() + 60_000 });
    expect(await sessionOf(test, {})).toEqual(['meter', ['device']]);
    expect(test.app.get(WsSessions).count({ subject: 'meter' })).toBe(1);
  });

  it('may give the same subject other roles, and its token still revokes the session', async () => {
    const test = await named({ subject: 'ada', roles: ['device'], expiresAt: Date.now() + 60_000 });
    const bearer = { authorization: `Bearer ${token({ jti: 'j1', roles: ['admin'] })}` };
    const client = await Client.connect(`${test.url}/ws`, { headers: bearer });
    const { data } = await client.ask({ event: 'session', id: 1 });
    expect(data).toMatchObject({ subject: 'ada', roles: ['device'] });
    await test.app.get(WsSessions).revoke({ sessionId: (data as { sessionId: string }).sessionId });
    expect(await sessionOf(test, bearer)).toBe('SESSION_REVOKED');
  });

  it.each([
    ['another subject than the token’s', { subject: 'eve', expiresAt: Date.now() + 60_000 }, 'FORBIDDEN'],
    ['what is no principal', { subject: 'ada' }, 'INTERNAL'],
    ['an expired one', { subject: 'ada', expiresAt: Date.now() - 600_000 }, 'TOKEN_EXPIRED'],
    ['nothing', undefined, 'FORBIDDEN'],
  ])('that names %s lets nobody in', async (_, answer, code) => {
    const test = await named(answer);
    expect(await sessionOf(test, { authorization: `Bearer ${token()}` })).toBe(code);
  });

  it('that names a banned subject lets nobody in', async () => {
    const test = await named({ subject: 'meter', expiresAt: Date.now() + 60_000 });
    await test.app.get(WsFirewall).ban({ subject: 'meter' }, { forMs: 60_000 });
    expect(await sessionOf(test, {})).toBe('BANNED');
  });

  it('that says true to a client without a credential leaves it without a session', async () => {
    const { url } = await named(true);
    expect((await refusal(`${url}/ws`)).body.code).toBe('UNAUTHENTICATED');
  });

  it('names nobody where `guard` is not among the sources', async () => {
    const test = await named({ subject: 'meter', expiresAt: Date.now() + 60_000 }, ['header', 'message']);
    expect(await sessionOf(test, {})).toBe('FORBIDDEN');
  });
});

describe('the start', () => {
  const complaint = (auth: AuthOptions, firewall: WsGatewayOptions['firewall'] = {}, needsKeys = false): string => {
    try {
      resolveOptions({ auth, firewall }, needsKeys);
    } catch (error) {
      return (error as Error).message;
    }
    return 'none';
  };
  const secret = 'a-secret-for-tests-of-at-least-32-bytes';

  it.each(['basic', { header: 'x-api-key' }, { query: 'key' }] as const)(
    'stops where %j is a source and no Authenticator is there',
    (source) => {
      expect(complaint({ jwt: { secret }, sources: [source] }, {}, true)).toMatch(
        /auth\.sources has (basic|header:x-api-key|query:key), which is no bearer token: provide an Authenticator/,
      );
    },
  );

  it.each([
    [{ header: 'Authorization' }],
    [{ header: 'cookie' }],
    [{ header: 'Sec-WebSocket-Key' }],
    [{ header: 'a b' }],
    [{ header: '' }],
    [{ query: 'access_token' }],
    [{ query: 'ticket' }],
    [{ query: 'a&b' }],
    [{ cookie: 'a=b' }],
    [{ header: 'a', query: 'b' }],
    [{}],
    ['header:x-api-key'],
    [null],
  ])('stops at the source %j', (source) => {
    expect(complaint({ sources: [source] as unknown as AuthOptions['sources'] })).toContain(
      'auth.sources must be a list',
    );
  });

  it('stops at a source that is there twice, whatever its case', () => {
    expect(complaint({ sources: [{ header: 'X-Key' }, { header: 'x-key' }] })).toContain('each once');
  });

  it('stops where a browser would send the credential for any page', () => {
    expect(complaint({ sources: [{ cookie: 'sid' }] })).toContain(
      'firewall.origins must list the origins that may connect, since auth.sources has "cookie:sid"',
    );
    expect(complaint({ sources: ['basic'] }, { origins: ['*'] })).toContain('firewall.origins must not have "*"');
    expect(complaint({ sources: [{ cookie: 'sid' }] }, { origins: [ORIGIN], dryRun: true })).toContain(
      'firewall.dryRun',
    );
    expect(complaint({ sources: ['basic', { header: 'x-api-key' }] })).toBe('none');
  });

  it('stops where the Authenticator leaves a source out, or bearer tokens to keys that are not there', async () => {
    const startWith = (auth: AuthOptions): Promise<unknown> => startApp({ providers, options: { auth } });
    @Injectable()
    class Passwords extends Keys {
      override readonly kinds = ['basic'] as unknown as Keys['kinds'];
    }
    await expect(
      startApp({
        providers: [{ provide: Authenticator, useClass: Passwords }],
        options: { auth: { sources: ['basic', { header: 'x-api-key' }] } },
      }),
    ).rejects.toThrow('auth.sources has header:x-api-key, and the kinds of Passwords have no header');
    await expect(startWith({ jwt: undefined as never, sources: ['basic', 'header'] })).rejects.toThrow(
      'The kinds of Keys leave bearer tokens to auth.jwt, which has no keys',
    );
  });
});
