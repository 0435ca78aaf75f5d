import { createSecretKey, sign } from 'node:crypto';
import { expect, it } from 'vitest';
import { JwtVerifier } from '../../../src/authentication/jwt/jwt-verifier.js';
import type { Algorithm } from '../../../src/index.js';
import { isSigned, parseJws } from '../../../src/authentication/jwt/jws.js';
import { ALGORITHMS, fits } from '../../../src/authentication/jwt/issuers.js';
import { resolveOptions } from '../../../src/ws-gateway.options.js';
import { keyPair, SECRET, signed } from '../../support/tokens.js';

const clock = { now: () => Date.now(), monotonic: () => performance.now() };
const secret = createSecretKey(Buffer.from(SECRET.repeat(2)));
const rsa = keyPair('rsa');
const curves = { ES256: keyPair('ec'), ES384: keyPair('ec', 'P-384'), ES512: keyPair('ec', 'P-521') };

function keysOf(algorithm: Algorithm): { publicKey: typeof secret; privateKey: typeof secret } {
  if (algorithm.startsWith('HS')) return { publicKey: secret, privateKey: secret };
  return algorithm in curves ? curves[algorithm as keyof typeof curves] : rsa; // because `in` says nothing of types
}

it.each(ALGORITHMS)('a signature of %s is good, and with another letter it is not', (algorithm) => {
  const { publicKey, privateKey } = keysOf(algorithm);
  expect(fits(algorithm, publicKey)).toBe(true);
  const token = signed({}, { key: privateKey, algorithm });
  const jws = parseJws(token);
  expect(isSigned(jws, algorithm, publicKey)).toBe(true);
  expect(
    isSigned({ ...jws, signed: jws.signed.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')) }, algorithm, publicKey),
  ).toBe(false);
  for (const signature of [
    Buffer.alloc(0),
    jws.signature.subarray(1),
    Buffer.concat([jws.signature, jws.signature]),
    Buffer.alloc(jws.signature.length),
  ]) {
    expect(isSigned({ ...jws, signature }, algorithm, publicKey)).toBe(false);
  }
});

it('a signature of ECDSA is r and s, and no DER', () => {
  const { privateKey, publicKey } = curves.ES256;
  const jws = parseJws(signed({}, { key: privateKey, algorithm: 'ES256' }));
  const signature = sign('sha256', Buffer.from(jws.signed), privateKey);
  expect(isSigned({ ...jws, signature }, 'ES256', publicKey)).toBe(false);
});

it('the example of RFC 7515, appendix A.1, is signed, and has expired', () => {
  const key = createSecretKey(
    Buffer.from('AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow', 'base64url'),
  );
  const token =
    'eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9' +
    '.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ' +
    '.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk';
  expect(isSigned(parseJws(token), 'HS256', key)).toBe(true);
  const { issuers, claims } = resolveOptions({ auth: { jwt: { secret: key.export() } } }).auth;
  const authenticator = new JwtVerifier(issuers, claims, clock);
  expect(() => authenticator.authenticate(token)).toThrow(expect.objectContaining({ code: 'TOKEN_EXPIRED' }) as Error);
});

const good = signed({}, {});
const [header = '', payload = '', signature = ''] = good.split('.');

it.each([
  ['no signature', `${header}.${payload}.`],
  ['two parts', `${header}.${payload}`],
  ['four parts', `${good}.`],
  ['padding', `${good}=`],
  ['the other alphabet', `${header}.${payload}.${signature.slice(0, -1)}+`],
  ['a space', ` ${good}`],
  ['a line break at its end', `${good}\n`],
  ['a header that is no JSON', `AAAA.${payload}.${signature}`],
  ['a header that is a list', `${Buffer.from('[]').toString('base64url')}.${payload}.${signature}`],
  ['a payload that is no object', `${header}.${Buffer.from('"x"').toString('base64url')}.${signature}`],
  ['nothing', ''],
])('a token with %s is malformed', (_, token) => {
  expect(() => parseJws(token)).toThrow(
    expect.objectContaining({ code: 'TOKEN_INVALID', cause: 'malformed' }) as Error,
  );
});

it('remembers five thousand verified tokens, and forgets the oldest first', () => {
  const { issuers, claims } = resolveOptions({ auth: { jwt: { secret: secret.export() } } }).auth;
  const authenticator = new JwtVerifier(issuers, claims, clock);
  const tokens = Array.from({ length: 5_001 }, (_, index) => signed({ sub: `s${index}` }, { key: secret }));
  const principals = tokens.map((token) => authenticator.authenticate(token));
  expect(authenticator.size).toBe(5_000);
  expect(authenticator.authenticate(tokens[1] ?? '')).toBe(principals[1]);
  expect(authenticator.authenticate(tokens[0] ?? '')).not.toBe(principals[0]);
  expect(authenticator.size).toBe(5_000);
  expect(authenticator.authenticate(tokens[1] ?? '')).not.toBe(principals[1]);
});
