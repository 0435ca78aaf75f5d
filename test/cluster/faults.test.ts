import { afterAll, describe, expect, it } from 'vitest';
import { draw, FAULTS, runFaults } from '../faults/faults.js';
import { hasRedis, stopRedis } from '../support/redis.js';
import { stopServices } from '../support/service.js';

/** Those that have most to lose; `npm run faults -- --faults 200 --seed 1` draws from all of them. */
const TELLING = ['kill -9 of Redis, back empty', 'kill -9 of a node', 'all connections to Redis reset'];
const COUNT = Number(process.env.FAULTS ?? 0);

describe.skipIf(!hasRedis)('three nodes and their clients', () => {
  afterAll(async () => {
    await stopServices();
    await stopRedis();
  });

  it('keep what they promise through faults', { timeout: 60_000 + COUNT * 20_000 }, async () => {
    const faults = COUNT === 0 ? FAULTS.filter(([name]) => TELLING.includes(name)) : draw(COUNT, 1);
    const { violations, counts } = await runFaults(faults, 1, () => undefined);
    expect(violations).toEqual([]);
    for (const what of ['revocations', 'attempts with a revoked token', 'tickets', 'publications']) {
      expect(counts[what]).toBeGreaterThan(0);
    }
  });
});
