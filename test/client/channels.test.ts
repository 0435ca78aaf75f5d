import { afterEach, describe, expect, it } from 'vitest';
import { createClient, isConnectionError } from '../../src/client/index.js';
import type { Channel, ClientOptions, Frame, Gap, GatewayClient } from '../../src/client/index.js';
import { nodeSocket } from '../../src/client/node.js';
import { WsGatewayReload, WsRooms, WsSessions } from '../../src/index.js';
import { stopApps, until } from '../support/app.js';
import { RULES, startChannels } from '../support/channels.js';
import { SECRET, token } from '../support/tokens.js';
import { answering, failureOf, is, isOpen, Proxy, ScriptedServer, stopAll, testClient } from './support.js';
import type { TestClient } from './support.js';

afterEach(async () => {
  await stopAll();
  await stopApps();
});

interface World extends TestClient {
  rooms: WsRooms;
  proxy: Proxy;
  app: Awaited<ReturnType<typeof startChannels>>;
  /** What the client has sent, by event. */
  sent: (event: string) => Frame[];
  cut(): Promise<void>;
  back(): Promise<void>;
}

/** A client of the gateway itself, behind a proxy. */
async function world(options: Partial<ClientOptions> = {}, ...setup: Parameters<typeof startChannels>): Promise<World> {
  const app = await startChannels(...setup);
  const proxy = await Proxy.to(app.port);
  const frames: Frame[] = [];
  const test = testClient({
    url: `${proxy.url}/ws`,
    createSocket: nodeSocket(),
    auth: { token: () => token({ sub: 'ann' }) },
    onFrame: (direction, frame) => void (direction === 'out' && frames.push(frame)),
    ...options,
  });
  return {
    ...test,
    rooms: app.app.get(WsRooms),
    proxy,
    app,
    sent: (event) => frames.filter((frame) => frame.event === event),
    async cut() {
      proxy.cut();
      await is(test.client, 'waiting');
    },
    async back() {
      test.clock.advance(1_000);
      await isOpen(test.client);
    },
  };
}

const isSubscribed = (channel: Channel): Promise<void> => until(() => channel.position !== undefined);

/** What listeners of an event get, with its offsets. */
function collect(channel: Channel, event = 'chat'): unknown[] {
  const seen: unknown[] = [];
  channel.on(event, (data, { offset }) => seen.push([data, offset]));
  return seen;
}

describe('a channel', () => {
  it('is subscribed to with the first listener, and left with the last', async () => {
    const { client, rooms, sent } = await world();
    const room = client.channel('room.1');
    expect(client.state.status).toBe('idle');
    const seen: unknown[] = [];
    const off = [1, 2].map((n) => room.on('chat', (data) => seen.push([n, data])));
    await isSubscribed(room);
    expect(sent('subscribe').map(({ data }) => data)).toEqual([{ channels: [{ channel: 'room.1' }] }]);
    await rooms.publish('room.1', 'chat', 'hi');
    await until(() => seen.length === 2);
    off[0]?.();
    off[0]?.();
    await rooms.publish('room.1', 'chat', 'again');
    await until(() => seen.length === 3);
    off[1]?.();
    await until(() => sent('unsubscribe').length === 1);
    await client.request('session');
    await rooms.publish('room.1', 'chat', 'unheard');
    await client.request('session');
    expect(seen).toEqual([
      [1, 'hi'],
      [2, 'hi'],
      [2, 'again'],
    ]);
    expect(room.position).toMatchObject({ offset: 2 });
  });

  it('sends one frame for all that is listened to in one turn, and none for what comes and goes in it', async () => {
    const { client, sent } = await world();
    await client.connect();
    for (let n = 0; n < 100; n++) client.channel(`room.${n}`).on('chat', () => undefined);
    client.channel('room.100').on('chat', () => undefined)();
    const again = client.channel('room.0');
    again.on('chat', () => undefined)();
    await isSubscribed(client.channel('room.99'));
    expect(sent('subscribe')).toHaveLength(1);
    expect(sent('unsubscribe')).toEqual([]);
  });

  it('is shared by all who ask for it by name, and a close ends no other’s listeners', async () => {
    const { client, rooms } = await world();
    const [one, other] = [client.channel('room.1'), client.channel('room.1')];
    const [ones, others] = [collect(one), collect(other)];
    await isSubscribed(one);
    one.close();
    await rooms.publish('room.1', 'chat', 'x');
    await until(() => others.length === 1);
    expect(ones).toEqual([]);
  });
});

