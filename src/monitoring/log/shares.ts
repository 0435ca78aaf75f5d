import { TokenBucket } from '../../base/token-bucket.js';

/** How much each key may use at once, how much comes back in a second, and how many keys are told apart. */
export interface ShareLimits {
  readonly burst: number;
  readonly perSecond: number;
  readonly maxKeys: number;
}

/** A bucket for each key. A stranger may invent keys, so there is a limit: the one not used for longest makes room. */
export class Shares {
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(private readonly limits: ShareLimits) {}

  /**
   * Takes one.
   *
   * @param now in monotonic milliseconds
   * @returns false when the share of the key is used up
   */
  take(key: string, now: number): boolean {
    const { burst, perSecond, maxKeys } = this.limits;
    const known = this.#buckets.get(key);
    const bucket = known ?? new TokenBucket(burst, now);
    if (known !== undefined)
      this.#buckets.delete(key); // to the end: a Map is in the order of insertion
    else if (this.#buckets.size >= maxKeys) this.#buckets.delete(this.#buckets.keys().next().value as string); // because it is not empty
    this.#buckets.set(key, bucket);
    return bucket.take(1, perSecond, burst, now) === 0;
  }

  /** How many keys are told apart now. */
  get size(): number {
    return this.#buckets.size;
  }
}

/** Whose share an address uses: an IPv4 address its own, an IPv6 address that of its /48, which is what a customer can have. */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const [left = ''] = address.split('::', 1); // what "::" stands for are zeros
  const [first = '', second = '0', third = '0'] = left.split(':');
  return `${first || '0'}:${second}:${third}::`;
}
