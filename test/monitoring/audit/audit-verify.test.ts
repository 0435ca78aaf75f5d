import { createHash, createHmac } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { auditHash, bodyOf, lineOf } from '../../../src/monitoring/audit/audit-record.js';
import { olderFiles } from '../../../src/monitoring/audit/audit-tail.js';
import { verifyAudit } from '../../../src/monitoring/audit/audit-verify.js';
import { AUDIT_KEY, auditPath, entry, linesOf, openAudit, recordsOf, writeAudit } from '../../support/audit.js';

describe.each([
  ['without a key', undefined],
  ['with a key', AUDIT_KEY],
])('an audit %s', (_, key) => {
  const path = auditPath();
  const copy = auditPath();
  let bytes: Buffer;
  let lines: string[];
  const verify = (): ReturnType<typeof verifyAudit> => verifyAudit([copy], { key });
  const write = (changed: string[]): void => writeFileSync(copy, changed.map((line) => `${line}\n`).join(''));

  beforeAll(async () => {
    await writeAudit(path, 3, { key });
    bytes = readFileSync(path);
    lines = linesOf(path);
  });

  it('is intact as it was written', async () => {
    expect(await verifyAudit([path], { key })).toMatchObject({ intact: true, records: 5, first: 1, last: 5, lost: 0 });
  });

  it('carries in each record the hash of the line before', () => {
    const hash = (line: string): string =>
      (key === undefined ? createHash('sha256') : createHmac('sha256', key)).update(line).digest('hex');
    const records = recordsOf(path);
    expect(records[0]?.prev).toBe('0'.repeat(64));
    for (const [at, line] of lines.slice(0, -1).entries()) expect(records[at + 1]?.prev).toBe(hash(line));
    expect(bytes.toString()).not.toContain(AUDIT_KEY);
  });

  it('shows every change of a single byte, and which record it was', async () => {
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      // because `at` is below the length; a digit stays a digit, so that no change is found for its syntax alone
      changed[at] = (bytes[at] as number) ^ 1;
      writeFileSync(copy, changed);
      const record = bytes.toString('latin1', 0, at).split('\n').length;
      expect([at, await verify()]).toMatchObject([at, { intact: false, fault: 'changed', seq: record }]);
    }
  });

  it('shows every line that was removed', async () => {
    for (let at = 0; at < lines.length - 1; at++) {
      write(lines.toSpliced(at, 1));
      expect(await verify()).toMatchObject({ intact: false, fault: 'removed', seq: at + 1 });
    }
    write(lines.toSpliced(1, 2));
    expect(await verify()).toMatchObject({ seq: 2, message: 'records 2 to 3 are missing' });
  });

  it('shows every two lines that were swapped, and every line that is there twice', async () => {
    for (let one = 0; one < lines.length; one++) {
      for (let other = one + 1; other < lines.length; other++) {
        const swapped = [...lines];
        [swapped[one], swapped[other]] = [lines[other] as string, lines[one] as string];
        write(swapped);
        expect([one, other, await verify()]).toMatchObject([one, other, { intact: false, fault: 'reordered' }]);
      }
      write(lines.toSpliced(one, 0, lines[one] as string));
      expect(await verify()).toMatchObject({ intact: false, fault: 'reordered', seq: one + 1 });
    }
  });

  it('shows a foreign line wherever it is put in', async () => {
    for (let at = 0; at <= lines.length; at++) {
      for (const foreign of ['', '{}', 'x'.repeat(300), lines[2]?.replace('subject-2', 'subject-3') as string]) {
        write(lines.toSpliced(at, 0, foreign));
        expect(await verify()).toMatchObject({ intact: false });
      }
    }
  });

  it('shows every cut tail against the head, and calls a half line a crash', async () => {
    const whole = await verifyAudit([path], { key });
    const head = whole.intact ? whole.head : '';
    for (let length = 0; length < bytes.length - 1; length++) {
      writeFileSync(copy, bytes.subarray(0, length));
      const isHalf = length > 0 && bytes[length - 1] !== 10;
      expect([length, await verify()]).toMatchObject([length, { intact: true, crashCount: isHalf ? 1 : 0 }]);
    }
    for (let length = 0; length < bytes.length - 1; length += bytes[length] === 10 ? 1 : 8) {
      writeFileSync(copy, bytes.subarray(0, length));
      expect(await verifyAudit([copy], { key, head })).toMatchObject({ intact: false, fault: 'tail' });
    }
  });

  it('takes the head of any record, in any case of letters, and says which', async () => {
    const hash = auditHash(key);
    for (const [at, line] of lines.entries()) {
      const head = hash(line).toUpperCase();
      expect(await verifyAudit([path], { key, head })).toMatchObject({ intact: true, headSeq: at + 1 });
    }
    expect(await verifyAudit([path], { key, head: hash('another') })).toMatchObject({ intact: false, fault: 'tail' });
  });

  it('shows a record that was written again with its seal, by the one after it', async () => {
    const sealed = lineOf(3, bodyOf(entry(9)), recordsOf(path)[2]?.prev as string, auditHash(key));
    write(lines.with(2, sealed));
    expect(await verify()).toMatchObject({ intact: false, fault: 'changed', seq: 3 });
  });
});

