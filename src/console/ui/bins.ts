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
  const values = SERIES.map((name) => {
    const known = points.map((point) => point.values[name]).filter((value) => value !== null);
    if (known.length === 0) return [name, null];
    return [name, PEAKS.has(name) ? Math.max(...known) : known.reduce((sum, value) => sum + value, 0) / known.length];
  });
  const codes = CODE_KINDS.map((kind): [CodeKind, Record<string, number>] => {
    const sums: Record<string, number> = {};
    for (const point of points) {
      for (const [code, count] of Object.entries(point.codes[kind])) sums[code] = (sums[code] ?? 0) + count;
    }
    return [kind, sums];
  });
  // because both have all their names
  return {
    at,
    values: Object.fromEntries(values) as Point['values'],
    codes: Object.fromEntries(codes) as Point['codes'],
  };
}
