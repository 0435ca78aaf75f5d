import type { WsClock } from '../base/clock.js';
import { TokenBucket } from '../base/token-bucket.js';

/** Lines of one kind that may come at once, and how many more each second lets in. */
const BURST = 100;
const PER_SECOND = 10;
/** Codes of applications are theirs to invent; no more than these are told apart. */
const MAX_BUCKETS = 512;

/** What strangers can cause must not flood the disk: each kind of line has a bucket of its own. */
export class Sampler {
  readonly #buckets = new Map<string, { readonly budget: TokenBucket; suppressed: number }>();

  constructor(private readonly clock: Pick<WsClock, 'monotonic'>) {}

  /** @returns how many were left out since the last line, or undefined when this one is left out too */
  take(kind: string): number | undefined {
    const key = this.#buckets.size < MAX_BUCKETS || this.#buckets.has(kind) ? kind : '';
    const now = this.clock.monotonic();
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) this.#buckets.set(key, (bucket = { budget: new TokenBucket(BURST, now), suppressed: 0 }));
    if (bucket.budget.take(1, PER_SECOND, BURST, now) > 0) return void bucket.suppressed++;
    const { suppressed } = bucket;
    bucket.suppressed = 0;
    return suppressed;
  }
}
