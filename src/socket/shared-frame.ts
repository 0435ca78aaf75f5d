/** Counts the bytes of frames that go to several peers, each frame once. */
export interface SharedBytes {
  /** @param bytes below 0 when the last peer has read a frame */
  share(bytes: number): void;
}

/** A frame that goes to many peers: its bytes count once, until the last of them has read it. */
export class SharedFrame {
  #readers = 0;

  constructor(
    readonly bytes: Buffer,
    readonly text: string,
    private readonly counter: SharedBytes,
  ) {}

  wait(): void {
    if (this.#readers++ === 0) this.counter.share(this.bytes.length);
  }

  read(): void {
    if (--this.#readers === 0) this.counter.share(-this.bytes.length);
  }
}
