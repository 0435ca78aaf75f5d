import { expect, it } from 'vitest';
import { createClient } from '../../src/client/index.js';
import type { GatewayClient } from '../../src/client/index.js';
import { createMockGateway } from '../../src/client/testing.js';
import { until } from '../support/app.js';
import { TestClock } from './support.js';

const CLIENTS = 2_000;

/** The same with a server of its own, killed and drained: `npm run bench:stampede`. */
async function crowd(): Promise<{
  gateway: ReturnType<typeof createMockGateway>;
  clock: TestClock;
  clients: GatewayClient[];
}> {
  const gateway = createMockGateway({});
  const clock = new TestClock();
  const clients = Array.from({ length: CLIENTS }, () =>
    createClient({ url: 'ws://mock', createSocket: gateway.createSocket, clock, signals: () => () => undefined }),
  );
  await Promise.all(clients.map((client) => client.connect()));
  return { gateway, clock, clients };
}

/** How long after now each client tries first. */
async function pauses(clients: readonly GatewayClient[], clock: TestClock): Promise<number[]> {
  await until(() => clients.every(({ state }) => state.status === 'waiting'));
  return clients.map(({ state }) => (state.retryAt ?? NaN) - clock.timeOfDay());
}

it('2,000 clients whose server is gone come back over a second, in no 100 ms more than 15 % of them', async () => {
  const { gateway, clock, clients } = await crowd();
  gateway.drop();
  const buckets = Array<number>(10).fill(0);
  for (const pause of await pauses(clients, clock)) {
    expect(pause).toBeLessThanOrEqual(1_000);
    const bucket = Math.min(9, Math.floor(pause / 100));
    buckets[bucket] = (buckets[bucket] ?? 0) + 1;
  }
  expect(Math.max(...buckets)).toBeLessThanOrEqual(CLIENTS * 0.15);
});

it('2,000 clients of a server that drains come back no sooner than it asks, also when they are to hurry', async () => {
  const { gateway, clock, clients } = await crowd();
  gateway.refuse({ code: 'SHUTTING_DOWN', closeCode: 1012, reconnect: true, retryAfterMs: 5_000 });
  const asked = await pauses(clients, clock);
  expect(Math.min(...asked)).toBeGreaterThanOrEqual(5_000);
  expect(Math.max(...asked)).toBeLessThanOrEqual(5_500);
  for (const client of clients) client.retryNow();
  expect(Math.min(...(await pauses(clients, clock)))).toBeGreaterThanOrEqual(5_000);
});
