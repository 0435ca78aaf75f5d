import { GatewayError } from '../protocol/errors.js';
import { originOf, tokenIdOf } from './principal.js';
import type { Principal } from './principal.js';

/** Revocations held at once. Operators make them one by one, so this bound is far off. */
const MAX_ENTRIES = 100_000;

/** Least time that a revocation is kept which names no token that was shown here, in milliseconds. */
const MIN_KEPT_MS = 86_400_000;

const SWEEP_MS = 10_000;

/** A revocation that has to be kept longer: of a token id, or of tokens issued before a time, of a subject or of everyone. */
export interface ProlongedRevocation {
  readonly tokenId?: string;
  readonly issuer?: string;
  readonly subject?: string;
  readonly issuedBefore?: number;
  readonly until: number;
}

/**
 * Refuses tokens whose signature is good, until they expire by themselves. The expiry of a token that no client has shown here is
 * unknown: an entry is kept until the latest expiry of all tokens shown so far, and a day at least, and gets its own when the
 * token is shown.
 */
export class Revocations {
  readonly #tokens = new Map<string, number>();
  readonly #tokenIds = new Map<string, number>();
  readonly #subjects = new Map<string, { issuedBefore: number; until: number }>();
  #everyone = { issuedBefore: -Infinity, until: -Infinity };
  #sweepAt = 0;
  /** Monotonic time and time of day of the last sweep. */
  #swept: { readonly now: number; readonly timeOfDay: number } | undefined;
  /** How far the time of day was set forward, at most a day. It may be set back, so a sweep forgets nothing because of it. */
  #ahead = 0;

  /** The latest expiry of all tokens shown so far, on any node; epoch milliseconds. */
  latestExpiry = 0;

  #prolonged: (revocation: ProlongedRevocation) => void = () => undefined;

  /** @param listener called when a revoked token is shown that lasts longer than its revocation; it must not throw */
  onProlonged(listener: (revocation: ProlongedRevocation) => void): void {
    this.#prolonged = listener;
  }

  /** How many revocations are held. */
  get size(): number {
    return this.#tokens.size + this.#tokenIds.size + this.#subjects.size + Number(this.#everyone.until > 0);
  }

  /** @param until when the token expires, in epoch milliseconds */
  addToken(digest: string, until: number): void {
    if (!this.#tokens.has(digest)) this.#checkRoom();
    this.#tokens.set(digest, Math.max(until, this.#tokens.get(digest) ?? 0));
  }

  /** @param issuer the `iss` that gave the id; undefined for the id of every issuer */
  addTokenId(tokenId: string, now: number, issuer?: string, atLeastUntil = 0): void {
    const key = keyOf(tokenId, issuer);
    if (!this.#tokenIds.has(key)) this.#checkRoom();
    this.#tokenIds.set(key, Math.max(this.keptUntil(now), atLeastUntil, this.#tokenIds.get(key) ?? 0));
  }

  /** @param issuedBefore in epoch seconds, as `iat` */
  addSubject(subject: string, issuedBefore: number, now: number, atLeastUntil = 0): void {
    const earlier = this.#subjects.get(subject);
    if (earlier === undefined) this.#checkRoom();
    this.#subjects.set(subject, latest(earlier, issuedBefore, Math.max(this.keptUntil(now), atLeastUntil)));
  }

  /** @param issuedBefore in epoch seconds, as `iat` */
  addEveryone(issuedBefore: number, now: number, atLeastUntil = 0): void {
    this.#everyone = latest(this.#everyone, issuedBefore, Math.max(this.keptUntil(now), atLeastUntil));
  }

  /** True for a principal whose token was revoked. Remembers the latest expiry seen, which bounds how long entries are kept. */
  isRevoked(principal: Principal): boolean {
    const { subject, expiresAt } = principal;
    const { digest = '', toleranceMs } = originOf(principal);
    const until = expiresAt + toleranceMs;
    if (until > this.latestExpiry) this.latestExpiry = until;
    if (this.size === 0) return false;
    if (this.#tokens.has(digest)) return true;
    if (this.#isRevokedById(principal, until)) return true;
    const everyone = this.#everyone;
    const bySubject = this.#subjects.get(subject);
    const found = [everyone, bySubject].find((entry) => entry && isIssuedBefore(principal, entry.issuedBefore));
    if (found !== undefined && until > found.until) {
      found.until = until; // it lasts longer than was thought
      const { issuedBefore } = found;
      this.#prolonged({ ...(found === bySubject && { subject }), issuedBefore, until });
    }
    return found !== undefined;
  }

  #isRevokedById(principal: Principal, until: number): boolean {
    const tokenId = this.#tokenIds.size === 0 ? undefined : tokenIdOf(principal);
    if (tokenId === undefined) return false;
    const { iss } = principal.claims;
    const keys = [keyOf(tokenId), ...(typeof iss === 'string' ? [keyOf(tokenId, iss)] : [])];
    const key = keys.find((candidate) => this.#tokenIds.has(candidate));
    if (key === undefined) return false;
    if (until > (this.#tokenIds.get(key) ?? 0)) {
      this.#tokenIds.set(key, until); // it lasts longer than was thought
      const issuer = keys.indexOf(key) === 1 && { issuer: iss as string }; // because the second key has the issuer
      this.#prolonged({ tokenId, ...issuer, until });
    }
    return true;
  }

  /** Forgets what has expired. */
  sweep(now: number, timeOfDay: number): void {
    if (now < this.#sweepAt) return;
    this.#sweepAt = now + SWEEP_MS;
    const last = this.#swept ?? { now, timeOfDay };
    const setForward = timeOfDay - last.timeOfDay - (now - last.now);
    this.#ahead = Math.min(MIN_KEPT_MS, Math.max(0, this.#ahead + setForward));
    this.#swept = { now, timeOfDay };
    const expired = timeOfDay - this.#ahead;
    for (const [key, until] of this.#tokens) if (expired >= until) this.#tokens.delete(key);
    for (const [key, until] of this.#tokenIds) if (expired >= until) this.#tokenIds.delete(key);
    for (const [key, { until }] of this.#subjects) if (expired >= until) this.#subjects.delete(key);
    if (expired >= this.#everyone.until) this.#everyone = { issuedBefore: -Infinity, until: -Infinity };
  }

  /** Until when a revocation is kept that names no token which was shown here, in epoch milliseconds. */
  keptUntil(now: number): number {
    return Math.max(now + MIN_KEPT_MS, this.latestExpiry);
  }

  /** An eviction would let a revoked token in again, so a full table takes no more. */
  #checkRoom(): void {
    if (this.size >= MAX_ENTRIES) throw new GatewayError('OVERLOADED', { message: 'The list of revocations is full' });
  }
}

/** Two issuers may give the same id. JSON keeps the two parts apart, whatever characters they have. */
function keyOf(tokenId: string, issuer?: string): string {
  return JSON.stringify([tokenId, issuer]);
}

function latest(
  earlier: { issuedBefore: number; until: number } | undefined,
  issuedBefore: number,
  until: number,
): { issuedBefore: number; until: number } {
  return {
    issuedBefore: Math.max(earlier?.issuedBefore ?? -Infinity, issuedBefore),
    until: Math.max(earlier?.until ?? -Infinity, until),
  };
}

/** A token without `iat` counts as issued before any time. */
export function isIssuedBefore({ claims }: Principal, seconds: number): boolean {
  return seconds > -Infinity && !(typeof claims.iat === 'number' && claims.iat >= seconds);
}
