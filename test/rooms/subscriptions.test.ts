import { WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it } from 'vitest';
import type { Position, Replay, ReplayLimit, Window } from '../../src/engine/engine.js';
import { ChannelAuthorizer, GatewayError, UseProtocol, WsProtocol, WsRooms } from '../../src/index.js';
import type { Decoded, DisconnectData, ExceptionData } from '../../src/index.js';
import { Memberships } from '../../src/rooms/memberships.js';
import { Rooms } from '../../src/rooms/rooms.js';
import { stopApps, until } from '../support/app.js';
import type { ManualClock } from '../support/app.js';
import { startChannels } from '../support/channels.js';
import { LateEngine } from '../support/engines.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';

afterEach(stopApps);

/** Answers a read when the test says so. */
class GatedEngine extends LateEngine {
  readonly asked: (() => void)[] = [];
  fault: GatewayError | undefined;

  override async read(
    channel: string,
    since: Position | undefined,
    limit: ReplayLimit,
    window: Window,
  ): Promise<Replay> {
    const replay = await super.read(channel, since, limit, window);
    if (since !== undefined) await new Promise<void>((resolve) => this.asked.push(resolve));
    if (this.fault !== undefined) throw this.fault;
    return replay;
  }
}

const RULES = [{ pattern: 'room.*', subscribe: true, publish: true, history: { count: 500, ageMs: 60_000 } }];

async function start(setup = {}) {
  let engine: GatedEngine | undefined;
  const make = (clock: ManualClock): GatedEngine => (engine = new GatedEngine(clock));
  const started = await startChannels({ rules: RULES }, {}, { ...setup, engine: { make } });
  const rooms = started.app.get(WsRooms);
  const publish = async (data: unknown) => rooms.publish('room.1', 'chat', data);
  return { ...started, engine: engine as unknown as GatedEngine, rooms, publish }; // because startApp() has made it
}

describe('while the history of a channel is being read', () => {
  it('what is published meanwhile comes behind it, whole and once', async () => {
    const { engine, enter, publish } = await start();
    const [ann, bob] = [await enter('ann'), await enter('bob')];
    const { epoch } = await bob.ask('subscribe', { channel: 'room.1' });
    for (let n = 1; n <= 3; n++) await publish(n);
    ann.client.send({ event: 'subscribe', data: { channel: 'room.1', since: { epoch, offset: 1 } }, id: 1 });
    await until(() => engine.asked.length === 1);
    for (let n = 4; n <= 6; n++) await publish(n);
    for (let n = 1; n <= 6; n++) expect((await bob.next()).offset).toBe(n);
    expect(ann.client.frames.filter(({ event }) => event === 'chat')).toEqual([]);
    engine.asked[0]?.();
    expect(await ann.next()).toMatchObject({ id: 1, data: { offset: 3, recovered: true, replayed: 2 } });
    await publish(7);
    for (let n = 2; n <= 7; n++) expect(await ann.next()).toMatchObject({ data: n, offset: n });
    // A subscriber that asks again is held as well.
    ann.client.send({ event: 'subscribe', data: { channel: 'room.1', since: { epoch, offset: 6 } }, id: 2 });
    await until(() => engine.asked.length === 2);
    await publish(8);
    engine.asked[1]?.();
    expect(await ann.next()).toMatchObject({ id: 2, data: { offset: 7, replayed: 1 } });
    expect([(await ann.next()).offset, (await ann.next()).offset]).toEqual([7, 8]);
  });

  it('an engine that cannot be asked leaves who was no subscriber out, and who was one in', async () => {
    const { app, engine, enter, publish } = await start();
    const [ann, bob] = [await enter('ann'), await enter('bob')];
    const { epoch } = await bob.ask('subscribe', { channel: 'room.1' });
    engine.fault = new GatewayError('UNAVAILABLE', { retryAfterMs: 700 });
    const since = { epoch, offset: 0 };
    for (const one of [ann, bob]) one.client.send({ event: 'subscribe', data: { channel: 'room.1', since }, id: 1 });
    await until(() => engine.asked.length === 2);
    await publish(1);
    for (const proceed of engine.asked) proceed();
    const refused = { event: 'exception', data: { code: 'UNAVAILABLE', retryable: true, retryAfterMs: 700 } };
    expect(await ann.next()).toMatchObject(refused);
    expect([await bob.next(), await bob.next()]).toMatchObject([{ data: 1, offset: 1 }, refused]);
    expect(app.get(Memberships).size).toEqual({ rooms: 1, memberships: 1 });
  });

  it('no more is held for one member than half a megabyte: it is told to subscribe again', async () => {
    const { app, engine, enter, publish } = await start();
    const [ann, bob] = [await enter('ann'), await enter('bob')];
    const { epoch } = await bob.ask('subscribe', { channel: 'room.1' });
    ann.client.send({ event: 'subscribe', data: { channel: 'room.1', since: { epoch, offset: 0 } }, id: 1 });
    await until(() => engine.asked.length === 1);
    for (let n = 0; n < 10; n++) {
      await publish('x'.repeat(60_000));
      await bob.next();
    }
    engine.asked[0]?.();
    expect(await ann.next()).toMatchObject({ id: 1, data: { offset: 0 } });
    const data = { code: 'UNAVAILABLE', resubscribe: true };
    expect(await ann.next()).toMatchObject({ event: 'unsubscribed', data, channel: 'room.1' });
    expect(app.get(Memberships).size.memberships).toBe(1);
  });

  it('a session that ends, or loses its right, is no subscriber', async () => {
    const { app, engine, enter, publish } = await start();
    const [ann, bob] = [await enter('ann'), await enter('bob')];
    const { epoch } = await bob.ask('subscribe', { channel: 'room.1' });
    await bob.ask('unsubscribe', { channel: 'room.1' });
    for (const one of [ann, bob])
      one.client.send({ event: 'subscribe', data: { channel: 'room.1', since: { epoch, offset: 0 } }, id: 1 });
    await until(() => engine.asked.length === 2);
    ann.client.socket.terminate();
    await until(() => app.get(Memberships).size.memberships === 1);
    app.get(WsRooms).leave(app.get(Memberships).room('room.1')?.members[0]?.session as never, 'room.1');
    for (const proceed of engine.asked) proceed();
    expect(await bob.next()).toMatchObject({ event: 'exception', data: { code: 'FORBIDDEN' }, id: 1 });
    await publish(1);
    expect(app.get(Memberships).size).toEqual({ rooms: 0, memberships: 0 });
  });
});

