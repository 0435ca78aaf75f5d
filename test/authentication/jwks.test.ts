import { createServer } from 'node:http';
import { once } from 'node:events';
import { generateKeyPairSync, sign } from 'node:crypto';
import type { LoggerService } from '@nestjs/common';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { jwk, startKeyServer, stopKeyServers } from '../support/jwks.js';
import { keyPair, signed } from '../support/tokens.js';

afterEach(stopApps);
afterEach(stopKeyServers);

const [old, young] = [keyPair('rsa'), keyPair('rsa')];

const start = (jwksUri: string, logger?: LoggerService): Promise<TestApp> =>
  startApp({
    options: { auth: { jwt: { jwksUri } } },
    ...(logger !== undefined && { before: (app) => app.useLogger(logger) }),
  });

const by = (pair: { privateKey: typeof old.privateKey }, kid?: string, jti = 'one'): string =>
  signed({ jti }, { key: pair.privateKey, algorithm: 'RS256', ...(kid !== undefined && { kid }) });

/** `in`, or the code that the token is turned away with. */
async function outcome({ url }: TestApp, bearer: string): Promise<string> {
  const client = await Client.connect(`${url}/ws`, { token: bearer });
  client.send({ event: 'ping', id: 1 });
  const { event, data } = await client.next();
  client.socket.terminate();
  return event === 'pong' ? 'in' : (data as { code: string }).code;
}

it.each([
  ['all who come are remembered', () => 'one'],
  ['all who come are new', (round: number) => `round ${round}`],
])('a key that is taken back is missed when %s', async (_, jtiOf) => {
  const server = await startKeyServer({ keys: [jwk(old.publicKey, 'old')] });
  const app = await start(server.uri);
  let round = 0;
  const come = (): Promise<string> => outcome(app, by(old, 'old', jtiOf(round++)));
  expect(await come()).toBe('in');
  server.answer = { keys: [jwk(young.publicKey, 'young')] };
  app.clock.jump(600_000);
  expect(await come()).toBe('in'); // stale, but it makes the keys be fetched
  await until(() => server.requests === 2);
  await expect.poll(come).toBe('TOKEN_INVALID');
});

it("a token without a kid is nobody's where two keys could be meant", async () => {
  const server = await startKeyServer({ keys: [jwk(old.publicKey, 'old'), jwk(young.publicKey)] });
  const app = await start(server.uri);
  expect(await outcome(app, by(old))).toBe('TOKEN_INVALID');
  expect(await outcome(app, by(young))).toBe('TOKEN_INVALID');
  expect(await outcome(app, by(old, 'old'))).toBe('in');
});

it('a weak key, and what comes after a hundred, is of no use', async () => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });
  const many = Array.from({ length: 99 }, (_, index) => jwk(old.publicKey, `k${index}`));
  const keys = [jwk(weak.publicKey, 'weak'), ...many, jwk(old.publicKey, 'last')];
  const app = await start((await startKeyServer({ keys })).uri);
  expect(await outcome(app, by(old, 'k98'))).toBe('in');
  expect(await outcome(app, by(old, 'last'))).toBe('TOKEN_INVALID');
  // By hand: jsonwebtoken verifies with a weak key, and signs with none.
  const [, payload] = by(old).split('.');
  const body = `${Buffer.from('{"alg":"RS256","kid":"weak"}').toString('base64url')}.${payload}`;
  const signature = sign('sha256', Buffer.from(body), weak.privateKey).toString('base64url');
  expect(await outcome(app, `${body}.${signature}`)).toBe('TOKEN_INVALID');
});

it.each([
  ['an empty set', { keys: [] }],
  [
    'a set without a key of use',
    { keys: [jwk(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey, 'weak')] },
  ],
  ['too much', { keys: [jwk(young.publicKey, 'young')], padding: 'x'.repeat(600_000) }],
])('%s leaves the known keys in use', async (_, answer) => {
  const server = await startKeyServer({ keys: [jwk(old.publicKey, 'old')] });
  const app = await start(server.uri);
  expect(await outcome(app, by(old, 'old'))).toBe('in');
  server.answer = answer;
  expect(await outcome(app, by(young, 'young'))).toBe('OVERLOADED');
  expect(await outcome(app, by(old, 'old', 'another'))).toBe('in');
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
    expect(await outcome(app, by(old, 'old'))).toBe('OVERLOADED');
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
  for (let i = 0; i < 5; i++) expect(await outcome(app, by(old, `k${i}`))).toBe('OVERLOADED');
  expect(server.requests).toBeGreaterThan(1);
  expect(lines).toEqual([expect.stringContaining('cannot be fetched (HTTP 500); no token can be verified')]);
  server.answer = { keys: [jwk(old.publicKey, 'old')] };
  expect(await outcome(app, by(old, 'old'))).toBe('in');
  expect(lines).toEqual([expect.anything(), expect.stringContaining('can be fetched again')]);
});
