import { LATE_MS, SWEEP_MS } from './clock.js';
import type { WsClock } from './clock.js';

/** A table whose entries have deadlines. */
export interface Swept {
  /**
   * @param now in monotonic milliseconds: for all that takes its time
   * @param timeOfDay in epoch milliseconds: for what expires at a time of day
   */
  sweep(now: number, timeOfDay: number): void;
  /**
   * Moves the deadlines of others, since this process was not there to see what they did: their bytes may wait in the kernel.
   * A ban, a budget or a ticket ends by itself, so its time is not moved.
   *
   * @param ms above 0
   */
  postpone?(ms: number): void;
}

/**
 * The one timer of the module. Every deadline is a number that the sweep compares: handlers, authentication, expiry,
 * pings and pongs, refused peers that linger, tickets and revocations. The tables are swept in their order.
 */
export class Sweeper {
  #stop: (() => void) | undefined;
  #sweptAt = 0;
  #wasLate = false;

  constructor(
    private readonly clock: WsClock,
    private readonly swept: readonly Swept[],
  ) {}

  start(): void {
    this.#sweptAt = this.clock.monotonic();
    this.#stop ??= this.clock.every(SWEEP_MS, () => this.sweep());
  }

  stop(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  sweep(): void {
    const now = this.clock.monotonic();
    const timeOfDay = this.clock.now();
    this.#makeUpForStop(now);
    for (const part of this.swept) part.sweep(now, timeOfDay);
  }

  /**
   * A stop or a block of this process takes no time from peers, from handlers and from what the application waits for. What
   * they sent meanwhile is read before the next sweep, since Node polls between two rounds of timers.
   */
  #makeUpForStop(now: number): void {
    const stepMs = now - this.#sweptAt;
    this.#sweptAt = now;
    const isLate = stepMs > LATE_MS;
    // The second in a row counts as one in time: a process that is always late still ends what is overdue.
    const lostMs = this.#wasLate ? stepMs - SWEEP_MS : stepMs;
    this.#wasLate = isLate;
    if (!isLate) return;
    for (const part of this.swept) part.postpone?.(lostMs);
  }
}
