import { createSecretKey } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { Deadlines } from '../../src/authentication/deadlines.js';
import { WsSessions } from '../../src/index.js';
import type { JwtIssuerOptions, JwtOptions } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { jwk, startKeyServer, stopKeyServers } from '../support/jwks.js';
import { keyPair, SECRET, signed, token } from '../support/tokens.js';
import { ANY, byRsa, verdictOn } from '../support/verdicts.js';

afterEach(stopApps);
afterEach(stopKeyServers);

const start = (jwt: JwtOptions): Promise<TestApp> => startApp({ options: { auth: { jwt } } });

const OLD = 'the-old-secret-of-at-least-32-bytes!';
const NEW = 'the-new-secret-of-at-least-32-bytes!';
const rsa = keyPair('rsa');
const otherRsa = keyPair('rsa');
const ec = keyPair('ec');

describe('secrets by kid', () => {
  it('overlap during a rotation: the old and the new one', async () => {
    const app = await start({ secrets: { old: OLD, new: NEW } });
    expect(await verdictOn(app, signed({}, { key: OLD, kid: 'old' }))).toBe('ada');
    expect(await verdictOn(app, signed({}, { key: NEW, kid: 'new' }))).toBe('ada');
  });

  it('verify nothing but the tokens that name them', async () => {
    const app = await start({ secrets: { old: OLD, new: NEW } });
    expect(await verdictOn(app, signed({}, { key: OLD, kid: 'new' }))).toBe('TOKEN_INVALID');
    expect(await verdictOn(app, signed({}, { key: OLD }))).toBe('TOKEN_INVALID');
    expect(await verdictOn(app, signed({}, { key: SECRET, kid: 'old' }))).toBe('TOKEN_INVALID');
  });

  it.each(['../../../../dev/null', "' OR 1=1 --", 'toString', '__proto__', 'constructor', '', 'x'.repeat(2_000)])(
    'are looked up and nothing else: kid %j is TOKEN_INVALID',
    async (kid) => {
      const app = await start({ secrets: { old: OLD } });
      // Signed with what a careless look-up would have come back with: nothing.
      expect(await verdictOn(app, signed({}, { key: createSecretKey(Buffer.alloc(0)), header: { kid } }))).toBe(
        'TOKEN_INVALID',
      );
    },
  );

  it('refuse a kid that is no text', async () => {
    const app = await start({ secrets: { old: OLD } });
    for (const kid of [1, ['old'], { toString: 'old' }, null]) {
      expect(await verdictOn(app, signed({}, { key: OLD, header: { kid } }))).toBe('TOKEN_INVALID');
    }
  });

  it('stand beside a secret for tokens without a kid', async () => {
    const app = await start({ secret: SECRET, secrets: { new: NEW } });
    expect(await verdictOn(app, token())).toBe('ada');
    expect(await verdictOn(app, signed({}, { key: NEW, kid: 'new' }))).toBe('ada');
    expect(await verdictOn(app, signed({}, { key: SECRET, kid: 'new' }))).toBe('TOKEN_INVALID');
  });

  it.each(['HS384', 'HS512'] as const)('verify %s when it is configured', async (algorithm) => {
    const app = await start({ secrets: { one: NEW }, algorithms: [algorithm] });
    expect(await verdictOn(app, signed({}, { key: NEW, kid: 'one', algorithm }))).toBe('ada');
    expect(await verdictOn(app, signed({}, { key: NEW, kid: 'one', algorithm: 'HS256' }))).toBe('TOKEN_INVALID');
  });
});

describe('public keys by kid', () => {
  it('are of one kind or another, each with its own algorithm', async () => {
    const app = await start({ publicKeys: { r: rsa.pem, e: ec.pem } });
    expect(await verdictOn(app, signed({}, { key: rsa.privateKey, algorithm: 'RS256', kid: 'r' }))).toBe('ada');
    expect(await verdictOn(app, signed({}, { key: ec.privateKey, algorithm: 'ES256', kid: 'e' }))).toBe('ada');
    expect(await verdictOn(app, signed({}, { key: ec.privateKey, algorithm: 'ES256', kid: 'r' }))).toBe(
      'TOKEN_INVALID',
    );
    expect(await verdictOn(app, signed({}, { key: otherRsa.privateKey, algorithm: 'RS256', kid: 'r' }))).toBe(
      'TOKEN_INVALID',
    );
  });

  it('never verify an HMAC', async () => {
    const app = await start({ publicKeys: { r: rsa.pem } });
    const confused = signed({}, { key: createSecretKey(Buffer.from(rsa.pem)), kid: 'r' });
    expect(await verdictOn(app, confused)).toBe('TOKEN_INVALID');
  });
});