describe('coming back', () => {
  it('takes 100 channels in one frame, each from its position, and nothing twice', async () => {
    const { client, rooms, sent, cut, back } = await world();
    const channels = Array.from({ length: 100 }, (_, n) => client.channel(`room.${n}`));
    const seen = channels.map((channel) => collect(channel));
    await Promise.all(channels.map(isSubscribed));
    await rooms.publish('room.7', 'chat', 1);
    await until(() => seen[7]?.length === 1);
    await cut();
    for (const data of [2, 3]) await rooms.publish('room.7', 'chat', data);
    await back();
    await rooms.publish('room.7', 'chat', 4);
    await until(() => seen[7]?.length === 4);
    expect(seen[7]).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
      [4, 4],
    ]);
    expect(sent('subscribe')).toHaveLength(2);
    expect(seen.flat()).toHaveLength(4);
  });

  it.each([
    ['window', 7],
    ['limit', 5],
  ] as const)('says that messages are missing: %s', async (reason, count) => {
    const { client, rooms, cut, back } = await world({}, { maxReplay: { messages: 2 } });
    const room = client.channel('room.1');
    const seen = collect(room);
    const gaps: Gap[] = [];
    room.on('gap', (gap) => gaps.push(gap));
    await isSubscribed(room);
    await cut();
    for (let n = 1; n <= count; n++) await rooms.publish('room.1', 'chat', n);
    await back();
    await until(() => gaps.length === 1);
    expect(gaps[0]).toMatchObject({ reason, offset: count, reloadAfterMs: 0 });
    await rooms.publish('room.1', 'chat', 'live');
    await until(() => seen.length === 1);
    expect(seen).toEqual([['live', count + 1]]);
  });

  it('goes on from the position of the application, also in a new client', async () => {
    const { client, rooms, app } = await world();
    const room = client.channel('room.1');
    const seen = collect(room);
    await isSubscribed(room);
    await rooms.publish('room.1', 'chat', 1);
    await until(() => seen.length === 1);
    const since = room.position;
    client.close();
    await rooms.publish('room.1', 'chat', 2);
    const other = createClient({ url: `${app.url}/ws`, createSocket: nodeSocket(), auth: { token: () => token() } });
    const again = collect(other.channel('room.1', { since }));
    await until(() => again.length === 1);
    expect(again).toEqual([[2, 2]]);
    other.close();
  });

  it('keeps its listeners when the client ends and connects anew', async () => {
    const { client, rooms } = await world();
    const seen = collect(client.channel('room.1'));
    await isSubscribed(client.channel('room.1'));
    client.close();
    await rooms.publish('room.1', 'chat', 1);
    await client.connect();
    await until(() => seen.length === 1);
  });
});

