import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { JwtService } from '@nestjs/jwt';
import type { Algorithm } from '../../src/index.js';

export const SECRET = 'a-secret-for-tests-of-at-least-32-bytes';

const jwt = new JwtService({});

/** How a token is signed, where it is not by HS256 under SECRET. */
export interface Signature {
  key?: string | KeyObject;
  algorithm?: Algorithm;
  kid?: string;
  header?: Record<string, unknown>;
}

/** A token that expires in an hour, unless the claims say otherwise; a claim of `undefined` is left out. */
export function token(claims: Record<string, unknown> = {}, secret = SECRET): string {
  return signed(claims, { key: secret });
}

export function signed(
  claims: Record<string, unknown>,
  { key = SECRET, algorithm = 'HS256', kid, header }: Signature,
): string {
  const now = Math.floor(Date.now() / 1000);
  const payload = Object.fromEntries(
    Object.entries({ sub: 'ada', iat: now, exp: now + 3_600, ...claims }).filter(([, value]) => value !== undefined),
  );
  return jwt.sign(payload, {
    secret: key as string, // because jsonwebtoken takes a KeyObject as well
    algorithm,
    noTimestamp: payload.iat === undefined, // which would take a given one out, too
    ...(kid !== undefined && { keyid: kid }),
    ...(header !== undefined && { header: { alg: algorithm, ...header } }),
  });
}

/** A key pair for RS256 or, on its curve, for ES256. */
export function keyPair(
  type: 'rsa' | 'ec',
  namedCurve = 'P-256',
): { publicKey: KeyObject; privateKey: KeyObject; pem: string } {
  const { publicKey, privateKey } =
    type === 'rsa' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ec', { namedCurve });
  return { publicKey, privateKey, pem: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
}
