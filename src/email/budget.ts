/** So many at once, and as many again in each period. */
export class Budget {
  #left: number;

  constructor(
    private readonly size: number,
    private readonly periodMs: number,
    private at: number,
  ) {
    this.#left = size;
  }

  has(now: number): boolean {
    this.#left = Math.min(this.size, this.#left + (Math.max(0, now - this.at) * this.size) / this.periodMs);
    this.at = now;
    return this.#left >= 1;
  }

  /** @returns false when there is nothing left to take */
  take(now: number): boolean {
    if (!this.has(now)) return false;
    this.#left--;
    return true;
  }
}