describe('a request that waits longer than a handler may', () => {
  const slow: (() => void)[] = [];
  const useValue: ChannelAuthorizer = { authorize: () => new Promise((resolve) => slow.push(() => resolve(true))) };

  it.each([
    ['subscribe', { channel: 'room.1' }],
    ['subscribe', { channels: [{ channel: 'room.1' }, { channel: 'room.2' }] }],
    ['publish', { channel: 'room.1', data: 'late' }],
    ['presence', { channel: 'room.1' }],
  ])('%s with %j has one answer, HANDLER_TIMEOUT, and no effect', async (event, data) => {
    const rules = [{ ...RULES[0], pattern: 'room.*', presence: 'query' as const }];
    const options = { limits: { handlerTimeoutMs: 1_000 } };
    const setup = { providers: [{ provide: ChannelAuthorizer, useValue }] };
    const { app, clock, enter } = await startChannels({ rules }, options, setup);
    const ann = await enter('ann');
    slow.length = 0;
    // Each waits for the one before it, and each may take half of the time.
    for (let id = 1; id <= 3; id++) ann.client.send({ event, data, id });
    await until(() => slow.length > 0);
    clock.advance(400);
    const answered = slow.length;
    for (const proceed of slow) proceed();
    await until(() => slow.length > answered);
    clock.advance(400);
    const later = slow.length;
    for (const proceed of slow) proceed();
    await until(() => slow.length > later);
    const before = app.get(Memberships).size.memberships;
    clock.advance(250);
    for (const proceed of slow) proceed();
    ann.client.send({ event: 'ping', id: 9 });
    await until(() => ann.client.frames.some(({ id }) => id === 9));
    const answers = ann.client.frames.filter(({ id }) => id === 3);
    expect(answers).toMatchObject([{ event: 'exception', data: { code: 'HANDLER_TIMEOUT' } }]);
    expect(app.get(Memberships).size.memberships).toBe(before);
  });
});

it('a ChannelAuthorizer that answers at once is asked again when the token is another', async () => {
  let allowed = true;
  const useValue: ChannelAuthorizer = { authorize: () => allowed };
  const { app, enter } = await startChannels({}, {}, { providers: [{ provide: ChannelAuthorizer, useValue }] });
  const ann = await enter('ann');
  await ann.ask('subscribe', { channel: 'room.1' });
  allowed = false;
  ann.client.send({ event: 'auth', data: { token: token({ sub: 'ann', jti: '2' }) }, id: 9 });
  expect(await ann.next()).toMatchObject({ event: 'unsubscribed', channel: 'room.1', data: { code: 'FORBIDDEN' } });
  expect(app.get(Memberships).size.memberships).toBe(0);
});

describe('a session that ends while the application is asked', () => {
  it.each(['publish', 'subscribe'])('has %s nothing', async (event) => {
    const asked: (() => void)[] = [];
    const useValue: ChannelAuthorizer = { authorize: () => new Promise((resolve) => asked.push(() => resolve(true))) };
    const { app, enter, sessionOf } = await startChannels(
      {},
      {},
      { providers: [{ provide: ChannelAuthorizer, useValue }] },
    );
    const ann = await enter('ann');
    ann.client.send({ event, data: { channel: 'room.1', data: 'late' }, id: 1 });
    await until(() => asked.length === 1);
    sessionOf(ann).close('SESSION_REVOKED');
    asked[0]?.();
    await ann.client.closed;
    expect((await app.get(WsRooms).history('room.1')).items).toEqual([]);
    expect(app.get(Memberships).size.memberships).toBe(0);
  });
});

