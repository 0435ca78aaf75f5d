import { GatewayError } from '../protocol/errors.js';
import type { WsClock } from '../base/clock.js';
import type { PendingRequests } from './pending.js';
import { failPending } from './receive.js';

/** Milliseconds between two sweeps: how late a deadline, an expiry or a ping may be. */
const SWEEP_MS = 250;

/** What has deadlines of its own. */
export interface Swept {
  /**
   * @param now in monotonic milliseconds: for all that takes its time
   * @param timeOfDay in epoch milliseconds: for what expires at a time of day
   */
  sweep(now: number, timeOfDay: number): void;
}

/**
 * The one timer of the module. Every deadline is a number that the sweep compares: handlers, authentication, expiry,
 * pings and pongs, refused peers that linger, tickets and revocations.
 */
export class Heartbeat {
  #stop: (() => void) | undefined;

  constructor(
    private readonly clock: WsClock,
    private readonly pending: PendingRequests,
    private readonly limits: { readonly handlerTimeoutMs: number },
    private readonly swept: readonly Swept[],
  ) {}

  start(): void {
    this.#stop ??= this.clock.every(SWEEP_MS, () => this.sweep());
  }

  stop(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  sweep(): void {
    const now = this.clock.monotonic();
    const timeOfDay = this.clock.now();
    for (const request of this.pending.overdue(now - this.limits.handlerTimeoutMs)) {
      failPending(request, new GatewayError('HANDLER_TIMEOUT'));
    }
    for (const part of this.swept) part.sweep(now, timeOfDay);
  }
}
