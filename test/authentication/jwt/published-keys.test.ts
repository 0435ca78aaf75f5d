import { createServer } from 'node:http';
import { once } from 'node:events';
import { generateKeyPairSync, sign } from 'node:crypto';
import type { LoggerService } from '@nestjs/common';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { Deadlines } from '../../../src/authentication/deadlines.js';
import { JwtVerifier } from '../../../src/authentication/jwt/jwt-verifier.js';
import { WsFirewall } from '../../../src/index.js';
import { startApp, stopApps, until } from '../../support/app.js';
import type { TestApp } from '../../support/app.js';
import { Client, refusal } from '../../support/client.js';
import type { Frame } from '../../support/client.js';
import { jwk, startKeyServer, stopKeyServers } from '../../support/jwks.js';
import type { KeyServer } from '../../support/jwks.js';
import { keyPair, signed } from '../../support/tokens.js';
import { ANY, byRsa, verdictOn } from '../../support/verdicts.js';

afterEach(stopApps);
afterEach(stopKeyServers);

const [old, young] = [keyPair('rsa'), keyPair('rsa')];

const start = (jwksUri: string, logger?: LoggerService): Promise<TestApp> =>
  startApp({
    options: { auth: { jwt: { jwksUri, ...ANY } } },
    ...(logger !== undefined && { before: (app) => app.useLogger(logger) }),
  });

it.each([
  ['all who come are remembered', () => 'one'],
  ['all who come are new', (round: number) => `round ${round}`],
])('a key that is taken back is missed when %s', async (_, jtiOf) => {
  const server = await startKeyServer({ keys: [jwk(old.publicKey, 'old')] });
  const app = await start(server.uri);
  let round = 0;
  const come = (): Promise<string> => verdictOn(app, byRsa(old, 'old', { jti: jtiOf(round++) }));
  expect(await come()).toBe('ada');
  server.answer = { keys: [jwk(young.publicKey, 'young')] };
  app.clock.jump(600_000);
  expect(await come()).toBe('ada'); // stale, but it makes the keys be fetched
  await until(() => server.requests === 2);
  await expect.poll(come).toBe('TOKEN_INVALID');
});

it("a token without a kid is nobody's where two keys could be meant", async () => {
  const server = await startKeyServer({ keys: [jwk(old.publicKey, 'old'), jwk(young.publicKey)] });
  const app = await start(server.uri);
  expect(await verdictOn(app, byRsa(old))).toBe('TOKEN_INVALID');
  expect(await verdictOn(app, byRsa(young))).toBe('TOKEN_INVALID');
  expect(await verdictOn(app, byRsa(old, 'old'))).toBe('ada');
});

it('a weak key, and what comes after a hundred, is of no use', async () => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });
  const many = Array.from({ length: 99 }, (_, index) => jwk(old.publicKey, `k${index}`));
  const keys = [jwk(weak.publicKey, 'weak'), ...many, jwk(old.publicKey, 'last')];
  const app = await start((await startKeyServer({ keys })).uri);
  expect(await verdictOn(app, byRsa(old, 'k98'))).toBe('ada');
  expect(await verdictOn(app, byRsa(old, 'last'))).toBe('TOKEN_INVALID');
  // By hand: jsonwebtoken verifies with a weak key, and signs with none.
  const [, payload] = byRsa(old).split('.');
  const body = `${Buffer.from('{"alg":"RS256","kid":"weak"}').toString('base64url')}.${payload}`;
  const signature = sign('sha256', Buffer.from(body), weak.privateKey).toString('base64url');
  expect(await verdictOn(app, `${body}.${signature}`)).toBe('TOKEN_INVALID');
});

it.each([
  ['an empty set', { keys: [] }],
  [
    'a set without a key of use',
    { keys: [jwk(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey, 'weak')] },
  ],
  ['what is no set', [jwk(young.publicKey, 'young')]],
  ['a set whose keys are no list', { keys: { young: jwk(young.publicKey, 'young') } }],
  ['too much', { keys: [jwk(young.publicKey, 'young')], padding: 'x'.repeat(600_000) }],
])('%s leaves the known keys in use', async (_, answer) => {
  const server = await startKeyServer({ keys: [jwk(old.publicKey, 'old')] });
  const app = await start(server.uri);
  expect(await verdictOn(app, byRsa(old, 'old'))).toBe('ada');
  server.answer = answer;
  expect(await verdictOn(app, byRsa(young, 'young'))).toBe('OVERLOADED');
  expect(await verdictOn(app, byRsa(old, 'old', { jti: 'another' }))).toBe('ada');
});

