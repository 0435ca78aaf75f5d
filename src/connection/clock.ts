/** Time, injected so that tests advance it instead of sleeping. */
export abstract class WsClock {
  /** Milliseconds since the epoch. */
  abstract now(): number;
  /** Runs `task` every `ms` milliseconds until the returned function is called; never keeps the process alive. */
  abstract every(ms: number, task: () => void): () => void;
}

export class SystemClock extends WsClock {
  now(): number {
    return Date.now();
  }

  every(ms: number, task: () => void): () => void {
    const timer = setInterval(task, ms);
    timer.unref();
    return () => clearInterval(timer);
  }
}
