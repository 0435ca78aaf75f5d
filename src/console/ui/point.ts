import type { CodeKind, SeriesName } from '../wire.js';

/** One second; null is a gap. */
export interface Point {
  readonly at: number;
  readonly values: Readonly<Record<SeriesName, number | null>>;
  readonly codes: Readonly<Record<CodeKind, Readonly<Record<string, number>>>>;
}
