import { afterEach, expect, it } from 'vitest';
import { WsSessions } from '../../src/index.js';
import type { ConnectionGuard } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { keyPair, signed, token } from '../support/tokens.js';

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
  expect(app.get(WsSessions).revoke({ sessionId: (data as { sessionId: string }).sessionId })).toBe(1);
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

it('a revocation while a connection guard is waited for keeps the client out', async () => {
  let release: (() => void) | undefined;
  const guard: ConnectionGuard = { canConnect: () => new Promise((resolve) => (release = () => resolve(true))) };
  const { url, app } = await startApp({ options: { auth: { connectionGuards: [guard] } } });
  const connecting = Client.connect(`${url}/ws`, { token: token() });
  await until(() => release !== undefined);
  app.get(WsSessions).revoke({ subject: 'ada' });
  release?.();
  const client = await connecting;
  client.send({ event: 'ping', id: 1 });
  expect(await client.next()).toMatchObject({ event: 'disconnect', data: { code: 'SESSION_REVOKED' } });
});
