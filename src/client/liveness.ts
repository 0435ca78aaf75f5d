import type { Settings } from './settings.js';

/** A check that comes this late, in milliseconds, is of a page that slept: it proves nothing about the connection. */
const LATE_MS = 1_000;

export interface Liveness {
  /** Something came. */
  seen(): void;
  /** Asks now, and wants an answer in so many milliseconds. */
  probe(answerMs: number): void;
  stop(): void;
}

/**
 * Finds a connection on which nothing comes any more, which no event of a socket tells. Any frame is life; silence is asked about
 * once, and silence after that is the end. One timer, armed anew only when it fires.
 */
export function watch(
  { clock, after, liveness: { silenceMs, answerMs } }: Pick<Settings, 'clock' | 'after' | 'liveness'>,
  ping: () => void,
  onDead: () => void,
): Liveness {
  let seenAt = clock.now();
  let isAnswered = true;
  /** Of the probe that goes on. */
  let deadline = Infinity;
  let stop: () => void;

  const wait = (): void => {
    const left = silenceMs - (clock.now() - seenAt);
    if (left > 0) stop = after(left, wait);
    else probe(answerMs);
  };
  const probe = (ms: number): void => {
    const due = clock.now() + ms;
    if (deadline <= due) return; // asked already
    deadline = due;
    isAnswered = false;
    stop();
    stop = after(ms, () => {
      deadline = Infinity;
      if (isAnswered) wait();
      else if (clock.now() - due > LATE_MS) probe(ms);
      else onDead();
    });
    ping();
  };
  stop = after(silenceMs, wait);

  return {
    seen() {
      seenAt = clock.now();
      isAnswered = true;
    },
    probe,
    stop: () => stop(),
  };
}
