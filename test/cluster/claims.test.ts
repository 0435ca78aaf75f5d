import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WsCluster } from '../../src/index.js';
import type { WsGatewayOptions } from '../../src/index.js';
import { Client } from '../support/client.js';
import { clusterName, eventually, startMember, stopMembers } from '../support/nodes.js';
import type { TestMember } from '../support/nodes.js';
import { hasRedis, Proxy, RedisServer, stopRedis } from '../support/redis.js';
import { SECRET, token } from '../support/tokens.js';

let redis: RedisServer;
let proxy: Proxy;
let here: TestMember;
let there: TestMember;
let name: string;
beforeAll(async () => {
  if (hasRedis) redis = await RedisServer.start();
});
beforeEach(async () => {
  proxy = await Proxy.before(redis.port);
});
afterEach(async () => {
  await stopMembers();
  await proxy.close();
});
afterAll(stopRedis);

async function start(onSessionLimit: 'replace-oldest' | 'refuse-new'): Promise<void> {
  name = clusterName();
  const auth: WsGatewayOptions['auth'] = { jwt: { secret: SECRET }, maxSessionsPerSubject: 2, onSessionLimit };
  [here, there] = await Promise.all([startMember(redis.url, name, { auth }), startMember(proxy.url, name, { auth })]);
  await eventually(() => [here, there].every(({ app }) => app.get(WsCluster).nodes().length === 2));
}

const connect = ({ url }: TestMember): Promise<Client> => Client.connect(url, { token: token() });
/** Connects, and waits until the session has its slot: that comes after the upgrade. */
const enter = async (node: TestMember): Promise<Client> => {
  const client = await connect(node);
  await client.ask({ event: 'ping', id: 0 });
  return client;
};
const isIn = async (client: Client): Promise<boolean> => (await client.ask({ event: 'ping', id: 0 })).event === 'pong';

describe.skipIf(!hasRedis)('the limit of sessions of a subject', () => {
  it('holds over all nodes: the oldest makes room, wherever it is', async () => {
    await start('replace-oldest');
    const [first, second] = [await enter(there), await enter(here)];
    expect([await isIn(first), await isIn(second)]).toEqual([true, true]);
    const third = await connect(here);
    expect((await first.closed).reason).toBe('SESSION_REPLACED');
    expect([await isIn(second), await isIn(third)]).toEqual([true, true]);
  });

  it('refuses the new one where it is to, and lets one in when another has closed', async () => {
    await start('refuse-new');
    const [first, second] = [await enter(there), await enter(here)];
    expect([await isIn(first), await isIn(second)]).toEqual([true, true]);
    expect((await (await connect(here)).closed).reason).toBe('SESSION_LIMIT');
    first.socket.close();
    await first.closed;
    await eventually(async () => {
      const client = await connect(here);
      const { event } = await client.ask({ event: 'ping', id: 0 });
      return event === 'pong';
    });
  });

  it('is each node’s own while Redis is out of sight, and the surplus ends when it is back', async () => {
    await start('replace-oldest');
    proxy.swallow(true);
    await eventually(() => there.app.get(WsCluster).state === 'blind');
    const clients = [await enter(here), await enter(here)];
    for (const client of clients) expect(await isIn(client)).toBe(true);
    proxy.swallow(false);
    proxy.cut();
    await eventually(() => there.app.get(WsCluster).state === 'live');
    await connect(there);
    expect((await (clients[0] as Client).closed).reason).toBe('SESSION_REPLACED');
  });

  it('is known again to a Redis that has lost it', async () => {
    await start('replace-oldest');
    const [first, second] = [await enter(there), await enter(here)];
    expect([await isIn(first), await isIn(second)]).toEqual([true, true]);
    await redis.say('FLUSHALL');
    await eventually(async () => (await redis.say('KEYS', '*:u:*')).includes(':u:'));
    await connect(here);
    expect((await first.closed).reason).toBe('SESSION_REPLACED');
  });

  it('is told again until Redis has taken it', async () => {
    await start('replace-oldest');
    const [first, second] = [await enter(there), await enter(here)];
    expect([await isIn(first), await isIn(second)]).toEqual([true, true]);
    const [key = ''] = /\S+:u:\S+/.exec(await redis.say('KEYS', `${name}:*:u:*`)) ?? [];
    // A Redis that has lost all, and does not take the claims: the key is of another kind.
    await redis.say('EVAL', "redis.call('FLUSHALL') return redis.call('SET', ARGV[1], 'x')", '0', key);
    const refused = async (): Promise<number> =>
      Number(/errorstat_WRONGTYPE:count=(\d+)/.exec(await redis.say('INFO', 'errorstats'))?.[1] ?? 0);
    await eventually(async () => (await refused()) >= 2);
    await redis.say('DEL', key);
    await eventually(async () => (await redis.say('KEYS', '*:u:*')).includes(':u:'));
    await connect(here);
    expect((await first.closed).reason).toBe('SESSION_REPLACED');
  });
});
