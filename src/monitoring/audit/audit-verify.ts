import { open } from 'node:fs/promises';
import { auditHash, NO_RECORD, readRecord } from './audit-record.js';
import type { AuditHash, AuditRecord } from './audit-record.js';
import { isHalfLine, MAX_LINE_BYTES } from './audit-tail.js';

export interface AuditVerifyOptions {
  /** The key the file was written with; what the file says of itself is not asked. */
  readonly key?: string | undefined;
  /** The hash of a record that must be there, as `audit head` and the service's log gave it. */
  readonly head?: string | undefined;
}

/** A place that a process that did not end in order left. */
export interface AuditCrash {
  /** The last record before it; 0 when there is none. */
  readonly afterSeq: number;
  /** Bytes of the half line; 0 when no line was cut. */
  readonly halfLine: number;
  /** True at the end of the last file: no process has gone on since, or one is about to. */
  readonly atEnd: boolean;
}

/** What is wrong with the first record that is wrong. */
export type AuditFault = 'changed' | 'removed' | 'reordered' | 'tail';

export type AuditVerdict =
  | {
      readonly intact: true;
      readonly records: number;
      /** Sequence number of the first record; above 1 when the files begin midway, at a rotation. */
      readonly first: number;
      readonly last: number;
      /** Hash of the last record. */
      readonly head: string;
      /** The record that the given head is of. */
      readonly headSeq: number | undefined;
      /** No more than 100 of them, and how many there are. */
      readonly crashes: readonly AuditCrash[];
      readonly crashCount: number;
      /** How many records were given up because they could not be written, as the audit itself tells. */
      readonly lost: number;
    }
  | {
      readonly intact: false;
      readonly fault: AuditFault;
      /** Sequence number of the first bad record: the one that was changed, is missing or stands in a wrong place. */
      readonly seq: number;
      /** Where it was noticed. */
      readonly file: string;
      readonly line: number;
      readonly message: string;
    };

const MAX_CRASHES = 100;

/**
 * Reads the files once, line by line, and follows the chain. They may be given in any order: the numbers of their
 * records put them into theirs.
 *
 * @throws Error of the file system when one cannot be read
 * @throws TypeError when the key is too short
 */
export async function verifyAudit(files: readonly string[], options: AuditVerifyOptions = {}): Promise<AuditVerdict> {
  const hash = auditHash(options.key);
  const chain = new Chain(hash, options.head?.toLowerCase());
  let bad: Fault | undefined;
  for (const file of await inOrder(files)) {
    for await (const line of linesOf(file)) {
      if (bad === undefined) bad = chain.follow(line);
      else if (readRecord(line.bytes, hash)?.seq === bad.soughtSeq) return bad.found(line);
      if (bad !== undefined && bad.soughtSeq === undefined) return bad.verdict;
    }
  }
  return bad?.verdict ?? chain.end();
}

interface Line {
  readonly file: string;
  readonly number: number;
  readonly bytes: Buffer;
  /** False when the file ends without a line feed. */
  readonly terminated: boolean;
}

type Bad = Extract<AuditVerdict, { intact: false }>;

/** What is wrong, and a record that, standing further on, tells that it was not removed. */
interface Fault {
  readonly verdict: Bad;
  readonly soughtSeq?: number;
  found(line: Line): Bad;
}

class Chain {
  #next: { readonly seq: number; readonly prev: string } | undefined;
  #first = 0;
  #records = 0;
  #lost = 0;
  #headSeq: number | undefined;
  readonly #crashes: AuditCrash[] = [];
  #crashCount = 0;
  /** Lines that are no records: half a line, if the next record says so. */
  #debris: Line[] = [];
  #debrisBytes = 0;
  #last: Line | undefined;

  constructor(
    private readonly hash: AuditHash,
    private readonly head: string | undefined,
  ) {}

