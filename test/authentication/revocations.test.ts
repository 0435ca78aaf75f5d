import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Injectable } from '@nestjs/common';
import { afterEach, describe, expect, it } from 'vitest';
import { Authentication } from '../../src/authentication/authentication.js';
import { Revocations } from '../../src/authentication/revocations.js';
import { revocationDigestOf } from '../../src/authentication/token.js';
import { EarlierTokens } from '../../src/session/earlier-tokens.js';
import { Authenticator, JwtAuthenticator, WsSessions, WsTickets } from '../../src/index.js';
import type { ConnectionGuard, PrincipalInit } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { keyPair, SECRET, signed, token } from '../support/tokens.js';

afterEach(stopApps);

const rsa = keyPair('rsa');
const ec = keyPair('ec');

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** The same bytes of signature: the last of its letters has bits that nobody reads. */
const respelled = (jwt: string): string => jwt.slice(0, -1) + LETTERS[LETTERS.indexOf(jwt.at(-1) as string) ^ 1];

/** Order of the group of P-256. */
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** The other signature that is as good: `n - s` for `s`. */
function negated(jwt: string): string {
  const [header, payload, signature = ''] = jwt.split('.');
  const [r, s] = [signature.length, 0].map((_, half) =>
    Buffer.from(signature, 'base64url').subarray(half * 32, half * 32 + 32),
  ) as [Buffer, Buffer];
  const other = (N - BigInt(`0x${s.toString('hex')}`)).toString(16).padStart(64, '0');
  return [header, payload, Buffer.concat([r, Buffer.from(other, 'hex')]).toString('base64url')].join('.');
}

async function revokeSessionOf({ url, app }: TestApp, bearer: string): Promise<void> {
  const client = await Client.connect(`${url}/ws`, { token: bearer });
  const { data } = await client.ask({ event: 'session', id: 1 });
  expect((await app.get(WsSessions).revoke({ sessionId: (data as { sessionId: string }).sessionId })).ended).toBe(1);
}

/** `in`, or why it was ended. */
async function outcome({ url }: TestApp, bearer: string): Promise<string> {
  const client = await Client.connect(`${url}/ws`, { token: bearer });
  client.send({ event: 'ping', id: 1 });
  const { event, data } = await client.next();
  client.socket.terminate();
  return event === 'pong' ? 'in' : (data as { code: string }).code;
}

it.each([
  ['RS256', rsa, respelled],
  ['ES256', ec, respelled],
  ['ES256', ec, negated],
] as const)('a revoked token stays so with another spelling of its signature: %s', async (algorithm, pair, spell) => {
  const test = await startApp({ options: { auth: { jwt: { publicKey: pair.pem } } } });
  const [revoked, spared] = ['1', '2'].map((jti) => signed({ jti }, { key: pair.privateKey, algorithm }));
  await revokeSessionOf(test, revoked as string);
  expect(await outcome(test, spell(revoked as string))).toBe('SESSION_REVOKED');
  expect(await outcome(test, spell(spared as string))).toBe('in');
});

it.each([
  ['RS256', rsa, respelled],
  ['ES256', ec, respelled],
  ['ES256', ec, negated],
] as const)('nor where an Authenticator hands on a copy of the principal: %s', async (algorithm, pair, spell) => {
  @Injectable()
  class Copying extends Authenticator {
    constructor(private readonly jwt: JwtAuthenticator) {
      super();
    }
    override async authenticate(bearer: string): Promise<PrincipalInit> {
      return { ...(await this.jwt.authenticate(bearer)), roles: ['another'] };
    }
  }
  const providers = [{ provide: Authenticator, useClass: Copying }];
  const test = await startApp({ providers, options: { auth: { jwt: { publicKey: pair.pem } } } });
  const [revoked, spared] = ['1', '2'].map((jti) => signed({ jti }, { key: pair.privateKey, algorithm }));
  expect(await outcome(test, spell(revoked as string))).toBe('in'); // as good a spelling as any
  await revokeSessionOf(test, revoked as string);
  expect(await outcome(test, spell(revoked as string))).toBe('SESSION_REVOKED');
  expect(await outcome(test, spell(spared as string))).toBe('in');
});

