import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it } from 'vitest';
import {
  CurrentSession,
  OnWsEvent,
  UseProtocol,
  WsMetrics,
  WsProtocol,
  WsRooms,
  WsSession,
  WsSessions,
} from '../../src/index.js';
import type { Decoded, DisconnectData, ExceptionData, Reply, RoomEvent, WsGatewayOptions } from '../../src/index.js';
import { Memberships } from '../../src/rooms/memberships.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { LATE, MEMORY } from '../support/engines.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';
import { testRooms } from './rooms-suite.js';

testRooms('memory', MEMORY);
testRooms('late', LATE);

afterEach(stopApps);

class Told {
  readonly events: RoomEvent[] = [];

  @OnWsEvent('room')
  on(event: RoomEvent): void {
    this.events.push(event);
  }
}

interface Started {
  test: TestApp;
  rooms: WsRooms;
  told: Told;
  /** A client, and its session, in these rooms. */
  enter(subject: string, ...names: string[]): Promise<{ client: Client; session: WsSession }>;
}

async function start(
  options: Omit<WsGatewayOptions, 'auth'> = {},
  gateways: (new () => object)[] = [],
): Promise<Started> {
  const test = await startApp({ options, providers: [Told], gateways });
  const rooms = test.app.get(WsRooms);
  const enter = async (subject: string, ...names: string[]): Promise<{ client: Client; session: WsSession }> => {
    const client = await Client.connect(`${test.url}/ws`, { token: token({ sub: subject }) });
    const { sessionId } = (await client.ask({ event: 'session', id: 0 })).data as { sessionId: string };
    const [session] = test.app.get(WsSessions).find({ sessionId }) as [WsSession]; // because it is there
    for (const name of names) session.join(name);
    return { client, session };
  };
  return { test, rooms, told: test.app.get(Told), enter };
}