it('a client that refreshes again and again has the application asked one time after the other', async () => {
  let asked = 0;
  let most = 0;
  let waiting: (() => void)[] = [];
  let isSlow = false;
  const authorize = (): boolean | Promise<boolean> => {
    asked++;
    if (!isSlow) return true;
    return new Promise((resolve) => {
      most = Math.max(
        most,
        waiting.push(() => resolve(true)),
      );
    });
  };
  const setup = { providers: [{ provide: ChannelAuthorizer, useValue: { authorize } }] };
  const { app, enter } = await startChannels({}, {}, setup);
  const ann = await enter('ann');
  const channels = Array.from({ length: 10 }, (_, n) => ({ channel: `room.${n}` }));
  await ann.ask('subscribe', { channels });
  [isSlow, asked] = [true, 0];
  for (let n = 0; n < 20; n++) await ann.ask('auth', { token: token({ sub: 'ann', jti: `${n}` }) });
  expect([asked, most]).toEqual([10, 10]);
  const first = waiting;
  waiting = [];
  for (const proceed of first) proceed();
  await until(() => asked === 20);
  for (const proceed of waiting) proceed();
  await ann.ask('ping', null);
  expect([asked, app.get(Memberships).size.memberships]).toEqual([20, 10]);
});

it('a client that has the same replayed again and again is slowed down', async () => {
  const { app, clock, enter } = await startChannels({ rules: RULES });
  const ann = await enter('ann');
  const { epoch } = await ann.ask('subscribe', { channel: 'room.1' });
  await ann.ask('unsubscribe', { channel: 'room.1' });
  for (let n = 0; n < 500; n++) await app.get(WsRooms).publish('room.1', 'chat', n);
  let replays = 0;
  const again = async (): Promise<Record<string, unknown>> => {
    ann.client.send({ event: 'subscribe', data: { channel: 'room.1', since: { epoch, offset: 0 } }, id: 9 });
    const { data } = await ann.next();
    if ((data as { replayed?: number }).replayed === 500) for (let n = 0; n < 500; n++) await ann.next();
    return data as Record<string, unknown>;
  };
  while ((await again()).code === undefined) replays++;
  expect(replays).toBeGreaterThan(20);
  expect(replays).toBeLessThan(40);
  clock.jump(1_000);
  expect(await again()).toMatchObject({ recovered: true });
});

it('pages of a history end at their limit, and at one message at least', async () => {
  const { app } = await startChannels({ rules: RULES });
  const rooms = app.get(Rooms);
  const { position } = await rooms.publish('room.1', 'chat', 0);
  for (let n = 1; n <= 9; n++) await rooms.publish('room.1', 'chat', 'x'.repeat(n === 6 ? 50_000 : 100));
  const seen: number[][] = [];
  let since = { epoch: position?.epoch ?? '', offset: 0 };
  for (;;) {
    const { items, recovered } = await rooms.historyPage('room.1', since, { messages: 4, bytes: 10_000 });
    if (items.length === 0) break;
    seen.push([...items.map(({ offset }) => offset), Number(recovered)]);
    since = { ...since, offset: items.at(-1)?.offset ?? Infinity };
  }
  expect(seen).toEqual([
    [1, 2, 3, 4, 1],
    [5, 6, 1],
    [7, 1],
    [8, 9, 10, 1],
  ]);
});

it('a page of many members is paid for', async () => {
  const { clock, enter } = await startChannels({}, { limits: { messagesPerSecond: 50, messageBurst: 100 } });
  const ann = await enter('ann');
  const others = await Promise.all(Array.from({ length: 60 }, (_, n) => enter(`s${n}`)));
  for (const other of others) await other.ask('subscribe', { channel: 'room.1' });
  let pages = 0;
  while ((await ann.codeOf('presence', { channel: 'room.1' })) === undefined) pages++;
  expect(pages).toBeGreaterThan(40);
  expect(pages).toBeLessThan(50);
  clock.jump(2_000);
  expect(await ann.codeOf('presence', { channel: 'room.1' })).toBeUndefined();
});

it('a protocol of the application that throws at the answer leaves no subscriber behind', async () => {
  class Broken extends WsProtocol {
    decode(message: string | Uint8Array): Decoded {
      return { event: 'subscribe', data: JSON.parse(String(message)) as unknown, id: 1 };
    }
    reply(): string {
      throw new Error('no word for it');
    }
    push = (event: string): string => event;
    exception = ({ code }: ExceptionData): string => code;
    disconnect = ({ code }: DisconnectData): string => code;
  }
  @UseProtocol(Broken)
  @WebSocketGateway({ path: '/broken' })
  class BrokenGateway {}
  const { app, url } = await startChannels({ rules: RULES }, {}, { gateways: [BrokenGateway] });
  const client = await RawClient.connect(`${url}/broken`, { token: token() });
  for (const data of [{ channel: 'room.1' }, { channels: [{ channel: 'room.1' }, { channel: 'room.2' }] }]) {
    client.send(JSON.stringify(data));
    expect(await client.next()).toBe('INTERNAL');
    expect(app.get(Memberships).size).toEqual({ rooms: 0, memberships: 0 });
  }
});