describe('several issuers', () => {
  const jwt: JwtOptions = {
    secret: SECRET,
    audience: 'ws',
    issuers: [
      { issuer: 'https://one.test', publicKey: rsa.pem },
      { issuer: ['https://two.test', 'https://zwei.test'], secret: NEW, audience: 'two' },
    ],
  };

  it('judge the tokens that name them, with keys and audience of their own', async () => {
    const app = await start(jwt);
    const one = { key: rsa.privateKey, algorithm: 'RS256' } as const;
    expect(await verdictOn(app, signed({ iss: 'https://one.test', aud: 'ws' }, one))).toBe('ada');
    expect(await verdictOn(app, signed({ iss: 'https://zwei.test', aud: 'two' }, { key: NEW }))).toBe('ada');
    expect(await verdictOn(app, token({ aud: 'ws' }))).toBe('ada');
    expect(await verdictOn(app, token({ aud: 'ws', iss: 'https://else.test' }))).toBe('ada');
    // Nobody signs for another.
    expect(await verdictOn(app, signed({ iss: 'https://two.test', aud: 'two' }, one))).toBe('TOKEN_INVALID');
    expect(await verdictOn(app, token({ iss: 'https://one.test', aud: 'ws' }))).toBe('TOKEN_INVALID');
    expect(await verdictOn(app, signed({ iss: 'https://one.test', aud: 'ws' }, { key: NEW }))).toBe('TOKEN_INVALID');
    expect(await verdictOn(app, signed({ iss: 'https://two.test', aud: 'ws' }, { key: NEW }))).toBe('TOKEN_INVALID');
    expect(await verdictOn(app, signed({ iss: 'https://one.test' }, one))).toBe('TOKEN_INVALID'); // the audience is inherited
  });

  it('refuse who is none of them', async () => {
    const app = await start({ issuers: [{ issuer: 'https://two.test', secret: NEW }] });
    expect(await verdictOn(app, signed({ iss: 'https://two.test' }, { key: NEW }))).toBe('ada');
    for (const iss of ['https://three.test', undefined, ['https://two.test'], '__proto__']) {
      expect(await verdictOn(app, signed({ iss }, { key: NEW }))).toBe('TOKEN_INVALID');
    }
  });
});

