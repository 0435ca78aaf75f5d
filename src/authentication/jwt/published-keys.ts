import { createPublicKey } from 'node:crypto';
import type { JsonWebKey, KeyObject } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { contain, loggerFaults } from '../../base/contain.js';
import { TokenBucket } from '../../base/token-bucket.js';
import { visible } from '../../base/visible.js';
import { GatewayError } from '../../protocol/errors.js';
import { isJsonObject } from '../../protocol/message.js';
import { fits, weaknessOf } from './issuers.js';
import type { Algorithm } from './issuers.js';
import { UnknownKey } from '../token.js';

/** Age at which keys are fetched again, in milliseconds. The known keys serve until a fetch has succeeded. */
const MAX_AGE_MS = 600_000;
/** Fetches per minute, and at most at once, of one endpoint. */
const FETCHES_PER_MINUTE = 10;
/** Least time between two log lines about an endpoint that stays down, in milliseconds. */
const COMPLAINT_MS = 300_000;
const FETCH_TIMEOUT_MS = 5_000;
const MAX_BYTES = 524_288;
const MAX_KEYS = 100;

interface PublishedKey {
  readonly kid: string | undefined;
  /** The only algorithm that the key is for; undefined where the issuer names none. */
  readonly algorithm: string | undefined;
  readonly key: KeyObject;
}

/**
 * The keys that an issuer publishes (RFC 7517 §5). A token with an unknown key id makes the gateway fetch them again, at a limited
 * rate, because strangers invent key ids.
 */
export class PublishedKeys {
  readonly #log = new Logger('WsGatewayKeys');
  readonly #name: string;
  #keys: readonly PublishedKey[] = [];
  #fetching: Promise<void> | undefined;
  readonly #fetches: TokenBucket;
  #freshUntil = -Infinity;
  #isFailing = false;
  #complainAt = -Infinity;

  /**
   * @param now in monotonic milliseconds
   * @param onChange called when a key has come or gone
   */
  constructor(
    readonly uri: URL,
    private readonly now: () => number,
    private readonly onChange: () => void,
  ) {
    this.#fetches = new TokenBucket(FETCHES_PER_MINUTE, now());
    this.#name = `${uri.origin}${uri.pathname}`; // a query may hold a secret, which a log must not
  }

  /** Begins the first fetch. The gateway starts without waiting for it; until it succeeds, tokens of the issuer are OVERLOADED. */
  start(): void {
    void this.#fetch();
  }

  /** How many keys are known. */
  get size(): number {
    return this.#keys.length;
  }

  /** @returns the known key for a token's `kid` and `alg`; undefined when there is none, or more than one without a `kid` */
  find(kid: string | undefined, algorithm: Algorithm): KeyObject | undefined {
    const known = this.#known(kid, algorithm);
    if (known !== undefined) this.refresh();
    return known;
  }

  /**
   * Fetches the keys again for a token whose key is unknown and whose claims are acceptable.
   *
   * @param isSuspect true when the client has shown a bad token lately: half of the fetches stay reserved for other clients
   * @returns undefined when the issuer has published no such key: the token is bad
   * @throws GatewayError OVERLOADED, also as a rejection, when no fetch is left in this minute, or the fetch fails
   */
  lookUp(
    kid: string | undefined,
    algorithm: Algorithm,
    isSuspect: boolean,
  ): undefined | Promise<KeyObject | undefined> {
    if (this.#isAmbiguous(kid)) return undefined;
    if (this.#fetching === undefined) return this.#fetchFor(kid, algorithm, isSuspect);
    // The fetch under way may have begun before the issuer published the key, so an answer without it is followed by another fetch.
    return this.#fetching.then(() => {
      const found = this.#known(kid, algorithm);
      if (found !== undefined) return found;
      this.#refuseWhileFailing();
      return (
        this.#fetching?.then(() => this.#knownOrFailing(kid, algorithm)) ?? this.#fetchFor(kid, algorithm, isSuspect)
      );
    });
  }

