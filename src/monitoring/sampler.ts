import type { WsClock } from '../base/clock.js';

/** Lines of one kind that may come at once, and how many more each second lets in. */
const BURST = 100;
const PER_SECOND = 10;
/** Codes of applications are theirs to invent; no more than these are told apart. */
const MAX_BUCKETS = 512;

/** What strangers can cause must not flood the disk: each kind of line has a bucket of its own. */
export class Sampler {
  readonly #buckets = new Map<string, { tokens: number; at: number; suppressed: number }>();

  constructor(private readonly clock: Pick<WsClock, 'now'>) {}

  /** @returns how many were left out since the last line, or undefined when this one is left out too */
  take(kind: string): number | undefined {
    const key = this.#buckets.size < MAX_BUCKETS || this.#buckets.has(kind) ? kind : '';
    const now = this.clock.now();
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) this.#buckets.set(key, (bucket = { tokens: BURST, at: now, suppressed: 0 }));
    bucket.tokens = Math.min(BURST, bucket.tokens + (Math.max(0, now - bucket.at) * PER_SECOND) / 1_000);
    bucket.at = now;
    if (bucket.tokens < 1) return void bucket.suppressed++;
    bucket.tokens--;
    const { suppressed } = bucket;
    bucket.suppressed = 0;
    return suppressed;
  }
}
