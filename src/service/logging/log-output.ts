import { fstatSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { WsClock } from '../../base/clock.js';

/** Characters that may wait for a reader that does not read; lines past that are counted and lost. */
const MAX_WAITING = 8 * 1_024 * 1_024;
/** How long the end of the process waits for the reader, in milliseconds. */
const CLOSE_MS = 1_000;
const STDOUT = 1;

/** Writes text somewhere. */
interface Outlet {
  /** Characters that it has taken and not written. */
  readonly waiting: number;
  /** False when nothing can be written any more. */
  readonly isOpen: boolean;
  /** @returns false when it was not taken */
  write(text: string): boolean;
  /** Calls back when nothing waits any more. */
  onDrain(call: () => void): void;
  /** Resolves when nothing waits any more, or after a moment. */
  flush(): Promise<void>;
}

/**
 * stdout for pino. It never waits: a reader that stalls must neither stop the process nor fill its memory. Lines that find no
 * room are counted, and the next line that does says how many there were.
 */
export class LogOutput {
  readonly #outlet: Outlet;
  #lost = 0;

  /** @param print a line of JSON as it is shown, without its line feed */
  constructor(
    private readonly print: (json: string) => string,
    private readonly clock: Pick<WsClock, 'now'>,
    private readonly maxWaiting = MAX_WAITING,
  ) {
    this.#outlet = isStream() ? new StreamOutlet() : new FileOutlet();
    this.#outlet.onDrain(() => this.#tellLost());
  }

  /** What is wrong with it now; undefined when nothing is. */
  get problem(): string | undefined {
    if (!this.#outlet.isOpen) return 'stdout is closed: lines of the log are lost';
    return this.#lost > 0 ? 'stdout is not read: lines of the log are lost' : undefined;
  }

  /** For pino. */
  write(json: string): void {
    // Once lines are lost there are more of them, so that there is not a line about losses for each.
    const room = this.#lost > 0 ? this.maxWaiting / 2 : this.maxWaiting;
    if (this.#outlet.waiting > room) return void this.#lost++;
    if (this.#lost > 0 && !this.#tellLost()) return void this.#lost++;
    if (!this.#put(json)) this.#lost++;
  }

  /** Resolves when all is written, or the reader has had a moment. */
  close(): Promise<void> {
    return this.#outlet.flush();
  }

  #put(json: string): boolean {
    return this.#outlet.write(`${this.print(json.trimEnd())}\n`);
  }

  #tellLost(): boolean {
    const lost = this.#lost;
    if (lost === 0) return true;
    const msg = `${lost} lines of the log were lost: stdout did not take them`;
    if (!this.#put(JSON.stringify({ level: 40, time: this.clock.now(), lost, msg }))) return false;
    this.#lost -= lost;
    return true;
  }
}

/** A pipe, a socket or a terminal. */
class StreamOutlet implements Outlet {
  isOpen = true;

  constructor() {
    // The reader has gone. That is no reason for the process to go as well.
    process.stdout.on('error', () => (this.isOpen = false));
  }

  get waiting(): number {
    return process.stdout.writableLength;
  }

  write(text: string): boolean {
    if (!this.isOpen) return false;
    process.stdout.write(text);
    return true;
  }

  onDrain(call: () => void): void {
    process.stdout.on('drain', call);
  }

  flush(): Promise<void> {
    if (!this.isOpen || this.waiting === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, CLOSE_MS);
      process.stdout.write('', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** A file, or what takes or refuses bytes at once as one does. Node's own stream for it ends for good at a disk that is full once. */
class FileOutlet implements Outlet {
  readonly waiting = 0;
  readonly isOpen = true;
  /** What was written last was cut. */
  #needsLineFeed = false;

  write(text: string): boolean {
    const bytes = Buffer.from(this.#needsLineFeed ? `\n${text}` : text);
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(STDOUT, bytes, written);
      this.#needsLineFeed = false;
      return true;
    } catch {
      this.#needsLineFeed ||= written > 0; // the line is counted as lost by the caller
      return false;
    }
  }

  onDrain(): void {
    // nothing waits
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }
}

function isStream(): boolean {
  if (isatty(STDOUT)) return true;
  try {
    const stats = fstatSync(STDOUT);
    return stats.isFIFO() || stats.isSocket();
  } catch {
    return false; // it is closed, which the first line finds out
  }
}
