import { spawnSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { principalOf } from '../../src/authentication/principal.js';
import { Revocations } from '../../src/authentication/revocations.js';
import { Names } from '../../src/cluster/names.js';
import { RECORD } from '../../src/cluster/scripts.js';
import { FACTS } from '../../src/engine/facts.js';
import type { Facts } from '../../src/engine/facts.js';
import { WsCluster, WsFirewall, WsHealth, WsTickets } from '../../src/index.js';
import type { SessionRegistry } from '../../src/session/registry.js';
import { Client } from '../support/client.js';
import { clusterName, eventually, startMember, stopMembers } from '../support/nodes.js';
import type { TestMember } from '../support/nodes.js';
import { hasRedis, Proxy, RedisServer, stopRedis } from '../support/redis.js';
import { exchangeUpgrade } from '../support/tcp.js';
import { signed } from '../support/tokens.js';

let redis: RedisServer;
let proxy: Proxy;
let here: TestMember;
let there: TestMember;
let name: string;
let tests = 0;
/** Of this test alone: what is revoked in one is so in all that follow. */
let subject: string;
const token = (claims: Record<string, unknown> = {}): string => signed({ sub: subject, ...claims }, {});
const knows = ({ app }: TestMember): boolean => app.get(WsCluster).nodes().length === 2;
/** Knows what the tests before have done. */
const isInformed = ({ app }: TestMember): Promise<boolean> =>
  Promise.resolve(app.get<Facts>(FACTS, { strict: false }).barrier()).then(
    () => true,
    () => false,
  );
beforeAll(async () => {
  if (!hasRedis) return;
  redis = await RedisServer.start();
  name = clusterName();
  proxy = await Proxy.before(redis.port);
  [here, there] = await Promise.all([startMember(redis.url, name), startMember(proxy.url, name)]);
});
beforeEach(async () => {
  subject = `user-${++tests}`;
  await eventually(() => knows(here) && knows(there) && there.app.get(WsCluster).state === 'live');
  await eventually(() => isInformed(there));
});
afterEach(() => {
  proxy.swallow(false);
  proxy.cut();
});
afterAll(async () => {
  await stopMembers();
  await proxy.close();
  await stopRedis();
});

const connect = ({ url }: TestMember, bearer: string): Promise<Client> => Client.connect(url, { token: bearer });
const idOf = async (client: Client): Promise<string> =>
  ((await client.ask({ event: 'session', id: 0 })).data as { sessionId: string }).sessionId;
const isIn = async (client: Client): Promise<boolean> => (await client.ask({ event: 'ping', id: 0 })).event === 'pong';
const reasonOf = async (member: TestMember, bearer: string): Promise<string> =>
  (await (await connect(member, bearer)).closed).reason;
const firewallOf = ({ app }: TestMember): WsFirewall => app.get(WsFirewall);

/** Does what another node would do, in a process of its own, and returns when it is done. */
function revokeElsewhere(port: number, prefix: string, whom: string): void {
  const names = new Names(prefix);
  const now = Date.now();
  const entry = { filter: { subject: whom }, at: now, tokensBefore: Math.floor(now / 1_000) + 1 };
  const data = JSON.stringify({ key: whom, data: { kind: 'entry', entry } });
  const keys = [names.state, names.top, names.log, ...names.facts('revocation')];
  const args = [300, 1_000, 'revocation', whom, 1, '', now + 60_000, data, 'elsewhere', ''];
  const code = `
    const { Redis } = require('ioredis');
    const redis = new Redis(${port}, '127.0.0.1');
    redis.eval(...${JSON.stringify([RECORD.lua, keys.length, ...keys, ...args])}).then(() => redis.disconnect());`;
  const { status, stderr } = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

describe.skipIf(!hasRedis)('a revocation', () => {
  it('by subject ends the sessions of all nodes, and no node lets the tokens in again', async () => {
    const bearer = token();
    const clients = [await connect(here, bearer), await connect(there, bearer)];
    expect(await here.sessions.revoke({ subject })).toEqual({ ended: 2, nodes: 2, missing: [] });
    for (const client of clients) expect((await client.closed).reason).toBe('SESSION_REVOKED');
    for (const member of [here, there]) expect(await reasonOf(member, bearer)).toBe('SESSION_REVOKED');
  });

  it('by session reaches the node that has it, and its tokens are no way in anywhere', async () => {
    const [bearer, other] = [token({ jti: '1' }), token({ jti: '2' })];
    const client = await connect(there, bearer);
    const spared = await connect(there, other);
    const { ended } = await here.sessions.revoke({ sessionId: await idOf(client) });
    expect(ended).toBe(1);
    expect(await reasonOf(here, bearer)).toBe('SESSION_REVOKED');
    expect(await isIn(spared)).toBe(true);
  });

  it('is known at an auth, too', async () => {
    await here.sessions.revoke({ tokenId: '7' });
    const client = await Client.connect(there.url);
    client.send({ event: 'auth', data: { token: token({ jti: '7' }) }, id: 1 });
    expect((await client.closed).reason).toBe('SESSION_REVOKED');
  });

  it('is not undone by an empty Redis', async () => {
    const bearer = token();
    await here.sessions.revoke({ subject });
    await redis.say('FLUSHALL');
    const third = await startMember(redis.url, name);
    for (const member of [here, there, third]) expect(await reasonOf(member, bearer)).toBe('SESSION_REVOKED');
    await third.app.close();
  });

  it('lasts on all nodes as long as the longest token that is shown to any', async () => {
    const bearer = token({ jti: 'long', exp: Math.floor(Date.now() / 1000) + 90 * 86_400 });
    await here.sessions.revoke({ tokenId: 'long' });
    expect(await reasonOf(there, bearer)).toBe('SESSION_REVOKED');
    const revocations = here.app.get(Revocations);
    const inTwoDays = Date.now() + 2 * 86_400_000;
    await connect(here, token({ sub: 'eve' })); // a barrier
    revocations.sweep(performance.now() + 2 * 86_400_000, inTwoDays);
    expect(
      revocations.isRevoked(
        principalOf({ subject, expiresAt: inTwoDays, claims: { jti: 'long' } }, { digest: '', toleranceMs: 0 }),
      ),
    ).toBe(true);
  });

  it('that cannot be told ends the sessions here, and reaches the others later', async () => {
    const bearer = token();
    const [client, other] = [await connect(here, bearer), await connect(there, bearer)];
    proxy.swallow(true);
    await expect(there.sessions.revoke({ subject })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect((await other.closed).reason).toBe('SESSION_REVOKED');
    expect(await isIn(client)).toBe(true);
    proxy.swallow(false);
    proxy.cut();
    expect((await client.closed).reason).toBe('SESSION_REVOKED');
  });

  it('names the nodes that do not answer', async () => {
    proxy.swallow(true);
    const { nodes, missing } = await here.sessions.revoke({ subject });
    expect([nodes, missing]).toEqual([1, [there.app.get(WsCluster).nodeId]]);
  });
});

describe.skipIf(!hasRedis)('a ban', () => {
  it('of a subject is in force on every node, until it is lifted on any', async () => {
    const client = await connect(there, token());
    await firewallOf(here).ban({ subject }, { forMs: 60_000 });
    expect((await client.closed).reason).toBe('BANNED');
    expect(await reasonOf(there, token())).toBe('BANNED');
    expect(await firewallOf(there).unban({ subject })).toBe(true);
    expect(await isIn(await connect(here, token()))).toBe(true);
  });

  it('of an address refuses the handshake that follows at another node', async () => {
    await firewallOf(here).ban({ address: '127.0.0.1' }, { forMs: 60_000 });
    await expect(connect(there, token())).rejects.toThrow('403');
    expect(firewallOf(there).bans()).toMatchObject([{ address: '127.0.0.1', reason: 'banned by an operator' }]);
    await firewallOf(here).unban({ address: '127.0.0.1' });
  });
});

describe.skipIf(!hasRedis)('lists', () => {
  it('that are set on one node hold on all that have the same configuration', async () => {
    const third = await startMember(redis.url, name, { firewall: { deny: ['192.0.2.1'] } });
    await firewallOf(here).setLists({ deny: ['127.0.0.1'] });
    await expect(connect(there, token())).rejects.toThrow('403');
    expect(await isIn(await connect(third, token()))).toBe(true);
    expect(firewallOf(third).lists.deny).toEqual(['192.0.2.1']);
    await firewallOf(there).setLists({ deny: [] });
    await third.app.close();
  });
});

describe.skipIf(!hasRedis)('a ticket', () => {
  const principal = () => ({ subject, roles: ['r'], scopes: [], claims: {}, expiresAt: Date.now() + 60_000 });

  it('is redeemed at any node, once', async () => {
    const { ticket } = await here.app.get(WsTickets).issue(principal());
    const clients = await Promise.all(
      Array.from({ length: 6 }, (_, index) =>
        Client.connect(`${(index % 2 === 0 ? here : there).url}?ticket=${ticket}`),
      ),
    );
    const outcomes = await Promise.all(
      clients.map(async (client) => {
        const { event, data } = await client.ask({ event: 'ping', id: 0 });
        return event === 'pong' ? event : (data as { code: string }).code;
      }),
    );
    expect(outcomes.toSorted()).toEqual([...Array<string>(5).fill('TOKEN_INVALID'), 'pong']);
  });

  it('is not lost where it cannot be asked now: the client is told to try again', async () => {
    const { ticket } = await here.app.get(WsTickets).issue(principal());
    proxy.swallow(true);
    await expect(Client.connect(`${there.url}?ticket=${ticket}`)).rejects.toThrow('503');
    await expect(there.app.get(WsTickets).issue(principal())).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await isIn(await Client.connect(`${here.url}?ticket=${ticket}`))).toBe(true);
  });
});

describe.skipIf(!hasRedis)('a node that was stopped', () => {
  it('answers nothing to a session that was revoked meanwhile, not even what it wrote before', async () => {
    const client = await connect(here, token());
    const other = await connect(here, token({ sub: 'other' }));
    for (const one of [client, other]) one.send({ event: 'ping', id: 1 });
    const until = performance.now() + 1_200;
    revokeElsewhere(redis.port, name, subject);
    while (performance.now() < until); // the event loop is blocked
    expect((await client.rest()).map(({ data }) => (data as { code: string }).code)).toEqual(['SESSION_REVOKED']);
    expect((await other.next()).event).toBe('pong');
  });
});

describe.skipIf(!hasRedis)('a node that cannot see Redis', () => {
  it('keeps its sessions, refuses new ones with 503, and says so to the balancer', async () => {
    const client = await connect(there, token());
    proxy.swallow(true);
    const port = Number(new URL(there.url).port);
    const head = await exchangeUpgrade(port, [`Authorization: Bearer ${token()}`]);
    expect(head).toMatch(/^HTTP\/1.1 503 /);
    expect(head).toMatch(/Retry-After: [1-5]/i);
    expect(await isIn(client)).toBe(true);
    const health = there.app.get(WsHealth);
    await eventually(() => health.readiness().reasons.includes('cluster: blind'));
    proxy.swallow(false);
    proxy.cut();
    await eventually(() => health.readiness().ready);
    expect(await isIn(client)).toBe(true);
  });

  it('ends its sessions when it has been blind for too long', async () => {
    const client = await connect(there, token());
    (there.sessions as SessionRegistry).endUninformed(); // because that is the working class
    expect(await client.closed).toEqual({ code: 1013, reason: 'UNAVAILABLE' });
  });
});