describe('what a token is revoked by', () => {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

  it('is not the signature of a JWS, nor the spelling of a JWE', () => {
    const head = part({ alg: 'ES256' });
    expect(revocationDigestOf(`${head}.x.AA`)).toBe(revocationDigestOf(`${head}.x.AB`));
    expect(revocationDigestOf(`${head}.x.AA`)).not.toBe(revocationDigestOf(`${head}.y.AA`));
    const jwe = `${part({ alg: 'dir', enc: 'A256GCM' })}..AAAA.AAAA.AA`;
    for (const same of [`${jwe.slice(0, -1)}B`, `${jwe}=`, jwe.replace('..AAAA', '..A AAA')]) {
      expect(revocationDigestOf(same)).toBe(revocationDigestOf(jwe));
    }
    expect(revocationDigestOf(`${jwe.slice(0, -2)}BA`)).not.toBe(revocationDigestOf(jwe));
  });

  it.each(['v1.user.secret', 'a.b.c', `${part({ typ: 'mine' })}.a.b`, 'opaque'])(
    'is all of a token that is no JWT: %s',
    (opaque) => {
      expect(revocationDigestOf(opaque)).not.toBe(revocationDigestOf(`${opaque}2`));
    },
  );
});

describe('a session that has refreshed itself more often than its tokens are remembered', () => {
  const REFRESHES = 40;

  async function refreshed(test: TestApp, claims: (round: number) => object): Promise<string[]> {
    const bearers = Array.from({ length: REFRESHES }, (_, round) => token({ jti: `${round}`, ...claims(round) }));
    const client = await Client.connect(`${test.url}/ws`, { token: bearers[0] as string });
    for (const bearer of bearers.slice(1)) {
      expect(await client.ask({ event: 'auth', data: { token: bearer }, id: 1 })).toMatchObject({ event: 'auth' });
    }
    const { data } = await client.ask({ event: 'session', id: 2 });
    expect(
      (await test.app.get(WsSessions).revoke({ sessionId: (data as { sessionId: string }).sessionId })).ended,
    ).toBe(1);
    return bearers;
  }

  it.each([
    ['with a time of issue', (now: number) => (round: number) => ({ iat: now - 100 + round })],
    ['without one', () => () => ({ iat: undefined })],
  ])('is revoked with all of them: tokens %s', async (_, claims) => {
    const test = await startApp();
    const now = seconds(test);
    for (const bearer of await refreshed(test, claims(now)))
      expect(await outcome(test, bearer)).toBe('SESSION_REVOKED');
    expect(await outcome(test, token({ iat: now, jti: 'later' }))).toBe('in');
    expect(await outcome(test, token({ sub: 'eve', iat: 1 }))).toBe('in');
    expect(test.app.get(Revocations, { strict: false }).size).toBeLessThanOrEqual(34);
  });

  it('leaves the others of its subject alone once those that are not remembered have expired', () => {
    const earlier = new EarlierTokens();
    for (let i = 0; i < 40; i++) earlier.add({ digest: `${i}`, expiresAt: 1_000, issuedAt: i + 0.5 }, 10);
    expect(earlier.tokens.map(({ digest }) => digest)).toEqual(Array.from({ length: 32 }, (_, i) => `${i + 8}`));
    expect(earlier.forgottenBefore(999)).toBe(8);
    expect(earlier.forgottenBefore(1_000)).toBeUndefined();
    earlier.add({ digest: 'last', expiresAt: 2_000, issuedAt: 50 }, 1_000);
    expect(earlier.tokens).toHaveLength(1);
  });
});

it('a revocation by session holds for the token that its ticket was bought with, also by a copy', async () => {
  const test = await startApp({ options: { auth: { sources: ['header', 'ticket'] } } });
  const bearer = token({ jti: 'bought' });
  const principal = await test.app.get(Authentication).authenticate(bearer);
  const { ticket } = await test.app.get(WsTickets).issue({ ...principal, roles: ['less'] });
  const client = await Client.connect(`${test.url}/ws?ticket=${ticket}`);
  const { data } = await client.ask({ event: 'session', id: 1 });
  await test.app.get(WsSessions).revoke({ sessionId: (data as { sessionId: string }).sessionId });
  expect(await outcome(test, bearer)).toBe('SESSION_REVOKED');
});

it('a revocation while a connection guard is waited for keeps the client out', async () => {
  let release: (() => void) | undefined;
  const guard: ConnectionGuard = { canConnect: () => new Promise((resolve) => (release = () => resolve(true))) };
  const { url, app } = await startApp({ options: { auth: { connectionGuards: [guard] } } });
  const connecting = Client.connect(`${url}/ws`, { token: token({ iat: 1 }) });
  await until(() => release !== undefined);
  await app.get(WsSessions).revoke({ subject: 'ada' });
  release?.();
  const client = await connecting;
  client.send({ event: 'ping', id: 1 });
  expect(await client.next()).toMatchObject({ event: 'disconnect', data: { code: 'SESSION_REVOKED' } });
});

const DAY = 86_400;
const heartbeat = { intervalMs: 3_600_000 };
const seconds = ({ clock }: TestApp): number => Math.floor(clock.now() / 1000);