  #fetchFor(kid: string | undefined, algorithm: Algorithm, isSuspect: boolean): Promise<KeyObject | undefined> {
    const keptBack = isSuspect ? FETCHES_PER_MINUTE / 2 : 0;
    const waitMs =
      this.#fetches.waitFor(1 + keptBack, FETCHES_PER_MINUTE / 60, FETCHES_PER_MINUTE, this.now()) || this.#take();
    if (waitMs > 0) throw new UnknownKey(waitMs, `the keys at ${this.#name} were fetched too often in this minute`);
    return this.#fetch().then(() => this.#knownOrFailing(kid, algorithm));
  }

  /** Fetches stale keys in the background. Remembered tokens call this too, or a withdrawn key would serve them until they expire. */
  refresh(): void {
    if (this.now() >= this.#freshUntil && this.#mayFetch()) void this.#fetch();
  }

  #known(kid: string | undefined, algorithm: Algorithm): KeyObject | undefined {
    const candidates = this.#keys.filter((published) => kid === undefined || published.kid === kid);
    const fitting = candidates.filter(
      (published) => (published.algorithm ?? algorithm) === algorithm && fits(algorithm, published.key),
    );
    // Without a kid the token's key is certain only when a single key fits.
    return kid !== undefined || fitting.length === 1 ? fitting[0]?.key : undefined;
  }

  /** A fetch would not help: the id is known and its key does not fit, or there is no id and more than one key. */
  #isAmbiguous(kid: string | undefined): boolean {
    return kid === undefined ? this.#keys.length > 1 : this.#keys.some((published) => published.kid === kid);
  }

  #knownOrFailing(kid: string | undefined, algorithm: Algorithm): KeyObject | undefined {
    const known = this.#known(kid, algorithm);
    if (known === undefined) this.#refuseWhileFailing();
    return known;
  }

  /** While fetches fail, an unknown key may be one that the issuer has published since, so its token is not called bad. */
  #refuseWhileFailing(): void {
    if (!this.#isFailing) return;
    const [message, cause] = ['Authentication is not available', `the keys at ${this.#name} cannot be fetched`];
    throw new GatewayError('OVERLOADED', { message, retryAfterMs: FETCH_TIMEOUT_MS, cause }); // not the client's fault, so its address is not charged
  }

  #mayFetch(): boolean {
    return this.#fetching === undefined && this.#take() === 0;
  }

  #take(): number {
    return this.#fetches.take(1, FETCHES_PER_MINUTE / 60, FETCHES_PER_MINUTE, this.now());
  }

  /** Starts a fetch, or joins the one under way. Never rejects. */
  #fetch(): Promise<void> {
    this.#fetching ??= this.#load().then(
      () => this.#succeeded(),
      (error: unknown) => this.#failed(error),
    );
    return this.#fetching;
  }

  async #load(): Promise<void> {
    const published = (await fetchKeySet(this.uri)).filter(isForSignatures);
    const usable = published
      .slice(0, MAX_KEYS)
      .map(readKey)
      .filter((key) => key !== undefined);
    if (usable.length === 0) throw new Error('no usable key is among them');
    const before = this.#keys;
    this.#keys = usable;
    const isSame = usable.length === before.length && usable.every((key, index) => isSameKey(key, before[index]));
    if (isSame) return;
    this.onChange();
    const left = published.length - usable.length;
    if (left > 0)
      this.#tell('warn', `${left} of the keys at ${this.#name} cannot be used: too weak, of another kind, or too many`);
  }

  /** The application's logger may throw. Nothing awaits a background fetch, so that error would end the process. */
  #tell(level: 'log' | 'warn' | 'error', line: string): void {
    contain(() => this.#log[level](line), loggerFaults.tell);
  }

  #succeeded(): void {
    this.#fetching = undefined;
    this.#freshUntil = this.now() + MAX_AGE_MS;
    if (this.#isFailing) this.#tell('log', `The keys at ${this.#name} can be fetched again`);
    this.#isFailing = false;
    this.#complainAt = -Infinity;
  }

  #failed(error: unknown): void {
    this.#fetching = undefined;
    this.#isFailing = true;
    const now = this.now();
    this.#freshUntil = now + 60_000 / FETCHES_PER_MINUTE;
    if (now < this.#complainAt) return;
    this.#complainAt = now + COMPLAINT_MS;
    const meanwhile = this.#keys.length > 0 ? 'the keys known so far still serve' : 'no token can be verified';
    this.#tell('error', `The keys at ${this.#name} cannot be fetched (${visible(reasonOf(error))}); ${meanwhile}`);
  }
}

function isSameKey(one: PublishedKey, other: PublishedKey | undefined): boolean {
  return (
    one.kid === other?.kid && one.algorithm === other?.algorithm && other !== undefined && one.key.equals(other.key)
  );
}

/** Why a fetch failed. Quotes nothing of the answer, since the line goes to a log. */
function reasonOf(error: unknown): string {
  const { name, message, cause } = error as Error & { cause?: { code?: unknown } };
  if (name === 'TimeoutError') return `no answer within ${FETCH_TIMEOUT_MS / 1000} s`;
  if (name === 'SyntaxError') return 'the answer is not JSON';
  return typeof cause?.code === 'string' ? cause.code : message;
}

/** A key without `use` or `key_ops` may be for anything (RFC 7517 §4.2, §4.3). */
function isForSignatures(jwk: Record<string, unknown>): boolean {
  const { use, key_ops: operations } = jwk;
  return (use ?? 'sig') === 'sig' && (!Array.isArray(operations) || operations.includes('verify'));
}

/** @returns undefined for a key that cannot verify a token */
function readKey(jwk: Record<string, unknown>): PublishedKey | undefined {
  const { kid, alg } = jwk;
  if ('d' in jwk) return undefined; // the private key is published with it, so anyone can sign
  let key: KeyObject;
  try {
    key = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' }); // because it throws for a member of another type
  } catch {
    return undefined; // the log line counts it
  }
  return weaknessOf(key) === undefined ? { kid: nameOf(kid), algorithm: nameOf(alg), key } : undefined;
}

function nameOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** @returns the `keys` of the answer; redirects are refused, because they lead to an address that is not configured */
async function fetchKeySet(uri: URL): Promise<readonly Record<string, unknown>[]> {
  const response = await fetch(uri, {
    redirect: 'error',
    headers: { accept: 'application/jwk-set+json, application/json' },
    signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_BYTES) throw new Error(`the answer is longer than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  const answer: unknown = JSON.parse(Buffer.concat(chunks).toString());
  if (!isJsonObject(answer) || !Array.isArray(answer.keys)) throw new Error('the answer is not a key set');
  return answer.keys.filter(isJsonObject);
}
