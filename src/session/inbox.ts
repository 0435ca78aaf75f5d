/** Bytes of messages that may wait for their turn in one session, unless two messages are more than that. */
const MAX_HELD_BYTES = 1_048_576;

/** What a frame costs that waits for its turn, beside its bytes: a view of the chunk that it came in. */
const FRAME_BYTES = 128;

/** What a frame costs while it waits, in bytes. */
export function costOf(frame: Buffer): number {
  return frame.length + FRAME_BYTES;
}

/** A message that waits. */
export interface Held {
  readonly bytes: Buffer;
  readonly isBinary: boolean;
}

/** The frames that a session cannot take yet, in their order. A session makes one for the first of them. */
export class Inbox {
  readonly #frames: Held[] = [];
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#frames.length === 0;
  }

  /** What all frames cost that wait, in bytes. */
  get cost(): number {
    return this.#bytes + this.#frames.length * FRAME_BYTES;
  }

  put(bytes: Buffer, isBinary: boolean): void {
    this.#frames.push({ bytes, isBinary });
    this.#bytes += bytes.length;
  }

  take(): Held | undefined {
    const frame = this.#frames.shift();
    if (frame !== undefined) this.#bytes -= frame.bytes.length;
    return frame;
  }

  /** True when so much waits that the session has to end: one chunk of compressed frames can unpack to a thousand times its size. */
  isOverfull(maxMessageBytes: number): boolean {
    return this.#bytes > Math.max(MAX_HELD_BYTES, 2 * maxMessageBytes);
  }
}
