import { open, rename, stat, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { SystemClock } from '../../base/clock.js';
import type { WsClock } from '../../base/clock.js';
import { fileExists } from '../../base/file-exists.js';
import { visible } from '../../base/visible.js';
import { contain, Faults } from '../../base/contain.js';
import type { AuditEntry } from './audit-event.js';
import { AuditLock } from './audit-lock.js';
import { auditHash, bodyOf, lineOf } from './audit-record.js';
import type { AuditHash, FileRecordType } from './audit-record.js';
import { AuditSink } from './audit-sink.js';
import { AuditFileError, findTail, MAX_BATCH_BYTES, olderFile, olderFiles } from './audit-tail.js';
import type { AuditTail } from './audit-tail.js';

export interface AuditFileOptions {
  /** The file that is written. Older ones lie beside it, as `PATH.` and the sequence number of their last record. */
  readonly path: string;
  /** Makes every hash an HMAC; at least 32 bytes in UTF-8. @default none: SHA-256 */
  readonly key?: string | undefined;
  /** Bytes at which a new file is begun. @default 67_108_864 */
  readonly maxFileBytes?: number | undefined;
  /** Older files that are kept; Infinity keeps all. @default Infinity */
  readonly keepFiles?: number | undefined;
  /** Bytes that may wait for the disk; records past that are counted and lost. @default 8_388_608 */
  readonly maxQueuedBytes?: number | undefined;
  /** `batch` waits for the disk after each write of up to 256 KiB, `none` leaves that to the system. @default 'batch' */
  readonly sync?: 'batch' | 'none' | undefined;
}

export const AUDIT_FILE_DEFAULTS = {
  maxFileBytes: 64 * 1_024 * 1_024,
  keepFiles: Infinity,
  maxQueuedBytes: 8 * 1_024 * 1_024,
  sync: 'batch',
} as const satisfies Omit<AuditFileOptions, 'path' | 'key'>;

/** Hears of what is wrong with the file, and of its end. Not once for each record. */
export type AuditProblemListener = (message: string, error?: unknown) => void;

/** The last record that is on the disk. */
export interface AuditHead {
  readonly seq: number;
  /** Its hash; of no record, 64 zeros. */
  readonly hash: string;
}

/** Lines on their way to the disk. */
interface Batch {
  readonly bytes: Buffer;
  /** The last of them. */
  readonly head: AuditHead;
  /** How many of the bytes are written. */
  offset: number;
}

/** Milliseconds between attempts while the disk refuses. */
const RETRY_MS = 1_000;
const WARN_EVERY_MS = 60_000;
/** What a line has beside its body: numbers, hashes and their names. */
const LINE_OVERHEAD_BYTES = 180;

/**
 * The audit as a file of JSON lines, each of which carries the hash of the one before, over rotations and restarts.
 * See audit-record.ts for the line and audit-verify.ts for what is found in it.
 */
export class AuditFile extends AuditSink {
  readonly #faults = new Faults('The listener of an AuditFile threw');
  readonly #path: string;
  readonly #hash: AuditHash;
  readonly #limits: { maxFileBytes: number; keepFiles: number; maxQueuedBytes: number; sync: 'batch' | 'none' };
  readonly #lock: AuditLock;
  #handle: FileHandle;
  /** Bytes that the file has when no other process touches it. */
  #size: number;
  #recordsInFile: number;
  #needsLineFeed: boolean;
  /** At this size a rotation that failed is tried again. */
  #rotateAgainAt = 0;

  /** Bodies that are not in the chain yet. */
  #queue: string[] = [];
  #queuedBytes = 0;
  #lost: { count: number; since: string } | undefined;
  /** The end of the chain, and how much of it is on the disk. */
  #seq: number;
  #prev: string;
  #written: AuditHead;
  #batch: Batch | undefined;

  #draining: Promise<void> | undefined;
  #stopRetrying: (() => void) | undefined;
  readonly #warnedAt = new Map<string, number>();
  #closed = false;

  private constructor(
    { path, key, ...limits }: AuditFileOptions,
    tail: AuditTail,
    handle: FileHandle,
    size: number,
    lock: AuditLock,
    private readonly clock: WsClock,
    private readonly listener: AuditProblemListener,
  ) {
    super();
    this.#path = path;
    this.#hash = auditHash(key);
    this.#limits = {
      maxFileBytes: limits.maxFileBytes ?? AUDIT_FILE_DEFAULTS.maxFileBytes,
      keepFiles: limits.keepFiles ?? AUDIT_FILE_DEFAULTS.keepFiles,
      maxQueuedBytes: limits.maxQueuedBytes ?? AUDIT_FILE_DEFAULTS.maxQueuedBytes,
      sync: limits.sync ?? AUDIT_FILE_DEFAULTS.sync,
    };
    this.#handle = handle;
    this.#lock = lock;
    this.#size = size;
    this.#recordsInFile = size === 0 ? 0 : 2; // or more: enough for a rotation
    this.#needsLineFeed = !tail.terminated;
    this.#seq = tail.seq;
    this.#prev = tail.head;
    this.#written = { seq: tail.seq, hash: tail.head };
    if (size === 0 && tail.seq > 0) this.#note('rotated', {});
    const crashed = tail.half.length > 0 || (tail.type !== undefined && tail.type !== 'stopped');
    const half = tail.half.length > 0 && { halfLine: tail.half.length, halfLineHash: this.#hash(tail.half) };
    this.#note(crashed ? 'recovered' : 'started', { pid: process.pid, ...half });
  }

  /**
   * Goes on where the file ends. Resolves when its first record, that of the start, is written. A later problem with
   * the file goes to `tell`, by default as a warning of the process.
   *
   * @throws AuditFileError when another process writes the file, or its end was changed or written with another key
   * @throws TypeError when the key is too short
   * @throws Error of the file system when it cannot be written
   */
  static async open(
    options: AuditFileOptions,
    clock: WsClock = new SystemClock(),
    tell: AuditProblemListener = warn,
  ): Promise<AuditFile> {
    const hash = auditHash(options.key);
    const lock = await AuditLock.acquire(options.path);
    let handle: FileHandle | undefined;
    try {
      const tail = await findTail(options.path, hash);
      handle = await openFile(options.path);
      const { size } = await handle.stat();
      const file = new AuditFile(options, tail, handle, size, lock, clock, tell);
      await file.#step();
      return file;
    } catch (error) {
      await handle?.close();
      await lock.release();
      throw error;
    }
  }

  /** The last record on the disk: what `audit verify --head` takes. */
  get head(): AuditHead {
    return this.#written;
  }

  override get problem(): string | undefined {
    return this.#stopRetrying === undefined && this.#lost === undefined ? undefined : 'the audit cannot be written';
  }

  /** @throws Error after `close()` */
  write(entry: AuditEntry): void {
    if (this.#closed) throw new AuditFileError(`${this.#path} is closed`);
    const body = bodyOf(entry);
    if (this.#queuedBytes + body.length > this.#limits.maxQueuedBytes) {
      this.#lost ??= { count: 0, since: entry.time };
      this.#lost.count++;
      this.#warn('lost', 'cannot be written fast enough: audit records are being lost');
      return;
    }
    this.#noteLost();
    this.#push(body);
    if (this.#stopRetrying === undefined) void this.flush();
  }

  /** Resolves when all that was taken so far is on the disk, or the disk has refused it. */
  async flush(): Promise<void> {
    if (this.#draining === undefined && !this.#isPending) return;
    this.#draining ??= this.#drain();
    await this.#draining;
  }

  /** Writes what is left and the record of an end in order. What the disk does not take now is reported and given up. */
  override async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#noteLost();
    this.#note('stopped');
    await this.flush();
    if (this.#isPending) await this.flush(); // one more time, for what came while the last write went on
    this.#stopRetrying?.();
    if (this.#isPending) {
      this.#tell(`${this.#path} ends without its last records: ${this.#seq - this.#written.seq + this.#queue.length}`);
    }
    await this.#handle.close();
    await this.#lock.release();
  }

  #tell(message: string, error?: unknown): void {
    contain(() => this.listener(message, error), this.#faults.tell); // and the audit goes on
  }

  /** The same trouble is told once a minute at most. */
  #warn(trouble: string, message: string, error?: unknown): void {
    const now = this.clock.monotonic();
    if (now - (this.#warnedAt.get(trouble) ?? -Infinity) < WARN_EVERY_MS) return;
    this.#warnedAt.set(trouble, now);
    this.#tell(`${this.#path} ${message}`, error);
  }

  get #isPending(): boolean {
    return this.#batch !== undefined || this.#queue.length > 0;
  }

  #push(body: string): void {
    this.#queue.push(body);
    this.#queuedBytes += body.length;
  }

  #note(type: FileRecordType, details?: object): void {
    const time = new Date(this.clock.now()).toISOString();
    this.#push(bodyOf({ type, time, ...(details !== undefined && { details }) }));
  }

  #noteLost(): void {
    if (this.#lost === undefined) return;
    const details = this.#lost;
    this.#lost = undefined;
    this.#note('lost', details);
  }

  /** The only place that writes; never two at once. */
  async #drain(): Promise<void> {
    try {
      // One batch after the other is what a chain is.
      while (this.#isPending) await this.#step();
    } catch (error) {
      if (this.#stopRetrying !== undefined) return; // it has been told, and is tried again
      this.#stopRetrying = this.clock.every(RETRY_MS, () => void this.flush());
      this.#tell(`${this.#path} cannot be written; it is tried again every ${RETRY_MS} ms`, error);
    } finally {
      this.#draining = undefined; // in the same turn as the last look at the queue, so that no record is overlooked
    }
  }

  async #step(): Promise<void> {
    await this.#watch();
    if (this.#batch === undefined) {
      await this.#rotateWhenFull();
      this.#batch = this.#nextBatch();
    }
    await this.#writeBatch(this.#batch);
    if (this.#queue.length === 0) this.#noteLost();
  }

  /** Notices what others do to the file: its removal, a cut, bytes that are not ours. Nothing of it stops the audit. */
  async #watch(): Promise<void> {
    const ours = await this.#handle.stat();
    const there = await stat(this.#path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (there?.ino !== ours.ino || there.dev !== ours.dev) {
      this.#warn('moved', 'was moved or removed; the audit goes on in a new file');
      await this.#beginFile({});
      return;
    }
    if (ours.size === this.#size) return;
    const what = ours.size > this.#size ? 'another process has written to it' : 'it was cut';
    this.#warn('foreign', `does not end where the audit left it: ${what}`);
    this.#size = ours.size;
    const { buffer, bytesRead } = await this.#handle.read(Buffer.alloc(1), 0, 1, Math.max(0, ours.size - 1));
    this.#needsLineFeed = bytesRead === 1 && buffer[0] !== 10;
    if (this.#batch === undefined) return;
    // What of it was there before is no line any more, so it is written again as a whole.
    const lineFeed = Buffer.from(this.#needsLineFeed ? '\n' : '');
    this.#batch = { ...this.#batch, bytes: Buffer.concat([lineFeed, this.#batch.bytes]), offset: 0 };
    this.#needsLineFeed = false;
  }

  async #rotateWhenFull(): Promise<void> {
    const needed = this.#size + sizeOf(this.#queue[0] ?? '');
    // more than the record of the rotation alone, else a small limit would rotate for ever
    if (needed <= this.#limits.maxFileBytes || this.#recordsInFile < 2 || this.#size < this.#rotateAgainAt) return;
    if (this.#needsLineFeed) return; // the record that tells of the half line follows it in the same file
    const older = olderFile(this.#path, this.#seq);
    try {
      if (await fileExists(older)) throw new AuditFileError(`${older} is already there`);
      await rename(this.#path, older);
    } catch (error) {
      this.#rotateAgainAt = this.#size + this.#limits.maxFileBytes;
      this.#warn('rotate', 'cannot be rotated and grows on', error);
      return;
    }
    await this.#beginFile({ after: basename(older), deleted: await this.#deleteOldest() });
  }

  /** @returns how many were deleted */
  async #deleteOldest(): Promise<number> {
    if (this.#limits.keepFiles === Infinity) return 0;
    const files = await olderFiles(this.#path);
    const excess = files.slice(0, Math.max(0, files.length - this.#limits.keepFiles));
    const results = await Promise.allSettled(excess.map((file) => unlink(file)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) this.#warn('delete', 'has older files that cannot be deleted', failed.reason);
    return results.filter(({ status }) => status === 'fulfilled').length;
  }

  async #beginFile(details: object): Promise<void> {
    const handle = await openFile(this.#path);
    await this.#handle.close();
    this.#handle = handle;
    this.#size = (await handle.stat()).size;
    this.#recordsInFile = 0;
    this.#needsLineFeed = false;
    this.#rotateAgainAt = 0;
    if (this.#batch !== undefined) this.#batch.offset = 0;
    this.#note('rotated', details);
    this.#queue.unshift(this.#queue.pop() as string); // because note() has just pushed it
  }

  /** Gives records their place in the chain: as many as fit a write and the file, at least one. */
  #nextBatch(): Batch {
    const room = Math.min(MAX_BATCH_BYTES, this.#limits.maxFileBytes - this.#size);
    const lines: string[] = [];
    let bytes = 0;
    for (const body of this.#queue) {
      bytes += sizeOf(body);
      if (bytes > room && lines.length > 0) break;
      const line = lineOf(this.#seq + 1, body, this.#prev, this.#hash);
      lines.push(`${line}\n`);
      this.#seq++;
      this.#prev = this.#hash(line);
      this.#queuedBytes -= body.length;
    }
    this.#queue.splice(0, lines.length);
    this.#recordsInFile += lines.length;
    const text = `${this.#needsLineFeed ? '\n' : ''}${lines.join('')}`;
    this.#needsLineFeed = false;
    return { bytes: Buffer.from(text), head: { seq: this.#seq, hash: this.#prev }, offset: 0 };
  }

  async #writeBatch(batch: Batch): Promise<void> {
    while (batch.offset < batch.bytes.length) {
      // A full disk takes a part, and the rest when there is room again.
      const { bytesWritten } = await this.#handle.write(batch.bytes, batch.offset);
      batch.offset += bytesWritten;
      this.#size += bytesWritten;
    }
    this.#batch = undefined;
    if (this.#limits.sync === 'batch') {
      // Not tried again: the bytes are in the file, and a second copy of them would break the chain.
      await this.#handle.datasync().catch((error: unknown) => this.#warn('sync', 'cannot be synced', error));
    }
    this.#written = batch.head;
    if (this.#stopRetrying === undefined) return;
    this.#stopRetrying();
    this.#stopRetrying = undefined;
    this.#tell(`${this.#path} can be written again`);
  }
}

function sizeOf(body: string): number {
  return Buffer.byteLength(body) + LINE_OVERHEAD_BYTES;
}

/** For its owner's eyes; its name survives a loss of power as well. */
async function openFile(path: string): Promise<FileHandle> {
  const handle = await open(path, 'a+', 0o600);
  if (process.platform === 'win32') return handle; // which cannot sync a folder
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  return handle;
}

function warn(message: string, error?: unknown): void {
  process.emitWarning(message, {
    type: 'WsGatewayWarning',
    ...(error instanceof Error && { detail: visible(error.message) }),
  });
}
