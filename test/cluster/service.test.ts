import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Client } from '../support/client.js';
import { eventually } from '../support/nodes.js';
import { hasRedis, RedisServer, stopRedis } from '../support/redis.js';
import { run, startService, stopServices } from '../support/service.js';
import type { Service } from '../support/service.js';
import { SECRET, token } from '../support/tokens.js';

let redis: RedisServer;
let nodes: readonly [Service, Service];
const admin = token({ sub: 'operator', scope: 'ws-gateway:admin ws-gateway:publish' });

async function ask(node: Service, path: string, body?: object): Promise<Record<string, unknown>> {
  const method = body === undefined ? 'GET' : 'POST';
  const headers = { authorization: `Bearer ${admin}`, 'content-type': 'application/json' };
  const answer = await fetch(node.http + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  return { ...((await answer.json()) as Record<string, unknown>), status: answer.status };
}
const connect = (node: Service, sub: string): Promise<Client> => Client.connect(node.url, { token: token({ sub }) });

beforeAll(async () => {
  if (!hasRedis) return;
  redis = await RedisServer.start();
  const environment = { REDIS_URL: redis.url, JWT_SECRET: SECRET, FINGERPRINT_KEYS: `k:${'A'.repeat(43)}` };
  nodes = await Promise.all([
    startService({ ...environment, NODE_NAME: 'one' }),
    startService({ ...environment, NODE_NAME: 'two' }),
  ]);
  await eventually(async () => ((await ask(nodes[0], '/admin/nodes')).items as unknown[] | undefined)?.length === 2);
});
afterAll(async () => {
  await stopServices();
  await stopRedis();
});

describe.skipIf(!hasRedis)('two services on one Redis', () => {
  it('say which nodes there are, and list the sessions of both, page by page', async () => {
    await Promise.all([connect(nodes[0], 'ada'), connect(nodes[1], 'ben'), connect(nodes[1], 'ben')]);
    const { items: known } = (await ask(nodes[1], '/admin/nodes')) as { items: { name: string; id: string }[] };
    expect(known.map(({ name }) => name).toSorted()).toEqual(['one', 'two']);
    const found: { subject: string; node: string }[] = [];
    let next: unknown = '';
    for (let pages = 0; next !== undefined && pages < 10; pages++) {
      const page = await ask(nodes[0], `/admin/sessions?limit=1${next === '' ? '' : `&cursor=${next as string}`}`);
      expect(page.missing).toEqual([]);
      found.push(...(page.items as typeof found));
      ({ next } = page);
    }
    const name = (id: string): string | undefined => known.find((node) => node.id === id)?.name;
    expect(found.map(({ subject, node }) => [subject, name(node)]).toSorted()).toEqual([
      ['ada', 'one'],
      ['ben', 'two'],
      ['ben', 'two'],
    ]);
  });

  it('end a subject’s sessions on both, and revoke on both', async () => {
    const clients = [await connect(nodes[0], 'cleo'), await connect(nodes[1], 'cleo')];
    expect(await ask(nodes[0], '/disconnect', { subject: 'cleo' })).toEqual({ ended: 2, missing: [], status: 200 });
    for (const client of clients) await client.closed;
    const client = await connect(nodes[1], 'dan');
    const revoked = { revoked: 1, nodes: 2, missing: [], status: 200 };
    expect(await ask(nodes[0], '/admin/revoke', { subject: 'dan' })).toEqual(revoked);
    expect((await client.closed).reason).toBe('SESSION_REVOKED');
  });

  it('end with a clear line where the password is wrong', async () => {
    const guarded = await RedisServer.start('--requirepass', 'right');
    const url = guarded.url.replace('//', '//:wrong@');
    const { exited, output } = run([], {
      REDIS_URL: url,
      JWT_SECRET: SECRET,
      FINGERPRINT_KEYS: `k:${'A'.repeat(43)}`,
      PORT: '0',
    });
    expect(await exited).not.toBe(0);
    expect(output()).toContain('cluster.redis: WRONGPASS');
    await guarded.stop();
  });

  it('do not start with a secret that each would make up, or without keys for pseudonyms', async () => {
    const { exited, output } = run([], { REDIS_URL: redis.url, PORT: '0' });
    expect(await exited).not.toBe(0);
    expect(output()).toContain('JWT_SECRET or JWT_PUBLIC_KEY is needed with REDIS_URL');
    expect(output()).toContain('FINGERPRINT_KEYS is needed with cluster.redis');
  });
});
