import { afterAll, beforeAll } from 'vitest';
import { testEngine } from '../engine/suite.js';
import { clusterName, startNode } from '../support/nodes.js';
import { hasRedis, RedisServer, stopRedis } from '../support/redis.js';

let redis: RedisServer;
beforeAll(async () => {
  if (hasRedis) redis = await RedisServer.start();
});
afterAll(stopRedis);

if (hasRedis) {
  testEngine('Redis', async () => {
    const { cluster, stop } = await startNode(redis.url, clusterName());
    return { engine: cluster.engine, stop };
  });
}
