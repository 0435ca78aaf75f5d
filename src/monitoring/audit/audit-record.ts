import { createHash, createHmac, createSecretKey } from 'node:crypto';
import { isJsonObject } from '../../protocol/message.js';
import { visibleJson } from '../../base/visible.js';
import type { AuditEntry } from './audit-event.js';

/**
 * A record is one line of JSON: `{"seq":…,"time":…,"type":…,…,"prev":"…","seal":"…"}`. `prev` is the hash of the line
 * before, all of it but the line feed; `seal` is the hash of this line up to the comma before `seal`. Both are over the
 * bytes as they are in the file, so that nothing depends on how JSON is written again.
 *
 * `prev` shows that lines are missing or out of order, `seal` which line was changed, the last one as well.
 */
export interface AuditRecord {
  readonly seq: number;
  readonly type: string;
  readonly prev: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** Types of the records by which the file tells of itself. */
export type FileRecordType =
  | 'started' // a process began to write, after one that had ended in order or none at all
  | 'recovered' // a process began to write, after one that had not ended in order
  | 'rotated' // the first record of a file that goes on from another
  | 'lost' // records that could not be written were given up
  | 'stopped'; // a process ended in order

/** SHA-256 in hexadecimal, or HMAC-SHA-256 when there is a key. */
export type AuditHash = (bytes: Uint8Array | string) => string;

/** What the first record of all carries for the hash of the one before. */
export const NO_RECORD = '0'.repeat(64);

/** A key shorter than its hash is the weakest part (RFC 2104 §3). */
export const MIN_AUDIT_KEY_BYTES = 32;

/** @throws TypeError when the key is shorter than 32 bytes in UTF-8 */
export function auditHash(key: string | undefined): AuditHash {
  if (key === undefined) return (bytes) => createHash('sha256').update(bytes).digest('hex');
  if (Buffer.byteLength(key) < MIN_AUDIT_KEY_BYTES) {
    throw new TypeError(`The key of the audit must be at least ${MIN_AUDIT_KEY_BYTES} bytes`);
  }
  const secret = createSecretKey(key, 'utf8');
  return (bytes) => createHmac('sha256', secret).update(bytes).digest('hex');
}

/** Characters of a subject, a reason and their like that are kept. */
const MAX_TEXT = 1_024;
const MAX_DETAILS_BYTES = 8 * 1_024;

/** What of an entry goes into a record, in this order; anything else that it may carry does not. */
const TEXTS = [
  'code',
  'sessionId',
  'subject',
  'clientAddress',
  'actor',
  'event',
  'incidentId',
  'reason',
] as const satisfies readonly (keyof AuditEntry)[];

/** The members of a record that are known before its place in the chain is. */
export function bodyOf(
  entry: Omit<AuditEntry, 'type'> & { readonly type: AuditEntry['type'] | FileRecordType },
): string {
  const members: Record<string, string> = { time: entry.time, type: entry.type };
  for (const name of TEXTS) {
    const text = entry[name];
    if (text !== undefined) members[name] = text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}…`;
  }
  const body = JSON.stringify(members).slice(1, -1);
  return visibleJson(entry.details === undefined ? body : `${body},"details":${detailsOf(entry.details)}`);
}

function detailsOf(details: unknown): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(details);
  } catch {
    json = undefined; // a BigInt or a cycle: said below, since the record itself must not be lost for it
  }
  if (json === undefined) return '{"omitted":"not JSON"}';
  const bytes = Buffer.byteLength(json);
  return bytes <= MAX_DETAILS_BYTES ? json : `{"omitted":"${bytes} bytes"}`;
}

/** The line without its line feed. */
export function lineOf(seq: number, body: string, prev: string, hash: AuditHash): string {
  const sealed = `{"seq":${seq},${body},"prev":"${prev}"`;
  return `${sealed},"seal":"${hash(sealed)}"}`;
}

const SEAL = /^,"seal":"([0-9a-f]{64})"\}$/;
const SEAL_BYTES = 75;

/** @returns undefined when the line, given without its line feed, is not a record with a seal that fits */
export function readRecord(line: Buffer, hash: AuditHash): AuditRecord | undefined {
  const seal = SEAL.exec(line.toString('latin1', Math.max(0, line.length - SEAL_BYTES)))?.[1];
  if (seal === undefined || hash(line.subarray(0, -SEAL_BYTES)) !== seal) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line.toString('utf8'));
  } catch {
    return undefined; // without a key anything can be sealed, also what is no JSON
  }
  if (!isJsonObject(value)) return undefined;
  const { seq, type, prev, details } = value;
  if (!Number.isSafeInteger(seq) || (seq as number) < 1) return undefined;
  if (typeof type !== 'string' || typeof prev !== 'string') return undefined;
  return { seq: seq as number, type, prev, details: isJsonObject(details) ? details : {} };
}
