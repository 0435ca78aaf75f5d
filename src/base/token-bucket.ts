/** What sums of fractions may be off by: a millionth of a token must not cost its owner a millisecond. */
const ROUNDING = 1e-6;

/** A token bucket: two numbers, and no timer. Times are monotonic milliseconds. */
export class TokenBucket {
  #tokens: number;
  #at: number;

  constructor(burst: number, now: number) {
    this.#tokens = burst;
    this.#at = now;
  }

  /**
   * Takes tokens, or none when there are not enough.
   *
   * @param perSecond how many come back in a second; `Infinity` is no limit
   * @param burst how many there can be; a larger cost is paid with a full bucket
   * @returns 0 when they were taken, and otherwise the milliseconds until they could be
   */
  take(cost: number, perSecond: number, burst: number, now: number): number {
    const wait = this.waitFor(cost, perSecond, burst, now);
    if (wait === 0) this.#tokens -= cost;
    return wait;
  }

  /** Takes tokens that were not asked for before; the bucket can owe up to `most` of them. */
  charge(cost: number, most: number): void {
    this.#tokens = Math.max(-most, this.#tokens - cost);
  }

  /** What {@link take} would return, with nothing taken. */
  waitFor(cost: number, perSecond: number, burst: number, now: number): number {
    if (perSecond === Infinity || burst === Infinity) return 0;
    this.#tokens = Math.min(burst, this.#tokens + (Math.max(0, now - this.#at) * perSecond) / 1_000);
    this.#at = now;
    const missing = Math.min(cost, burst) - this.#tokens;
    return missing > ROUNDING ? Math.max(1, Math.ceil(((missing - ROUNDING) * 1_000) / perSecond)) : 0;
  }
}

/** Counts what happens again and again, and forgets it as time goes by. Times are monotonic milliseconds. */
export class LeakyCounter {
  #count = 0;
  #at = 0;

  /**
   * Counts one more.
   *
   * @param limit how many are too many; `Infinity`: never
   * @param withinMs the time, above 0, in which so many are forgotten again
   * @returns true with the one that is too many; the count begins anew then
   */
  add(limit: number, withinMs: number, now: number): boolean {
    if (limit === Infinity) return false;
    this.#count = Math.max(0, this.#count - (Math.max(0, now - this.#at) * limit) / withinMs) + 1;
    this.#at = now;
    // What a few milliseconds have leaked does not let one more through.
    if (this.#count <= limit - 1) return false;
    this.#count = 0;
    return true;
  }
}
