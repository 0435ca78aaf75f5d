/** Milliseconds between two sweeps: how late a deadline, an expiry or a ping may be. */
export const SWEEP_MS = 250;

/** A sweep that comes this long after the one before is late: the process was stopped, or its event loop was blocked. */
export const LATE_MS = 2 * SWEEP_MS;

/** The two times, injected so that tests move them instead of sleeping. */
export abstract class WsClock {
  /** The time of day, in milliseconds since the epoch: for `exp`, `iat`, `nbf`, and for what is shown or logged. It can be set. */
  abstract now(): number;
  /**
   * Milliseconds since some moment before the process began, which only grow: for every duration, deadline, budget, ban and
   * sweep. Setting the time of day does not move it.
   */
  abstract monotonic(): number;
  /** Runs `task` every `ms` milliseconds until the returned function is called; never keeps the process alive. */
  abstract every(ms: number, task: () => void): () => void;
}

export class SystemClock extends WsClock {
  now(): number {
    return Date.now();
  }

  monotonic(): number {
    return performance.now();
  }

  every(ms: number, task: () => void): () => void {
    const timer = setInterval(task, ms);
    timer.unref();
    return () => clearInterval(timer);
  }
}
