import { readFileSync, truncateSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { auditHash } from '../../../src/monitoring/audit/audit-record.js';
import { olderFiles } from '../../../src/monitoring/audit/audit-tail.js';
import { openAudit } from '../../../src/service/logging/audit.js';
import { ManualClock } from '../../support/app.js';
import { AUDIT_KEY, auditPath, entry, linesOf, writeAudit } from '../../support/audit.js';
import { run, stopServices } from '../../support/service.js';

afterEach(stopServices);

async function audit(args: string[], environment = {}): Promise<{ code: number | null; output: string }> {
  const { exited, output } = run(['audit', ...args], environment);
  return { code: await exited, output: output() };
}

describe('ws-gateway audit', () => {
  const path = auditPath();
  const copy = auditPath();
  let head: string;

  beforeAll(async () => {
    await writeAudit(path, 3);
    head = auditHash(undefined)(linesOf(path).at(-1) as string);
  });

  it('verify says intact and exits with 0', async () => {
    expect(await audit(['verify', path])).toEqual({
      code: 0,
      output: `intact: 5 records (1 to 5) in 1 file\nhead: ${head}\n`,
    });
  });

  it('head prints what verify --head takes', async () => {
    expect(await audit(['head', path])).toEqual({ code: 0, output: `${head}\n` });
    const { code, output } = await audit(['verify', path, '--head', head]);
    expect(code).toBe(0);
    expect(output).toContain('the given head is that of record 5; 0 follow it');
  });

  it('verify names the first bad record and exits with 1', async () => {
    const lines = linesOf(path);
    writeFileSync(copy, `${lines.with(2, (lines[2] as string).replace('subject-2', 'subject-9')).join('\n')}\n`);
    expect(await audit(['verify', copy])).toEqual({
      code: 1,
      output: `NOT INTACT: changed: record 3 was changed\nfirst bad record: 3\nnoticed at: ${copy}:3\n`,
    });
  });

  it('verify calls half a line a crash and exits with 0, and misses a tail with the head only', async () => {
    writeFileSync(copy, readFileSync(path));
    truncateSync(copy, statSync(copy).size - 20);
    const { code, output } = await audit(['verify', copy]);
    expect(code).toBe(0);
    expect(output).toMatch(/crash: after record 4, half a line of \d+ bytes, at the end/);
    const missed = await audit(['verify', copy, `--head=${head}`]);
    expect(missed.code).toBe(1);
    expect(missed.output).toContain('NOT INTACT: tail: records at the end are missing');
    expect((await audit(['head', copy])).output).toContain('half a line of');
  });

  it('takes the key from AUDIT_KEY, and several files in any order', async () => {
    const keyed = auditPath();
    await writeAudit(keyed, 30, { key: AUDIT_KEY, maxFileBytes: 2_000 });
    const files = [keyed, ...(await olderFiles(keyed))];
    expect(await audit(['verify', ...files], { AUDIT_KEY })).toMatchObject({ code: 0 });
    const without = await audit(['verify', ...files]);
    expect(without.code).toBe(1);
    expect(without.output).toContain('AUDIT_KEY is not the one');
    expect(await audit(['head', keyed], { AUDIT_KEY })).toMatchObject({ code: 0 });
    expect((await audit(['head', keyed])).code).toBe(1);
    const midway = await audit(['verify', keyed], { AUDIT_KEY });
    expect(midway.code).toBe(0);
    expect(midway.output).toMatch(/begins at record \d+, after a rotation: what came before is not in these files/);
  });

  it.each([
    [['verify', join(dirname(path), 'nowhere')], 'cannot be read (ENOENT)'],
    [['head', join(dirname(path), 'nowhere')], 'cannot be read (ENOENT)'],
    [['verify', dirname(path)], 'A folder is no audit'],
  ])('%j is one line and exit code 1', async (args, message) => {
    const { code, output } = await audit(args);
    expect(code).toBe(1);
    expect(output).toContain(message);
    expect(output.trim().split('\n')).toHaveLength(1);
  });

  it('says so when the key is too short', async () => {
    const { code, output } = await audit(['verify', path], { AUDIT_KEY: 'short' });
    expect([code, output]).toEqual([1, 'AUDIT_KEY: The key of the audit must be at least 32 bytes\n']);
  });

  it.each([
    [[]],
    [['verify']],
    [['head']],
    [['head', 'one', 'two']],
    [['nonsense', 'file']],
    [['verify', 'file', '--head', 'abc']],
  ])('%j is answered with the help and exit code 1', async (args) => {
    const { code, output } = await audit(args);
    expect(code).toBe(1);
    expect(output).toContain('ws-gateway audit verify FILE... [--head HASH]');
  });
});

describe('the audit of the service', () => {
  it('logs its head every hour and at its end', async () => {
    const path = auditPath();
    const [clock, logged] = [new ManualClock(), [] as object[]];
    const pino = { info: (line: object) => logged.push(line), error: (line: object) => logged.push(line) };
    // because of pino's overloads, of which only one is used
    const service = await openAudit({ path }, clock, pino as unknown as Parameters<typeof openAudit>[2]);
    service.sink.write(entry(1));
    clock.advance(3_600_000);
    expect(logged).toHaveLength(1);
    await expect(openAudit({ path }, clock, pino as never)).rejects.toThrow('AUDIT_LOG_FILE: ');
    await service.close();
    const last = linesOf(path).at(-1) as string;
    expect(logged.at(-1)).toEqual({ auditHead: auditHash(undefined)(last), auditSeq: 3 });
    clock.advance(3_600_000);
    expect(logged).toHaveLength(2);
  });
});
