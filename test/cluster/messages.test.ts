import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Body, BusMessage, GapReason, PublishHow } from '../../src/engine/engine.js';
import type { RedisEngine } from '../../src/cluster/redis-engine.js';
import { clusterName, eventually, startNode, stopNodes } from '../support/nodes.js';
import type { TestNode } from '../support/nodes.js';
import { hasRedis, Proxy, RedisServer, stopRedis } from '../support/redis.js';

const LIMIT = { messages: 500, bytes: 524_288 };
const WINDOW = { count: 1_000, ageMs: 60_000 };
const PLAIN: PublishHow = { history: undefined, key: undefined, except: undefined, volatile: false };
const KEPT: PublishHow = { ...PLAIN, history: WINDOW };
const body = (data: unknown): Body => ({ text: `{"event":"x","data":${JSON.stringify(data)}`, bytes: 24 });

/** A node that has members in channel c, and what they get. */
interface Listener {
  readonly node: TestNode;
  readonly engine: RedisEngine;
  readonly got: BusMessage[];
  readonly gaps: GapReason[];
}

let redis: RedisServer;
let proxy: Proxy;
let one: Listener;
let two: Listener;

async function listen(url: string, name: string): Promise<Listener> {
  const node = await startNode(url, name);
  const { engine } = node.cluster;
  const [got, gaps]: [BusMessage[], GapReason[]] = [[], []];
  engine.start({
    deliverTo: () => undefined,
    deliver: (message) => got.push(message),
    gap: (_channel, _position, reason) => gaps.push(reason),
  });
  await engine.bus.subscribe('c');
  await engine.bus.read('c', undefined, { messages: 0, bytes: 0 }, WINDOW);
  const timer = setInterval(() => engine.sweep(performance.now()), 50);
  const stop = node.stop;
  return { node: { ...node, stop: async () => (clearInterval(timer), stop()) }, engine, got, gaps };
}
const dataOf = ({ got }: Listener): unknown[] =>
  got.map(({ body: { text } }) => (JSON.parse(`${text}}`) as Body & { data: unknown }).data);
const offsetsOf = ({ got }: Listener): unknown[] => got.map(({ offset }) => offset);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

beforeAll(async () => {
  if (hasRedis) redis = await RedisServer.start();
});
beforeEach(async () => {
  const name = clusterName();
  proxy = await Proxy.before(redis.port);
  [one, two] = await Promise.all([listen(redis.url, name), listen(proxy.url, name)]);
});
afterEach(async () => {
  await Promise.all([one.node.stop(), two.node.stop()]);
  await stopNodes();
  await proxy.close();
});
afterAll(stopRedis);

describe.skipIf(!hasRedis)('messages without history', () => {
  it('reach the own members at once and those of other nodes by the bus, once each, in the order of their node', async () => {
    for (let n = 1; n <= 50; n++) void one.engine.publish('c', body(n), PLAIN);
    expect(dataOf(one)).toEqual(upTo(50));
    await eventually(() => two.got.length === 50);
    expect(dataOf(two)).toEqual(upTo(50));
    expect(one.got).toHaveLength(50);
  });

  it('are one message of the bus for a channel and a turn', async () => {
    const before = /cmdstat_publish:calls=(\d+)/.exec(await redis.say('INFO', 'commandstats'))?.[1] ?? 0;
    for (let n = 1; n <= 16; n++) void one.engine.publish('c', body(n), PLAIN);
    await eventually(() => two.got.length === 16);
    const after = /cmdstat_publish:calls=(\d+)/.exec(await redis.say('INFO', 'commandstats'))?.[1] ?? 0;
    expect(Number(after) - Number(before)).toBeLessThan(6); // and some in which nodes listen whether they are deaf
  });

  it('wait for Redis while it is out of sight, and come in their order', async () => {
    proxy.swallow(true);
    await eventually(() => two.node.cluster.state === 'blind');
    expect(two.engine.publish('c', body(1), PLAIN)).toEqual({ cluster: 'queued' });
    void two.engine.publish('c', body(2), PLAIN);
    expect([dataOf(two), dataOf(one)]).toEqual([[1, 2], []]);
    proxy.swallow(false);
    proxy.cut();
    await eventually(() => one.got.length === 2);
    expect(dataOf(one)).toEqual([1, 2]);
  });

  it('reach a node whose subscriptions Redis has cut, when it has subscribed again', async () => {
    await redis.say('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await eventually(async () => {
      void one.engine.publish('c', body('x'), PLAIN);
      await new Promise((resolve) => setTimeout(resolve, 20));
      return two.got.length > 0;
    });
  });
});

