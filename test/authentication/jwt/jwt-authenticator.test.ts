import { createHmac } from 'node:crypto';
import { afterEach, expect, it } from 'vitest';
import { Authentication } from '../../../src/index.js';
import type { AuthOptions } from '../../../src/index.js';
import { startApp, stopApps } from '../../support/app.js';
import { SECRET, signed } from '../../support/tokens.js';

afterEach(stopApps);

const OTHER = 'another-secret-of-at-least-32-bytes!';

async function judge(jwt: AuthOptions['jwt'], bearer: string): Promise<string> {
  const { app } = await startApp({ options: { auth: { ...(jwt !== undefined && { jwt }) } } });
  try {
    return (await app.get(Authentication).authenticate(bearer)).subject;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Signed as it stands, whatever it says. */
function forge(claims: object): string {
  const exp = Math.floor(Date.now() / 1000) + 100;
  const body = `${part({ alg: 'HS256' })}.${part({ sub: 'ada', exp, ...claims })}`;
  return `${body}.${createHmac('sha256', SECRET).update(body).digest('base64url')}`;
}

it.each(['1', null, [1], {}, true])('iat %j is no time', async (iat) => {
  expect(await judge({ secret: SECRET }, forge({ iat }))).toBe('TOKEN_INVALID');
  expect(await judge({ secret: SECRET }, forge({ iat: 1 }))).toBe('ada');
});

it('a kid that nobody knows is refused, also where a secret stands for tokens without one', async () => {
  const jwt = { secret: SECRET, secrets: { known: OTHER } };
  expect(await judge(jwt, signed({}, { key: SECRET, kid: 'unknown' }))).toBe('TOKEN_INVALID');
  expect(await judge(jwt, signed({}, { key: SECRET }))).toBe('ada');
});
