import { WsClock } from '../base/clock.js';

/**
 * A clock that stands still until it is moved. Its two times have nothing to do with each other, so that a duration that takes
 * one of each is off by decades.
 */
export class ManualClock extends WsClock {
  #timeOfDay = Date.now();
  #monotonic = 1_000;
  readonly #tasks = new Map<() => void, { ms: number; next: number }>();

  now(): number {
    return this.#timeOfDay;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  /** How many tasks wait for their time. */
  get taskCount(): number {
    return this.#tasks.size;
  }

  /** Sets the time of day, forward or back; no time passes. */
  set(ms: number): void {
    this.#timeOfDay += ms;
  }

  every(ms: number, task: () => void): () => void {
    this.#tasks.set(task, { ms, next: this.#monotonic + ms });
    return () => this.#tasks.delete(task);
  }

  /** Moves without running anything, as between two sweeps. */
  jump(ms: number): void {
    this.#timeOfDay += ms;
    this.#monotonic += ms;
  }

  advance(ms: number): void {
    const end = this.#monotonic + ms;
    while (this.#monotonic < end) {
      const next = Math.min(end, ...[...this.#tasks.values()].map((timer) => timer.next));
      this.jump(Math.max(0, next - this.#monotonic));
      for (const [task, timer] of this.#tasks) {
        if (timer.next > this.#monotonic) continue;
        timer.next += timer.ms;
        task();
      }
    }
  }
}