it('a key that is private, for other operations, for encryption or not readable does not count, and one line says so', async () => {
  const lines: string[] = [];
  const write = (message: unknown, ...rest: unknown[]): void => {
    if (rest.at(-1) === 'WsGatewayKeys') lines.push(String(message));
  };
  const keys = [
    { ...jwk(young.privateKey, 'private') },
    { kty: 'RSA', n: 1, e: 'AQAB', kid: 'broken' },
    { kty: 'oct', k: 'AAAA', kid: 'secret' },
    null,
    jwk(young.publicKey, 'signing', { key_ops: ['sign'] }),
    jwk(young.publicKey, 'encryption', { use: 'enc' }),
    jwk(old.publicKey, 'old', { key_ops: ['verify'] }),
  ];
  const { uri } = await startKeyServer({ keys });
  const app = await start(uri, { log: write, error: write, warn: write });
  expect(await verdictOn(app, byRsa(old, 'old'))).toBe('ada');
  for (const kid of ['private', 'signing', 'encryption']) {
    expect(await verdictOn(app, byRsa(young, kid))).toBe('TOKEN_INVALID');
  }
  expect(lines).toEqual([`3 of the keys at ${uri} cannot be used: too weak, of another kind, or too many`]);
});

it('a redirect, or keys with a status of failure, are not followed', async () => {
  const server = await startKeyServer({ keys: [jwk(old.publicKey, 'old')] });
  for (const [status, headers] of [
    [302, { location: server.uri }],
    [404, {}],
  ] as const) {
    const other = createServer((_, response) => {
      response.writeHead(status, headers).end(JSON.stringify({ keys: [jwk(old.publicKey, 'old')] }));
    }).listen(0, '127.0.0.1');
    await once(other, 'listening');
    const app = await start(`http://127.0.0.1:${(other.address() as AddressInfo).port}/`);
    expect(await verdictOn(app, byRsa(old, 'old'))).toBe('OVERLOADED');
    other.closeAllConnections();
    other.close();
  }
  expect(server.requests).toBe(0);
});

it('an endpoint that stays down is one line in the log, and another when it is back', async () => {
  const lines: string[] = [];
  const write = (message: unknown, ...rest: unknown[]): void => {
    if (rest.at(-1) === 'WsGatewayKeys') lines.push(String(message));
  };
  const server = await startKeyServer(500);
  const app = await start(server.uri, { log: write, error: write, warn: write });
  for (let i = 0; i < 5; i++) expect(await verdictOn(app, byRsa(old, `k${i}`))).toBe('OVERLOADED');
  expect(server.requests).toBeGreaterThan(1);
  expect(lines).toEqual([expect.stringContaining('cannot be fetched (HTTP 500); no token can be verified')]);
  server.answer = { keys: [jwk(old.publicKey, 'old')] };
  expect(await verdictOn(app, byRsa(old, 'old'))).toBe('ada');
  expect(lines).toEqual([expect.anything(), expect.stringContaining('can be fetched again')]);
});

