import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { Logger } from '@nestjs/common';
import type { JwksClient } from 'jwks-rsa';
import { contain, loggerFaults } from '../../base/contain.js';
import { loadOptional } from '../../base/missing-package.js';
import { TokenBucket } from '../../base/token-bucket.js';
import { visible } from '../../base/visible.js';
import { GatewayError } from '../../protocol/errors.js';
import { fits, weaknessOf } from './issuers.js';
import type { Algorithm } from './issuers.js';
import { UnknownKey } from '../token.js';

/** Age at which keys are fetched anew, in milliseconds; meanwhile, and as long as that fails, the old ones serve. */
const MAX_AGE_MS = 600_000;
/** Fetches for key ids that are not known: so many at once, and as many more each minute. */
const FETCHES_PER_MINUTE = 10;
/** Time between two complaints about an endpoint that stays down, in milliseconds. */
const COMPLAINT_MS = 300_000;
const FETCH_TIMEOUT_MS = 5_000;
const MAX_BYTES = 524_288;
const MAX_KEYS = 100;

interface PublishedKey {
  readonly kid: string | undefined;
  /** The one algorithm that the key is for, where the issuer says so. */
  readonly algorithm: string | undefined;
  readonly key: KeyObject;
}

/**
 * The keys that an issuer publishes (RFC 7517 §5). A key id that is not among them is looked for anew, at a limited rate:
 * strangers invent key ids.
 */
export class PublishedKeys {
  readonly #log = new Logger('WsGatewayKeys');
  readonly #name: string;
  #client: JwksClient | undefined;
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
    this.#name = `${uri.origin}${uri.pathname}`; // what else a URL may hold is not for a log
  }

  /**
   * Loads what fetches, and begins to. Keys that cannot be had now are no reason not to start.
   *
   * @throws MissingPackageError when the optional package is not installed
   */
  async start(): Promise<void> {
    const { default: createClient } = await loadOptional(
      () => import('jwks-rsa'),
      'Keys of a JWKS URI need the package jwks-rsa: npm install jwks-rsa@4',
    );
    this.#client = createClient({ jwksUri: this.uri.href, cache: false, fetcher: fetchKeySet });
    void this.#fetch();
  }

  /** How many keys are known. */
  get size(): number {
    return this.#keys.length;
  }

  /** @returns the key for a token's `kid` and `alg`; undefined when none of those known is */
  find(kid: string | undefined, algorithm: Algorithm): KeyObject | undefined {
    const known = this.#known(kid, algorithm);
    if (known !== undefined) this.refresh();
    return known;
  }

  /**
   * Fetches the keys anew for a token whose key is not known, and that is plausible otherwise.
   *
   * @param isSuspect true when the client has shown a bad token lately: half of the look-ups are kept back for others
   * @returns undefined when the issuer has published no such key; the token is bad then
   * @throws GatewayError OVERLOADED, also as a rejection, when that cannot be said now
   */
  lookUp(
    kid: string | undefined,
    algorithm: Algorithm,
    isSuspect: boolean,
  ): undefined | Promise<KeyObject | undefined> {
    if (this.#isAmbiguous(kid)) return undefined;
    if (this.#fetching === undefined) return this.#fetchFor(kid, algorithm, isSuspect);
    // What is being fetched may have been asked for before the issuer published the key: what does not have it is asked again.
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

  /** Fetches keys that are too old, in the background: also where a token is remembered, and no key is looked for. */
  refresh(): void {
    if (this.now() >= this.#freshUntil && this.#mayFetch()) void this.#fetch();
  }

  #known(kid: string | undefined, algorithm: Algorithm): KeyObject | undefined {
    const candidates = this.#keys.filter((published) => kid === undefined || published.kid === kid);
    const fitting = candidates.filter(
      (published) => (published.algorithm ?? algorithm) === algorithm && fits(algorithm, published.key),
    );
    // Without a kid it is only clear which one is meant when there is no other.
    return kid !== undefined || fitting.length === 1 ? fitting[0]?.key : undefined;
  }

  /** A key of that id is there and of another kind, or several could be meant: no look-up would change that. */
  #isAmbiguous(kid: string | undefined): boolean {
    return kid === undefined ? this.#keys.length > 1 : this.#keys.some((published) => published.kid === kid);
  }

  #knownOrFailing(kid: string | undefined, algorithm: Algorithm): KeyObject | undefined {
    const known = this.#known(kid, algorithm);
    if (known === undefined) this.#refuseWhileFailing();
    return known;
  }

  /** Whether the token is bad cannot be said while its key may be one that we could not fetch. */
  #refuseWhileFailing(): void {
    if (!this.#isFailing) return;
    const [message, cause] = ['Authentication is not available', `the keys at ${this.#name} cannot be fetched`];
    throw new GatewayError('OVERLOADED', { message, retryAfterMs: FETCH_TIMEOUT_MS, cause }); // no client's fault, so none is charged
  }

  #mayFetch(): boolean {
    return this.#fetching === undefined && this.#take() === 0;
  }

  #take(): number {
    return this.#fetches.take(1, FETCHES_PER_MINUTE / 60, FETCHES_PER_MINUTE, this.now());
  }

  /** One fetch at a time, for all who wait. Never rejects. */
  #fetch(): Promise<void> {
    this.#fetching ??= this.#load().then(
      () => this.#succeeded(),
      (error: unknown) => this.#failed(error),
    );
    return this.#fetching;
  }

  async #load(): Promise<void> {
    const published = (await this.#client?.getSigningKeys()) ?? [];
    const keys = published.slice(0, MAX_KEYS).map((item) => ({
      kid: item.kid,
      algorithm: item.alg,
      key: createPublicKey(item.getPublicKey()),
    }));
    const usable = keys.filter(({ key }) => weaknessOf(key) === undefined);
    if (usable.length === 0) throw new Error('no key of use is among them');
    const before = this.#keys;
    this.#keys = usable;
    const isSame = usable.length === before.length && usable.every((key, index) => isSameKey(key, before[index]));
    if (isSame) return;
    this.onChange();
    const left = published.length - usable.length;
    if (left > 0)
      this.#tell('warn', `${left} of the keys at ${this.#name} are of no use: too weak, of another kind, or too many`);
  }

  /** A logger of the application's may throw, and a fetch that no caller awaits must not end the process by it. */
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

/** Why a fetch failed, in words that quote nothing of the answer. */
function reasonOf(error: unknown): string {
  const { name, message, cause } = error as Error & { cause?: { code?: unknown } };
  if (name === 'TimeoutError') return `no answer within ${FETCH_TIMEOUT_MS / 1000} s`;
  if (name === 'SyntaxError') return 'the answer is not JSON';
  return typeof cause?.code === 'string' ? cause.code : message;
}

/** A redirect would lead to an address that is not configured. */
async function fetchKeySet(uri: string): Promise<{ keys: never }> {
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
  return JSON.parse(Buffer.concat(chunks).toString()) as { keys: never }; // because the client looks at it itself
}
