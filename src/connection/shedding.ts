import type { LoadGauge } from '../firewall/load-gauge.js';
import { GatewayError } from '../protocol/errors.js';
import { end } from './failure.js';
import type { WsSession } from './session.js';
import type { WsSessions } from './sessions.js';

/** What all sessions together may hold of bytes. */
export interface ByteLimits {
  readonly maxOutboundBytesTotal: number;
  readonly maxReceivingBytesTotal: number;
}

/** Time between two rounds, in milliseconds: what was ended in one has to have an effect before the next. */
const ROUND_MS = 1_000;

/** The share of the anonymous sessions that one round ends, and how many it ends at least. */
const SHARE = 0.1;
const AT_LEAST = 10;

/**
 * What the process cannot hold is let go of: bytes from those who hold most of them, and under a load that is too high the
 * newest anonymous sessions. Whoever has authenticated and reads what it is sent keeps its service.
 */
export class Shedding {
  #roundAt = 0;

  constructor(
    private readonly sessions: WsSessions,
    private readonly load: LoadGauge,
    private readonly limits: () => ByteLimits,
  ) {}

  sweep(now: number): void {
    this.#shedBytes();
    if (now < this.#roundAt) return;
    this.#roundAt = now + ROUND_MS;
    if (this.load.isOverloaded) this.#shedAnonymous();
  }

  #shedBytes(): void {
    let outbound = 0;
    let receiving = 0;
    const live = this.sessions.all();
    for (const { socket } of live) {
      outbound += socket.bufferedAmount;
      receiving += socket.receiving;
    }
    const { maxOutboundBytesTotal, maxReceivingBytesTotal } = this.limits();
    if (outbound > maxOutboundBytesTotal) {
      this.#endLargest(({ socket }) => socket.bufferedAmount, outbound - maxOutboundBytesTotal, 'SLOW_CONSUMER');
    }
    if (receiving > maxReceivingBytesTotal) {
      this.#endLargest(({ socket }) => socket.receiving, receiving - maxReceivingBytesTotal, 'OVERLOADED');
    }
  }

  #endLargest(size: (session: WsSession) => number, excess: number, code: 'SLOW_CONSUMER' | 'OVERLOADED'): void {
    let left = excess;
    for (const session of [...this.sessions.all()].toSorted((a, b) => size(b) - size(a))) {
      if (left <= 0) return;
      left -= size(session);
      end(session, new GatewayError(code, { retryAfterMs: 5_000, cause: 'the process holds too many bytes' }));
      session.socket.terminate(); // what it holds is to be had back now, and not when it likes to close
    }
  }

  #shedAnonymous(): void {
    const anonymous = [...this.sessions.all()].filter(({ isLive, principal }) => isLive && principal === undefined);
    const count = Math.max(AT_LEAST, Math.ceil(anonymous.length * SHARE));
    for (const session of anonymous.slice(-count))
      end(session, new GatewayError('OVERLOADED', { retryAfterMs: 5_000 }));
  }
}
