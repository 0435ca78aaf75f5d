import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { Body, BusMessage } from '../../src/engine/engine.js';
import { eventually, fact, startNode, stopNodes } from '../support/nodes.js';
import type { TestNode } from '../support/nodes.js';
import { hasRedis, RedisServer, stopRedis } from '../support/redis.js';
import { freePort } from '../support/tcp.js';

const sentinels = new Set<ChildProcess>();
afterEach(stopNodes);
afterAll(async () => {
  for (const sentinel of sentinels) sentinel.kill('SIGKILL');
  await stopRedis();
});

const HOW = { history: { count: 100, ageMs: 60_000 }, key: undefined, except: undefined, volatile: false };
const body = (data: number): Body => ({ text: `{"event":"x","data":${data}`, bytes: 21 });
const isIn = ({ cluster }: TestNode): Promise<boolean> =>
  Promise.resolve(cluster.facts.barrier()).then(
    () => true,
    () => false,
  );

/** Facts, tickets and messages in many channels go from one node to the other. */
async function exercise(one: TestNode, two: TestNode): Promise<void> {
  await one.cluster.facts.record([fact('a')]);
  expect(await isIn(two)).toBe(true);
  expect(two.heard).toContain('a');
  for (let n = 0; n < 20; n++) {
    await one.cluster.tickets.put(`ticket-${n}`, 'text', 60_000);
    expect(await two.cluster.tickets.take(`ticket-${n}`)).toBe('text');
  }
  const got: BusMessage[] = [];
  const ignore = (): void => undefined;
  two.cluster.engine.start({ deliver: (message) => got.push(message), deliverTo: ignore, gap: ignore });
  const channels = Array.from({ length: 20 }, (_, n) => `channel-${n}`);
  await Promise.all(channels.map((channel) => two.cluster.engine.subscribe(channel)));
  await Promise.all(channels.map((channel, n) => one.cluster.engine.publish(channel, body(n), HOW)));
  await eventually(() => got.length === 20);
  expect(await two.cluster.claims.claim('ada', 's1', 1, false)).toEqual([]);
}

describe.skipIf(!hasRedis)('a Redis Cluster', () => {
  it('carries all of it', async () => {
    const args = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '1000'];
    const masters = await Promise.all([0, 1, 2].map(() => RedisServer.start(...args)));
    const ranges = ['0 5460', '5461 10922', '10923 16383'];
    for (const [index, master] of masters.entries()) {
      await master.say('CLUSTER', 'ADDSLOTSRANGE', ...(ranges[index] ?? '').split(' '));
      await master.say('CLUSTER', 'MEET', '127.0.0.1', `${masters[0]?.port}`);
    }
    await eventually(async () => {
      const infos = await Promise.all(masters.map((master) => master.say('CLUSTER', 'INFO')));
      return infos.every((info) => info.includes('cluster_state:ok') && info.includes('cluster_known_nodes:3'));
    }, 'the cluster');
    const url = `redis+cluster://${masters.map(({ port }) => `127.0.0.1:${port}`).join(',')}`;
    const [one, two] = await Promise.all([startNode(url, 'all'), startNode(url, 'all')]);
    await exercise(one, two);
  });
});

describe.skipIf(!hasRedis)('Sentinel', () => {
  it('leads to the promoted replica, which has forgotten no fact, and to no ticket of before', async () => {
    const master = await RedisServer.start('--repl-diskless-sync-delay', '0');
    const replica = await RedisServer.start('--replicaof', '127.0.0.1', `${master.port}`);
    await eventually(async () => (await replica.say('INFO', 'replication')).includes('master_link_status:up'));
    const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-sentinel-'));
    const port = await freePort();
    const settings = [
      `port ${port}`,
      `dir ${folder}`,
      `sentinel monitor main 127.0.0.1 ${master.port} 1`,
      'sentinel down-after-milliseconds main 500',
      'sentinel failover-timeout main 2000',
    ];
    writeFileSync(join(folder, 'sentinel.conf'), settings.join('\n'));
    const sentinel = spawn('redis-server', [join(folder, 'sentinel.conf'), '--sentinel'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    sentinels.add(sentinel);
    await once(sentinel.stdout as NonNullable<typeof sentinel.stdout>, 'data'); // because it is a pipe
    const url = `redis+sentinel://127.0.0.1:${port}/main`;
    const [one, two] = await Promise.all([startNode(url, 'main'), startNode(url, 'main')]);
    await exercise(one, two);
    await one.cluster.tickets.put('before', 'text', 60_000);
    await one.cluster.facts.record([fact('before')]);
    await master.say('WAIT', '1', '1000');
    await master.kill();
    const until = performance.now() + 15_000;
    while (!(await isIn(one)) || !(await isIn(two))) if (performance.now() > until) throw new Error('no failover');
    expect(await two.cluster.tickets.take('before')).toBeUndefined();
    const three = await startNode(url, 'main');
    expect(three.heard).toEqual(expect.arrayContaining(['a', 'before']));
    rmSync(folder, { recursive: true, force: true });
  });
});
