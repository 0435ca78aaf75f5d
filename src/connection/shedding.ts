import type { LoadGauge } from './load-gauge.js';
import { GatewayError } from '../protocol/errors.js';
import type { ByteLimits, ByteBudget } from '../session/byte-budget.js';
import type { Session } from '../session/session.js';
import type { SessionRegistry } from '../session/registry.js';

/** Time between two rounds, in milliseconds: the ends of one round have to free memory before the next. */
const ROUND_MS = 1_000;

/** The share of the anonymous sessions that one round ends, and how many it ends at least. */
const SHARE = 0.1;
const AT_LEAST = 10;

/**
 * Ends the sessions that hold most bytes where all together hold too many, and under load the newest anonymous ones. Where the heap
 * stays full, it ends those that hold most, authenticated ones included.
 */
export class Shedding {
  #roundAt = 0;
  /** Set while the heap is full; V8 clears it when it has collected all garbage since. */
  #sinceCollection: WeakRef<object> | undefined;

  constructor(
    private readonly sessions: SessionRegistry,
    private readonly load: LoadGauge,
    private readonly byteBudget: ByteBudget,
    private readonly limits: ByteLimits,
  ) {
    byteBudget.onFull(() => this.#shedOutbound());
  }

  sweep(now: number): void {
    this.#shedOutbound();
    this.#shedReceiving();
    this.#shedHandling();
    this.byteBudget.sweep();
    if (now < this.#roundAt) return;
    this.#roundAt = now + ROUND_MS;
    if (this.load.isOverloaded) this.#shedAnonymous();
    this.#shedHeap();
  }

  #shedOutbound(): void {
    const { sessions, byteBudget } = this;
    const { maxOutboundBytesTotal } = this.limits;
    let own = 0;
    for (const session of sessions.all()) own += session.outbound;
    // A shared frame is freed when its last reader ends, so the sum is read anew each time.
    if (own + byteBudget.shared > maxOutboundBytesTotal) {
      for (const session of this.#largest(({ socket, link }) => socket.bufferedAmount + (link?.outbound ?? 0))) {
        if (own + byteBudget.shared <= maxOutboundBytesTotal) break;
        own -= session.outbound;
        cut(session, 'SLOW_CONSUMER');
      }
    }
    byteBudget.outbound = own + byteBudget.shared;
  }

  #shedReceiving(): void {
    let receiving = 0;
    for (const session of this.sessions.all()) receiving += session.receiving;
    this.#endLargest((session) => session.receiving, receiving - this.limits.maxReceivingBytesTotal);
  }

  /** Counts sessions alone: ending one does not free the bytes that handlers of closed sessions hold. */
  #shedHandling(): void {
    const { maxHandlingBytesTotal } = this.limits;
    if (this.byteBudget.handling <= maxHandlingBytesTotal) return;
    let handling = 0;
    for (const session of this.sessions.all()) handling += session.intake.handling;
    this.#endLargest((session) => session.intake.handling, handling - maxHandlingBytesTotal);
  }

  #endLargest(size: (session: Session) => number, excess: number): void {
    let left = excess;
    if (left <= 0) return;
    for (const session of this.#largest(size)) {
      if (left <= 0) return;
      left -= size(session);
      cut(session, 'OVERLOADED');
    }
  }

  #largest(size: (session: Session) => number): Session[] {
    return [...this.sessions.all()].filter((session) => size(session) > 0).toSorted((a, b) => size(b) - size(a));
  }

  #shedAnonymous(): void {
    const anonymous = [...this.sessions.all()].filter(({ isLive, principal }) => isLive && principal === undefined);
    const count = Math.max(AT_LEAST, Math.ceil(anonymous.length * SHARE));
    for (const session of anonymous.slice(-count)) session.end(new GatewayError('OVERLOADED', { retryAfterMs: 5_000 }));
  }

  /**
   * Garbage counts as heap in use until V8 collects it. So each round waits until V8 has collected all garbage since the round before
   * and the heap is still full.
   */
  #shedHeap(): void {
    if (!this.load.isHeapFull) this.#sinceCollection = undefined;
    else if (this.#sinceCollection === undefined) this.#sinceCollection = new WeakRef({});
    else if (this.#sinceCollection.deref() === undefined) {
      this.#sinceCollection = undefined;
      const live = [...this.sessions.all()].filter(({ isLive }) => isLive);
      const count = Math.max(AT_LEAST, Math.ceil(live.length * SHARE));
      const newest = live.toReversed(); // the newest first among those that hold as much, since the sort is stable
      for (const session of newest.toSorted((a, b) => held(b) - held(a)).slice(0, count)) cut(session, 'OVERLOADED');
    }
  }
}

function held({ intake: { handling }, outbound, receiving }: Session): number {
  return handling + outbound + receiving;
}

function cut(session: Session, code: 'SLOW_CONSUMER' | 'OVERLOADED'): void {
  session.end(new GatewayError(code, { retryAfterMs: 5_000, cause: 'the process holds too many bytes' }));
  session.link?.terminate();
  session.socket.terminate(); // frees its bytes now; a closing handshake would wait for the peer
}
