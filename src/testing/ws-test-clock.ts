import { SWEEP_MS } from '../base/clock.js';
import type { ManualClock } from './manual-clock.js';

/** Turns of the event loop after each step: a ping and its pong cross the loopback in that time. */
const TURNS = 4;

/** The time of the gateway under test: it stands still until a test moves it. Timers of the application are real all the same. */
export class WsTestClock {
  readonly #clock: ManualClock;

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  /** The time of day, in epoch milliseconds. */
  now(): number {
    return this.#clock.now();
  }

  /**
   * Lets that many milliseconds pass: deadlines, expiries, budgets, bans and heartbeats. It goes in steps of a quarter of a second,
   * between which clients answer pings, so an hour takes a second or so.
   */
  async advance(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= SWEEP_MS) {
      this.#clock.advance(Math.min(left, SWEEP_MS));
      for (let turn = 0; turn < TURNS; turn++) await new Promise(setImmediate);
    }
  }

  /** Sets the time of day by that many milliseconds, forward or back, as an operator does; no time passes. */
  set(ms: number): void {
    this.#clock.set(ms);
  }
}
