import { fork } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, it } from 'vitest';
import { memoryOf, startHostileTarget } from '../../support/hostile.js';
import { Mob } from '../../support/mob.js';
import { stopTargets } from '../../support/target.js';
import { token } from '../../support/tokens.js';

/** `npm run soak` is a minute, on a machine with nothing else to do. */
const SECONDS = Number(process.env.SOAK_SECONDS ?? 6);
const IS_QUIET = process.env.SOAK_SECONDS !== undefined;
const P99_MS = 250;
const NEWCOMER_MS = 5_000;
const SESSIONS = 200;
const HEAP_MB = 128;

afterEach(stopTargets);

/** What the crowd has seen. */
interface Seen {
  readonly asked: number;
  readonly answered: number;
  readonly lost: number;
  readonly p50: number;
  readonly p99: number;
  readonly slowest: number;
  readonly newcomers: number;
  readonly refused: readonly string[];
}

it(
  `three addresses that do their worst within their budgets for ${SECONDS} s take nothing from ${SESSIONS} sessions beside them`,
  { timeout: (SECONDS + 60) * 1_000 },
  async () => {
    const target = await startHostileTarget({}, [`--max-old-space-size=${HEAP_MB}`]);
    const tokens = JSON.stringify(Array.from({ length: SESSIONS }, (_, i) => token({ sub: `s${i}` })));
    const program = new URL('../../support/crowd.mjs', import.meta.url).pathname;
    const crowd = fork(program, [`ws://127.0.0.1:${target.port}/ws`, tokens, String(NEWCOMER_MS)], { execArgv: [] });
    await once(crowd, 'message');
    const before = await memoryOf(target);
    const mobs = ['127.0.0.2', '127.0.0.3', '127.0.0.4'].map((address) => new Mob(target, address));
    let most = before.held;
    const watch = setInterval(
      () => void memoryOf(target, false).then(({ held }) => (most = Math.max(most, held))),
      5_000,
    );
    const deeds = await Promise.all(mobs.map((mob) => mob.run(SECONDS * 1_000)));
    clearInterval(watch);
    const told = once(crowd, 'message');
    crowd.send('stop');
    const [seen] = (await told) as [Seen]; // because the crowd says nothing else any more
    const { rss, cpuMs } = await memoryOf(target);
    process.stdout.write(
      `${JSON.stringify(seen)}; held ${(before.held / 1e6).toFixed(0)} MB before, ` +
        `${(most / 1e6).toFixed(0)} MB at most, RSS ${(rss / 1e6).toFixed(0)} MB, ${((cpuMs - before.cpuMs) / 1_000).toFixed(1)} s of CPU; ${JSON.stringify(deeds)}\n`,
    );
    expect(target.process.exitCode).toBeNull();
    expect([seen.lost, seen.answered]).toEqual([0, seen.asked]);
    for (const { opened, sent } of deeds) expect([opened > 0, sent > 0]).toEqual([true, true]); // it has come to something
    if (!IS_QUIET) return; // how long it takes is no more than how busy the machine is
    expect(seen.refused).toEqual([]);
    expect(seen.newcomers).toBeGreaterThan(SECONDS * 2);
    expect(seen.p99).toBeLessThan(P99_MS);
  },
);
