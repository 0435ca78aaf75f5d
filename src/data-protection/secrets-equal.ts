import { hash, timingSafeEqual } from 'node:crypto';

/**
 * Compares two secrets in a time that depends neither on where they differ nor on how long the expected one is: it compares
 * their digests, which have one length. Every comparison of a secret in this package comes here; a test lists them.
 */
export function secretsEqual(given: string | Uint8Array, expected: string | Uint8Array): boolean {
  return timingSafeEqual(hash('sha256', given, 'buffer'), hash('sha256', expected, 'buffer'));
}