it('a revocation lasts as long as a token that is first shown after it', async () => {
  for (const filter of [{ subject: 'ada' }, { tokenId: '1' }, { issuedBefore: Math.floor(Date.now() / 1000) }]) {
    const test = await startApp({ options: { heartbeat } });
    await test.app.get(WsSessions).revoke(filter);
    const now = seconds(test);
    const bearer = token({ jti: '1', iat: now - 100, exp: now + 3 * DAY });
    expect(await outcome(test, bearer)).toBe('SESSION_REVOKED');
    test.clock.jump(2 * DAY * 1000);
    test.clock.advance(10_000);
    expect(await outcome(test, bearer)).toBe('SESSION_REVOKED');
    test.clock.jump(DAY * 1000);
    test.clock.advance(10_000);
    expect(test.app.get(Revocations, { strict: false }).size).toBe(0);
  }
});

it('a revocation covers the tolerance after the expiry', async () => {
  const jwt = { secret: SECRET, clockToleranceSec: 300 };
  const test = await startApp({ options: { auth: { jwt }, heartbeat } });
  const exp = seconds(test) + 2 * DAY;
  const bearer = token({ jti: '1', iat: 1, exp });
  expect(await outcome(test, bearer)).toBe('in');
  await until(() => test.app.get(WsSessions).count() === 0); // else the session's own token is revoked as well
  await test.app.get(WsSessions).revoke({ tokenId: '1' });
  test.clock.jump(2 * DAY * 1000);
  test.clock.advance(20_000);
  expect(await outcome(test, bearer)).toBe('SESSION_REVOKED');
});

it('a list that fills up while a subject is revoked has the subject in it', async () => {
  const test = await startApp();
  const revocations = test.app.get(Revocations, { strict: false });
  for (let i = 0; i < 99_999; i++) revocations.addTokenId(`t${i}`, test.clock.now());
  const client = await Client.connect(`${test.url}/ws`, { token: token({ iat: 1 }) });
  await client.ask({ event: 'ping', id: 1 });
  const sessions = test.app.get(WsSessions);
  await expect(sessions.revoke({ subject: 'ada' })).rejects.toThrow('The list of revocations is full');
  expect((await client.closed).reason).toBe('SESSION_REVOKED');
  expect(await outcome(test, token({ jti: 'other', iat: seconds(test) - 1 }))).toBe('SESSION_REVOKED');
  expect((await sessions.revoke({ subject: 'ada' })).ended).toBe(0); // it is in already
  await expect(sessions.revoke({ subject: 'eve' })).rejects.toThrow('The list of revocations is full');
});

it('a time in milliseconds revokes nobody', async () => {
  const test = await startApp();
  const sessions = test.app.get(WsSessions);
  for (const issuedBefore of [test.clock.now(), seconds(test) + 2 * DAY, Infinity]) {
    await expect(sessions.revoke({ issuedBefore })).rejects.toThrow(TypeError);
    await expect(sessions.revoke({ subject: 'ada', issuedBefore })).rejects.toThrow(TypeError);
  }
  expect(await outcome(test, token())).toBe('in');
});

it('a revocation stops what a client sent before it closed', async () => {
  const release: (() => void)[] = [];
  @WebSocketGateway()
  class SlowGateway {
    @SubscribeMessage('slow') slow(): Promise<void> {
      return new Promise((resolve) => release.push(resolve));
    }
  }
  const { url, app } = await startApp({ gateways: [SlowGateway], options: { limits: { maxConcurrentMessages: 1 } } });
  const sessions = app.get(WsSessions);
  const send = async (sub: string): Promise<void> => {
    const client = await Client.connect(`${url}/ws`, { token: token({ sub, iat: 1 }) });
    client.together(() => {
      for (let id = 0; id < 3; id++) client.send({ event: 'slow', id });
      client.socket.close();
    });
    await client.closed;
    await until(() => sessions.count() === 0);
  };
  await send('ada');
  await send('eve');
  await sessions.revoke({ subject: 'ada' });
  expect(release).toHaveLength(2);
  for (let turn = 0; turn < 5; turn++) {
    for (const each of release) each();
    await new Promise(setImmediate);
  }
  expect(release).toHaveLength(4); // one of ada's, and all three of eve's
});

it('a revocation of an earlier time takes no later one back', async () => {
  const test = await startApp();
  const now = seconds(test);
  for (const subject of ['ada', undefined]) {
    const of = subject === undefined ? {} : { subject };
    await test.app.get(WsSessions).revoke({ ...of, issuedBefore: now - 10 });
    await test.app.get(WsSessions).revoke({ ...of, issuedBefore: now - 1_000 });
    const sub = subject ?? 'eve';
    expect(await outcome(test, token({ sub, iat: now - 100 }))).toBe('SESSION_REVOKED');
    expect(await outcome(test, token({ sub, iat: now - 10 }))).toBe('in');
  }
});
