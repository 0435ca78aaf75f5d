import { DURATION_BOUNDS_MS } from '../connection/traffic.js';

/**
 * Quantiles of durations that were counted in buckets, in milliseconds, interpolated within their bucket; NaN for all where there are none.
 *
 * @param counts one for each of {@link DURATION_BOUNDS_MS}, and one for what took longer
 */
export function quantilesOf(counts: ArrayLike<number>, quantiles: readonly number[]): number[] {
  let total = 0;
  for (let at = 0; at < counts.length; at++) total += counts[at] as number; // because it is in range
  return quantiles.map((quantile) => (total === 0 ? NaN : quantileOf(counts, quantile * total)));
}

function quantileOf(counts: ArrayLike<number>, rank: number): number {
  let below = 0;
  for (let at = 0; at < DURATION_BOUNDS_MS.length; at++) {
    const count = counts[at] as number; // because it is in range
    if (below + count >= rank && count > 0) {
      const [from, to] = [at === 0 ? 0 : (DURATION_BOUNDS_MS[at - 1] as number), DURATION_BOUNDS_MS[at] as number];
      return from + ((to - from) * (rank - below)) / count;
    }
    below += count;
  }
  return DURATION_BOUNDS_MS.at(-1) as number; // because the last bucket has no upper bound
}