describe('what the server says of a channel', () => {
  it('is that it is refused, which is not asked again before a new connection or listener', async () => {
    const { client, sent, cut, back } = await world();
    const told: unknown[] = [];
    const secret = client.channel('secret');
    secret.on('unsubscribed', (data) => told.push(data));
    await until(() => told.length === 1);
    expect(told).toEqual([{ code: 'FORBIDDEN', message: 'Not allowed', resubscribe: false }]);
    secret.on('chat', () => undefined);
    await until(() => told.length === 2);
    await cut();
    await back();
    await until(() => told.length === 3);
    expect(sent('subscribe')).toHaveLength(3);
  });

  it('is that a right is lost', async () => {
    const { client, app } = await world();
    const room = client.channel('room.1');
    const told: unknown[] = [];
    room.on('unsubscribed', (data) => told.push(data));
    await isSubscribed(room);
    await app.app
      .get(WsGatewayReload)
      .replace({ auth: { jwt: { secret: SECRET } }, channels: { rules: RULES.slice(0, 1) } });
    await until(() => told.length === 1);
    expect(told).toEqual([{ code: 'FORBIDDEN', message: 'Not allowed', resubscribe: false }]);
  });

  it('is who comes and goes', async () => {
    const { client, app } = await world();
    const live = client.channel('live.1');
    const changes: unknown[] = [];
    live.on('presence.changed', ({ joined, left }) => changes.push([joined.length, left.length]));
    await until(() =>
      app.app
        .get(WsSessions)
        .find({ subject: 'ann' })
        .some(({ rooms }) => rooms.includes('live.1')),
    );
    app.clock.advance(1_000);
    await until(() => changes.length > 0);
    expect(await live.presence({ limit: 1 })).toMatchObject({
      count: { sessions: 1, subjects: 1 },
      members: [{ subject: 'ann' }],
    });
    const bob = await app.enter('bob');
    await bob.ask('subscribe', { channel: 'live.1' });
    app.clock.advance(1_000);
    await until(() => changes.length > 1);
    expect(changes.at(-1)).toEqual([1, 0]);
  });

  it('is a gap, from whose offset it goes on', async () => {
    const server = await ScriptedServer.start();
    server.script = (frame, peer) => {
      if (frame.event !== 'subscribe') return answering(frame, peer);
      const position = { channel: 'room.1', epoch: 'e', offset: 3 };
      peer.send({ event: 'subscribe', data: { channels: [position] }, id: frame.id });
    };
    const { client } = testClient({ url: server.url });
    const room = client.channel('room.1');
    const seen = collect(room);
    const gaps: unknown[] = [];
    room.on('gap', (gap) => gaps.push(gap));
    await isSubscribed(room);
    const push = (offset: number): void => server.peer.send({ event: 'chat', data: offset, channel: 'room.1', offset });
    for (const offset of [3, 4, 4, 2, 6]) push(offset);
    server.peer.send({
      event: 'gap',
      data: { epoch: 'f', offset: 1, reason: 'epoch', reloadAfterMs: 70 },
      channel: 'room.1',
    });
    for (const offset of [1, 2]) push(offset);
    await until(() => seen.length === 3);
    expect(seen).toEqual([
      [4, 4],
      [6, 6],
      [2, 2],
    ]);
    expect(gaps).toEqual([{ epoch: 'f', offset: 1, reason: 'epoch', reloadAfterMs: 70 }]);
    expect(room.position).toEqual({ epoch: 'f', offset: 2 });
  });

  it.each([
    ['of the channel', (id: unknown) => ({ data: { channels: [{ error: busy(50) }] }, id, event: 'subscribe' })],
    ['of the frame', (id: unknown) => ({ data: { status: 'error', ...busy(50) }, id, event: 'exception' })],
  ])('is that its budget is spent, after which it is asked again: %s', async (_, answer) => {
    const server = await ScriptedServer.start();
    server.script = (frame, peer) => {
      if (frame.event !== 'subscribe') return answering(frame, peer);
      if (server.received('subscribe').length === 1) return peer.send(answer(frame.id));
      peer.send({ event: 'subscribe', data: { channels: [{ epoch: 'e', offset: 3 }] }, id: frame.id });
    };
    const { client, clock } = testClient({ url: server.url });
    const room = client.channel('room.1');
    const told: unknown[] = [];
    room.on('unsubscribed', ({ code, resubscribe }) => told.push([code, resubscribe]));
    await until(() => told.length === 1);
    expect(told).toEqual([['RATE_LIMITED', true]]);
    clock.advance(5_049);
    client.send('mark');
    await until(() => server.received('mark').length === 1);
    expect(server.received('subscribe')).toHaveLength(1);
    clock.advance(1);
    await isSubscribed(room);
    client.close();
    expect(clock.pending).toBe(0);
  });
});

