import { GatewayError } from '../protocol/errors.js';
import { LATE_MS, SWEEP_MS } from './clock.js';
import type { WsClock } from './clock.js';
import type { PendingRequests } from '../connection/request.js';
import { failPending } from '../connection/receive.js';

/** What has deadlines of its own. */
export interface Swept {
  /**
   * @param now in monotonic milliseconds: for all that takes its time
   * @param timeOfDay in epoch milliseconds: for what expires at a time of day
   */
  sweep(now: number, timeOfDay: number): void;
  /**
   * Moves what others have to do in time, since this process was not there to see it: their bytes may wait in the kernel. Not
   * for what is over by itself, as a ban, a budget or a ticket.
   *
   * @param ms above 0
   */
  postpone?(ms: number): void;
}

/**
 * The one timer of the module. Every deadline is a number that the sweep compares: handlers, authentication, expiry,
 * pings and pongs, refused peers that linger, tickets and revocations.
 */
export class Heartbeat {
  #stop: (() => void) | undefined;
  #sweptAt = 0;
  #wasLate = false;

  constructor(
    private readonly clock: WsClock,
    private readonly pending: PendingRequests,
    private readonly limits: { readonly handlerTimeoutMs: number },
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
    for (const request of this.pending.overdue(now - this.limits.handlerTimeoutMs)) {
      failPending(request, new GatewayError('HANDLER_TIMEOUT'));
    }
    for (const part of this.swept) part.sweep(now, timeOfDay);
  }

  /**
   * After a stop or a block no time has passed for peers, handlers and whom the application asks. What they sent meanwhile is
   * read before the next sweep, since Node polls between two rounds of timers.
   */
  #makeUpForStop(now: number): void {
    const stepMs = now - this.#sweptAt;
    this.#sweptAt = now;
    const isLate = stepMs > LATE_MS;
    // The second in a row counts as one in time: a process that is always late still ends what is overdue.
    const lostMs = this.#wasLate ? stepMs - SWEEP_MS : stepMs;
    this.#wasLate = isLate;
    if (!isLate) return;
    this.pending.postpone(lostMs);
    for (const part of this.swept) part.postpone?.(lostMs);
  }
}
