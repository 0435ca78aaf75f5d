import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import type { Session } from '../session/session.js';

/** Sessions whose `handleDisconnect` is waited for at once; over it the oldest is no longer. */
const MAX_WAITING = 10_000;

/** What the log names as the event. */
const NAME = 'handleDisconnect';

interface Waiting {
  readonly session: Session;
  until: number;
}

/**
 * The `handleDisconnect` hooks of ended sessions that have not settled: the shutdown waits for them, so that they still have the
 * application's database. Each has the `limits.handlerTimeoutMs` of its path.
 */
@Injectable()
export class Disconnects {
  // Oldest first.
  readonly #waiting = new Set<Waiting>();
  #whenSettled: (() => void) | undefined;

  constructor(@Inject(WsClock) private readonly clock: Pick<WsClock, 'monotonic'>) {}

  /** How many are waited for. */
  get size(): number {
    return this.#waiting.size;
  }

  /** @param settled never rejects */
  add(session: Session, settled: Promise<unknown>): void {
    for (const oldest of this.#waiting) {
      if (this.#waiting.size < MAX_WAITING) break;
      this.#giveUp(oldest, `more than ${MAX_WAITING} had not settled`);
    }
    const { handlerTimeoutMs } = session.server.context.options.limits;
    const waiting = { session, until: this.clock.monotonic() + handlerTimeoutMs };
    this.#waiting.add(waiting);
    void settled.then(() => this.#delete(waiting));
  }

  /** The process was stopped for so long: what a hook waits for may wait in the kernel. */
  postpone(ms: number): void {
    for (const waiting of this.#waiting) waiting.until += ms;
  }

  sweep(): void {
    const now = this.clock.monotonic();
    for (const waiting of this.#waiting) if (now >= waiting.until) this.#giveUp(waiting, 'it did not settle in time');
  }

  /** Resolves when none is waited for. */
  whenSettled(): Promise<void> {
    if (this.#waiting.size === 0) return Promise.resolve();
    return new Promise((resolve) => (this.#whenSettled = resolve));
  }

  /** The process is to end. */
  giveUpAll(): void {
    for (const waiting of this.#waiting) this.#giveUp(waiting, 'the shutdown waits no longer');
  }

  #giveUp(waiting: Waiting, why: string): void {
    this.#delete(waiting);
    waiting.session.onFault(new Error(`${NAME}: ${why}`), NAME);
  }

  #delete(waiting: Waiting): void {
    this.#waiting.delete(waiting);
    if (this.#waiting.size === 0) this.#whenSettled?.();
  }
}
