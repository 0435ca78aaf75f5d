/** Bad tokens remembered; the one counted first is forgotten first. About 150 bytes each. */
const MAX_REMEMBERED = 10_000;

/**
 * Bad tokens that have been counted: the same one again, from the same address, is a client that reconnects, not one that guesses.
 * Times are monotonic milliseconds.
 */
export class BadTokens {
  // In the order in which they were counted.
  readonly #countedAt = new Map<string, number>();

  get size(): number {
    return this.#countedAt.size;
  }

  /** @returns true for a token that has not counted within the time */
  isNew(address: string, digest: string, withinMs: number, now: number): boolean {
    const key = `${address} ${digest}`;
    const at = this.#countedAt.get(key);
    if (at !== undefined && now < at + withinMs) return false;
    this.#countedAt.delete(key); // so that it is the youngest again
    this.#countedAt.set(key, now);
    if (this.#countedAt.size <= MAX_REMEMBERED) return true;
    for (const oldest of this.#countedAt.keys()) {
      this.#countedAt.delete(oldest);
      break;
    }
    return true;
  }

  sweep(withinMs: number, now: number): void {
    for (const [key, at] of this.#countedAt) {
      if (now < at + withinMs) return;
      this.#countedAt.delete(key);
    }
  }
}
