import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { olderFiles } from '../../../src/monitoring/audit/audit-tail.js';
import { verifyAudit } from '../../../src/monitoring/audit/audit-verify.js';
import { AUDIT_KEY, auditPath, openAudit, recordsOf, writeAudit } from '../../support/audit.js';
import { hasProgram, MAIN } from '../../support/service.js';

/** Writes to the file as fast as it can until it is killed, or until a line comes in. Prints its troubles and its heads. */
const WRITER = `
  import { AuditFile } from ${JSON.stringify(new URL('monitoring/audit/audit-file.js', `file://${MAIN}`).href)};
  import { SystemClock } from ${JSON.stringify(new URL('base/clock.js', `file://${MAIN}`).href)};
  process.on('SIGXFSZ', () => {}); // else the limit of the file's size ends the process
  const [path, key, maxQueuedBytes, maxFileBytes] = process.argv.slice(1);
  const options = { path, key, maxQueuedBytes: Number(maxQueuedBytes), maxFileBytes: Number(maxFileBytes) };
  const file = await AuditFile.open(options, new SystemClock(), (message) => console.log(message));
  const time = '2026-01-02T03:04:05.678Z';
  let round = 0;
  const write = () => {
    for (let n = 0; n < 20; n++) file.write({ type: 'admitted', time, subject: 'subject-' + n });
    if (++round % 20 === 0) console.log(file.head.hash);
    next = setImmediate(write);
  };
  let next = setImmediate(write);
  process.stdin.once('data', () => {
    clearImmediate(next);
    file.close().then(() => process.exit(0));
  });
`;

const children = new Set<ChildProcessWithoutNullStreams>();
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
});

function startWriter(
  path: string,
  { limitKiB = 0, maxQueuedBytes = 1e7, maxFileBytes = 1e9 } = {},
): { child: ChildProcessWithoutNullStreams; output: () => string } {
  const node = [process.execPath, '--input-type=module', '-e', WRITER, path, AUDIT_KEY, maxQueuedBytes, maxFileBytes];
  const [command, args] = limitKiB === 0 ? ['exec "$@"', []] : [`ulimit -S -f ${limitKiB}; exec "$@"`, []];
  const child = spawn('bash', ['-c', command, 'bash', ...args, ...node.map(String)]);
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  children.add(child);
  return { child, output: () => printed };
}

async function kill(child: ChildProcessWithoutNullStreams): Promise<void> {
  const closed = once(child, 'close');
  child.kill('SIGKILL');
  await closed;
}

const heads = (output: string): string[] => output.split('\n').filter((line) => /^[0-9a-f]{64}$/.test(line));

describe.runIf(hasProgram('bash', 'bash', ['-c', 'true']))('a process that is killed', () => {
  it.each([1, 2, 3])('while it writes leaves an audit that goes on intact (%i)', async (times) => {
    const path = auditPath();
    const { child, output } = startWriter(path, { maxFileBytes: 200_000 });
    await expect.poll(() => heads(output()).length, { timeout: 15_000, interval: 5 }).toBeGreaterThan(times);
    await expect(openAudit(path, { key: AUDIT_KEY })).rejects.toThrow('is in use');
    await kill(child);
    await writeAudit(path, 3, { key: AUDIT_KEY });
    const files = [...(await olderFiles(path)), path];
    const head = heads(output()).at(-1);
    expect(await verifyAudit(files, { key: AUDIT_KEY, head })).toMatchObject({ intact: true, first: 1, crashCount: 1 });
  });

  it('on a full disk leaves half a line, which is kept and told', async () => {
    const path = auditPath();
    const { child, output } = startWriter(path, { limitKiB: 8 });
    await expect.poll(output, { timeout: 15_000, interval: 5 }).toContain('cannot be written; it is tried again');
    await kill(child);
    expect(statSync(path).size).toBe(8_192);
    const before = await verifyAudit([path], { key: AUDIT_KEY });
    expect(before).toMatchObject({ intact: true, crashCount: 1, crashes: [{ atEnd: true }] });
    await writeAudit(path, 3, { key: AUDIT_KEY });
    const after = await verifyAudit([path], { key: AUDIT_KEY });
    expect(after).toMatchObject({ intact: true, crashCount: 1, crashes: [{ atEnd: false }] });
    expect(after.intact && after.crashes[0]?.halfLine).toBeGreaterThan(0);
  });
});

describe.runIf(hasProgram('prlimit', 'prlimit', ['--version']))('a full disk', () => {
  it('loses records loudly and counted, and the chain goes on in the middle of its line', async () => {
    const path = auditPath();
    const { child, output } = startWriter(path, { limitKiB: 8, maxQueuedBytes: 20_000 });
    await expect.poll(output, { timeout: 15_000, interval: 5 }).toContain('cannot be written; it is tried again');
    await expect.poll(output, { timeout: 15_000, interval: 5 }).toContain('audit records are being lost');
    expect(statSync(path).size).toBe(8_192);
    expect(spawnSync('prlimit', ['--pid', String(child.pid), '--fsize=unlimited']).status).toBe(0);
    await expect.poll(output, { timeout: 15_000, interval: 5 }).toContain('can be written again');
    const closed = once(child, 'close');
    child.stdin.write('\n');
    expect(await closed).toEqual([0, null]);
    const verdict = await verifyAudit([path], { key: AUDIT_KEY });
    expect(verdict).toMatchObject({ intact: true, crashCount: 0 });
    expect(verdict.intact && verdict.lost).toBeGreaterThan(0);
    expect(recordsOf(path).at(-1)?.type).toBe('stopped');
  });
});
