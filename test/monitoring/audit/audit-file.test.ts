import {
  appendFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { AuditFile } from '../../../src/monitoring/audit/audit-file.js';
import { auditHash } from '../../../src/monitoring/audit/audit-record.js';
import { findTail, olderFile, olderFiles } from '../../../src/monitoring/audit/audit-tail.js';
import { verifyAudit } from '../../../src/monitoring/audit/audit-verify.js';
import { ManualClock } from '../../support/app.js';
import { AUDIT_KEY, auditPath, entry, linesOf, openAudit, recordsOf, writeAudit } from '../../support/audit.js';

const lockOf = (path: string): string => join(dirname(path), '.audit.log.lock');

describe('the file', () => {
  it('has one JSON line for each record, numbered, timed, readable for its owner alone', async () => {
    const path = auditPath();
    const { file, problems } = await openAudit(path);
    file.write(
      entry(1, { type: 'denied', code: 'FORBIDDEN', sessionId: 's', clientAddress: '192.0.2.1', event: 'pay' }),
    );
    file.write(entry(2, { type: 'admin', actor: 'root', reason: 'line\nfeed "quoted"', details: { banned: ['x'] } }));
    await file.close();
    expect(recordsOf(path)).toMatchObject([
      { seq: 1, type: 'started', details: { pid: process.pid } },
      { seq: 2, time: '2026-01-02T03:04:05.678Z', type: 'denied', code: 'FORBIDDEN', sessionId: 's', event: 'pay' },
      { seq: 3, type: 'admin', actor: 'root', reason: 'line\nfeed "quoted"', details: { banned: ['x'] } },
      { seq: 4, type: 'stopped' },
    ]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(problems).toEqual([]);
  });

  it('keeps what it does not know out, and bounds what it knows', async () => {
    const path = auditPath();
    const { file } = await openAudit(path);
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    // because a caller without types can add anything
    file.write({ ...entry(1), token: 'secret-token', payload: {} } as ReturnType<typeof entry>);
    file.write(entry(2, { subject: 'x'.repeat(5_000), details: 'y'.repeat(9_000) }));
    for (const details of [cycle, 1n, () => 1]) file.write(entry(3, { details }));
    await file.close();
    expect(readFileSync(path, 'utf8')).not.toContain('secret');
    const records = recordsOf(path);
    expect(records[1]).not.toHaveProperty('payload');
    expect(records[2]).toMatchObject({ subject: `${'x'.repeat(1_024)}…`, details: { omitted: '9002 bytes' } });
    for (const record of records.slice(3, 6)) expect(record.details).toEqual({ omitted: 'not JSON' });
    expect(await verifyAudit([path])).toMatchObject({ intact: true, records: 7 });
  });

  it('tells its head, which is that of what is on the disk', async () => {
    const path = auditPath();
    const { file } = await openAudit(path);
    const { seq } = file.head;
    expect(seq).toBe(1);
    file.write(entry(1));
    expect(file.head.seq).toBe(1);
    await file.flush();
    expect(file.head).toEqual({ seq: 2, hash: auditHash(undefined)(linesOf(path)[1] as string) });
    await file.close();
    expect(await verifyAudit([path], { head: file.head.hash })).toMatchObject({ headSeq: 3 });
    expect(() => file.write(entry(2))).toThrow('is closed');
    await file.close();
  });

  it('loses nothing of what is written while it writes', async () => {
    const path = auditPath();
    const { file } = await openAudit(path);
    let written = 0;
    for (let round = 0; round < 50; round++) {
      file.write(entry(++written));
      // A record in every phase of a write that goes on
      for (let turn = 0; turn < round; turn++) await Promise.resolve();
      file.write(entry(++written));
      // As above
      if (round % 7 === 0) await file.flush();
    }
    await file.flush();
    expect(linesOf(path)).toHaveLength(written + 1);
    await file.close();
  });
});

describe('a restart', () => {
  it('goes on with number and hash', async () => {
    const path = auditPath();
    await writeAudit(path, 2, { key: AUDIT_KEY });
    await writeAudit(path, 2, { key: AUDIT_KEY });
    expect(recordsOf(path).map(({ seq, type }) => [seq, type])).toEqual([
      [1, 'started'],
      [2, 'admitted'],
      [3, 'admitted'],
      [4, 'stopped'],
      [5, 'started'],
      [6, 'admitted'],
      [7, 'admitted'],
      [8, 'stopped'],
    ]);
    expect(await verifyAudit([path], { key: AUDIT_KEY })).toMatchObject({ intact: true, crashCount: 0 });
  });

  it('after a half line keeps it, says so, and goes on, at whatever byte the line was cut', async () => {
    const sample = auditPath();
    await writeAudit(sample, 2);
    const bytes = readFileSync(sample);
    const start = bytes.lastIndexOf(10, bytes.length - 2) + 1;
    for (const length of [1, 8, 40, bytes.length - start - 2]) {
      const path = auditPath();
      const half = bytes.subarray(start, start + length);
      writeFileSync(path, bytes.subarray(0, start + length));
      // One after the other
      await writeAudit(path, 1);
      expect(readFileSync(path).subarray(0, start + length)).toEqual(bytes.subarray(0, start + length));
      expect(JSON.parse(linesOf(path)[4] as string)).toMatchObject({
        seq: 4,
        type: 'recovered',
        details: { halfLine: length, halfLineHash: auditHash(undefined)(half) },
      });
      const crashes = [{ afterSeq: 3, halfLine: length, atEnd: false }];
      // One after the other
      expect(await verifyAudit([path])).toMatchObject({ intact: true, records: 6, crashes });
      const lines = linesOf(path);
      for (const tampered of [lines.toSpliced(3, 1), lines.with(3, `${lines[3]}x`)]) {
        writeFileSync(path, tampered.map((line) => `${line}\n`).join(''));
        // One after the other
        expect(await verifyAudit([path])).toMatchObject({ intact: false });
      }
    }
  });

  it('after a crash while it recovered from a crash goes on as well', async () => {
    const path = auditPath();
    await writeAudit(path, 1);
    appendFileSync(
      path,
      '{"seq":4,"time":"2026-01-02T03:04:05.678Z","ty\n{"seq":4,"time":"2026-01-02T03:04:06.678Z","type":"rec',
    );
    expect(await verifyAudit([path])).toMatchObject({ intact: true, crashCount: 1 });
    await writeAudit(path, 1);
    expect(await verifyAudit([path])).toMatchObject({ intact: true, records: 6, crashCount: 1 });
  });

  it('after a crash that took only the line feed keeps the record', async () => {
    const path = auditPath();
    await writeAudit(path, 2);
    truncateSync(path, statSync(path).size - 1);
    expect(await verifyAudit([path])).toMatchObject({ intact: true, records: 4, crashCount: 1 });
    await writeAudit(path, 1);
    expect(await verifyAudit([path])).toMatchObject({ intact: true, records: 7 });
  });

  it('after a half line that is all there is begins the chain behind it', async () => {
    const path = auditPath();
    writeFileSync(path, '{"seq":1,"ti');
    await writeAudit(path, 1);
    expect(await verifyAudit([path])).toMatchObject({ intact: true, first: 1, records: 3, crashCount: 1 });
  });

  it('notes a process that did not end in order even where no line was cut', async () => {
    const path = auditPath();
    await writeAudit(path, 2);
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.subarray(0, bytes.lastIndexOf(10, bytes.length - 2) + 1));
    await writeAudit(path, 1);
    const crashes = [{ afterSeq: 3, halfLine: 0, atEnd: false }];
    expect(await verifyAudit([path])).toMatchObject({ intact: true, crashes });
  });

  it.each([
    [
      'a changed last record',
      (text: string) => text.replace(/subject-2/, 'subject-3').replace(/\{[^\n]*stopped.*\n/, ''),
    ],
    ['a foreign last line', (text: string) => `${text}nonsense\n`],
    ['a line feed that became something else', (text: string) => `${text.slice(0, -1)}x`],
    ['no audit at all', () => 'nonsense\n'],
  ])('is refused after %s, and leaves the file as it is', async (_, change) => {
    const path = auditPath();
    await writeAudit(path, 2);
    const changed = change(readFileSync(path, 'utf8'));
    writeFileSync(path, changed);
    await expect(openAudit(path)).rejects.toThrow(`The end of ${path} is not a record of this audit`);
    expect(readFileSync(path, 'utf8')).toBe(changed);
    expect(existsSync(lockOf(path))).toBe(false);
  });

  it('is refused with another key, and with one that is too short', async () => {
    const path = auditPath();
    await writeAudit(path, 2, { key: AUDIT_KEY });
    await expect(openAudit(path)).rejects.toThrow('written with another key');
    await expect(openAudit(path, { key: `${AUDIT_KEY}!` })).rejects.toThrow('written with another key');
    await expect(openAudit(path, { key: 'short' })).rejects.toThrow('at least 32 bytes');
  });
});

describe('rotation', () => {
  it('begins each file with the hash of the one before, and keeps all of them by default', async () => {
    const path = auditPath();
    await writeAudit(path, 30, { maxFileBytes: 2_000 });
    const files = await olderFiles(path);
    expect(files.length).toBeGreaterThan(2);
    for (const file of files) expect(statSync(file).size).toBeLessThanOrEqual(2_000);
    for (const [at, file] of files.entries()) {
      const next = files[at + 1] ?? path;
      expect(file).toBe(olderFile(path, recordsOf(file).at(-1)?.seq as number));
      expect(recordsOf(next)[0]).toMatchObject({
        type: 'rotated',
        prev: auditHash(undefined)(linesOf(file).at(-1) as string),
      });
    }
  });

  it('goes on over restarts, also when the last thing was a rotation', async () => {
    const path = auditPath();
    await writeAudit(path, 20, { maxFileBytes: 2_000 });
    renameSync(path, olderFile(path, recordsOf(path).at(-1)?.seq as number));
    await writeAudit(path, 20, { maxFileBytes: 2_000 });
    const verdict = await verifyAudit([...(await olderFiles(path)), path]);
    expect(verdict).toMatchObject({ intact: true, first: 1, crashCount: 0 });
  });

  it('deletes what is more than is to be kept, and says so', async () => {
    const path = auditPath();
    await writeAudit(path, 30, { maxFileBytes: 2_000, keepFiles: 2 });
    const files = await olderFiles(path);
    expect(files).toHaveLength(2);
    expect(recordsOf(path)[0]).toMatchObject({ type: 'rotated', details: { deleted: 1 } });
    const verdict = await verifyAudit([...files, path]);
    expect(verdict).toMatchObject({ intact: true });
    expect(verdict.intact && verdict.first).toBeGreaterThan(1);
  });

  it('does not end with a file that is smaller than a record', async () => {
    const path = auditPath();
    await writeAudit(path, 3, { maxFileBytes: 1 });
    expect(await verifyAudit([...(await olderFiles(path)), path])).toMatchObject({ intact: true, first: 1 });
  });

  it('never overwrites a file: it grows on and says why', async () => {
    const path = auditPath();
    const { file, problems } = await openAudit(path, { maxFileBytes: 900 });
    for (let seq = 1; seq <= 5; seq++) writeFileSync(olderFile(path, seq), 'of somebody else');
    for (let n = 1; n <= 4; n++) file.write(entry(n));
    await file.close();
    expect(problems).toEqual([`${path} cannot be rotated and grows on`]);
    for (const older of await olderFiles(path)) expect(readFileSync(older, 'utf8')).toBe('of somebody else');
    expect(await verifyAudit([path])).toMatchObject({ intact: true, records: 6 });
  });
});

describe('what others do to the file', () => {
  it('a second writer is refused, also in the same process, until the first has closed', async () => {
    const path = auditPath();
    const { file } = await openAudit(path);
    await expect(openAudit(path)).rejects.toThrow(`${path} is in use: another process writes its audit there`);
    await file.close();
    await writeAudit(path, 1);
    expect(existsSync(lockOf(path))).toBe(false);
  });

  it('a lock that nobody holds any more is no lock', async () => {
    const path = auditPath();
    const server = createServer().listen(lockOf(path));
    await once(server, 'listening');
    renameSync(lockOf(path), `${lockOf(path)}.kept`); // closing removes the socket of that name only
    server.close();
    await once(server, 'close');
    renameSync(`${lockOf(path)}.kept`, lockOf(path));
    await writeAudit(path, 1);
    expect(await verifyAudit([path])).toMatchObject({ intact: true });
  });

  it('a path too long for a socket is locked all the same', async () => {
    const path = join(dirname(auditPath()), 'x'.repeat(150));
    const { file } = await openAudit(path);
    await expect(openAudit(path)).rejects.toThrow('is in use');
    await file.close();
  });

  it.each(['foreign line\n', 'foreign half'])(
    '%j is noticed, told once, and found by verification',
    async (foreign) => {
      const path = auditPath();
      const { file, problems } = await openAudit(path);
      appendFileSync(path, foreign);
      file.write(entry(1));
      await file.flush();
      appendFileSync(path, foreign);
      file.write(entry(2));
      await file.close();
      expect(problems).toEqual([`${path} does not end where the audit left it: another process has written to it`]);
      expect(linesOf(path).filter((line) => line.startsWith('{'))).toHaveLength(4);
      expect(await verifyAudit([path])).toMatchObject({ intact: false, fault: 'changed', seq: 2, line: 2 });
    },
  );

  it('a cut is noticed', async () => {
    const path = auditPath();
    const { file, problems } = await openAudit(path);
    truncateSync(path, 0);
    file.write(entry(1));
    await file.close();
    expect(problems).toEqual([`${path} does not end where the audit left it: it was cut`]);
    expect(await verifyAudit([path])).toMatchObject({ intact: false, fault: 'removed' });
  });

  it('a file that was moved is followed by another of the same chain', async () => {
    const path = auditPath();
    const { file, problems } = await openAudit(path);
    renameSync(path, `${path}.moved`);
    file.write(entry(1));
    await file.close();
    expect(problems).toEqual([`${path} was moved or removed; the audit goes on in a new file`]);
    expect(await verifyAudit([`${path}.moved`, path])).toMatchObject({ intact: true, first: 1, last: 4 });
  });
});

describe('a disk that takes no more', () => {
  it('is told, memory is bounded, and what was lost is recorded when it takes more again', async () => {
    const path = auditPath();
    const folder = dirname(path);
    const { file, problems, clock } = await openAudit(path, { maxQueuedBytes: 500 });
    renameSync(folder, `${folder}.away`); // nothing can be opened there, whoever asks
    for (let n = 1; n <= 20; n++) file.write(entry(n));
    await file.flush();
    expect(problems.toSorted()).toEqual([
      `${path} cannot be written fast enough: audit records are being lost`,
      `${path} cannot be written; it is tried again every 1000 ms`,
      `${path} was moved or removed; the audit goes on in a new file`,
    ]);
    for (let n = 21; n <= 40; n++) file.write(entry(n));
    clock.advance(1_000);
    await file.flush();
    expect(problems).toHaveLength(3);
    renameSync(`${folder}.away`, folder);
    clock.advance(1_000);
    await file.flush();
    expect(problems.at(-1)).toBe(`${path} can be written again`);
    file.write(entry(41));
    await file.close();
    const written = recordsOf(path).filter(({ type }) => type === 'admitted').length;
    const lost = recordsOf(path).find(({ type }) => type === 'lost');
    expect(lost).toMatchObject({ details: { count: 41 - written, since: '2026-01-02T03:04:05.678Z' } });
    expect(await verifyAudit([path])).toMatchObject({ intact: true, lost: 41 - written });
  });

  it('at the end is not waited for', async () => {
    const path = auditPath();
    const { file, problems } = await openAudit(path);
    renameSync(dirname(path), `${dirname(path)}.away`);
    file.write(entry(1));
    await file.close();
    expect(problems.at(-1)).toBe(`${path} ends without its last records: 2`);
  });

  it('at the start stops it', async () => {
    const path = auditPath();
    rmSync(dirname(path), { recursive: true });
    await expect(AuditFile.open({ path }, new ManualClock(), () => undefined)).rejects.toThrow('ENOENT');
    await expect(findTail(path, auditHash(undefined))).rejects.toThrow('ENOENT');
  });
});
