import { stat } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { auditHash } from '../../monitoring/audit/audit-record.js';
import { AuditFileError, findTail } from '../../monitoring/audit/audit-tail.js';
import { verifyAudit } from '../../monitoring/audit/audit-verify.js';
import type { AuditCrash, AuditVerdict } from '../../monitoring/audit/audit-verify.js';
import { UsageError } from './errors.js';

/**
 * `ws-gateway audit`: prints whether an audit is intact, or the hash of its last record. `AUDIT_KEY` is its key.
 *
 * @returns the exit code: 1 when the audit is not intact or cannot be read
 * @throws UsageError; an error of parseArgs for an option it does not know
 */
export async function auditCommand(args: string[], environment: NodeJS.ProcessEnv): Promise<number> {
  const { values, positionals } = parseArgs({ args, allowPositionals: true, options: { head: { type: 'string' } } });
  const { head } = values;
  const key = environment.AUDIT_KEY?.trim() || undefined;
  const [command, ...files] = positionals;
  const [file] = files;
  if (head !== undefined && !/^[0-9a-f]{64}$/i.test(head)) {
    throw new UsageError('--head takes 64 hexadecimal digits, as `ws-gateway audit head` prints them');
  }
  if (file === undefined) throw new UsageError('ws-gateway audit needs a file');
  try {
    if (command === 'verify') return report(await verifyAudit(files, { key, head }), files.length);
    if (command === 'head' && files.length === 1 && head === undefined) return await printHead(file, key);
  } catch (error) {
    const message = readable(error);
    if (message === undefined) throw error;
    process.stderr.write(`${message}\n`);
    return 1;
  }
  throw new UsageError(`Unknown command: audit ${positionals.join(' ')}`);
}

async function printHead(file: string, key: string | undefined): Promise<number> {
  await stat(file); // a file that is not there is no audit without records
  const { seq, head, half } = await findTail(file, auditHash(key));
  print(head);
  if (half.length > 0) {
    process.stderr.write(`of record ${seq}: half a line of ${half.length} bytes follows it, from a crash\n`);
  }
  return 0;
}

function report(verdict: AuditVerdict, files: number): number {
  if (!verdict.intact) {
    print(`NOT INTACT: ${verdict.fault}: ${verdict.message}\nfirst bad record: ${verdict.seq}`);
    if (verdict.file !== '') print(`noticed at: ${verdict.file}:${verdict.line}`);
    return 1;
  }
  const { records, first, last, head, headSeq, crashes, crashCount, lost } = verdict;
  const range = records === 0 ? '' : ` (${first} to ${last})`;
  print(`intact: ${records} records${range} in ${files} ${files === 1 ? 'file' : 'files'}\nhead: ${head}`);
  if (first > 1) print(`begins at record ${first}, after a rotation: what came before is not in these files`);
  for (const crash of crashes) print(describe(crash));
  if (crashCount > crashes.length) print(`… and ${crashCount - crashes.length} crashes more`);
  if (lost > 0) print(`lost: ${lost} records could not be written when they happened`);
  if (headSeq !== undefined) print(`the given head is that of record ${headSeq}; ${last - headSeq} follow it`);
  return 0;
}

function describe({ afterSeq, halfLine, atEnd }: AuditCrash): string {
  const what = halfLine > 0 ? `half a line of ${halfLine} bytes` : 'no half line';
  if (!atEnd) return `crash: after record ${afterSeq}, ${what}; the audit went on`;
  return `crash: after record ${afterSeq}, ${halfLine > 0 ? what : 'a line feed is missing'}, at the end`;
}

/** What an operator can do something about, in one line; undefined for a fault of this program. */
function readable(error: unknown): string | undefined {
  if (error instanceof AuditFileError) return error.message;
  const { code, path, message } = error as NodeJS.ErrnoException;
  if (code !== undefined && path !== undefined) return `${path} cannot be read (${code})`;
  if (code === 'EISDIR') return `A folder is no audit (${code})`;
  return error instanceof TypeError && message.startsWith('The key') ? `AUDIT_KEY: ${message}` : undefined;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
