import { constants, createHmac, timingSafeEqual, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { invalid, jsonOf } from '../token.js';
import type { Algorithm } from './issuers.js';

/** The parts of a signed token in its compact form (RFC 7515 §7.1), not yet verified. */
export interface Jws {
  readonly header: Record<string, unknown>;
  readonly payload: Record<string, unknown>;
  /** What the signature covers: header and payload, as they were sent. */
  readonly signed: string;
  readonly signature: Buffer;
  /** Of the whole token, in bytes. */
  readonly length: number;
}

/** Base64url without padding. A decoder would skip any other character, so two spellings would be one token. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** @throws GatewayError TOKEN_INVALID, whose reason quotes nothing of the token */
export function parseJws(token: string): Jws {
  if (!COMPACT.test(token)) throw invalid('malformed');
  const first = token.indexOf('.');
  const last = token.lastIndexOf('.');
  const header = jsonOf(token.slice(0, first));
  const payload = jsonOf(token.slice(first + 1, last));
  if (header === undefined || payload === undefined) throw invalid('malformed');
  const signature = Buffer.from(token.slice(last + 1), 'base64url');
  return { header, payload, signed: token.slice(0, last), signature, length: token.length };
}

/**
 * True for a signature that the key verifies (RFC 7518 §3).
 *
 * @param algorithm one that fits the key
 */
export function isSigned({ signed, signature }: Jws, algorithm: Algorithm, key: KeyObject): boolean {
  const hash = `sha${algorithm.slice(2)}`;
  switch (algorithm) {
    case 'HS256':
    case 'HS384':
    case 'HS512': {
      const mac = createHmac(hash, key).update(signed).digest();
      return mac.length === signature.length && timingSafeEqual(mac, signature);
    }
    case 'RS256':
    case 'RS384':
    case 'RS512':
      return verify(hash, Buffer.from(signed), key, signature);
    case 'PS256':
    case 'PS384':
    case 'PS512': {
      const padding = constants.RSA_PKCS1_PSS_PADDING;
      // RFC 7518 §3.5: the salt is as long as the hash.
      return verify(
        hash,
        Buffer.from(signed),
        { key, padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
        signature,
      );
    }
    case 'ES256':
    case 'ES384':
    case 'ES512':
      // RFC 7518 §3.4: r and s one after the other, of fixed length, and not DER.
      return verify(hash, Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }, signature);
    default:
      return algorithm satisfies never;
  }
}