describe.skipIf(!hasRedis)('messages with history', () => {
  it('come to all nodes in one order, whichever has published them', async () => {
    await Promise.all(upTo(40).map((n) => (n % 2 === 0 ? one : two).engine.publish('c', body(n), KEPT)));
    await eventually(() => one.got.length === 40 && two.got.length === 40);
    expect(offsetsOf(one)).toEqual(upTo(40));
    expect(dataOf(one)).toEqual(dataOf(two));
  });

  it('that a node has missed are read by it and delivered, before those that follow', async () => {
    await one.engine.publish('c', body(1), KEPT);
    await eventually(() => two.got.length === 1);
    proxy.swallow(true);
    for (let n = 2; n <= 30; n++) await one.engine.publish('c', body(n), KEPT);
    proxy.swallow(false);
    proxy.cut();
    await eventually(() => two.got.length === 30);
    await one.engine.publish('c', body(31), KEPT);
    await eventually(() => two.got.length === 31);
    expect([offsetsOf(two), two.gaps]).toEqual([upTo(31), []]);
    expect(two.engine.numbers.repaired).toBeGreaterThanOrEqual(29);
  });

  it('that a node has missed are still not for those that they leave out', async () => {
    await one.engine.publish('c', body(1), KEPT);
    await eventually(() => two.got.length === 1);
    proxy.swallow(true);
    await one.engine.publish('c', body(2), { ...KEPT, except: ['s1'], volatile: true });
    await one.engine.publish('c', body(3), { ...KEPT, except: ['s2', 's3'] });
    proxy.swallow(false);
    proxy.cut();
    await eventually(() => two.got.length === 3);
    expect(two.got.map(({ except, volatile }) => [except, volatile])).toEqual([
      [undefined, false],
      [['s1'], true],
      [['s2', 's3'], false],
    ]);
    expect(two.engine.numbers.repaired).toBe(2);
  });

  it('are told as a gap where they are out of the window', async () => {
    const how = { ...KEPT, history: { ...WINDOW, count: 3 } };
    await one.engine.publish('c', body(1), how);
    await eventually(() => two.got.length === 1);
    proxy.swallow(true);
    for (let n = 2; n <= 10; n++) await one.engine.publish('c', body(n), how);
    proxy.swallow(false);
    proxy.cut();
    await eventually(() => two.gaps.length === 1);
    await one.engine.publish('c', body(11), how);
    await eventually(() => two.got.length === 2);
    expect([offsetsOf(two), two.gaps]).toEqual([[1, 11], ['window']]);
  });

  it('are not accepted while Redis is out of sight, and delivered nowhere', async () => {
    proxy.swallow(true);
    await eventually(() => two.node.cluster.state === 'blind');
    await expect(two.engine.publish('c', body(1), KEPT)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(two.engine.read('c', undefined, LIMIT, WINDOW)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(two.got).toEqual([]);
  });

  it('of a Redis that has lost them begin another epoch, and the members hear of a gap', async () => {
    const own = await RedisServer.start();
    const listener = await listen(own.url, 'lost');
    const sent = await listener.engine.publish('c', body(1), KEPT);
    await eventually(() => listener.got.length === 1);
    await own.kill();
    await own.up();
    await eventually(() => listener.node.cluster.state === 'live' && listener.gaps.length === 1);
    expect(listener.gaps).toEqual(['epoch']);
    const replay = await listener.engine.read('c', sent.position, LIMIT, WINDOW);
    expect(replay).toMatchObject({ recovered: false, reason: 'epoch' });
    await listener.engine.publish('c', body(2), KEPT);
    await eventually(() => listener.got.length === 2);
    await listener.node.stop();
    await own.stop();
  });

  it('are found by a node that was told nothing of them: a quiet channel is compared with Redis', async () => {
    await one.engine.publish('c', body(1), KEPT);
    await eventually(() => two.got.length === 1);
    const { place, history } = two.node.cluster.names.kept('c');
    await redis.say('XADD', history, '2-0', 'a', `${Date.now()}`, 't', body(2).text);
    await redis.say('HSET', place, 's', '2');
    await eventually(() => two.got.length === 2);
    expect(offsetsOf(two)).toEqual([1, 2]);
  });
});