describe('the key', () => {
  it('is what an attacker lacks: a chain written again without it does not pass', async () => {
    const [keyed, forged] = [auditPath(), auditPath()];
    await writeAudit(keyed, 3, { key: AUDIT_KEY });
    await writeAudit(forged, 3);
    expect(await verifyAudit([forged], { key: AUDIT_KEY })).toMatchObject({ intact: false, seq: 1 });
    const verdict = await verifyAudit([keyed]);
    expect(verdict).toMatchObject({ intact: false, seq: 1 });
    expect(verdict.intact ? '' : verdict.message).toContain('AUDIT_KEY');
    expect(await verifyAudit([keyed], { key: `${AUDIT_KEY}!` })).toMatchObject({ intact: false });
    await expect(verifyAudit([keyed], { key: 'short' })).rejects.toThrow('32 bytes');
  });
});

describe('several files', () => {
  const path = auditPath();
  let files: string[];

  beforeAll(async () => {
    await writeAudit(path, 30, { maxFileBytes: 2_000 });
    files = [...(await olderFiles(path)), path];
  });

  it('are one chain, in whatever order they are given', async () => {
    expect(files.length).toBeGreaterThan(3);
    const expected = { intact: true, first: 1, records: recordsOf(path).at(-1)?.seq };
    expect(await verifyAudit(files)).toMatchObject(expected);
    expect(await verifyAudit(files.toReversed())).toMatchObject(expected);
  });

  it('may begin at a rotation, which is said', async () => {
    const verdict = await verifyAudit(files.slice(2));
    expect(verdict).toMatchObject({ intact: true });
    expect(verdict.intact && verdict.first).toBe(recordsOf(files[2] as string)[0]?.seq);
  });

  it('show a file that is missing between them, and one that is given twice', async () => {
    const missing = files[1] as string;
    const [first] = recordsOf(missing);
    expect(await verifyAudit(files.filter((file) => file !== missing))).toMatchObject({
      intact: false,
      fault: 'removed',
      seq: first?.seq,
      file: files[2],
    });
    expect(await verifyAudit([...files, missing])).toMatchObject({ intact: false, fault: 'reordered' });
  });

  it('show a first line that is missing, since only a rotation begins a file midway', async () => {
    const copy = auditPath();
    const last = files.at(-2) as string;
    writeFileSync(copy, linesOf(last).slice(1).join('\n') + '\n');
    expect(await verifyAudit([copy])).toMatchObject({ intact: false, fault: 'removed' });
    expect(basename(last)).toMatch(/^audit\.log\.\d{15}$/);
  });

  it('show an older file without its last line feed', async () => {
    const copy = auditPath();
    writeFileSync(copy, readFileSync(files[0] as string).subarray(0, -1));
    expect(await verifyAudit([copy, ...files.slice(1)])).toMatchObject({ intact: false, fault: 'changed' });
  });
});

describe('a large audit', () => {
  it('of 100,000 records is verified in little memory and quickly', async () => {
    const path = auditPath();
    const { file } = await openAudit(path, { key: AUDIT_KEY, sync: 'none', maxQueuedBytes: 1e9 });
    for (let n = 0; n < 100_000; n++) file.write(entry(n));
    await file.close();
    const before = process.memoryUsage().rss;
    const start = performance.now();
    expect(await verifyAudit([path], { key: AUDIT_KEY })).toMatchObject({ intact: true, records: 100_002 });
    // With room to spare: a second or so, and some tens of megabytes that the collector has not looked at yet.
    expect(performance.now() - start).toBeLessThan(15_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024);
    rmSync(path); // some 25 MB
  });

  it('that is one endless line is not read into memory', async () => {
    const path = auditPath();
    writeFileSync(path, 'x'.repeat(4_000_000));
    expect(await verifyAudit([path])).toMatchObject({ intact: false, fault: 'changed', seq: 1 });
  });
});
