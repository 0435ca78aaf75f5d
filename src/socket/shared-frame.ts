/** Counts the bytes of frames that go to several peers, each frame once. */
export interface SharedBytes {
  /** @param bytes below 0 when the last peer has read a frame */
  share(bytes: number): void;
}

/** Frames that go to many peers: their bytes count once, until the last of the peers has read them. */
export class SharedFrame {
  #readers = 0;

  constructor(
    readonly bytes: Buffer,
    /** What the frames say, for peers whose frames are compressed. */
    readonly texts: readonly string[],
    private readonly counter: SharedBytes,
  ) {}

  wait(): void {
    if (this.#readers++ === 0) this.counter.share(this.bytes.length);
  }

  read(): void {
    if (--this.#readers === 0) this.counter.share(-this.bytes.length);
  }
}
