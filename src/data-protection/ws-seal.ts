import { webcrypto } from 'node:crypto';
import { loadOptional } from '../base/missing-package.js';
import { isDeeperThan, parseJson } from '../protocol/codec.js';
import { BadFrame } from '../protocol/codec.js';
import { GatewayError } from '../protocol/errors.js';
import { isEventName, isJsonObject } from '../protocol/message.js';
import type { KeyRing } from './key-ring.js';

/** What a value is sealed for: it opens nowhere else. */
export interface SealBinding {
  /** The event of the message that carries it, 1 to 128 characters. */
  readonly event: string;
  /** The subject of the session; none for a session that is anonymous. */
  readonly subject?: string | undefined;
}

/** The result of an attempt to open. The reason is for the log and quotes no part of the sealed value. */
export type Opening = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly reason: string };

export interface SealOptions {
  /** Deepest nesting of a value that opens. @default 32 */
  readonly maxJsonDepth?: number;
}

/** Longest sealed value, in characters; 49_000 bytes of JSON fit in any case. */
export const MAX_SEALED_LENGTH = 65_536;

/** The only detail that a client gets about a value that does not open. */
export const NOT_OPENED = { rule: 'sealed', message: 'could not be opened' } as const;

/**
 * Compact serialization (RFC 7516 §7.1) of direct encryption: five parts, the second, an encrypted key, empty (RFC 7518
 * §4.5), then 96 bits of nonce and at the end 128 bits of tag (RFC 7518 §5.3).
 */
const COMPACT = /^([\w-]+)\.\.[\w-]{16}\.[\w-]+\.[\w-]{22}$/;

/** A header has exactly these: `zip` and `crit` would change how the value is read, and any other would be ignored. */
const HEADER: ReadonlySet<string> = new Set(['alg', 'enc', 'kid', 'evt', 'sub']);

type Jose = typeof import('jose');
type Key = webcrypto.CryptoKey;

/** Gives one the keys and limits of another. It stands outside the class, so that an application cannot call it. */
export let takeOver: (seal: WsSeal, other: WsSeal) => void;

/**
 * Seals values of single fields as compact JWE (RFC 7516; `dir`, A256GCM) under a key ring, and opens them. Event and
 * subject stand in the protected header, as `evt` and `sub` (RFC 7519 §5.3), which is the additional authenticated data:
 * they can be read, but not changed. A value can be sent again for the same event and subject as often as its key lasts.
 */
export class WsSeal {
  #maxJsonDepth: number;

  private constructor(
    private jose: Jose | undefined,
    private keys: ReadonlyMap<string, Key>,
    { maxJsonDepth = 32 }: SealOptions,
  ) {
    this.#maxJsonDepth = maxJsonDepth;
  }

  /**
   * Loads `jose`, unless there is no ring: then nothing can be sealed or opened.
   *
   * @throws MissingPackageError when `jose` is not installed
   */
  static async create(ring: KeyRing | undefined, options: SealOptions = {}): Promise<WsSeal> {
    if (ring === undefined) return new WsSeal(undefined, new Map(), options);
    const imported = ring.keys.map(async ({ kid, key }): Promise<[string, Key]> => {
      const usages: webcrypto.KeyUsage[] = ['encrypt', 'decrypt'];
      return [kid, await webcrypto.subtle.importKey('raw', key.export(), 'AES-GCM', false, usages)];
    });
    return new WsSeal(await loadJose(), new Map(await Promise.all(imported)), options);
  }

  static {
    takeOver = (seal, other) => {
      seal.jose = other.jose;
      seal.keys = other.keys;
      seal.#maxJsonDepth = other.#maxJsonDepth;
    };
  }

  /** False without keys. */
  get isReady(): boolean {
    return this.jose !== undefined;
  }

