import type { FailureEvent, FailureLevel } from './events.js';
import type { WsClock } from '../connection/clock.js';
import { withPrivacy } from './privacy.js';
import type { Privacy } from './privacy.js';
import { scrub } from './scrub.js';

/** What a line of the log says; the names are the same in every sink. */
export type FailureRecord = FailureEvent & {
  /** Lines of the same code that were left out before this one. */
  readonly suppressed?: number;
};

/** Where the lines go: Nest's Logger in a host application, pino in the standalone service. */
export abstract class FailureSink {
  abstract write(record: FailureRecord): void;
}

/** Lines of one code and level that may come at once, and how many more each second lets in. */
const BURST = 100;
const PER_SECOND = 10;
/** Codes of applications are theirs to invent; no more than these are told apart. */
const MAX_BUCKETS = 512;

/**
 * One line for each failure. What strangers can cause is sampled by code, so that nobody can flood the disk: a line
 * that comes after a gap says how many were left out. Personal data is shown as the options say.
 */
export class FailureLog {
  readonly #buckets = new Map<string, { tokens: number; at: number; suppressed: number }>();

  constructor(
    private readonly sink: FailureSink,
    private readonly show: Privacy,
    private readonly clock: Pick<WsClock, 'now'>,
  ) {}

  readonly listener = (event: FailureEvent): void => {
    const suppressed = isSampled(event.level) ? this.#take(`${event.level} ${event.code}`) : 0;
    if (suppressed === undefined) return;
    this.sink.write({ ...this.#shown(event), ...(suppressed > 0 && { suppressed }) });
  };

  #shown(event: FailureEvent): FailureEvent {
    const { message, reason, stack } = event;
    return {
      ...withPrivacy(event, this.show),
      message: scrub(message, this.show),
      ...(reason !== undefined && { reason: scrub(reason, this.show) }),
      ...(stack !== undefined && { stack: scrub(stack, this.show) }),
    };
  }

  /** @returns how many were left out since the last line, or undefined when this one is left out too */
  #take(kind: string): number | undefined {
    const key = this.#buckets.size < MAX_BUCKETS || this.#buckets.has(kind) ? kind : '';
    const now = this.clock.now();
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) this.#buckets.set(key, (bucket = { tokens: BURST, at: now, suppressed: 0 }));
    bucket.tokens = Math.min(BURST, bucket.tokens + ((now - bucket.at) * PER_SECOND) / 1_000);
    bucket.at = now;
    if (bucket.tokens < 1) return void bucket.suppressed++;
    bucket.tokens--;
    const { suppressed } = bucket;
    bucket.suppressed = 0;
    return suppressed;
  }
}

/** Our own faults are never left out. */
function isSampled(level: FailureLevel): boolean {
  return level !== 'error';
}
