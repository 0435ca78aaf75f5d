import type { GatewaySocket } from '../socket/gateway-socket.js';
import type { SessionOptions } from './options.js';

/** Is the peer there? It answers pings, and finishes the messages that it begins. The sweep of all sessions asks. */
export class Liveness {
  /** Messages that have come as a whole. */
  received = 0;
  #receivedAtSweep = 0;
  /** Since when one message has been on its way, in monotonic milliseconds. */
  #receivingSince = Infinity;
  #pingAt: number;
  #pongBy = Infinity;
  /** The socket was not read while the pong was due: it comes behind the messages that the peer has sent meanwhile. */
  #isPongBehind = false;

  /** @param now in monotonic milliseconds */
  constructor(now: number, { intervalMs }: SessionOptions['heartbeat']) {
    this.#pingAt = now + intervalMs;
  }

  onPong(): void {
    this.#pongBy = Infinity;
    this.#isPongBehind = false;
  }

  /** Sends the ping that is due. @returns why the session has to end; undefined while the peer is there */
  sweep(now: number, socket: GatewaySocket, options: SessionOptions): 'STALLED' | 'NO_PONG' | undefined {
    const { intervalMs, timeoutMs } = options.heartbeat;
    const hasSpoken = this.received !== this.#receivedAtSweep;
    if (this.#isStalled(now, socket, options.limits.messageTimeoutMs)) return 'STALLED';
    if (now >= this.#pongBy) {
      this.#isPongBehind ||= socket.isPaused;
      if (!socket.isPaused && !(this.#isPongBehind && hasSpoken)) return 'NO_PONG';
      this.#pongBy = now + timeoutMs; // the pong may have come
    }
    if (now >= this.#pingAt) {
      this.#pingAt = now + intervalMs;
      if (this.#pongBy === Infinity) this.#pongBy = now + timeoutMs;
      socket.ping();
    }
    return undefined;
  }

  /** A message, or a frame, has begun and does not come to its end. */
  #isStalled(now: number, socket: GatewaySocket, messageTimeoutMs: number): boolean {
    const isSame = this.#receivedAtSweep === this.received && socket.receiving > 0 && !socket.isPaused;
    this.#receivedAtSweep = this.received;
    if (!isSame) this.#receivingSince = Infinity;
    else if (this.#receivingSince === Infinity) this.#receivingSince = now;
    return now >= this.#receivingSince + messageTimeoutMs;
  }

  /** The process was stopped for so long: what the peer did meanwhile has not been read. */
  postpone(ms: number): void {
    this.#receivingSince += ms;
    this.#pingAt += ms;
    this.#pongBy += ms;
  }
}