  /**
   * Seals any JSON value under the newest key. Nonces are random, so a key is good for 2^32 values (NIST SP 800-38D §8.3):
   * rotate long before.
   *
   * @throws Error without keys
   * @throws TypeError for a value that is no JSON, an event that no message can have, or an empty subject
   * @throws RangeError when the result would be longer than 65_536 characters
   */
  async seal(value: unknown, { event, subject }: SealBinding): Promise<string> {
    const { CompactEncrypt } = this.#jose();
    if (!isEventName(event)) throw new TypeError('An event is a string of 1 to 128 characters');
    if (subject === '') throw new TypeError('A subject is not empty; leave it out for an anonymous session');
    const text = JSON.stringify(value) as string | undefined; // because its types forget undefined
    if (text === undefined) throw new TypeError('The value has no form in JSON');
    const [newest] = this.keys;
    const [kid, key] = newest as [string, Key]; // because a ring has at least one key
    const header = { alg: 'dir', enc: 'A256GCM', kid, evt: event, ...(subject !== undefined && { sub: subject }) };
    const sealed = await new CompactEncrypt(new TextEncoder().encode(text)).setProtectedHeader(header).encrypt(key);
    if (sealed.length > MAX_SEALED_LENGTH) throw new RangeError(`Sealed, the value is over ${MAX_SEALED_LENGTH} long`);
    return sealed;
  }

  /**
   * Opens what {@link seal}, or a client with a key of the ring, has sealed for this event and subject.
   *
   * @throws GatewayError VALIDATION_FAILED with the rule `sealed`, whatever was wrong; the cause, for the log, says what
   * @throws Error without keys
   */
  async open(sealed: unknown, binding: SealBinding): Promise<unknown> {
    const opening = await this.tryOpen(sealed, binding);
    if (opening.ok) return opening.value;
    throw new GatewayError('VALIDATION_FAILED', { details: [{ path: '', ...NOT_OPENED }], cause: opening.reason });
  }

  /**
   * As {@link open}, for callers with several values: a value that does not open is a result here, and not an error.
   *
   * @throws Error without keys
   */
  async tryOpen(sealed: unknown, binding: SealBinding): Promise<Opening> {
    const jose = this.#jose();
    if (typeof sealed !== 'string' || sealed.length > MAX_SEALED_LENGTH) return no('is no string, or too long');
    const [, encoded] = COMPACT.exec(sealed) ?? [];
    if (encoded === undefined) return no('is no compact JWE');
    const header = headerOf(encoded);
    if (header === undefined) return no('has a header that is not allowed');
    // Before the decryption, which this can spare. The decryption authenticates the header that is compared here.
    const { kid, evt, sub } = header;
    const key = typeof kid === 'string' ? this.keys.get(kid) : undefined;
    if (key === undefined) return no('was sealed under a key that is not in the ring');
    if (evt !== binding.event) return no('was sealed for another event');
    if (sub !== binding.subject) return no('was sealed for another subject');
    try {
      const { plaintext } = await jose.compactDecrypt(sealed, key, {
        keyManagementAlgorithms: ['dir'],
        contentEncryptionAlgorithms: ['A256GCM'],
      });
      return this.#read(plaintext);
    } catch (error) {
      if (error instanceof jose.errors.JOSEError) return no('is not what was sealed');
      throw error;
    }
  }

  /** Under the rules for frames: a client that holds a key can seal JSON that is too deep, or has `__proto__` in it. */
  #read(plaintext: Uint8Array): Opening {
    try {
      const text = new TextDecoder('utf-8', { fatal: true }).decode(plaintext);
      if (isDeeperThan(text, this.#maxJsonDepth)) return no('holds JSON that is nested too deep');
      return { ok: true, value: parseJson(text) };
    } catch (error) {
      if (error instanceof BadFrame || error instanceof TypeError) return no('holds no JSON, or a forbidden key');
      throw error;
    }
  }

  #jose(): Jose {
    if (this.jose === undefined) throw new Error('Nothing can be sealed or opened without keys: set sealing.keys');
    return this.jose;
  }
}

function no(reason: string): Opening {
  return { ok: false, reason: `a sealed field ${reason}` };
}

/** The protected header; undefined for one that lacks a member or has another. */
function headerOf(encoded: string): Record<string, unknown> | undefined {
  try {
    const header: unknown = JSON.parse(Buffer.from(encoded, 'base64url').toString());
    if (!isJsonObject(header) || header.alg !== 'dir' || header.enc !== 'A256GCM') return undefined;
    return Object.keys(header).every((name) => HEADER.has(name)) ? header : undefined;
  } catch {
    return undefined; // no JSON
  }
}

function loadJose(): Promise<Jose> {
  return loadOptional(() => import('jose'), 'Sealed fields need the package jose: npm install jose@6');
}
