import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, describe, expect, it } from 'vitest';
import { FailureFile } from '../../../src/service/logging/failure-file.js';
import { ManualClock } from '../../support/app.js';
import { Client } from '../../support/client.js';
import { ACTIVE, HOSTILE } from '../../support/hostile-text.js';
import { startService, stopServices } from '../../support/service.js';
import { SECRET, token } from '../../support/tokens.js';

const FLOOD = new URL('../../support/log-flood.mjs', import.meta.url).pathname;
const floods = new Set<ChildProcess>();

afterEach(stopServices);
afterEach(() => {
  for (const child of floods) child.kill('SIGKILL');
  floods.clear();
});

interface Flood {
  child: ChildProcess;
  log: (lines: number) => Promise<{ waiting: number; problem?: string }>;
}

async function startFlood(format: 'json' | 'pretty', stdout: 'pipe' | number = 'pipe'): Promise<Flood> {
  const child = spawn(process.execPath, [FLOOD, format], { stdio: ['ignore', stdout, 'inherit', 'ipc'] });
  floods.add(child);
  await once(child, 'message');
  return {
    child,
    async log(lines) {
      child.send(lines);
      const [answer] = (await once(child, 'message')) as [{ waiting: number; problem?: string }];
      return answer;
    },
  };
}

const path = (): string => join(mkdtempSync(join(tmpdir(), 'ws-gateway-log-')), 'errors.log');
const linesOf = (file: string): Record<string, unknown>[] =>
  readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('the log on stdout', () => {
  it.each(['json', 'pretty'] as const)(
    'whose reader stalls is bounded, and says how much was lost (%s)',
    async (format) => {
      const { child, log } = await startFlood(format); // nobody reads its stdout
      const sent = 3 * 10_000;
      await log(10_000);
      const { waiting, problem } = await log(10_000);
      expect(waiting).toBeLessThan(10 * 1_024 * 1_024);
      expect(problem).toBe('stdout is not read: lines of the log are lost');
      expect((await log(10_000)).waiting).toBe(waiting);
      const { stdout } = child;
      let [read, lost] = [0, 0];
      for await (const line of createInterface({ input: stdout as NonNullable<typeof stdout> })) {
        if (line.includes('flood')) read++;
        lost += Number(/(\d+) lines of the log were lost/.exec(line)?.[1] ?? 0);
        if (lost > 0) break;
      }
      expect([lost > 10_000, read + lost]).toEqual([true, sent]);
      expect((await log(1)).problem).toBeUndefined();
    },
  );

  it('whose reader has gone does not end the process', async () => {
    const { child, log } = await startFlood('json');
    child.stdout?.destroy();
    await log(10);
    expect((await log(10)).problem).toBe('stdout is closed: lines of the log are lost');
  });

  it.runIf(process.platform === 'linux')('that goes to a full disk does not end the process', async () => {
    const { openSync } = await import('node:fs');
    const { log } = await startFlood('json', openSync('/dev/full', 'w'));
    expect((await log(10)).problem).toContain('lines of the log are lost');
  });

  it.each(['json', 'pretty'])('has no active character of a stranger in it, nor has the file (%s)', async (format) => {
    const errors = path();
    const service = await startService({
      JWT_SECRET: SECRET,
      LOG_FORMAT: format,
      LOG_LEVEL: 'trace',
      ERROR_LOG_FILE: errors,
    });
    const client = await Client.connect(service.url, { token: token({ sub: HOSTILE }) });
    await client.ask('nonsense');
    const ban = { subject: HOSTILE, forMs: 1_000, reason: HOSTILE };
    const answer = await fetch(`${service.http}/admin/bans`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token({ sub: HOSTILE, scope: 'ws-gateway:admin' })}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify(ban),
    });
    expect(answer.status).toBe(201);
    await client.closed;
    await expect.poll(service.output).toContain('BANNED');
    service.process.kill('SIGTERM');
    expect(await service.exited).toBe(0);
    const lines = [...service.output().split('\n'), ...readFileSync(errors, 'utf8').split('\n')];
    expect(lines.filter((line) => line.includes('eve')).length).toBeGreaterThan(3);
    for (const line of lines) expect([line, ACTIVE.test(line)]).toEqual([line, false]);
    for (const line of lines) expect(line).not.toMatch(/^\{"level":30,"msg":"forged"|^\[Nest\]/);
  });
});

