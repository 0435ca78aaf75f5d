import type { WebSocket } from 'ws';

/** Pongs of one socket that may be on their way at once. */
const MAX_PENDING = 60;

/**
 * Answers the pings of one socket. Of the pings that come while too many pongs are on their way it answers the latest alone, which
 * RFC 6455 §5.5.3 allows: a peer that floods, or does not read, costs no queue. (`ws` would cut the connection without a reason.)
 */
export class Pongs {
  #pending = 0;
  #latest: Buffer | undefined;

  constructor(private readonly socket: WebSocket) {}

  answer(payload: Buffer): void {
    if (this.#pending >= MAX_PENDING)
      this.#latest = Buffer.from(payload); // a copy: the payload is a view of what was read
    else this.#send(payload);
  }

  #send(payload: Buffer): void {
    if (this.socket.readyState !== this.socket.OPEN) return;
    this.#pending++;
    this.socket.pong(payload, undefined, this.#sent); // masked where it has to be
  }

  readonly #sent = (): void => {
    this.#pending--;
    const latest = this.#latest;
    if (latest === undefined) return;
    this.#latest = undefined;
    this.#send(latest);
  };
}
