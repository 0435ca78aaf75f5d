import { GatewayError } from '../protocol/errors.js';
import type { WsClock } from './clock.js';
import type { Lingering } from './lingering.js';
import type { PendingRequests } from './pending.js';
import { failPending } from './receive.js';
import type { WsSessions } from './sessions.js';

/** Milliseconds between two sweeps: how late a deadline, an expiry or a ping may be. */
const SWEEP_MS = 250;

/**
 * The one timer of the module. Every deadline is a number that the sweep compares: handlers, authentication, expiry,
 * pings and pongs, refused peers that linger.
 */
export class Heartbeat {
  #stop: (() => void) | undefined;

  constructor(
    private readonly clock: WsClock,
    private readonly sessions: WsSessions,
    private readonly pending: PendingRequests,
    private readonly lingering: Lingering,
    private readonly handlerTimeoutMs: number,
  ) {}

  start(): void {
    this.#stop ??= this.clock.every(SWEEP_MS, () => this.sweep());
  }

  stop(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  sweep(): void {
    const now = this.clock.now();
    for (const request of this.pending.overdue(now - this.handlerTimeoutMs)) {
      failPending(request, new GatewayError('HANDLER_TIMEOUT'));
    }
    this.sessions.sweep(now);
    this.lingering.sweep(now);
  }
}