describe('a key id that is not known', () => {
  const options = {
    auth: { jwt: { issuer: 'https://id.test', audience: 'ws' } },
    firewall: { failedAuthenticationsPerMinutePerAddress: 60, trustProxy: 1, ban: { violations: 20 } },
  };
  const now = Math.floor(Date.now() / 1000);
  const good = { iss: 'https://id.test', aud: 'ws' };
  const naming = (kid: string, claims: object = good, pair = young): string =>
    signed({ ...claims }, { key: pair.privateKey, algorithm: 'RS256', kid });

  async function serve(): Promise<{
    test: TestApp;
    server: KeyServer;
    come: (bearer: string, from?: string) => Promise<Frame>;
  }> {
    const server = await startKeyServer({ keys: [jwk(old.publicKey, 'old'), jwk(old.publicKey, 'older')] });
    const jwt = { ...options.auth.jwt, jwksUri: server.uri };
    const test = await startApp({ options: { ...options, auth: { jwt } } });
    await until(() => test.app.get(JwtVerifier, { strict: false }).problem === undefined);
    const come = async (bearer: string, from = '192.0.2.1'): Promise<Frame> => {
      const client = await Client.connect(`${test.url}/ws`, { token: bearer, headers: { 'x-forwarded-for': from } });
      client.send({ event: 'ping', id: 1 });
      const frame = await client.next();
      client.socket.terminate();
      return frame;
    };
    return { test, server, come };
  }
  const codeOf = ({ event, data }: Frame): string => (event === 'pong' ? 'in' : (data as { code: string }).code);

  it.each([
    ['of another issuer', { ...good, iss: 'https://evil.test' }, 'TOKEN_INVALID'],
    ['for another application', { ...good, aud: ['shop'] }, 'TOKEN_INVALID'],
    ['without an audience', { iss: good.iss }, 'TOKEN_INVALID'],
    ['that never expires', { ...good, exp: undefined }, 'TOKEN_INVALID'],
    ['that expires in the year 50000', { ...good, exp: 1.6e12 }, 'TOKEN_INVALID'],
    ['that is not good yet', { ...good, nbf: now + 600 }, 'TOKEN_INVALID'],
    ['that has expired', { ...good, exp: now - 600 }, 'TOKEN_EXPIRED'],
  ])('costs no look-up in a token %s', async (_, claims, code) => {
    const { server, come } = await serve();
    expect(codeOf(await come(naming('invented', claims)))).toBe(code);
    expect(server.requests).toBe(1);
  });

  it('costs no look-up where the id is known and the algorithm is not its own, nor where several keys could be meant', async () => {
    const { server, come } = await serve();
    const ec = keyPair('ec');
    expect(codeOf(await come(signed(good, { key: ec.privateKey, algorithm: 'ES256', kid: 'old' })))).toBe(
      'TOKEN_INVALID',
    );
    expect(codeOf(await come(signed(good, { key: old.privateKey, algorithm: 'RS256' })))).toBe('TOKEN_INVALID');
    expect(server.requests).toBe(1);
  });

  it('is OVERLOADED when no look-up is left, and the good token of a new key comes in after retryAfterMs', async () => {
    const { test, server, come } = await serve();
    // Each from an address of its own, so that none of them is suspect.
    for (let i = 0; i < 10; i++) await come(naming(`invented-${i}`), `198.51.100.${i}`);
    server.answer = { keys: [jwk(young.publicKey, 'new')] };
    const refused = await come(naming('new'));
    expect(refused).toMatchObject({
      event: 'disconnect',
      data: { code: 'OVERLOADED', closeCode: 1013, reconnect: true, retryAfterMs: expect.any(Number) as number },
    });
    test.clock.jump((refused.data as { retryAfterMs: number }).retryAfterMs);
    expect(codeOf(await come(naming('new')))).toBe('in');
  });

  it('that one address invents leaves half of the look-ups to others', async () => {
    const { server, come } = await serve();
    const outcomes = [];
    for (let i = 0; i < 20; i++) outcomes.push(codeOf(await come(naming(`invented-${i}`), '198.51.100.7')));
    expect(outcomes.filter((code) => code === 'TOKEN_INVALID').length).toBeLessThanOrEqual(5);
    expect(new Set(outcomes)).toEqual(new Set(['TOKEN_INVALID', 'OVERLOADED']));
    server.answer = { keys: [jwk(young.publicKey, 'new')] };
    expect(codeOf(await come(naming('new')))).toBe('in');
  });

  it('counts against the address that invents it, told or not, and the owner of a new key is not banned', async () => {
    const { test, come } = await serve();
    let count = 0;
    const codes: string[] = [];
    const from = { 'x-forwarded-for': '198.51.100.7' };
    while (count < 60) codes.push(codeOf(await come(naming(`invented-${count++}`), '198.51.100.7')));
    expect(codes.filter((code) => code === 'OVERLOADED').length).toBeGreaterThan(50);
    const headers = { ...from, authorization: `Bearer ${naming('invented')}` };
    expect(await refusal(`${test.url}/ws`, { headers })).toMatchObject({
      status: 429,
      body: { code: 'TOO_MANY_CONNECTIONS' },
    });
    expect(test.app.get(WsFirewall).bans()).toEqual([]);
  });

  it('counts as well where it comes in a message, and leaves the session to try again', async () => {
    const { test, server, come } = await serve();
    for (let i = 0; i < 10; i++) await come(naming(`invented-${i}`), `198.51.100.${i}`);
    const headers = { 'x-forwarded-for': '203.0.113.7' };
    const client = await Client.connect(`${test.url}/ws`, { headers });
    for (let id = 0; id < 60; id++) {
      const answer = await client.ask({ event: 'auth', data: { token: naming(`new-${id}`) }, id });
      expect(answer).toMatchObject({ event: 'exception', data: { code: 'OVERLOADED', retryable: true } });
    }
    expect((await refusal(`${test.url}/ws`, { headers })).status).toBe(429);
    server.answer = { keys: [jwk(young.publicKey, 'new')] };
    test.clock.jump(60_000);
    const answer = await client.ask({ event: 'auth', data: { token: naming('new') }, id: 60 });
    expect(answer).toMatchObject({ event: 'auth', data: { subject: 'ada' } });
  });

  it('is asked for once more where what was being fetched may be older than the key', async () => {
    const { test, server, come } = await serve();
    server.answer = undefined;
    const stranger = come(naming('invented'), '198.51.100.1');
    await until(() => server.requests === 2);
    const owner = come(naming('new'), '198.51.100.2');
    await until(() => test.app.get(Deadlines, { strict: false }).size === 2);
    server.answerWaiting({ keys: [jwk(old.publicKey, 'old')] });
    await until(() => server.requests === 3);
    server.answerWaiting({ keys: [jwk(young.publicKey, 'new')] });
    expect(codeOf(await owner)).toBe('in');
    expect(codeOf(await stranger)).toBe('TOKEN_INVALID');
  });
});
