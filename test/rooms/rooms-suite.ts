import { afterEach, describe, expect, it } from 'vitest';
import { WsRooms, WsSessions } from '../../src/index.js';
import type { WsSession } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import type { AppEngine } from '../support/engines.js';
import { token } from '../support/tokens.js';

interface Entered {
  readonly client: Client;
  readonly session: WsSession;
  /** The data of the next pushes. */
  next(count: number): Promise<unknown[]>;
}

/** Rooms of the application, over an engine. */
export function testRooms(name: string, engine: AppEngine): void {
  const start = async () => {
    const { app, url, clock } = await startApp({ engine });
    const enter = async (subject: string, ...names: string[]): Promise<Entered> => {
      const client = await Client.connect(`${url}/ws`, { token: token({ sub: subject }) });
      const { sessionId } = (await client.ask({ event: 'session', id: 0 })).data as { sessionId: string };
      const [session] = app.get(WsSessions).find({ sessionId }) as [WsSession]; // because it is there
      for (const room of names) session.join(room);
      const next = async (count: number): Promise<unknown[]> => {
        const pushes = [];
        for (let n = 0; n < count; n++) pushes.push((await client.next()).data);
        return pushes;
      };
      return { client, session, next };
    };
    return { rooms: app.get(WsRooms), enter, clock };
  };

  afterEach(async () => {
    await stopApps();
    await engine.stop?.();
  });

  describe(`rooms over the ${name} engine`, () => {
    it('give their members what is published, in its order, and others nothing', async () => {
      const { rooms, enter } = await start();
      const [ann, bob, eve] = [
        await enter('ann', 'page', 'a b'),
        await enter('bob', 'page'),
        await enter('eve', 'a b'),
      ];
      await Promise.all(Array.from({ length: 20 }, (_, n) => rooms.publish('page', 'news', n)));
      await rooms.publish('a b', 'last', 'é');
      const numbers = Array.from({ length: 20 }, (_, n) => n);
      expect(await bob.next(20)).toEqual(numbers);
      expect(await eve.next(1)).toEqual(['é']);
      expect((await ann.next(21)).filter((data) => typeof data === 'number')).toEqual(numbers);
    });

    it('leave out who is excepted, who has left, and who has gone', async () => {
      const { rooms, enter } = await start();
      const [ann, bob] = [await enter('ann', 'page'), await enter('bob', 'page')];
      const gone = await enter('eve', 'page');
      await gone.client.close();
      await rooms.publish('page', 'news', 1, { except: ann.session });
      await rooms.publish('page', 'news', 2, { except: bob.session.id });
      await rooms.to('page').except(ann.session).emit('news', 3);
      await engine.settle?.();
      bob.session.leave('page');
      await rooms.publish('page', 'news', 4);
      await rooms.toSubject('bob', 'end', 5);
      expect(await ann.next(2)).toEqual([2, 4]);
      expect(await bob.next(3)).toEqual([1, 3, 5]);
    });

    it('publish once for a key', async () => {
      const { rooms, enter } = await start();
      const ann = await enter('ann', 'page');
      expect(await rooms.publish('page', 'news', 1, { key: 'k' })).not.toHaveProperty('duplicate');
      expect(await rooms.publish('page', 'news', 1, { key: 'k' })).toHaveProperty('duplicate');
      await expect(rooms.publish('page', 'news', 2, { key: 'k' })).rejects.toMatchObject({ code: 'CONFLICT' });
      await rooms.publish('page', 'news', 3);
      expect(await ann.next(2)).toEqual([1, 3]);
    });

    it('know who is in them', async () => {
      const { rooms, enter } = await start();
      const all = [await enter('ann'), await enter('ann'), await enter('bob')];
      for (const [index, { session }] of all.entries())
        session.join('page', { as: { visitor: index < 2 ? 'v1' : 'v2' } });
      await engine.settle?.();
      expect(await rooms.count('page', 'visitor')).toEqual({ sessions: 3, subjects: 2, distinct: 2, missing: [] });
      const ids = new Set<string>();
      let cursor: string | undefined;
      do {
        const { items, next } = await rooms.members('page', { limit: 2, ...(cursor !== undefined && { cursor }) });
        for (const { sessionId } of items) ids.add(sessionId);
        cursor = next;
      } while (cursor !== undefined);
      expect(ids).toEqual(new Set(all.map(({ session }) => session.id)));
    });
  });
}
