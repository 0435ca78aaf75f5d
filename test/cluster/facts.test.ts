import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { clusterName, eventually, fact, startNode, stopNodes } from '../support/nodes.js';
import type { TestNode } from '../support/nodes.js';
import { hasRedis, Proxy, RedisServer, stopRedis } from '../support/redis.js';

let redis: RedisServer;
beforeAll(async () => {
  if (hasRedis) redis = await RedisServer.start();
});
afterEach(stopNodes);
afterAll(stopRedis);

/** Several at once, since the first on an empty Redis waits for those that may know more. */
const startNodes = (count: number, name = clusterName(), url = redis.url): Promise<TestNode[]> =>
  Promise.all(Array.from({ length: count }, () => startNode(url, name)));
/** Passes the barrier, which waits for less than a restart takes on a busy machine. */
const isIn = ({ cluster }: TestNode): Promise<boolean> =>
  Promise.resolve(cluster.facts.barrier()).then(
    () => true,
    () => false,
  );
const isLive = ({ cluster }: TestNode): boolean => cluster.state === 'live';

describe.skipIf(!hasRedis)('facts', () => {
  it('are applied on every node when record() has resolved and a barrier has been passed', async () => {
    const [one, two] = await startNodes(2);
    for (let i = 0; i < 20; i++) {
      await one?.cluster.facts.record([fact(`f${i}`)]);
      await two?.cluster.facts.barrier();
      expect(two?.heard.at(-1)).toBe(`f${i}`);
    }
    expect(one?.heard).toEqual([]); // its own it has applied already
  });

  it('are known to a node that starts later, merged by rank, or by order where they have none', async () => {
    const name = clusterName();
    const [one] = await startNodes(1, name);
    await one?.cluster.facts.record([fact('ranked', 'high', 2)]);
    await one?.cluster.facts.record([fact('ranked', 'low', 1)]);
    await one?.cluster.facts.record([fact('plain', 'first')]);
    await one?.cluster.facts.record([fact('plain', 'second')]);
    const two = await startNode(redis.url, name);
    expect(two.heard.toSorted()).toEqual(['high', 'second']);
  });

  it('are answered by the nodes that live, and name the one that does not answer', async () => {
    const name = clusterName();
    const proxy = await Proxy.before(redis.port);
    const [one, two, three] = [...(await startNodes(2, name)), await startNode(proxy.url, name)] as [
      TestNode,
      TestNode,
      TestNode,
    ];
    await eventually(() => [one, two, three].every(({ cluster }) => cluster.nodes().length === 3));
    expect(await one.cluster.facts.record([fact('a')], true)).toEqual({ answers: [1, 1], missing: [] });
    proxy.swallow(true);
    const { answers, missing } = (await one.cluster.facts.record([fact('b')], true)) ?? { answers: [], missing: [] };
    expect([answers, missing]).toEqual([[2], [three.cluster.nodeId]]);
    await eventually(() => one.cluster.nodes().length === 2, 'the end of its lease');
    await proxy.close();
  });

  it('hold the door shut while a node is cut off, and let in when it sees again', async () => {
    const name = clusterName();
    const proxy = await Proxy.before(redis.port);
    const [one] = await startNodes(1, name);
    const two = await startNode(proxy.url, name);
    proxy.swallow(true);
    await one?.cluster.facts.record([fact('unseen')]);
    await expect(two.cluster.facts.barrier()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect([two.cluster.state, two.heard]).toEqual(['blind', []]);
    proxy.swallow(false);
    proxy.cut();
    await two.cluster.facts.barrier();
    expect(two.heard).toEqual(['unseen']);
    await eventually(() => isLive(two));
    await proxy.close();
  });

  it('let clients in while nothing is seen where admission is open', async () => {
    const proxy = await Proxy.before(redis.port);
    const node = await startNode(proxy.url, clusterName(), { admission: 'open' });
    proxy.swallow(true);
    await eventually(() => node.cluster.state === 'blind');
    await node.cluster.facts.barrier();
    expect([node.cluster.problem, node.cluster.warning]).toEqual([undefined, 'cluster: blind']);
    await proxy.close();
  });

  it('that could not be told are told when they can be', async () => {
    const name = clusterName();
    const proxy = await Proxy.before(redis.port);
    const [one] = await startNodes(1, name);
    const two = await startNode(proxy.url, name);
    proxy.swallow(true);
    await expect(two.cluster.facts.record([fact('late')])).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(one?.heard).toEqual([]);
    proxy.swallow(false);
    proxy.cut();
    await eventually(() => one?.heard.includes('late') === true);
    await proxy.close();
  });

  it('survive FLUSHALL: no door is open until Redis has been told them again', async () => {
    const own = await RedisServer.start();
    const [one, two] = (await startNodes(2, 'flushed', own.url)) as [TestNode, TestNode];
    await one.cluster.facts.record([fact('old')]);
    await two.cluster.facts.barrier();
    await own.say('FLUSHALL');
    const three = await startNode(own.url, 'flushed');
    expect(three.heard).toEqual(['old']);
    expect([one, two, three].every(isLive)).toBe(true);
    await own.stop();
  });

  it('survive a Redis that comes back empty, also for a node that starts just then', async () => {
    const own = await RedisServer.start();
    const [one, two] = (await startNodes(2, 'lost', own.url)) as [TestNode, TestNode];
    await one.cluster.facts.record([fact('old')]);
    await own.kill();
    const starting = startNode(own.url, 'lost');
    await expect(one.cluster.facts.barrier()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await own.up();
    await eventually(async () => (await isIn(one)) && (await isIn(two)));
    const three = await starting;
    await three.cluster.facts.barrier();
    expect([three.heard, two.heard]).toEqual([['old'], ['old']]);
    await own.stop();
  });

  it('wait for a frozen Redis to thaw, and say that it is out of sight meanwhile', async () => {
    const own = await RedisServer.start();
    const node = await startNode(own.url, 'frozen');
    own.freeze();
    await eventually(() => node.cluster.state === 'blind');
    await expect(node.cluster.facts.barrier()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    own.thaw();
    await eventually(() => isIn(node));
    await eventually(() => isLive(node));
    expect(node.events).toEqual(['connected', 'disconnected', 'connected']);
    await own.stop();
  });

  it('are all read by a node that was away for longer than the log is', async () => {
    const name = clusterName();
    const proxy = await Proxy.before(redis.port);
    const [one] = await startNodes(1, name);
    const two = await startNode(proxy.url, name);
    await one?.cluster.facts.record([fact('a')]);
    await two.cluster.facts.barrier();
    proxy.swallow(true);
    await one?.cluster.facts.record([fact('b')]);
    await one?.cluster.facts.record([fact('c')]);
    await redis.say('XTRIM', `${name}:{ctl}:log`, 'MAXLEN', '1');
    proxy.swallow(false);
    proxy.cut();
    await two.cluster.facts.barrier();
    expect(two.heard).toEqual(['a', 'b', 'c']);
    await proxy.close();
  });
});

describe.skipIf(!hasRedis)('a node that is blind', () => {
  it('ends its sessions after cluster.endBlindAfterMs', async () => {
    const proxy = await Proxy.before(redis.port);
    let hasEnded = false;
    const endAll = (): void => void (hasEnded = true);
    const { cluster } = await startNode(proxy.url, clusterName(), { endBlindAfterMs: 600 }, { endAll });
    proxy.swallow(true);
    await eventually(() => cluster.state === 'blind');
    expect(hasEnded).toBe(false);
    await eventually(() => hasEnded);
    await proxy.close();
  });
});

describe.skipIf(!hasRedis)('a start', () => {
  it('does not fail without Redis, and is ready when there is one', async () => {
    const own = await RedisServer.start();
    await own.kill();
    const starting = startNode(own.url, 'late');
    await own.up();
    const node = await starting;
    expect([node.cluster.state, node.cluster.problem]).toEqual(['live', undefined]);
    await own.stop();
  });

  it('fails with a wrong password, which does not pass by itself', async () => {
    const own = await RedisServer.start('--requirepass', 'right');
    const starting = startNode(own.url.replace('//', '//:wrong@'), 'refused');
    await expect(starting).rejects.toThrow('cluster.redis: WRONGPASS');
    await own.stop();
  });
});

describe.skipIf(!hasRedis)('tickets', () => {
  it('are taken once, by whichever of many asks', async () => {
    const [one, two] = (await startNodes(2)) as [TestNode, TestNode];
    await one.cluster.tickets.put('digest', '{"a":"\\n"}', 5_000);
    const takers = Array.from({ length: 20 }, (_, index) =>
      (index % 2 === 0 ? one : two).cluster.tickets.take('digest'),
    );
    expect((await Promise.all(takers)).filter((ticket) => ticket !== undefined)).toEqual(['{"a":"\\n"}']);
  });

  it('of a Redis that has been restarted are unknown, also where its file has them', async () => {
    const own = await RedisServer.start('--appendonly', 'yes');
    const node = await startNode(own.url, 'restarted');
    await node.cluster.tickets.put('digest', 'ticket', 60_000);
    await own.kill();
    await own.up();
    await eventually(() => isIn(node));
    expect(await own.say('KEYS', 'restarted:*:t:*')).toContain('digest');
    expect(await node.cluster.tickets.take('digest')).toBeUndefined();
    await own.stop();
  });
});
