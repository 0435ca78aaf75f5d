import { createHmac } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { KeyRing } from './key-ring.js';
import { secretsEqual } from './secrets-equal.js';

/** What a fingerprint is of: `address`, `subject`, `ticket`. The same value has another fingerprint in another domain. */
const DOMAIN = /^[a-z][a-z0-9.-]{0,63}$/;

/** The first 128 of the HMAC's 256 bits (RFC 2104 §5): enough that no second value with the same ones can be found. */
const FINGERPRINT_BYTES = 16;

/** Gives fingerprints other keys. It stands outside the class, so that an application cannot call it. */
export let replaceRing: (fingerprints: Fingerprints, ring: KeyRing) => void;

/**
 * Keyed pseudonyms: HMAC-SHA-256 of a domain and a value, as `kid.base64url`. Without the key an attacker cannot try
 * out which value stands behind one, as with a plain hash of an address or a user's name. Logs, audit, tickets and bans use this;
 * a plain SHA-256 is for values of full entropy alone, such as a token.
 *
 * The newest key makes fingerprints, those of older keys still match. Across rotations, and between nodes that do not
 * share their keys, equal values have different fingerprints.
 */
export class Fingerprints {
  #ring: KeyRing;

  constructor(ring: KeyRing) {
    this.#ring = ring;
  }

  static {
    replaceRing = (fingerprints, ring) => (fingerprints.#ring = ring);
  }

  /** With a random key of its own: fingerprints mean nothing to other nodes, or after a restart. */
  static ofProcess(): Fingerprints {
    return new Fingerprints(KeyRing.ofProcess());
  }

  /**
   * The fingerprint of a value under the newest key.
   *
   * @param domain 1 to 64 lower-case letters, digits, dots and hyphens, a letter first
   * @throws TypeError for another domain
   */
  of(domain: string, value: string | Uint8Array): string {
    return fingerprint(this.#ring.newest, check(domain), value);
  }

  /**
   * The fingerprints of a value under all keys, the newest first: what to look up in a table that outlives a rotation.
   *
   * @throws TypeError for a domain that {@link of} refuses
   */
  all(domain: string, value: string | Uint8Array): readonly string[] {
    check(domain);
    return this.#ring.keys.map((key) => fingerprint(key, domain, value));
  }

  /**
   * Is this a fingerprint of the value, under any key? Takes as long for the first key as for the last, and for none.
   *
   * @throws TypeError for a domain that {@link of} refuses
   */
  matches(domain: string, value: string | Uint8Array, candidate: string): boolean {
    let found = false;
    for (const expected of this.all(domain, value)) found = secretsEqual(candidate, expected) || found;
    return found;
  }
}

function check(domain: string): string {
  if (DOMAIN.test(domain)) return domain;
  throw new TypeError('A domain is 1 to 64 lower-case letters, digits, dots and hyphens, a letter first');
}

function fingerprint(
  { kid, key }: { kid: string; key: KeyObject },
  domain: string,
  value: string | Uint8Array,
): string {
  // No domain has a NUL in it, so two pairs of domain and value never make the same text.
  const mac = createHmac('sha256', key).update(`nestjs-ws-gateway fingerprint 1\0${domain}\0`).update(value).digest();
  return `${kid}.${mac.toString('base64url', 0, FINGERPRINT_BYTES)}`;
}
