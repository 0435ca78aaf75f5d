import type { LiveTick } from '../wire.js';

/** One second; null is a gap. */
export type Point = Omit<LiveTick, 'kind'>;
