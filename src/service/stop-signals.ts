import type { WsClock } from '../base/clock.js';

/**
 * Signals within this time of the first, in milliseconds, count as the first: a Ctrl-C under `npm start` arrives twice,
 * from the terminal and from npm.
 */
const SAME_SIGNAL_MS = 1_000;

/** What a signal asks for. */
export interface StopSignals {
  /** The first signal. */
  begin(signal: NodeJS.Signals): void;
  /** A later one: the operator does not want to wait. */
  hurry(signal: NodeJS.Signals): void;
}

/** Tells the first SIGTERM or SIGINT from a second one that is meant as such. */
export function onStopSignals(clock: Pick<WsClock, 'monotonic'>, { begin, hurry }: StopSignals): () => void {
  let begunAt: number | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    const now = clock.monotonic();
    if (begunAt === undefined) {
      begunAt = now;
      begin(signal);
    } else if (now - begunAt >= SAME_SIGNAL_MS) hurry(signal);
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  return () => void process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
}
