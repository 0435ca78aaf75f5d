import { CODE_KINDS, SERIES } from '../wire.js';
import type { CodeKind, SeriesName } from '../wire.js';
import type { Point } from './point.js';

/** Of these the highest of a bin is what matters. */
const PEAKS: ReadonlySet<SeriesName> = new Set(['p95', 'p99', 'loopDelay']);

/**
 * Points of some seconds each: means of numbers, sums of counts by code. Where there is no point, there is a gap.
 *
 * @param seconds of one bin
 */
export function binned(points: readonly Point[], seconds: number): Point[] {
  const width = seconds * 1_000;
  const bins = new Map<number, Point[]>();
  for (const point of points) {
    const at = Math.floor(point.at / width) * width;
    const bin = bins.get(at);
    if (bin === undefined) bins.set(at, [point]);
    else bin.push(point);
  }
  const [first, last] = [bins.keys().next().value, [...bins.keys()].at(-1)];
  if (first === undefined || last === undefined) return [];
  const all: Point[] = [];
  for (let at = first; at <= last; at += width)
    all.push(joined(at === last ? (points.at(-1)?.at ?? at) : at, bins.get(at) ?? []));
  return all;
}

function joined(at: number, points: readonly Point[]): Point {
  const values: Partial<Record<SeriesName, number | null>> = {};
  for (const name of SERIES) {
    let [known, sum, peak] = [0, 0, -Infinity];
    for (const point of points) {
      const value = point.values[name];
      if (typeof value !== 'number') continue;
      known++;
      sum += value;
      peak = Math.max(peak, value);
    }
    values[name] = known === 0 ? null : PEAKS.has(name) ? peak : sum / known;
  }
  const codes: Record<CodeKind, Record<string, number>> = { refusals: {}, exceptions: {}, closes: {} };
  for (const kind of CODE_KINDS) {
    const sums = codes[kind];
    for (const point of points) {
      for (const code in point.codes[kind]) sums[code] = (sums[code] ?? 0) + (point.codes[kind][code] ?? 0);
    }
  }
  return { at, values: values as Point['values'], codes }; // because it has all their names
}
