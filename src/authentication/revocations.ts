import { GatewayError } from '../protocol/errors.js';
import { originOf, tokenIdOf } from './principal.js';
import type { Principal } from './principal.js';

/** Revocations held at once. Operators make them one by one, so this bound is far off. */
const MAX_ENTRIES = 100_000;

/** Least time that a revocation is kept which names no token that was shown here, in milliseconds. */
const MIN_KEPT_MS = 86_400_000;

const SWEEP_MS = 10_000;

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
  #latestExpiry = 0;
  #sweepAt = 0;
  /** Monotonic time and time of day of the last sweep. */
  #swept: { readonly now: number; readonly timeOfDay: number } | undefined;
  /** How far the time of day was set forward, at most a day. It may be set back, so a sweep forgets nothing because of it. */
  #ahead = 0;

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
  addTokenId(tokenId: string, now: number, issuer?: string): void {
    const key = keyOf(tokenId, issuer);
    if (!this.#tokenIds.has(key)) this.#checkRoom();
    this.#tokenIds.set(key, this.#keptUntil(now));
  }

  /** @param issuedBefore in epoch seconds, as `iat` */
  addSubject(subject: string, issuedBefore: number, now: number): void {
    if (!this.#subjects.has(subject)) this.#checkRoom();
    const earlier = this.#subjects.get(subject)?.issuedBefore ?? -Infinity;
    this.#subjects.set(subject, { issuedBefore: Math.max(earlier, issuedBefore), until: this.#keptUntil(now) });
  }

  /** @param issuedBefore in epoch seconds, as `iat` */
  addEveryone(issuedBefore: number, now: number): void {
    const earlier = this.#everyone.issuedBefore;
    this.#everyone = { issuedBefore: Math.max(earlier, issuedBefore), until: this.#keptUntil(now) };
  }

  /** True for a principal whose token was revoked. Remembers the latest expiry seen, which bounds how long entries are kept. */
  isRevoked(principal: Principal): boolean {
    const { subject, expiresAt } = principal;
    const { digest = '', toleranceMs } = originOf(principal);
    const until = expiresAt + toleranceMs;
    if (until > this.#latestExpiry) this.#latestExpiry = until;
    if (this.size === 0) return false;
    if (this.#tokens.has(digest)) return true;
    if (this.#isRevokedById(principal, until)) return true;
    const everyone = this.#everyone;
    const bySubject = this.#subjects.get(subject);
    const found = [everyone, bySubject].find((entry) => entry && isIssuedBefore(principal, entry.issuedBefore));
    if (found !== undefined && until > found.until) found.until = until; // it lasts longer than was thought
    return found !== undefined;
  }

  #isRevokedById(principal: Principal, until: number): boolean {
    const tokenId = this.#tokenIds.size === 0 ? undefined : tokenIdOf(principal);
    if (tokenId === undefined) return false;
    const { iss } = principal.claims;
    const keys = [keyOf(tokenId), ...(typeof iss === 'string' ? [keyOf(tokenId, iss)] : [])];
    const key = keys.find((candidate) => this.#tokenIds.has(candidate));
    if (key === undefined) return false;
    if (until > (this.#tokenIds.get(key) ?? 0)) this.#tokenIds.set(key, until); // it lasts longer than was thought
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

  #keptUntil(now: number): number {
    return Math.max(now + MIN_KEPT_MS, this.#latestExpiry);
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

/** A token without `iat` counts as issued before any time. */
export function isIssuedBefore({ claims }: Principal, seconds: number): boolean {
  return seconds > -Infinity && !(typeof claims.iat === 'number' && claims.iat >= seconds);
}
