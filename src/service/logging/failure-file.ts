import { open, rename } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import type { WsClock } from '../../base/clock.js';
import { fileExists } from '../../base/file-exists.js';

/** The file is rolled at this size, and this many older ones are kept: `PATH.1` is the newest of them. */
const MAX_FILE_BYTES = 10 * 1_024 * 1_024;
const FILES_KEPT = 5;
/** What may wait for the disk; lines past that are counted and lost. */
const MAX_WAITING_BYTES = 8 * 1_024 * 1_024;
/** What is written at once. */
const MAX_BATCH_BYTES = 256 * 1_024;
/** Milliseconds between attempts while the disk refuses. */
const RETRY_MS = 1_000;
const LINE_FEED = 10;

/** Hears when the file cannot be written, and when it can again. */
export type FileTrouble = (message: string, error?: unknown) => void;

export interface FailureFileLimits {
  readonly maxFileBytes?: number;
  readonly maxWaitingBytes?: number;
}

/**
 * A file of lines that outlives a full disk: lines wait, the file is opened anew every second until it takes them, and what
 * there was no room for is counted and said, in the file and to the listener.
 */
export class FailureFile {
  readonly #maxFileBytes: number;
  readonly #maxWaitingBytes: number;
  #lines: Buffer[] = [];
  #waitingBytes = 0;
  #lost = 0;
  #handle: FileHandle | undefined;
  #size = 0;
  /** The file ends in half a line, which a line of ours must not go on. */
  #needsLineFeed = false;
  #draining: Promise<void> | undefined;
  #stopRetrying: (() => void) | undefined;

  constructor(
    private readonly path: string,
    private readonly clock: Pick<WsClock, 'every' | 'now'>,
    private readonly tell: FileTrouble,
    { maxFileBytes = MAX_FILE_BYTES, maxWaitingBytes = MAX_WAITING_BYTES }: FailureFileLimits = {},
  ) {
    this.#maxFileBytes = maxFileBytes;
    this.#maxWaitingBytes = maxWaitingBytes;
  }

  /** What keeps it from being written now; undefined when nothing does. */
  get problem(): string | undefined {
    return this.#stopRetrying === undefined ? undefined : 'the file of failures cannot be written';
  }

  /** @param line with its line feed */
  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#waitingBytes + bytes.length > this.#maxWaitingBytes) return void this.#lost++;
    this.#push(bytes);
    if (this.#stopRetrying === undefined) void this.flush();
  }

  /** Resolves when all that was taken so far is in the file, or the disk has refused it. */
  async flush(): Promise<void> {
    if (this.#draining === undefined && this.#lines.length === 0) return;
    this.#draining ??= this.#drain();
    await this.#draining;
  }

  /** Writes the rest. Lines that the disk does not take now are counted, reported and dropped. */
  async close(): Promise<void> {
    await this.flush();
    await this.flush(); // what came while the last write went on
    this.#stopRetrying?.();
    const given = this.#lines.length + this.#lost;
    if (given > 0) this.tell(`${this.path} ends without its last ${given} lines`);
    await this.#release();
  }

  #push(bytes: Buffer): void {
    this.#lines.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  /** The only place that writes; never two at once. */
  async #drain(): Promise<void> {
    try {
      while (this.#lines.length > 0) {
        // One after the other, so that lines stay in their order.
        await this.#step();
      }
    } catch (error) {
      await this.#release(); // what refuses once may refuse for ever: a handle of a file system that is gone, for one
      if (this.#stopRetrying !== undefined) return; // it has been told
      this.#stopRetrying = this.clock.every(RETRY_MS, () => void this.flush());
      this.tell(`${this.path} cannot be written; it is tried again every ${RETRY_MS} ms`, error);
    } finally {
      this.#draining = undefined; // in the same turn as the last look at the lines, so that none is overlooked
    }
  }

  async #step(): Promise<void> {
    if (this.#handle !== undefined && this.#size >= this.#maxFileBytes) await this.#rotate();
    const handle = (this.#handle ??= await this.#open());
    const batch = this.#nextBatch();
    const bytes = Buffer.concat(this.#needsLineFeed ? [Buffer.of(LINE_FEED), ...batch] : batch);
    const feed = bytes.length - lengthOf(batch);
    let written = 0;
    try {
      while (written < bytes.length) {
        // A disk that is almost full takes a part.
        written += (await handle.write(bytes, written)).bytesWritten;
      }
    } finally {
      this.#size += written;
      this.#written(batch, written - feed);
    }
    this.#needsLineFeed = false;
    this.#recovered();
  }

  /** A line that was cut is written again as a whole. */
  #written(batch: readonly Buffer[], bytes: number): void {
    let count = 0;
    for (let left = bytes; count < batch.length; count++) {
      left -= (batch[count] as Buffer).length; // because count is in range
      if (left < 0) break;
    }
    this.#waitingBytes -= lengthOf(this.#lines.splice(0, count));
  }

  #recovered(): void {
    const lost = this.#lost;
    if (lost > 0) {
      this.#lost = 0;
      const time = new Date(this.clock.now()).toISOString();
      const message = `${lost} lines were lost, since the file could not be written`;
      this.#push(Buffer.from(`${JSON.stringify({ time, level: 'warn', message, lost })}\n`));
    }
    if (this.#stopRetrying !== undefined) {
      this.#stopRetrying();
      this.#stopRetrying = undefined;
      this.tell(`${this.path} can be written again; ${lost} lines were lost`);
    } else if (lost > 0) this.tell(`${this.path} is not written fast enough; ${lost} lines were lost`);
  }

  #nextBatch(): Buffer[] {
    let bytes = 0;
    let count = 0;
    for (const line of this.#lines) {
      bytes += line.length;
      if (count > 0 && bytes > MAX_BATCH_BYTES) break;
      count++;
    }
    return this.#lines.slice(0, count);
  }

  async #open(): Promise<FileHandle> {
    const handle = await open(this.path, 'a+', 0o600); // for its owner's eyes
    try {
      const { size } = await handle.stat();
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(1), 0, 1, Math.max(0, size - 1));
      this.#size = size;
      this.#needsLineFeed = size > 0 && bytesRead === 1 && buffer[0] !== LINE_FEED;
      return handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async #rotate(): Promise<void> {
    await this.#release();
    for (let number = FILES_KEPT; number >= 1; number--) {
      const from = number === 1 ? this.path : `${this.path}.${number - 1}`;
      // From the oldest to the newest, each into the place of the one before.
      if (await fileExists(from)) await rename(from, `${this.path}.${number}`);
    }
  }

  async #release(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    // What close() reports was reported by the write that failed before, or is about bytes that were taken.
    await handle?.close().catch((error: unknown) => this.tell(`${this.path} could not be closed`, error));
  }
}

function lengthOf(lines: readonly Buffer[]): number {
  return lines.reduce((sum, { length }) => sum + length, 0);
}
