import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CurrentSession, WsCluster, WsRooms, WsSession } from '../../src/index.js';
import { Client } from '../support/client.js';
import { clusterName, eventually, startMember, stopMembers } from '../support/nodes.js';
import type { TestMember } from '../support/nodes.js';
import { hasRedis, RedisServer, stopRedis } from '../support/redis.js';
import { token } from '../support/tokens.js';

@WebSocketGateway()
class RoomGateway {
  @SubscribeMessage('join') join(@CurrentSession() session: WsSession): boolean {
    return session.join('lobby') && session.join('lounge');
  }
}

const rules = [{ pattern: 'room.*', subscribe: true, publish: true, history: { count: 100, ageMs: 60_000 } } as const];
let here: TestMember;
let there: TestMember;
beforeAll(async () => {
  if (!hasRedis) return;
  const redis = await RedisServer.start();
  const name = clusterName();
  const options = { channels: { rules } };
  [here, there] = await Promise.all([
    startMember(redis.url, name, options, [RoomGateway]),
    startMember(redis.url, name, options, [RoomGateway]),
  ]);
  await eventually(() => [here, there].every(({ app }) => app.get(WsCluster).nodes().length === 2));
});
afterAll(async () => {
  await stopMembers();
  await stopRedis();
});

const connect = ({ url }: TestMember, sub: string): Promise<Client> => Client.connect(url, { token: token({ sub }) });
const roomsOf = ({ app }: TestMember): WsRooms => app.get(WsRooms);
const heardBy = async (client: Client): Promise<unknown> => (await client.next()).data;

describe.skipIf(!hasRedis)('rooms of two nodes', () => {
  it('get what either node publishes, a union of rooms once, and those that are excepted nothing', async () => {
    const clients = [await connect(here, 'ada'), await connect(there, 'ben')] as const;
    for (const client of clients) await client.ask({ event: 'join', id: 1 });
    // A room is heard a round trip after it was joined.
    await eventually(async () => {
      await roomsOf(here).publish('lobby', 'probe', 0);
      return clients[1].frames.some(({ event }) => event === 'probe');
    });
    await roomsOf(there).to('lobby', 'lounge').emit('both', 1);
    await roomsOf(there).broadcast('last', 2);
    for (const client of clients) {
      await eventually(() => client.frames.some(({ event }) => event === 'last'));
      expect(client.frames.filter(({ event }) => event === 'both')).toHaveLength(1);
    }
  });

  it('are not needed to reach a subject, or a session, wherever it is', async () => {
    const client = await connect(there, 'cleo');
    const { sessionId } = (await client.ask({ event: 'session', id: 1 })).data as { sessionId: string };
    await roomsOf(here).toSubject('cleo', 'note', 1);
    expect(await heardBy(client)).toBe(1);
    await roomsOf(here).toSession(sessionId, 'note', 2);
    expect(await heardBy(client)).toBe(2);
  });
});

describe.skipIf(!hasRedis)('channels of two nodes', () => {
  it('have one order, and a client comes back at the other node with its position', async () => {
    const [ann, bob] = [await connect(here, 'ann'), await connect(there, 'bob')];
    const subscribe = { event: 'subscribe', data: { channel: 'room.1' }, id: 1 };
    const { epoch } = (await ann.ask(subscribe)).data as { epoch: string };
    await bob.ask(subscribe);
    for (let n = 1; n <= 3; n++) await roomsOf(n % 2 === 0 ? here : there).publish('room.1', 'chat', n);
    for (const client of [ann, bob]) {
      for (let n = 1; n <= 3; n++) expect(await client.next()).toMatchObject({ data: n, offset: n });
    }
    bob.socket.close();
    await bob.closed;
    await roomsOf(there).publish('room.1', 'chat', 4);
    const again = await connect(here, 'bob');
    const since = { epoch, offset: 3 };
    const answer = await again.ask({ event: 'subscribe', data: { channel: 'room.1', since }, id: 2 });
    expect(answer.data).toMatchObject({ recovered: true, replayed: 1, offset: 4 });
    expect(await again.next()).toMatchObject({ data: 4, offset: 4 });
  });
});
