import { createSecretKey, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { secretsEqual } from './secrets-equal.js';

/** One key of a ring and its name. */
export interface RingKey {
  readonly kid: string;
  readonly key: KeyObject;
}

/** Bytes of a key: AES-256 (RFC 7518 §5.3) and HMAC-SHA-256 (RFC 7518 §3.2) both take 32. */
export const KEY_BYTES = 32;

/** Most keys of a ring. A fingerprint is compared under each of them. */
export const MAX_KEYS = 16;

/** The form of a ring, for complaints. */
export const KEY_RING_FORMAT = 'kid:base64url,kid:base64url, the newest first';

/** A name is shorter than any written key of 32 bytes, so a key in the place of its name is refused. */
const KID = /^[\w.-]{1,32}$/;

/** A ring that cannot be read. The problems name entries by position and quote nothing, since entries hold keys. */
export class KeyRingError extends Error {
  override readonly name = 'KeyRingError';

  constructor(readonly problems: readonly string[]) {
    super(`The keys are not valid:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
  }
}

/** Keys with names: the newest one seals, all of them open. To rotate, put a new one first; take an old one out later. */
export class KeyRing {
  readonly #keys: readonly RingKey[];

  private constructor(
    /** Seals and signs. */
    readonly newest: RingKey,
    others: readonly RingKey[],
  ) {
    this.#keys = Object.freeze([newest, ...others]);
  }

  /** All keys, the newest first. */
  get keys(): readonly RingKey[] {
    return this.#keys;
  }

  find(kid: string): KeyObject | undefined {
    return this.#keys.find((entry) => entry.kid === kid)?.key;
  }

  /**
   * Reads `kid:base64url,kid:base64url`, the newest first. A `kid` has 1 to 32 letters, digits, dots, hyphens and
   * underscores, a key exactly 32 bytes in base64url without padding; there are 1 to 16 of them, each once.
   *
   * @throws KeyRingError naming every bad entry at once
   */
  static parse(text: string): KeyRing {
    const problems: string[] = [];
    const keys: RingKey[] = [];
    const entries = text.split(',').map((entry) => entry.trim());
    if (entries.length > MAX_KEYS) throw new KeyRingError([`has ${entries.length} entries, at most ${MAX_KEYS} are`]);
    for (const [index, entry] of entries.entries()) {
      const problem = (what: string): unknown => problems.push(`entry ${index + 1} ${what}`);
      const colon = entry.indexOf(':');
      const kid = entry.slice(0, colon);
      const key = entry.slice(colon + 1);
      const bytes = Buffer.from(key, 'base64url');
      if (entry === '') problem('is empty');
      else if (colon === -1) problem('has no "kid:" before its key');
      else if (!KID.test(kid)) problem('has a kid that is not 1 to 32 letters, digits, dots, hyphens and underscores');
      else if (keys.some((other) => other.kid === kid)) problem('has the kid of an earlier one');
      // Node skips stray characters and reads other alphabets. A text that Node would write differently is a mistake.
      else if (!secretsEqual(bytes.toString('base64url'), key))
        problem('has a key that is not base64url without padding');
      else if (bytes.length !== KEY_BYTES) problem(`has a key of ${bytes.length} bytes, it must have ${KEY_BYTES}`);
      else if (keys.some((other) => secretsEqual(other.key.export(), bytes))) problem('has the key of an earlier one');
      else keys.push({ kid, key: createSecretKey(bytes) });
      bytes.fill(0);
    }
    const [newest, ...others] = keys;
    if (problems.length > 0 || newest === undefined) throw new KeyRingError(problems);
    return new KeyRing(newest, others);
  }

  /**
   * One key made of a text, for HMACs alone.
   *
   * @throws TypeError when the text is shorter than 32 bytes in UTF-8 (RFC 2104 §3)
   */
  static ofSecret(kid: string, secret: string): KeyRing {
    if (Buffer.byteLength(secret) < KEY_BYTES) throw new TypeError(`A key must be at least ${KEY_BYTES} bytes`);
    return new KeyRing({ kid, key: createSecretKey(secret, 'utf8') }, []);
  }

  /** One random key of this process, which ends with it. */
  static ofProcess(): KeyRing {
    return new KeyRing({ kid: 'process', key: createSecretKey(randomBytes(KEY_BYTES)) }, []);
  }
}
