import type { WsClock } from '../../base/clock.js';
import { TokenBucket } from '../../base/token-bucket.js';
import { networkOf, Shares } from './shares.js';

/** Lines of one kind that may come at once, and how many more each second lets in. */
const BURST = 100;
const PER_SECOND = 10;
/** Codes of applications are theirs to invent; no more than these are told apart. */
const MAX_KINDS = 512;
/** What of it one address has, so that its flood leaves the others theirs. */
const SHARE = { burst: 20, perSecond: 2, maxKeys: 4_096 } as const;

/** What strangers can cause must not flood the disk: each kind of line has a bucket, and each address a share of it. */
export class Sampler {
  readonly #kinds = new Map<string, { readonly budget: TokenBucket; suppressed: number }>();
  readonly #shares = new Shares(SHARE);

  constructor(private readonly clock: Pick<WsClock, 'monotonic'>) {}

  /**
   * @param address of the client, where one caused the line
   * @returns how many of the kind were left out since its last line, or undefined when this one is left out too
   */
  take(kind: string, address?: string): number | undefined {
    const key = this.#kinds.size < MAX_KINDS || this.#kinds.has(kind) ? kind : '';
    const now = this.clock.monotonic();
    let entry = this.#kinds.get(key);
    if (entry === undefined) this.#kinds.set(key, (entry = { budget: new TokenBucket(BURST, now), suppressed: 0 }));
    const hasShare = address === undefined || this.#shares.take(`${networkOf(address)} ${key}`, now);
    if (!hasShare || entry.budget.take(1, PER_SECOND, BURST, now) > 0) return void entry.suppressed++;
    const { suppressed } = entry;
    entry.suppressed = 0;
    return suppressed;
  }

  /** How many kinds and shares it remembers. */
  get size(): number {
    return this.#kinds.size + this.#shares.size;
  }
}