const busy = (retryAfterMs: number): object => ({ code: 'RATE_LIMITED', message: '', retryable: true, retryAfterMs });

describe('reading a channel', () => {
  it('gives all messages, with what the server says of it, until it is left', async () => {
    const { client, rooms, sent } = await world();
    const room = client.channel('room.1');
    const seen: unknown[] = [];
    const reading = (async () => {
      for await (const { event, data, offset } of room) if (seen.push([event, data, offset]) === 2) break;
    })();
    await isSubscribed(room);
    await rooms.publish('room.1', 'chat', 'hi');
    await rooms.publish('room.1', 'edit', 'ho');
    await reading;
    expect(seen).toEqual([
      ['chat', 'hi', 1],
      ['edit', 'ho', 2],
    ]);
    await until(() => sent('unsubscribe').length === 1);
  });

  const read = async (client: GatewayClient, name: string): Promise<void> => {
    for await (const { event } of client.channel(name)) expect(event).toBe('chat');
  };

  it('ends with the reason when it is refused, and when the client ends', async () => {
    const { client } = await world();
    expect(await failureOf(read(client, 'secret'))).toMatchObject({ code: 'FORBIDDEN' });
    const reading = failureOf(read(client, 'room.1'));
    await isSubscribed(client.channel('room.1'));
    client.close();
    expect(isConnectionError(await reading, 'CLOSED')).toBe(true);
    expect(isConnectionError(await failureOf(read(client, 'room.1')), 'CLOSED')).toBe(true);
  });

  it('ends when its channel is closed', async () => {
    const { client } = await world();
    const room = client.channel('room.1');
    const next = room[Symbol.asyncIterator]().next();
    await isSubscribed(room);
    room.close();
    expect(await next).toEqual({ done: true, value: undefined });
  });
});

describe('publishing', () => {
  it('answers with the position, once for a key, and not to itself where that is asked', async () => {
    const { client } = await world();
    const room = client.channel('room.1');
    const seen = collect(room);
    await isSubscribed(room);
    const first = await room.publish('chat', 'hi', { key: 'k1' });
    expect(first).toMatchObject({ offset: 1 });
    expect(await room.publish('chat', 'hi', { key: 'k1' })).toMatchObject({ offset: 1, duplicate: true });
    await room.publish('chat', 'unheard', { echo: false });
    await room.publish('chat', 'ho');
    await until(() => seen.length === 2);
    expect(seen).toEqual([
      ['hi', 1],
      ['ho', 3],
    ]);
    expect(await failureOf(client.channel('secret').publish('chat'))).toMatchObject({ code: 'FORBIDDEN' });
  });

  it('is asked again after a lost connection where it has a key, and may have run where it has none', async () => {
    const { client, proxy, back } = await world();
    await client.connect();
    proxy.isSilent = true;
    const room = client.channel('room.1');
    const [keyed, plain] = [room.publish('chat', 1, { key: 'k' }), failureOf(room.publish('chat', 2))];
    proxy.isSilent = false;
    proxy.cut();
    expect(await plain).toMatchObject({ code: 'CONNECTION_LOST', maybeExecuted: true });
    await back();
    expect(await keyed).toMatchObject({ offset: 1 });
  });
});

describe('a push of a room that the client has not asked for', () => {
  it('is a push as any other', async () => {
    const { client, app, rooms } = await world();
    const seen: unknown[] = [];
    client.on('news', (data) => seen.push(data));
    await client.connect();
    app.app.get(WsSessions).find({ subject: 'ann' })[0]?.join('page:42');
    await rooms.publish('page:42', 'news', 'hi');
    await until(() => seen.length === 1);
    expect(seen).toEqual(['hi']);
  });
});