  follow(line: Line): Fault | undefined {
    const record = readRecord(line.bytes, this.hash);
    if (this.#last?.terminated === false) return this.#changed(this.#last, 'has lost its line feed');
    this.#last = line;
    if (record === undefined) {
      this.#debris.push(line);
      this.#debrisBytes += line.bytes.length + 1;
      return this.#debrisBytes > MAX_LINE_BYTES ? this.#debrisFault() : undefined;
    }
    const bad = this.#misplaced(line, record) ?? this.#interrupted(line, record);
    if (bad !== undefined) return bad;
    this.#accept(line, record);
    return undefined;
  }

  end(): AuditVerdict {
    const last = this.#next === undefined ? 0 : this.#next.seq - 1;
    if (this.#debris.length > 0) {
      const bytes = this.#half();
      if (this.#last?.terminated !== false || !isHalfLine(bytes, this.hash)) return this.#debrisFault().verdict;
      this.#crash({ afterSeq: last, halfLine: bytes.length, atEnd: true });
    } else if (this.#last?.terminated === false) {
      this.#crash({ afterSeq: last, halfLine: 0, atEnd: true });
    }
    const head = this.#next?.prev ?? NO_RECORD;
    if (this.head === NO_RECORD && this.#records === 0) this.#headSeq = 0;
    if (this.head !== undefined && this.#headSeq === undefined) {
      const { file = '', number = 0 } = this.#last ?? {};
      const message = `records at the end are missing: none of ${this.#records} has the hash ${this.head}`;
      return { intact: false, fault: 'tail', seq: last + 1, file, line: number, message };
    }
    return {
      intact: true,
      records: this.#records,
      first: this.#first,
      last,
      head,
      headSeq: this.#headSeq,
      crashes: this.#crashes,
      crashCount: this.#crashCount,
      lost: this.#lost,
    };
  }

  #accept({ bytes }: Line, { seq, prev, type, details }: AuditRecord): void {
    if (this.#records++ === 0) this.#first = seq;
    if (type === 'lost' && Number.isSafeInteger(details.count)) this.#lost += details.count as number;
    const own = this.hash(bytes);
    if (this.head === own) this.#headSeq = seq;
    else if (this.head === prev) this.#headSeq = seq - 1; // the files begin right after it
    this.#next = { seq: seq + 1, prev: own };
  }

  /** Is it the record that belongs here? */
  #misplaced(line: Line, { seq, prev, type }: AuditRecord): Fault | undefined {
    if (this.#next === undefined) {
      if (seq === 1) return prev === NO_RECORD ? undefined : this.#changed(line, 'does not begin the chain', 1);
      // Only a rotation begins a file midway, or a recovery after a half line that was all the file had: see below.
      if (type === 'rotated' || this.#debris.length > 0) return undefined;
      return faultAt('removed', seq - 1, line, `the records before ${seq} are missing`, seq - 1);
    }
    const expected = this.#next.seq;
    if (seq === expected) {
      if (prev === this.#next.prev) return undefined;
      // Its own seal fits, so it is the one before that is not what it was.
      return this.#changed(line, `was changed: record ${seq} is not the one that followed it`, seq - 1);
    }
    if (this.#debris.length > 0) return this.#debrisFault();
    if (seq < expected) return faultAt('reordered', seq, line, `record ${seq} stands where ${expected} belongs`);
    const which = seq - expected === 1 ? `record ${expected} is` : `records ${expected} to ${seq - 1} are`;
    return faultAt('removed', expected, line, `${which} missing`, expected);
  }

  /** Lines that are no records are forgiven when a recovery vouches for their bytes. */
  #interrupted(line: Line, record: AuditRecord): Fault | undefined {
    const { seq, type, details } = record;
    const isRecovery = type === 'recovered';
    if (this.#debris.length === 0) {
      if (!isRecovery) return undefined;
      if (details.halfLineHash !== undefined) {
        return faultAt('removed', seq, line, `the half line before record ${seq} is missing`);
      }
      this.#crash({ afterSeq: seq - 1, halfLine: 0, atEnd: false });
      return undefined;
    }
    const bytes = this.#half();
    if (!isRecovery || details.halfLineHash !== this.hash(bytes)) return this.#debrisFault(record);
    this.#crash({ afterSeq: seq - 1, halfLine: bytes.length, atEnd: false });
    this.#debris = [];
    this.#debrisBytes = 0;
    return undefined;
  }

  #crash(crash: AuditCrash): void {
    this.#crashCount++;
    if (this.#crashes.length < MAX_CRASHES) this.#crashes.push(crash);
  }

  #half(): Buffer {
    const lineFeed = Buffer.from('\n');
    return Buffer.concat(this.#debris.flatMap(({ bytes }, at) => (at === 0 ? [bytes] : [lineFeed, bytes])));
  }

  /** @param next the record after it, which tells its number where nothing before it does */
  #debrisFault(next?: AuditRecord): Fault {
    const hint = this.#records === 0 ? '; if all of them are bad, AUDIT_KEY is not the one they were written with' : '';
    const [line] = this.#debris as [Line]; // because it is asked only when there is some
    const claimed = claimedSeq(line.bytes) ?? Infinity;
    const counted = next === undefined ? claimed : Math.min(claimed, next.seq - this.#debris.length);
    const seq = this.#next?.seq ?? (Number.isFinite(counted) ? Math.max(1, counted) : 1);
    return this.#changed(line, `was changed${hint}`, seq);
  }

  #changed(line: Line, what: string, seq = this.#next?.seq ?? 1): Fault {
    return faultAt('changed', seq, line, `record ${seq} ${what}`);
  }
}

function faultAt(kind: AuditFault, seq: number, { file, number }: Line, message: string, soughtSeq?: number): Fault {
  const verdict: Bad = { intact: false, fault: kind, seq, file, line: number, message };
  return {
    verdict,
    ...(soughtSeq !== undefined && { soughtSeq }),
    found: (line) => ({
      ...verdict,
      fault: 'reordered',
      message: `record ${seq} is not in its place but in line ${line.number} of ${line.file}`,
    }),
  };
}

const CHUNK_BYTES = 256 * 1_024;
const LINE_FEED = 10;

/** Holds one chunk and one line. A line that is too long is handed out cut: it is no record. */
async function* linesOf(file: string): AsyncGenerator<Line> {
  const handle = await open(file, 'r');
  try {
    let rest: Buffer = Buffer.alloc(0);
    let number = 0;
    for (;;) {
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES);
      if (bytesRead === 0) break;
      const chunk = Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
      let start = 0;
      for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, start)) {
        yield { file, number: ++number, bytes: chunk.subarray(start, end), terminated: true };
        start = end + 1;
      }
      rest = chunk.subarray(start);
      if (rest.length > MAX_LINE_BYTES) {
        yield { file, number: ++number, bytes: rest, terminated: true };
        return;
      }
    }
    if (rest.length > 0) yield { file, number: number + 1, bytes: rest, terminated: false };
  } finally {
    await handle.close();
  }
}

/** The oldest first. A file without a record of its own is the newest. */
async function inOrder(files: readonly string[]): Promise<string[]> {
  const numbered = await Promise.all(files.map(async (file) => ({ file, seq: await firstSeq(file) })));
  return numbered.toSorted((a, b) => (a.seq === b.seq ? 0 : a.seq - b.seq)).map(({ file }) => file);
}

async function firstSeq(file: string): Promise<number> {
  for await (const { bytes } of linesOf(file)) {
    const seq = claimedSeq(bytes);
    if (seq !== undefined) return seq;
  }
  return Infinity;
}

/** The number that a line says it has, whether or not that is true. */
function claimedSeq(line: Buffer): number | undefined {
  const digits = /^\{"seq":(\d{1,15}),/.exec(line.toString('latin1', 0, 32))?.[1];
  return digits === undefined ? undefined : Number(digits);
}