describe('what an issuer may say of its subjects', () => {
  const iss = 'https://partner.test';
  const claims = { iss, sub: 'ada', roles: ['admin', 'buyer'], scope: 'read ws-gateway:admin' };
  const partner = (extra: object = {}): string => signed({ ...claims, ...extra }, { key: NEW });
  const allow = (options: Omit<JwtIssuerOptions, 'issuer'>, more: JwtOptions = { secret: SECRET }): Promise<TestApp> =>
    start({ ...more, issuers: [{ issuer: iss, secret: NEW, ...options }] });

  async function principalOf({ url }: TestApp, bearer: string): Promise<unknown> {
    const client = await Client.connect(`${url}/ws`, { token: bearer });
    const { data } = await client.ask({ event: 'session', id: 1 });
    const { subject, roles, scopes, code } = data as Record<string, unknown>;
    return code ?? { subject, roles, scopes };
  }

  it('of the first issuer is all, and of a further one nothing', async () => {
    const app = await allow({});
    const own = token({ roles: ['admin'], scope: 'read' });
    expect(await principalOf(app, own)).toEqual({ subject: 'ada', roles: ['admin'], scopes: ['read'] });
    expect(await principalOf(app, partner())).toEqual({ subject: 'ada', roles: [], scopes: [] });
  });

  it('of the first in the list is all where no key stands before the list', async () => {
    const other = { issuer: 'https://other.test', secret: OLD };
    const app = await start({ issuers: [{ issuer: iss, secret: NEW }, other] });
    expect(await principalOf(app, partner())).toMatchObject({ roles: claims.roles });
    expect(await principalOf(app, signed({ ...claims, iss: other.issuer }, { key: OLD }))).toMatchObject({ roles: [] });
  });

  it('is what its list allows, whatever else its tokens say', async () => {
    const app = await allow({ roles: ['buyer', 'seller'], scopes: ['read'] });
    expect(await principalOf(app, partner())).toEqual({ subject: 'ada', roles: ['buyer'], scopes: ['read'] });
    const trusted = await allow({ roles: 'all', scopes: 'all' });
    expect(await principalOf(trusted, partner())).toMatchObject({ roles: ['admin', 'buyer'] });
  });

  it('is limited for the first issuer where the options say so', async () => {
    const app = await start({ secret: SECRET, roles: ['buyer'], scopes: [] });
    expect(await principalOf(app, token({ roles: ['admin', 'buyer'], scope: 'read' }))).toMatchObject({
      roles: ['buyer'],
      scopes: [],
    });
  });

  it('with a prefix makes another subject than the first issuer’s of that name', async () => {
    const app = await allow({ subjectPrefix: 'partner:' });
    expect(await verdictOn(app, partner())).toBe('partner:ada');
    expect(await verdictOn(app, partner({ sub: 7 }))).toBe('partner:7');
    expect(await verdictOn(app, token())).toBe('ada');
    await app.app.get(WsSessions).revoke({ subject: 'ada' });
    expect(await verdictOn(app, partner())).toBe('partner:ada');
  });

  it('can be said by a function of the claims', async () => {
    const app = await allow({ subject: ({ oid }) => String(oid), subjectPrefix: 'p:' });
    expect(await verdictOn(app, partner({ oid: 'x1' }))).toBe('p:x1');
  });

  it.each([
    ['nothing', () => ''],
    ['no string', () => 1],
    ['a promise that rejects', () => Promise.reject(new Error('late'))],
    [
      'an error',
      () => {
        throw new Error('boom');
      },
    ],
  ])('lets nobody in, and ends no process, where the function returns %s', async (_, subject) => {
    const app = await allow({ subject: subject as () => string });
    expect(await verdictOn(app, partner())).toBe('INTERNAL');
    await new Promise(setImmediate); // an unhandled rejection would fail the run
  });

  it('does not let one issuer’s token id be taken for another’s when the revocation names the issuer', async () => {
    const app = await allow({});
    const sessions = app.app.get(WsSessions);
    await sessions.revoke({ tokenId: '1', issuer: iss });
    expect(await verdictOn(app, token({ jti: '1' }))).toBe('ada');
    expect(await verdictOn(app, partner({ jti: '1' }))).toBe('SESSION_REVOKED');
    await sessions.revoke({ tokenId: '2' });
    expect(await verdictOn(app, token({ jti: 2 }))).toBe('SESSION_REVOKED');
    expect(await verdictOn(app, partner({ jti: '2' }))).toBe('SESSION_REVOKED');
    await expect(sessions.revoke({ subject: 'ada', issuer: iss })).rejects.toThrow(TypeError);
  });
});

