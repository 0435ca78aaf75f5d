import { GatewayError } from '../protocol/errors.js';
import { kindOf } from './credentials.js';
import type { Credential } from './credentials.js';
import { digestOf, secretDigestOf, UnknownKey } from './token.js';

/** Digests of the tokens that errors are about. They are with the error no longer than it is there, and in nothing that is logged. */
const DIGESTS = new WeakMap<object, string>();

/** Remembers which credential is refused, so that the firewall can tell the same one from another. @returns the error */
export function refusedFor({ source, token }: Credential, error: unknown): unknown {
  const isCounted = error instanceof UnknownKey || (error instanceof GatewayError && error.code === 'TOKEN_INVALID');
  if (isCounted) DIGESTS.set(error, kindOf(source).kind === 'bearer' ? digestOf(token) : secretDigestOf(source, token));
  return error;
}

/** Digest of the token that an error is about; undefined for an error of the application's own. */
export function refusedDigestOf(error: GatewayError): string | undefined {
  return DIGESTS.get(error);
}
