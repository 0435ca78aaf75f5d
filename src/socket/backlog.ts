import type { SharedFrame } from './shared-frame.js';

/** The time that a peer has to read a message larger than its bound: a base, and one second for each so many bytes. */
const READ_MS = 10_000;
const BYTES_PER_SECOND = 65_536;

/**
 * The bytes that wait for a peer which reads too slowly; made when it falls behind. Positions count the bytes that waited then, and
 * the bytes written since.
 */
export class Backlog {
  #written: number;
  #granted = 0;
  #readBy = Infinity;
  /** Shared frames that the peer has yet to read, in their order, and the position where each ends. */
  readonly #frames: SharedFrame[] = [];
  readonly #ends: number[] = [];
  #shared = 0;

  /** @param waiting bytes queued, all of them */
  constructor(waiting: number) {
    this.#written = waiting;
  }

  wrote(bytes: number): void {
    this.#written += bytes;
  }

  /** Bytes by which the peer may be over its bound: one message, and one only until it is back within it. */
  get granted(): number {
    return this.#granted;
  }

  /** Grants one message over the bound, and fixes its deadline: a peer that reads a byte now and then gains no time. */
  grant(bytes: number, waiting: number, now: number): void {
    this.#granted = bytes;
    this.#readBy = now + READ_MS + (waiting / BYTES_PER_SECOND) * 1_000;
  }

  withdraw(): void {
    this.#granted = 0;
    this.#readBy = Infinity;
  }

  /** The process was stopped for so long and wrote nothing meanwhile: the deadline moves. */
  postpone(ms: number): void {
    this.#readBy += ms;
  }

  /** True when the peer has had its time and is still over its bound. */
  isLate(now: number): boolean {
    return now >= this.#readBy;
  }

  /** The last frame written is shared with other peers. */
  holdShared(frame: SharedFrame): void {
    frame.wait();
    this.#frames.push(frame);
    this.#ends.push(this.#written);
    this.#shared += frame.bytes.length;
  }

  /** Releases the shared frames that the peer has read. @returns bytes of the shared frames that it has not */
  sharedOf(waiting: number): number {
    const read = this.#written - waiting;
    let done = 0;
    while (done < this.#ends.length && (this.#ends[done] as number) <= read) done++; // because done is in range
    if (done > 0) {
      this.#ends.splice(0, done);
      for (const frame of this.#frames.splice(0, done)) {
        this.#shared -= frame.bytes.length;
        frame.read();
      }
    }
    return Math.min(this.#shared, waiting);
  }
}
