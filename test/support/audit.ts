import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AuditFile } from '../../src/monitoring/audit/audit-file.js';
import type { AuditFileOptions } from '../../src/monitoring/audit/audit-file.js';
import type { AuditEntry } from '../../src/monitoring/audit/audit-event.js';
import { ManualClock, stopApps, until } from './app.js';

export const AUDIT_KEY = 'a-key-for-the-audit-of-at-least-32-bytes';

/** A folder of its own for each audit. */
export const auditPath = (): string => join(mkdtempSync(join(tmpdir(), 'ws-gateway-audit-')), 'audit.log');

export const entry = (n: number, more: Partial<AuditEntry> = {}): AuditEntry => ({
  time: '2026-01-02T03:04:05.678Z',
  type: 'admitted',
  subject: `subject-${n}`,
  ...more,
});

/** An open audit file, and the messages of its troubles. */
export async function openAudit(
  path: string,
  options: Partial<AuditFileOptions> = {},
  clock = new ManualClock(),
): Promise<{ file: AuditFile; problems: string[]; clock: ManualClock }> {
  const problems: string[] = [];
  const file = await AuditFile.open({ path, ...options }, clock, (message) => problems.push(message));
  return { file, problems, clock };
}

/** Writes a file of `count` records beside those of its start and its end. */
export async function writeAudit(path: string, count: number, options: Partial<AuditFileOptions> = {}): Promise<void> {
  const { file } = await openAudit(path, options);
  for (let n = 1; n <= count; n++) file.write(entry(n));
  await file.close();
}

export const linesOf = (path: string): string[] => readFileSync(path, 'utf8').trimEnd().split('\n');

export const recordsOf = (path: string): Record<string, unknown>[] =>
  linesOf(path).map((line) => JSON.parse(line) as Record<string, unknown>);

/**
 * Stops the applications; resolves with what their audit holds when its file is closed. The clock of a test outruns the disk, so
 * the module may have given up its five seconds by then.
 */
export async function recordsAfterStop(path: string): Promise<Record<string, unknown>[]> {
  await stopApps();
  await until(() => recordsOf(path).at(-1)?.type === 'stopped');
  return recordsOf(path);
}
