import { open, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { NO_RECORD, readRecord } from './audit-record.js';
import type { AuditHash } from './audit-record.js';

/** The file of the audit cannot be used as it is; the message says why and what to do. */
export class AuditFileError extends Error {
  override readonly name = 'AuditFileError';
}

/** Bytes written at once at most, so that what a crash leaves half written is bounded. */
export const MAX_BATCH_BYTES = 256 * 1_024;
/** A line longer than this was not written by the audit. */
export const MAX_LINE_BYTES = 2 * MAX_BATCH_BYTES;

/** Where a chain goes on. */
export interface AuditTail {
  /** Sequence number of the last record; 0 when there is none. */
  readonly seq: number;
  /** Hash of the last record, or 64 zeros. */
  readonly head: string;
  /** Type of the last record. */
  readonly type: string | undefined;
  /** What follows the last record: the half line that a crash left. */
  readonly half: Buffer;
  /** False when the last byte is not a line feed. */
  readonly terminated: boolean;
}

const EMPTY: AuditTail = { seq: 0, head: NO_RECORD, type: undefined, half: Buffer.alloc(0), terminated: true };
const LINE_FEED = 10;

/**
 * Reads the end of a file, never the whole of it.
 *
 * @throws AuditFileError when what is there is neither a record whose seal fits nor half of one
 */
export async function readTail(path: string, hash: AuditHash): Promise<AuditTail> {
  const { bytes, isWhole } = await readEnd(path, 2 * MAX_LINE_BYTES);
  if (bytes.length === 0) return EMPTY;
  const terminated = bytes.at(-1) === LINE_FEED;
  for (let end = bytes.length; end > 0;) {
    const contentEnd = bytes[end - 1] === LINE_FEED ? end - 1 : end;
    // because a negative offset would count from the end
    const start = contentEnd === 0 ? 0 : bytes.lastIndexOf(LINE_FEED, contentEnd - 1) + 1;
    const line = bytes.subarray(start, contentEnd);
    const record = readRecord(line, hash);
    if (record !== undefined) {
      const half = bytes.subarray(end);
      if (half.length > 0 && !isHalfLine(half, hash)) break;
      return { seq: record.seq, head: hash(line), type: record.type, half, terminated };
    }
    end = start;
  }
  if (isWhole && isHalfLine(bytes, hash)) return { ...EMPTY, half: bytes, terminated };
  throw new AuditFileError(
    `The end of ${path} is not a record of this audit: it was changed, or written with another key. ` +
      `\`ws-gateway audit verify ${path}\` says where; move the file away to begin a new one.`,
  );
}

/**
 * Older files beside the current one, the oldest first. The name of each ends in the sequence number of its last record.
 */
export async function olderFiles(path: string): Promise<string[]> {
  const prefix = `${basename(path)}.`;
  const names = await readdir(dirname(path));
  return names
    .filter((name) => name.startsWith(prefix) && /^\d{15}$/.test(name.slice(prefix.length)))
    .toSorted()
    .map((name) => join(dirname(path), name));
}

export function olderFile(path: string, lastSeq: number): string {
  return `${path}.${String(lastSeq).padStart(15, '0')}`;
}

/** Where the chain of a file goes on: at its end or, as long as it has no record of its own, at that of the older one. */
export async function findTail(path: string, hash: AuditHash): Promise<AuditTail> {
  const tail = await readTail(path, hash);
  if (tail.seq > 0) return tail;
  const newest = (await olderFiles(path)).at(-1);
  if (newest === undefined) return tail;
  const { seq, head, type, half } = await readTail(newest, hash);
  if (half.length > 0) throw new AuditFileError(`${newest} ends in half a line, and nothing follows it`);
  return { ...tail, seq, head, type };
}

/** True for a beginning of a record that was not written to its end. */
export function isHalfLine(bytes: Buffer, hash: AuditHash): boolean {
  if (bytes.length > MAX_LINE_BYTES || bytes.at(-1) === LINE_FEED) return false;
  const [first = '', ...more] = bytes.toString('latin1').split('\n');
  // A recovery may crash as well: then its half record follows the half line that it was about.
  return !holdsRecord(first, hash) && more.every((line) => !holdsRecord(line, hash) && beginsRecovery(line));
}

/** A record and then something else is no half line: its line feed was removed. */
function holdsRecord(line: string, hash: AuditHash): boolean {
  return [...line.matchAll(/,"seal":"[0-9a-f]{64}"\}/g)].some(
    ({ 0: seal, index }) => readRecord(Buffer.from(line.slice(0, index + seal.length), 'latin1'), hash) !== undefined,
  );
}

function beginsRecovery(line: string): boolean {
  const head = /^\{"seq":\d+,"time":"[^"]*","type":"/.exec(line)?.[0];
  if (head === undefined) return line.length < 80;
  const type = line.slice(head.length, head.length + 'recovered"'.length);
  return 'recovered"'.startsWith(type);
}

async function readEnd(path: string, most: number): Promise<{ bytes: Buffer; isWhole: boolean }> {
  let handle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { bytes: Buffer.alloc(0), isWhole: true };
    throw error;
  }
  try {
    const { size } = await handle.stat();
    const start = Math.max(0, size - most);
    const bytes = Buffer.alloc(size - start);
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await handle.read(bytes, length, bytes.length - length, start + length);
      if (bytesRead === 0) break; // it became shorter meanwhile
      length += bytesRead;
    }
    return { bytes: bytes.subarray(0, length), isWhole: start === 0 };
  } finally {
    await handle.close();
  }
}
