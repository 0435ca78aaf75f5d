import { unavailable } from '../protocol/unavailable.js';
import type { WsClock } from '../base/clock.js';
import { pause } from './pause.js';

const RETRY_MS = 50;

interface Waiter {
  readonly until: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Handshakes that wait until this node knows what the others know: those of one turn of the event loop share one question to Redis. */
export class Door {
  #waiters: Waiter[] = [];
  #isAsking = false;
  #isStopped = false;

  /**
   * @param look asks Redis, and makes up for what this node lacks; rejects while that cannot be done
   * @param doorMs how long a handshake waits
   * @param isClosed false where a client is let in although Redis cannot be asked
   */
  constructor(
    private readonly look: () => Promise<void>,
    private readonly doorMs: number,
    private readonly isClosed: () => boolean,
    private readonly clock: Pick<WsClock, 'monotonic'>,
  ) {}

  /** @throws as a rejection, GatewayError UNAVAILABLE */
  pass(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ until: this.clock.monotonic() + this.doorMs, resolve, reject });
      void this.#ask();
    });
  }

  stop(): void {
    this.#isStopped = true;
    for (const { reject } of this.#waiters.splice(0)) reject(unavailable('the node has stopped'));
  }

  /** One question at a time: what comes meanwhile shares the next. */
  async #ask(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    await new Promise(setImmediate); // the other handshakes of this turn come along
    while (this.#waiters.length > 0) {
      const asking = this.#waiters.splice(0);
      try {
        await this.look();
        for (const { resolve } of asking) resolve();
      } catch (error) {
        await this.#askAgain(asking, error);
      }
    }
    this.#isAsking = false;
  }

  async #askAgain(asking: readonly Waiter[], error: unknown): Promise<void> {
    const now = this.clock.monotonic();
    for (const waiter of asking) {
      if (!this.isClosed()) waiter.resolve();
      else if (this.#isStopped || now >= waiter.until) waiter.reject(unavailable(error));
      else this.#waiters.push(waiter);
    }
    if (this.#waiters.length > 0) await pause(RETRY_MS);
  }
}
