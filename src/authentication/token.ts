import { createHmac, hash, randomBytes } from 'node:crypto';
import { GatewayError } from '../protocol/errors.js';
import { isJsonObject } from '../protocol/message.js';

/** Stands for a token or a ticket in tables. Both have full entropy, so a plain SHA-256 cannot be inverted by trial. */
export function digestOf(token: string): string {
  return hash('sha256', token, 'base64');
}

/** Lasts as long as the process, and so do the digests that it is for. */
const PROCESS_KEY = randomBytes(32);

/**
 * Stands for a password, an API key or the like in tables. People choose some of these, so the digest has a key: without
 * that, a reader of the heap could try out which credential it stands for.
 */
export function secretDigestOf(source: string, credential: string): string {
  return createHmac('sha256', PROCESS_KEY).update(`${source} ${credential}`).digest('base64');
}

/**
 * Stands for a token in revocations. A valid token has other spellings that are as valid (unused bits of a last letter, skipped
 * characters, `n - s` for `s` of an ECDSA). So the digest leaves out the signature of a JWS (RFC 7515 §7.1), encodes the parts of a
 * JWE (RFC 7516 §7.1) again, and takes any other token as it is.
 */
export function revocationDigestOf(token: string): string {
  const parts = token.split('.');
  const isJose = (parts.length === 3 || parts.length === 5) && typeof jsonOf(parts[0] ?? '')?.alg === 'string';
  if (!isJose) return digestOf(token);
  if (parts.length === 3) return digestOf(token.slice(0, token.lastIndexOf('.')));
  return digestOf(parts.map((part) => Buffer.from(part, 'base64url').toString('base64url')).join('.'));
}

/** A part of a token as an object; undefined when it is none. */
export function jsonOf(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString());
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined; // the caller reports it as malformed
  }
}

/**
 * The gateway does not know the key of a token, and cannot find out now whether it is new or invented. The client may come back. The
 * attempt counts against its address, and is no violation.
 */
export class UnknownKey extends GatewayError {
  constructor(retryAfterMs: number, cause: string) {
    super('OVERLOADED', { message: 'Authentication is not available', retryAfterMs, cause });
  }
}

/** `reason` is for the log and names no claim's value. */
export function invalid(reason: string): GatewayError {
  return new GatewayError('TOKEN_INVALID', { cause: reason });
}