describe('a JWKS endpoint', () => {
  it('gives the keys, each for its own kind of token', async () => {
    const server = await startKeyServer({ keys: [jwk(rsa.publicKey, 'r'), jwk(ec.publicKey, 'e')] });
    const app = await start({ jwksUri: server.uri, ...ANY });
    expect(await verdictOn(app, byRsa(rsa, 'r'))).toBe('ada');
    expect(await verdictOn(app, signed({}, { key: ec.privateKey, algorithm: 'ES256', kid: 'e' }))).toBe('ada');
    expect(await verdictOn(app, byRsa(rsa, 'e'))).toBe('TOKEN_INVALID');
    expect(await verdictOn(app, signed({}, { key: createSecretKey(Buffer.from(rsa.pem)), kid: 'r' }))).toBe(
      'TOKEN_INVALID',
    );
    expect(await verdictOn(app, byRsa(rsa))).toBe('ada'); // only one key can be meant
  });

  it('decides by the alg of a key, and leaves keys that are not for signatures alone', async () => {
    const keys = [
      jwk(rsa.publicKey, 'ps', { alg: 'PS256' }),
      jwk(otherRsa.publicKey, 'enc', { use: 'enc' }),
      jwk(keyPair('rsa').publicKey, 'sig'),
    ];
    const app = await start({ jwksUri: (await startKeyServer({ keys })).uri, ...ANY });
    expect(await verdictOn(app, signed({}, { key: rsa.privateKey, algorithm: 'PS256', kid: 'ps' }))).toBe('ada');
    expect(await verdictOn(app, byRsa(rsa, 'ps'))).toBe('TOKEN_INVALID');
    expect(await verdictOn(app, byRsa(otherRsa, 'enc'))).toBe('TOKEN_INVALID');
  });

  it('is asked once for many, and at a limited rate for key ids that strangers invent', async () => {
    const server = await startKeyServer({ keys: [jwk(rsa.publicKey, 'r')] });
    const app = await start({ jwksUri: server.uri, ...ANY });
    expect(await Promise.all(Array.from({ length: 20 }, () => verdictOn(app, byRsa(rsa, 'r'))))).toEqual(
      Array(20).fill('ada'),
    );
    expect(server.requests).toBe(1);
    for (let i = 0; i < 40; i++)
      expect(await verdictOn(app, byRsa(rsa, `invented-${i}`))).toBe(i < 10 ? 'TOKEN_INVALID' : 'OVERLOADED');
    expect(server.requests).toBeLessThanOrEqual(11);
    expect(await verdictOn(app, byRsa(rsa, 'r'))).toBe('ada');
    app.clock.advance(60_000);
    await verdictOn(app, byRsa(rsa, 'invented-again'));
    expect(server.requests).toBeLessThanOrEqual(12);
  });

  it('brings a new key with the first token that names it, and takes an old one away', async () => {
    const server = await startKeyServer({ keys: [jwk(rsa.publicKey, 'old')] });
    const app = await start({ jwksUri: server.uri, ...ANY });
    expect(await verdictOn(app, byRsa(rsa, 'old'))).toBe('ada');
    server.answer = { keys: [jwk(otherRsa.publicKey, 'new')] };
    expect(await verdictOn(app, byRsa(otherRsa, 'new'))).toBe('ada');
    // It was verified before and remembered; its key is not there any more.
    expect(await verdictOn(app, byRsa(rsa, 'old'))).toBe('TOKEN_INVALID');
  });

  it('that is down leaves the known keys in use, and its recovery is noticed', async () => {
    const server = await startKeyServer({ keys: [jwk(rsa.publicKey, 'r')] });
    const app = await start({ jwksUri: server.uri, ...ANY });
    expect(await verdictOn(app, byRsa(rsa, 'r'))).toBe('ada');
    await server.stop();
    for (let hour = 0; hour < 3; hour++) {
      app.clock.advance(900_000);
      expect(
        await verdictOn(app, signed({ jti: `${hour}` }, { key: rsa.privateKey, algorithm: 'RS256', kid: 'r' })),
      ).toBe('ada');
    }
    expect(await verdictOn(app, byRsa(rsa, 'unknown'))).toBe('OVERLOADED'); // who knows
    await server.restart();
    server.answer = { keys: [jwk(otherRsa.publicKey, 'unknown')] };
    app.clock.advance(60_000);
    expect(await verdictOn(app, byRsa(otherRsa, 'unknown'))).toBe('ada');
  });

  it.each([
    ['answers with an error', 500],
    ['answers with no JSON', 'nonsense'],
    ['has no keys', { keys: [] }],
    ['has a secret and nothing else', { keys: [{ kty: 'oct', k: 'AAAA', kid: 'r' }] }],
    ['answers without an end', 'x'.repeat(600_000)],
  ])('that %s lets nobody in and does not stop the start', async (_, answer) => {
    const server = await startKeyServer(answer);
    const app = await start({ jwksUri: server.uri, ...ANY });
    expect(await verdictOn(app, byRsa(rsa, 'r'))).toBe('OVERLOADED');
    const { data } = (await Client.connect(`${app.url}/ws`, { token: byRsa(rsa, 'r') }).then((client) =>
      client.next(),
    )) as {
      data: object;
    };
    expect(data).toMatchObject({ closeCode: 1013, reconnect: true, retryAfterMs: 5_000 });
  });

  it('that does not answer is waited for no longer than auth.timeoutMs', async () => {
    const server = await startKeyServer(undefined);
    const app = await start({ jwksUri: server.uri, ...ANY });
    const answer = verdictOn(app, byRsa(rsa, 'r'));
    await until(() => app.app.get(Deadlines, { strict: false }).size === 1);
    app.clock.advance(10_000);
    expect(await answer).toBe('OVERLOADED');
    expect(app.log.lines.at(-1)).toMatchObject({ code: 'OVERLOADED', level: 'error' });
  });
});
