import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Client } from '../../support/client.js';
import { RULES } from '../../support/channels.js';
import type { Push } from '../../support/channels.js';
import { hasProgram, shareService, startService, stopServices, stopSharedServices } from '../../support/service.js';
import type { Service } from '../../support/service.js';
import { SECRET, token } from '../../support/tokens.js';

let service: Service;

const file = join(mkdtempSync(join(tmpdir(), 'ws-gateway-backend-')), 'config.json');
writeFileSync(file, JSON.stringify({ channels: { rules: RULES }, rooms: { maxPerSession: 3 } }));
const environment = { JWT_SECRET: SECRET, WS_GATEWAY_CONFIG: file };

afterEach(stopServices);
afterAll(stopSharedServices);

/** A service for each test of a describe(), whose channels are empty. */
const startForEach = (): void => beforeEach(async () => void (service = await startService(environment)));

const backend = (claims: object = {}): string => token({ sub: 'backend', scope: 'ws-gateway:publish', ...claims });
const admin = (): string => token({ sub: 'root', scope: 'ws-gateway:admin' });

interface Answer {
  status: number;
  body: Record<string, unknown>;
  headers: Headers;
}

async function call(path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(service.http + path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${backend()}`, 'content-type': 'application/json', ...headers },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return {
    status: response.status,
    body: (await response.json()) as Record<string, unknown>,
    headers: response.headers,
  };
}

const times = (count: number, item: object): object[] => Array.from({ length: count }, () => item);

/** A client that has subscribed, and its session's id. */
async function subscriber(subject: string, ...channels: string[]): Promise<{ client: Client; sessionId: string }> {
  const client = await Client.connect(service.url, { token: token({ sub: subject }) });
  const { sessionId } = (await client.ask({ event: 'session', id: 0 })).data as { sessionId: string };
  if (channels.length > 0) {
    await client.ask({ event: 'subscribe', data: { channels: channels.map((channel) => ({ channel })) }, id: 1 });
  }
  return { client, sessionId };
}

describe('POST /publish', () => {
  startForEach();

  it('reaches subscribers, and answers with the position', async () => {
    const { client, sessionId } = await subscriber('ann', 'room.1', 'public.1');
    const { status, body, headers } = await call('/publish', {
      channel: 'room.1',
      event: 'order.paid',
      data: { id: 7 },
    });
    expect([status, headers.get('cache-control')]).toEqual([200, 'no-store']);
    expect(body).toEqual({ epoch: expect.any(String) as string, offset: 1, cluster: 'single' });
    expect(await client.next()).toEqual({ event: 'order.paid', data: { id: 7 }, channel: 'room.1', offset: 1 });
    await call('/publish', { channel: 'public.1', except: sessionId });
    expect((await call('/publish', { channel: 'public.1' })).body).toEqual({ cluster: 'single' });
    expect(await client.next()).toEqual({ event: 'publication', data: null, channel: 'public.1' });
  });

  it('publishes once for a key', async () => {
    const key = { 'idempotency-key': 'order-7' };
    const first = await call('/publish', { channel: 'room.1', data: 1 }, key);
    expect((await call('/publish', { channel: 'room.1', data: 1 }, key)).body).toEqual({
      ...first.body,
      duplicate: true,
    });
    expect(await call('/publish', { channel: 'room.1', data: 2 }, key)).toMatchObject({
      status: 409,
      body: { code: 'CONFLICT' },
    });
    const other = { ...key, authorization: `Bearer ${backend({ sub: 'other' })}` };
    expect((await call('/publish', { channel: 'room.1', data: 2 }, other)).body).toMatchObject({ offset: 2 });
    expect((await call('/publish', { channel: 'room.1' }, { 'idempotency-key': 'k'.repeat(65) })).status).toBe(400);
  });

  it('asks for the token before it reads the body, for the scope, and for the channels that the token names', async () => {
    const huge = { channel: 'room.1', data: 'x'.repeat(200_000) };
    expect(await call('/publish', huge, { authorization: 'Bearer x.y.z' })).toMatchObject({ status: 401 });
    expect(await call('/publish', huge, { authorization: `Bearer ${token()}` })).toMatchObject({ status: 403 });
    const bearer = (publish: unknown): Record<string, string> => ({
      authorization: `Bearer ${backend({ channels: { publish } })}`,
    });
    expect((await call('/publish', { channel: 'room.1' }, bearer(['room.*']))).status).toBe(200);
    expect((await call('/publish', { channel: 'live.1' }, bearer(['room.*']))).status).toBe(403);
    expect((await call('/publish', { channel: 'room.1' }, bearer([]))).status).toBe(403);
  });
});

describe('POST /publish/batch', () => {
  startForEach();

  it('answers each item in the order given, and keeps that of a channel', async () => {
    const { client } = await subscriber('ann', 'room.1', 'room.2');
    const items = [
      { channel: 'room.1', data: 1 },
      { channel: 'nothing', data: 2 },
      { channels: ['room.2', 'nothing'], data: 3, key: 'k' },
      'wrong',
      { channel: 'room.1', data: 4, key: 'k' },
      { channel: 'room.1', data: 4, key: 'k' },
    ];
    const { status, body } = await call('/publish/batch', { items });
    expect(status).toBe(200);
    const answers = body.items as Record<string, unknown>[];
    expect(answers).toMatchObject([
      { offset: 1 },
      { error: { code: 'FORBIDDEN' } },
      {
        channels: [
          { channel: 'room.2', offset: 1 },
          { channel: 'nothing', error: { code: 'FORBIDDEN' } },
        ],
      },
      { error: { code: 'VALIDATION_FAILED' } },
      { offset: 2 },
      { offset: 2, duplicate: true },
    ]);
    const pushes = [await client.next(), await client.next(), await client.next()] as Push[];
    expect(pushes.filter(({ channel }) => channel === 'room.1').map(({ data }) => data)).toEqual([1, 4]);
  });

  it('is 1 to 100 items, 1,000 publications and 1 MiB', async () => {
    const item = { channel: 'room.1' };
    const many = { channels: Array<string>(100).fill('room.1') };
    for (const items of [[], times(101, item), times(11, many), 'x']) {
      expect(await call('/publish/batch', { items })).toMatchObject({ status: 400 });
    }
    expect((await call('/publish/batch', { items: times(10, many) })).status).toBe(200);
    expect((await call('/publish/batch', { items: [{ ...item, data: 'x'.repeat(1_048_576) }] })).status).toBe(413);
  });
});

describe('what a backend asks of a channel', () => {
  startForEach();

  it('has its members, its position and its history', async () => {
    const { sessionId } = await subscriber('ann', 'room.1', 'live.1');
    for (let n = 1; n <= 7; n++) await call('/publish', { channel: 'room.1', data: n });
    const { body } = await call('/channels/room.1');
    expect(body).toEqual({ count: { sessions: 1, subjects: 1 }, epoch: expect.any(String) as string, offset: 7 });
    expect((await call('/channels/live.1')).body).toEqual({ count: { sessions: 1, subjects: 1 } });
    const { items } = (await call('/channels/room.1/presence?limit=1')).body as { items: unknown[] };
    expect(items).toEqual([{ sessionId, subject: 'ann', since: expect.any(Number) as number }]);
    const { epoch } = body as { epoch: string };
    const history = await call(`/channels/room.1/history?since=${epoch}:5`);
    expect(history.body).toEqual({
      epoch,
      offset: 7,
      recovered: true,
      items: [6, 7].map((data) => ({ offset: data, event: 'publication', data })),
    });
    expect((await call(`/channels/room.1/history?since=${epoch}:1`)).body).toMatchObject({
      recovered: false,
      reason: 'window',
      items: [],
    });
    const page = await call(`/channels/room.1/history?since=${epoch}:2&limit=2`);
    expect(page.body).toMatchObject({ recovered: true, offset: 7, items: [{ offset: 3 }, { offset: 4 }] });
    expect((await call('/channels/room.1/history?limit=2')).body).toMatchObject({
      items: [{ offset: 6 }, { offset: 7 }],
    });
  });
});

describe('a backend', () => {
  startForEach();

  it('puts sessions into a channel and takes them out, whatever the rules say', async () => {
    const { client, sessionId } = await subscriber('ann');
    expect((await call('/channels/staff.1/subscribe', { subject: 'ann' })).body).toEqual({ sessions: 1 });
    await client.ask({ event: 'unsubscribe', data: { channel: 'staff.1' }, id: 2 }); // it is not the client's to end
    await call('/publish', { channel: 'staff.1', data: 1 });
    expect(await client.next()).toEqual({ event: 'publication', data: 1, channel: 'staff.1' });
    expect((await call('/channels/staff.1/unsubscribe', { sessionId })).body).toEqual({ sessions: 1 });
    expect(await client.next()).toMatchObject({
      event: 'unsubscribed',
      channel: 'staff.1',
      data: { resubscribe: false },
    });
    expect((await call('/channels/staff.1/unsubscribe', { sessionId })).body).toEqual({ sessions: 0 });
    expect((await call('/channels/staff.1/subscribe', {})).status).toBe(400);
    expect((await call('/channels/nothing/subscribe', { subject: 'ann' })).status).toBe(403);
    for (const n of [1, 2, 3]) await call(`/channels/room.${n}/subscribe`, { sessionId });
    expect(await call('/channels/room.4/subscribe', { sessionId })).toMatchObject({
      status: 409,
      body: { code: 'SUBSCRIPTION_LIMIT' },
    });
  });

  it('puts each session of a subject in that has room, and says when one has not', async () => {
    const full = await subscriber('ann', 'room.1', 'room.2', 'room.3');
    const other = await subscriber('ann');
    const answer = await call('/channels/room.4/subscribe', { subject: 'ann' });
    expect(answer).toMatchObject({ status: 409, body: { code: 'SUBSCRIPTION_LIMIT' } });
    const { items } = (await call('/channels/room.4/presence')).body as { items: { sessionId: string }[] };
    expect(items.map(({ sessionId }) => sessionId)).toEqual([other.sessionId]);
    expect((await full.client.ask({ event: 'ping', id: 1 })).event).toBe('pong');
  });

  it('disconnects', async () => {
    const as = { authorization: `Bearer ${admin()}` };
    const [ann, bob, eve] = [await subscriber('ann'), await subscriber('bob'), await subscriber('eve')];
    expect((await call('/disconnect', { subject: 'ann' })).status).toBe(403);
    expect((await call('/disconnect', { subject: 'ann' }, as)).body).toEqual({ ended: 1 });
    expect(await ann.client.next()).toMatchObject({
      event: 'disconnect',
      data: { code: 'CLOSED', closeCode: 1000, reconnect: false },
    });
    expect((await call('/disconnect', { sessionId: bob.sessionId, code: 'GAME_OVER' }, as)).body).toEqual({ ended: 1 });
    expect(await bob.client.next()).toMatchObject({ data: { code: 'GAME_OVER', closeCode: 4400 } });
    expect((await call('/disconnect', { subject: 'nobody' }, as)).body).toEqual({ ended: 0 });
    for (const body of [
      {},
      { subject: 'eve', sessionId: eve.sessionId },
      { subject: 'eve', code: 'x' },
      { subject: 'eve', code: 'BAD_FRAME' },
    ]) {
      expect((await call('/disconnect', body, as)).status).toBe(400);
    }
    expect((await eve.client.ask({ event: 'ping', id: 1 })).event).toBe('pong');
  });
});

describe('what is refused, and changes nothing', () => {
  let published = 0;
  beforeAll(async () => void (service = await shareService(environment)));

  it.each([
    ['no rule', { channel: 'nothing' }, 403, 'FORBIDDEN'],
    ['a bad name', { channel: 'a..b' }, 400, 'VALIDATION_FAILED'],
    ['no channel', {}, 400, 'VALIDATION_FAILED'],
    ['a reserved event', { channel: 'room.1', event: 'gap' }, 400, 'VALIDATION_FAILED'],
    ['the event of exceptions', { channel: 'room.1', event: 'exception' }, 400, 'VALIDATION_FAILED'],
    ['an unknown member', { channel: 'room.1', exept: 'x' }, 400, 'VALIDATION_FAILED'],
    ['no object', [], 400, 'VALIDATION_FAILED'],
    ['no JSON', '{"channel":', 400, 'VALIDATION_FAILED'],
    ['a key that could reach a prototype', '{"channel":"room.1","data":{"__proto__":{}}}', 400, 'VALIDATION_FAILED'],
    ['data of one byte too many', { channel: 'room.1', data: 'x'.repeat(65_535) }, 413, 'MESSAGE_TOO_BIG'],
    ['a body that is too large', { channel: 'room.1', data: 'x'.repeat(131_072) }, 413, 'MESSAGE_TOO_BIG'],
  ])('POST /publish refuses %s', async (_, body, status, code) => {
    expect(await call('/publish', body)).toMatchObject({ status, body: { code } });
    const next = await call('/publish', { channel: 'room.1', data: 'x'.repeat(65_534) });
    expect(next.body).toMatchObject({ offset: ++published });
  });

  it.each([
    ['/channels/nothing', 403],
    ['/channels/a..b', 400],
    ['/channels/user.ann/presence', 403],
    ['/channels/live.1/history', 404],
    ['/channels/room.1/history?since=x', 400],
    ['/channels/room.1/history?limit=0', 400],
    ['/channels/room.1/presence?limit=1001', 400],
    ['/channels/room.1/presence?cursor=!', 400],
  ])('refuses %s with %i', async (path, status) => {
    expect((await call(path)).status).toBe(status);
  });
});

const example = (name: string): string => new URL(`../../apps/backends/${name}`, import.meta.url).pathname;

describe.each([
  ['curl', 'sh', ['publish.sh'], ['--version']],
  ['Python', 'python3', ['publish.py'], ['--version']],
  ['PHP', 'php', ['publish.php'], ['--version']],
])('the example in %s', (what, command, [script = ''], version) => {
  startForEach();

  it.runIf(hasProgram(what, what === 'curl' ? 'curl' : command, version))(
    'publishes once, however often it is run',
    async () => {
      const { client } = await subscriber('ann', 'room.42');
      for (let n = 0; n < 2; n++) {
        const child = spawn(command, [example(script)], {
          env: { PATH: process.env.PATH, GATEWAY: service.http, TOKEN: backend() },
        });
        const [code] = (await once(child, 'close')) as [number];
        expect(code).toBe(0);
      }
      expect(await client.next()).toEqual({ event: 'order.paid', data: { order: 7 }, channel: 'room.42', offset: 1 });
      expect((await call('/channels/room.42')).body).toMatchObject({ offset: 1 });
    },
  );
});
