import type { Settings } from './settings.js';

/** A check that comes this late, in milliseconds, is of a page that slept: it proves nothing about the connection. */
const LATE_MS = 1_000;

/**
 * Finds a connection on which nothing comes any more, which no event of a socket tells. Any frame is life; silence is asked about
 * once, and silence after that is the end. One timer, armed anew only when it fires.
 */
export class Liveness {
  #seenAt = 0;
  #isRunning = false;
  #timer: unknown;
  #deadline: number | undefined;
  #isAnswered = false;

  constructor(
    private readonly settings: Pick<Settings, 'clock' | 'silenceMs' | 'answerMs'>,
    private readonly ping: () => void,
    private readonly onDead: () => void,
  ) {}

  start(): void {
    this.#isRunning = true;
    this.seen();
    this.#watch(this.settings.silenceMs);
  }

  stop(): void {
    this.#isRunning = false;
    this.#deadline = undefined;
    this.settings.clock.clearTimeout(this.#timer);
  }

  seen(): void {
    this.#seenAt = this.settings.clock.now();
    this.#isAnswered = true;
  }

  /** Asks now, and wants an answer in so many milliseconds. */
  probe(answerMs: number): void {
    const { clock } = this.settings;
    if (!this.#isRunning) return;
    const deadline = clock.now() + answerMs;
    if (this.#deadline !== undefined && this.#deadline <= deadline) return; // asked already
    this.#deadline = deadline;
    this.#isAnswered = false;
    clock.clearTimeout(this.#timer);
    this.#timer = clock.setTimeout(() => {
      this.#deadline = undefined;
      if (this.#isAnswered) this.#watch(this.settings.silenceMs - (clock.now() - this.#seenAt));
      else if (clock.now() - deadline > LATE_MS) this.probe(answerMs);
      else this.onDead();
    }, answerMs);
    this.ping();
  }

  #watch(ms: number): void {
    const { clock, silenceMs, answerMs } = this.settings;
    clock.clearTimeout(this.#timer);
    this.#timer = clock.setTimeout(() => {
      const left = silenceMs - (clock.now() - this.#seenAt);
      if (left > 0) this.#watch(left);
      else this.probe(answerMs);
    }, ms);
  }
}
