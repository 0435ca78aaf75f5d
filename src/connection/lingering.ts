import type { Duplex } from 'node:stream';

/** Milliseconds a refused peer has to take its answer and close. */
const LINGER_MS = 5_000;

/**
 * Refused connections that have their answer and not yet closed. A close at once could reach the peer as a reset before
 * the answer does; waiting for ever would be a leak.
 */
export class Lingering {
  readonly #until = new Map<Duplex, number>();
  #isOver = false;

  constructor(private readonly now: () => number) {}

  add(socket: Duplex): void {
    if (this.#isOver) return void socket.end(() => socket.destroy());
    this.#until.set(socket, this.now() + LINGER_MS);
    socket.once('close', () => this.#until.delete(socket));
    socket.resume(); // what the peer still sends is read and dropped, so that its end is seen
  }

  sweep(now: number): void {
    for (const [socket, until] of this.#until) if (now >= until) socket.destroy();
  }

  /** Also whoever is refused from here on is not waited for. */
  destroyAll(): void {
    this.#isOver = true;
    for (const socket of this.#until.keys()) socket.destroy();
  }
}