describe('a room', () => {
  it('gives its members what is published, in its order, and others nothing', async () => {
    const { rooms, enter } = await start();
    const ann = await enter('ann', 'page', 'other');
    const bob = await enter('bob', 'page');
    const eve = await enter('eve', 'other');
    expect(await rooms.publish('page', 'news', { n: 1 })).toEqual({ local: 2, cluster: 'single' });
    await rooms.publish('page', 'news', { n: 2 });
    await rooms.publish('other', 'last', null);
    const [first, second] = [
      { event: 'news', data: { n: 1 } },
      { event: 'news', data: { n: 2 } },
    ];
    expect([await ann.client.next(), await ann.client.next()]).toEqual([first, second]);
    expect([await bob.client.next(), await bob.client.next()]).toEqual([first, second]);
    expect(await eve.client.next()).toEqual({ event: 'last', data: null });
  });

  it('is joined once, left once, and ends with the session', async () => {
    const { test, rooms, enter } = await start();
    const { client, session } = await enter('ann', 'a', 'b', 'a');
    expect(session.rooms).toEqual(['a', 'b']);
    expect(await rooms.count('a')).toEqual({ sessions: 1, subjects: 1, distinct: 0, missing: [] });
    expect([session.leave('a'), session.leave('a')]).toEqual([true, false]);
    await client.close();
    await until(() => test.app.get(Memberships).size.memberships === 0);
    expect(test.app.get(Memberships).size).toEqual({ rooms: 0, memberships: 0 });
    expect(session.join('late')).toBe(false);
    expect(test.app.get(Memberships).size.rooms).toBe(0);
  });

  it('gives who joins nothing of before, and who leaves nothing of after', async () => {
    const { rooms, enter } = await start();
    const ann = await enter('ann', 'page');
    const bob = await enter('bob');
    void rooms.publish('page', 'news', 1);
    bob.session.join('page');
    void rooms.publish('page', 'news', 2);
    ann.session.leave('page');
    await rooms.publish('page', 'news', 3);
    ann.session.send('end', null);
    bob.session.send('end', null);
    expect([await ann.client.next(), await ann.client.next(), await ann.client.next()].map(({ data }) => data)).toEqual(
      [1, 2, null],
    );
    expect([await bob.client.next(), await bob.client.next(), await bob.client.next()].map(({ data }) => data)).toEqual(
      [2, 3, null],
    );
  });

  it('keeps its place among what one session is sent', async () => {
    const { test, rooms, enter } = await start();
    const { client, session } = await enter('ann', 'page');
    session.send('direct', 1);
    void rooms.publish('page', 'room', 2);
    session.send('direct', 3);
    void rooms.publish('page', 'room', 4);
    test.app.get(WsSessions).broadcast('all', 5);
    void rooms.publish('page', 'room', 6);
    session.close();
    expect((await client.rest()).map(({ data }) => data).slice(0, 6)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('leaves in one write for all messages of a tick', async () => {
    const { rooms, enter } = await start();
    const { client, session } = await enter('ann', 'page');
    const { _socket: stream } = session.socket as unknown as { _socket: NodeJS.WritableStream }; // because ws does not show it
    let writes = 0;
    const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
    stream.write = (...args: unknown[]) => (writes++, write(...args));
    for (let n = 0; n < 8; n++) void rooms.publish('page', 'news', n);
    for (let n = 0; n < 8; n++) expect((await client.next()).data).toBe(n);
    expect(writes).toBe(1);
  });

  it.each([false, true])('is the same where messages are compressed: %s', async (isCompressed) => {
    const { test, rooms, enter } = await start({ compression: { thresholdBytes: 0 } });
    const client = await Client.connect(`${test.url}/ws`, { token: token(), perMessageDeflate: isCompressed });
    await client.ask({ event: 'ping' });
    const [session] = test.app.get(WsSessions).find() as [WsSession]; // because it is there
    session.join('page');
    const other = await enter('bob', 'page');
    for (let n = 0; n < 3; n++) void rooms.publish('page', 'news', 'é'.repeat(n));
    for (const { next } of [client, other.client].map((one) => ({ next: () => one.next() }))) {
      expect([(await next()).data, (await next()).data, (await next()).data]).toEqual(['', 'é', 'éé']);
    }
  });

  it('leaves out who is excepted, by session or by id, among others in the same tick', async () => {
    const { rooms, enter } = await start();
    const ann = await enter('ann', 'page');
    const bob = await enter('bob', 'page');
    void rooms.publish('page', 'news', 1);
    expect(await rooms.publish('page', 'news', 2, { except: ann.session })).toMatchObject({ local: 1 });
    void rooms.publish('page', 'news', 3, { except: bob.session.id });
    void rooms.publish('page', 'news', 4);
    expect([await ann.client.next(), await ann.client.next(), await ann.client.next()].map(({ data }) => data)).toEqual(
      [1, 3, 4],
    );
    expect([await bob.client.next(), await bob.client.next(), await bob.client.next()].map(({ data }) => data)).toEqual(
      [1, 2, 4],
    );
  });

  it('reaches who is in several once', async () => {
    const { rooms, enter } = await start();
    const ann = await enter('ann', 'a', 'b');
    const bob = await enter('bob', 'b');
    const eve = await enter('eve', 'a', 'b');
    const sent = await rooms.to('a', 'b', 'c').except(eve.session).emit('news', 1);
    expect(sent).toEqual({ local: 2, cluster: 'single' });
    await rooms.to('a').except(ann.session.id, bob.session).volatile().emit('news', 2);
    await rooms.toSubject('bob', 'news', 3);
    await rooms.toSession(ann.session.id, 'news', 4);
    expect(await rooms.broadcast('news', 5)).toMatchObject({ local: 3 });
    expect([await ann.client.next(), await ann.client.next(), await ann.client.next()].map(({ data }) => data)).toEqual(
      [1, 4, 5],
    );
    expect([await bob.client.next(), await bob.client.next(), await bob.client.next()].map(({ data }) => data)).toEqual(
      [1, 3, 5],
    );
    expect([await eve.client.next(), await eve.client.next()].map(({ data }) => data)).toEqual([2, 5]);
  });

  it('publishes once for a key', async () => {
    const { test, rooms, enter } = await start();
    const ann = await enter('ann', 'page');
    expect(await rooms.publish('page', 'news', 1, { key: 'k' })).toEqual({ local: 1, cluster: 'single' });
    expect(await rooms.publish('page', 'news', 1, { key: 'k' })).toEqual({
      local: 0,
      cluster: 'single',
      duplicate: true,
    });
    await expect(rooms.publish('page', 'news', 2, { key: 'k' })).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(rooms.publish('page', 'other', 1, { key: 'k' })).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(await rooms.publish('elsewhere', 'news', 2, { key: 'k' })).not.toHaveProperty('duplicate');
    test.clock.jump(300_000);
    expect(await rooms.publish('page', 'news', 2, { key: 'k' })).not.toHaveProperty('duplicate');
    expect([(await ann.client.next()).data, (await ann.client.next()).data]).toEqual([1, 2]);
  });

  it('skips volatile messages for a member that has much to read, and ends one that reads nothing', async () => {
    const { test, rooms, enter } = await start({ limits: { maxOutboundBytes: 1_000_000 } });
    const slow = await enter('slow', 'page');
    const ann = await enter('ann', 'page');
    slow.client.socket.pause();
    const text = 'x'.repeat(60_000);
    let sent = 0;
    while (slow.session.socket.bufferedAmount <= 65_536) {
      await rooms.publish('page', 'load', text);
      sent++;
      while ((await ann.client.next()).event !== 'load');
    }
    const before = slow.session.socket.bufferedAmount;
    await rooms.publish('page', 'cursor', 1, { volatile: true });
    await rooms.publish('page', 'last', 2);
    expect([(await ann.client.next()).event, (await ann.client.next()).event]).toEqual(['cursor', 'last']);
    expect(slow.session.socket.bufferedAmount - before).toBe(27); // the frame of `last` alone
    slow.client.socket.resume();
    for (let n = 0; n < sent; n++) expect((await slow.client.next()).event).toBe('load');
    expect((await slow.client.next()).event).toBe('last');
    slow.client.socket.pause();
    while (slow.session.isLive) await rooms.publish('page', 'load', text).then(() => ann.client.next());
    expect(ann.session.isLive).toBe(true);
    expect(test.log.lines.at(-1)).toMatchObject({ code: 'SLOW_CONSUMER', subject: 'slow' });
  });
});

describe('what is asked of a room', () => {
  it('has who is there, and how many, by session, subject and what the application says', async () => {
    const { test, rooms, enter } = await start();
    const tabs = [await enter('ann'), await enter('ann'), await enter('bob')];
    for (const [index, { session }] of tabs.entries())
      session.join('page', { as: { visitor: index < 2 ? 'v1' : 'v2', index } });
    expect(await rooms.count('page', 'visitor')).toEqual({ sessions: 3, subjects: 2, distinct: 2, missing: [] });
    expect(await rooms.count('page', 'index')).toMatchObject({ distinct: 3 });
    expect(await rooms.count('nowhere', 'index')).toEqual({ sessions: 0, subjects: 0, distinct: 0, missing: [] });
    const first = await rooms.members('page', { limit: 2 });
    const rest = await rooms.members('page', { limit: 2, cursor: first.next ?? '' });
    expect(rest.next).toBeUndefined();
    const members = [...first.items, ...rest.items];
    expect(members.map(({ sessionId }) => sessionId)).toEqual(tabs.map(({ session }) => session.id).toReversed());
    expect(members[2]).toEqual({
      sessionId: tabs[0]?.session.id,
      subject: 'ann',
      since: test.clock.now(),
      as: { visitor: 'v1', index: 0 },
    });
    tabs[0]?.session.join('page', { as: { visitor: 'v3' } });
    expect(await rooms.count('page', 'visitor')).toMatchObject({ sessions: 3, distinct: 3 });
  });

  it('shows each member on one page at least while others leave', async () => {
    const { rooms, enter } = await start();
    const all = [];
    for (let n = 0; n < 7; n++) all.push(await enter(`s${n}`, 'page'));
    const seen = new Set<string | undefined>();
    let cursor: string | undefined;
    let gone = 0;
    do {
      const { items, next } = await rooms.members('page', { limit: 2, ...(cursor !== undefined && { cursor }) });
      for (const { subject } of items) seen.add(subject);
      cursor = next;
      all[gone++]?.session.leave('page');
    } while (cursor !== undefined);
    for (let n = gone; n < 7; n++) expect(seen).toContain(`s${n}`);
  });

  it('is told as members come and go, also when a connection breaks', async () => {
    const { told, enter } = await start();
    const ann = await enter('ann', 'page');
    const bob = await enter('bob', 'page');
    bob.session.leave('page');
    ann.client.socket.terminate();
    await until(() => told.events.length === 4);
    const [a, b] = [ann, bob].map(({ session }) => session.id);
    expect(told.events).toEqual([
      { kind: 'room', room: 'page', action: 'joined', sessionId: a, subject: 'ann' },
      { kind: 'room', room: 'page', action: 'joined', sessionId: b, subject: 'bob' },
      { kind: 'room', room: 'page', action: 'left', sessionId: b, subject: 'bob' },
      { kind: 'room', room: 'page', action: 'left', sessionId: a, subject: 'ann' },
    ]);
  });
});

describe('the limits of rooms', () => {
  const limit = expect.objectContaining({ code: 'SUBSCRIPTION_LIMIT' }) as Error;

  it.each([
    ['of a session', { maxPerSession: 2 }, ['a', 'b', 'c'], []],
    ['of the process', { maxPerProcess: 2 }, ['a', 'c'], ['b']],
    ['of memberships', { maxMembershipsPerProcess: 2 }, ['a', 'b'], ['b']],
    ['of members', { maxMembers: 1 }, ['a', 'b'], ['b']],
  ])('refuse one %s too many, and nothing else is changed', async (_, rooms, first, second) => {
    const { enter } = await start({ rooms });
    const bob = await enter('bob', ...second);
    const ann = await enter('ann', ...first.slice(0, -1));
    expect(() => ann.session.join(first.at(-1) ?? '')).toThrow(limit);
    expect([ann.session.rooms, bob.session.rooms]).toEqual([first.slice(0, -1), second]);
    bob.session.leave('b');
    ann.session.leave('a');
    expect(ann.session.join(first.at(-1) ?? '')).toBe(true);
  });

  it('let through data of as many bytes as may be, and not one more', async () => {
    const { rooms } = await start({ rooms: { maxMessageBytes: 10 } });
    await rooms.publish('page', 'news', 'é'.repeat(4));
    const details = [{ path: 'data', rule: 'maxBytes', message: 'data must be at most 10 bytes' }];
    await expect(rooms.publish('page', 'news', `${'é'.repeat(4)}x`)).rejects.toMatchObject({
      code: 'VALIDATION_FAILED',
      details,
    });
  });

  it('refuse names, events, keys and pages that cannot be', async () => {
    const { rooms, enter } = await start();
    const { session } = await enter('ann');
    for (const name of ['', 'x'.repeat(257), 'a\nb', 'a\u007f', 1, undefined] as string[]) {
      expect(() => session.join(name)).toThrow(TypeError);
      expect(() => rooms.to(name)).toThrow(TypeError);
      await expect(rooms.publish(name, 'news', 1)).rejects.toThrow(TypeError);
      await expect(rooms.count(name)).rejects.toThrow(TypeError);
    }
    expect(session.join('Seite 42 {é}')).toBe(true);
    await expect(rooms.publish('a', '', 1)).rejects.toThrow(TypeError);
    await expect(rooms.publish('a', 'news', 1n)).rejects.toThrow(TypeError);
    await expect(rooms.publish('a', 'news', 1, { key: '' })).rejects.toThrow(TypeError);
    await expect(rooms.members('a', { limit: 0 })).rejects.toThrow(TypeError);
    await expect(rooms.members('a', { cursor: '!' })).rejects.toThrow(TypeError);
    await expect(rooms.history('a')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    for (const as of [[], 'x', { x: 'x'.repeat(1_024) }, null] as never[]) {
      expect(() => session.join('as', { as })).toThrow(TypeError);
    }
    expect(session.rooms).toEqual(['Seite 42 {é}']);
  });

  it('leave nothing behind after 100,000 joins and leaves', async () => {
    const { test, rooms, enter } = await start();
    const { session } = await enter('ann');
    for (let n = 0; n < 100_000; n++) {
      session.join(`room ${n}`);
      if (n >= 50) session.leave(`room ${n - 50}`);
    }
    expect(session.rooms).toHaveLength(50);
    for (const room of session.rooms) rooms.leave(session, room);
    expect(test.app.get(Memberships).size).toEqual({ rooms: 0, memberships: 0 });
  });
});

@WebSocketGateway()
class Lobby {
  async handleConnection(socket: object): Promise<void> {
    WsSession.of(socket).join('lobby');
    await new Promise(setImmediate);
  }

  @SubscribeMessage('enter')
  enter(@CurrentSession() session: WsSession): readonly string[] {
    session.join('hall');
    return session.rooms;
  }
}

it('handlers and hooks join by the session', async () => {
  const { test, rooms } = await start({}, [Lobby]);
  const client = await Client.connect(`${test.url}/ws`, { token: token() });
  expect((await client.ask({ event: 'enter', id: 1 })).data).toEqual(['lobby', 'hall']);
  await rooms.publish('lobby', 'hello', 1);
  expect(await client.next()).toEqual({ event: 'hello', data: 1 });
});

it('a listener that has others leave while a room is written to disturbs nobody else', async () => {
  const { test, rooms, enter } = await start({ limits: { maxOutboundBytes: 100_000 } });
  const slow = await enter('slow', 'page');
  const others = [await enter('a', 'page'), await enter('b', 'page'), await enter('c', 'page')];
  slow.client.socket.pause();
  const got = others.map(({ client }) => client.frames.length);
  let rounds = 0;
  while (slow.session.isLive) {
    rounds++;
    await rooms.publish('page', 'load', 'x'.repeat(60_000));
    await until(() => others.every(({ client }, index) => client.frames.length === (got[index] ?? 0) + rounds));
  }
  expect(rounds).toBeGreaterThan(1);
  expect(test.app.get(Memberships).find(others[0]?.session as WsSession, 'page')).toBeDefined();
});

it('metrics count what is published and delivered, by the rule and never by the name', async () => {
  const rules = [{ pattern: 'room.*', subscribe: true, history: { count: 5, ageMs: 1_000 } }];
  const test = await startApp({ options: { monitoring: { metrics: true }, channels: { rules } } });
  const rooms = test.app.get(WsRooms);
  const client = await Client.connect(`${test.url}/ws`, { token: token() });
  await client.ask({ event: 'subscribe', data: { channel: 'room.secret' }, id: 1 });
  await rooms.publish('room.secret', 'news', 1);
  await rooms.publish('page of ann', 'news', 1);
  const { body } = await test.app.get(WsMetrics).text();
  for (const line of [
    'ws_gateway_rooms 1',
    'ws_gateway_room_memberships 1',
    'ws_gateway_history_messages 1',
    'ws_gateway_room_messages_total{rule="room.*"} 1',
    'ws_gateway_room_deliveries_total{rule="room.*"} 1',
    'ws_gateway_room_messages_total{rule="none"} 1',
    'ws_gateway_room_deliveries_total{rule="none"} 0',
  ]) {
    expect(body).toContain(`${line}\n`);
  }
  expect(body).not.toMatch(/secret|page of/);
});

describe('a room with members of several languages', () => {
  let written = 0;

  class Words extends WsProtocol {
    decode(message: string | Uint8Array): Decoded {
      const [event = '', ...rest] = String(message).split(' ');
      return { event, data: rest.join(' '), id: 1 };
    }
    reply({ event, data }: Reply): string {
      return `reply ${event} ${JSON.stringify(data)}`;
    }
    push(event: string, data: unknown): string {
      written++;
      if (event === 'fault') throw new Error('no word for it');
      return `push ${event} ${JSON.stringify(data)}`;
    }
    exception({ code }: ExceptionData): string {
      return `exception ${code}`;
    }
    disconnect({ code }: DisconnectData): string {
      return `disconnect ${code}`;
    }
  }

  @UseProtocol(Words)
  @WebSocketGateway({ path: '/words' })
  class WordsGateway {
    handleConnection(socket: object): void {
      WsSession.of(socket).join('page');
    }
  }

  it('is written to once for each of them', async () => {
    const { test, rooms, enter } = await start({}, [WordsGateway, Lobby]);
    const connect = (): Promise<RawClient> => RawClient.connect(`${test.url}/words`, { token: token() });
    const [first, second] = [await connect(), await connect()];
    const sessions = test.app.get(WsSessions).find();
    const ann = await enter('ann', 'page');
    written = 0;
    void rooms.publish('page', 'fault', 0);
    void rooms.publish('page', 'news', { n: 1 }, { except: sessions[0] as WsSession });
    void rooms.publish('page', 'news', { n: 2 });
    await rooms.to('page', 'other').emit('last', 3);
    expect([await first.next(), await first.next()]).toEqual(['push news {"n":2}', 'push last 3']);
    const all = [await second.next(), await second.next(), await second.next()];
    expect(all).toEqual(['push news {"n":1}', 'push news {"n":2}', 'push last 3']);
    expect(written).toBe(4);
    const frames = [await ann.client.next(), await ann.client.next(), await ann.client.next(), await ann.client.next()];
    expect(frames.map(({ event }) => event)).toEqual(['fault', 'news', 'news', 'last']);
    expect(test.log.lines.filter(({ code }) => code === 'INTERNAL')).toHaveLength(1);
  });
});