describe('the file of failures', () => {
  const open = (file: string, limits = {}): { log: FailureFile; told: string[]; clock: ManualClock } => {
    const told: string[] = [];
    const clock = new ManualClock();
    return { log: new FailureFile(file, clock, (message) => told.push(message), limits), told, clock };
  };
  const line = (n: number): string => `${JSON.stringify({ n })}\n`;

  it.runIf(process.platform === 'linux')(
    'is opened anew after a full disk, and what was lost is counted and said',
    async () => {
      const file = path();
      symlinkSync('/dev/full', file);
      const { log, told, clock } = open(file, { maxWaitingBytes: 50 });
      log.write(line(0));
      await log.flush();
      expect(log.problem).toBe('the file of failures cannot be written');
      for (let n = 1; n < 20; n++) log.write(line(n));
      clock.advance(3_000);
      await log.flush();
      expect(told).toEqual([`${file} cannot be written; it is tried again every 1000 ms`]);
      rmSync(file);
      clock.advance(1_000);
      await log.flush();
      expect(log.problem).toBeUndefined();
      log.write(line(20));
      await log.close();
      const lines = linesOf(file);
      const kept = lines.filter(({ n }) => n !== undefined).map(({ n }) => n);
      const { lost } = lines.find((one) => one.lost !== undefined) ?? {};
      expect(kept).toEqual([0, 1, 2, 3, 4, 5, 20]);
      expect(lost).toBe(14);
      expect(told[1]).toBe(`${file} can be written again; 14 lines were lost`);
      expect(statSync(file).mode & 0o777).toBe(0o600);
    },
  );

  it('is rolled, and five older ones are kept', async () => {
    const file = path();
    const { log } = open(file, { maxFileBytes: 10 });
    for (let n = 0; n < 20; n++) {
      log.write(line(n));
      // A write each
      await log.flush();
    }
    await log.close();
    const all = [file, ...[1, 2, 3, 4, 5].map((n) => `${file}.${n}`)].map(linesOf);
    expect(all.toReversed().flat().at(-1)).toEqual({ n: 19 });
    expect(all.flat().length).toBeLessThan(14);
    expect(() => statSync(`${file}.6`)).toThrow('ENOENT');
  });

  it('does not go on in a line that was cut', async () => {
    const file = path();
    writeFileSync(file, '{"n":');
    const { log } = open(file);
    log.write(line(1));
    await log.close();
    expect(readFileSync(file, 'utf8')).toBe('{"n":\n{"n":1}\n');
  });

  it.runIf(mountsDisks())('survives a disk that is full in the middle of a line, and readiness says so', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-disk-'));
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]);
    try {
      const file = join(folder, 'errors.log');
      writeFileSync(join(folder, 'filler'), Buffer.alloc(60 * 1_024));
      const service = await startService({ JWT_SECRET: SECRET, ERROR_LOG_FILE: file });
      const client = await Client.connect(service.url, { token: token() });
      const readiness = async (): Promise<unknown> => (await fetch(`${service.http}/readyz`)).json();
      const fail = async (times: number): Promise<void> => {
        for (let n = 0; n < times; n++) {
          // One answer, one line
          await client.ask({ event: 'message', data: { text: 1 }, id: n });
        }
      };
      await fail(40);
      await expect.poll(readiness).toEqual({ status: 'ready', warnings: ['the file of failures cannot be written'] });
      await fail(10);
      rmSync(join(folder, 'filler'));
      await expect.poll(readiness, { timeout: 5_000 }).toEqual({ status: 'ready' });
      await client.close();
      service.process.kill('SIGTERM');
      expect(await service.exited).toBe(0);
      const failures = (text: string): number =>
        text.split('\n').filter((one) => one.endsWith('}') && one.includes('VALIDATION_FAILED')).length;
      expect(failures(readFileSync(file, 'utf8'))).toBe(failures(service.output()));
      expect(failures(service.output())).toBeGreaterThanOrEqual(15); // a burst of 100 is spent by 20 of them
      expect(service.output()).toContain(`${file} can be written again; 0 lines were lost`);
    } finally {
      spawnSync('umount', ['-l', folder]);
    }
  });
});

/** Root may make a disk of its own. */
function mountsDisks(): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-disk-'));
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]).status !== 0) return false;
  return spawnSync('umount', [folder]).status === 0;
}
