import { afterAll, beforeAll } from 'vitest';
import { CLUSTER_TIMES } from '../../src/engine/cluster.js';
import { testChannels } from '../rooms/channels-suite.js';
import { testModel } from '../rooms/model-suite.js';
import { testRooms } from '../rooms/rooms-suite.js';
import { LiveClock } from '../support/engines.js';
import type { AppEngine } from '../support/engines.js';
import { clusterName, TIMES } from '../support/nodes.js';
import { hasRedis, RedisServer, stopRedis } from '../support/redis.js';

let redis: RedisServer;
beforeAll(async () => {
  if (hasRedis) redis = await RedisServer.start();
});
afterAll(stopRedis);

/** The bus delivers later than it answers: a turn of Redis, and what is on its way has come. */
const engine: AppEngine = {
  options: () => ({
    fingerprints: { keys: `k:${'A'.repeat(43)}` },
    cluster: { redis: redis.url, name: clusterName(), commandTimeoutMs: 1_000 },
  }),
  overrides: [[CLUSTER_TIMES, { ...TIMES, settleMs: 20 }]], // there is one node, which waits for no other
  clock: () => new LiveClock(),
  settle: () => new Promise((resolve) => setTimeout(resolve, 20)),
};

if (hasRedis) {
  testRooms('Redis', engine);
  testChannels('Redis', engine);
  testModel('Redis', engine);
}
