import { afterEach, describe, expect, it } from 'vitest';
import { ChannelAuthorizer, GatewayError, OnWsEvent, WsGatewayReload, WsRooms } from '../../src/index.js';
import type { ChannelAct, ChannelEvent, ChannelOptions, WsGatewayOptions, WsSession } from '../../src/index.js';
import { stopApps, startApp, until } from '../support/app.js';
import type { TestAppOptions } from '../support/app.js';
import { Client } from '../support/client.js';
import { RULES, startChannels } from '../support/channels.js';
import type { Channels } from '../support/channels.js';
import type { AppEngine } from '../support/engines.js';
import { SECRET, token } from '../support/tokens.js';

/** What clients do with channels, over an engine. */
export function testChannels(name: string, engine: AppEngine): void {
  const start = (
    channels: ChannelOptions = {},
    options: Omit<WsGatewayOptions, 'auth'> & { auth?: object } = {},
    setup: TestAppOptions = {},
  ): Promise<Channels> => startChannels(channels, options, { ...setup, engine });

  /** Of a time, where it stands still. */
  const exactly = (ms: number): unknown => (engine.clock === undefined ? ms : expect.any(Number));

  afterEach(async () => {
    await stopApps();
    await engine.stop?.();
  });

  describe(`channels over the ${name} engine`, () => {
    describe('subscribing', () => {
      it('answers with the position, then sends what is published', async () => {
        const { app, enter } = await start();
        const ann = await enter('ann');
        const { epoch, ...rest } = await ann.ask('subscribe', { channel: 'room.1' });
        expect([typeof epoch, rest]).toEqual(['string', { channel: 'room.1', offset: 0 }]);
        const { position } = await app.get(WsRooms).publish('room.1', 'chat.message', { text: 'hi' });
        expect(position).toEqual({ epoch, offset: 1 });
        expect(await ann.next()).toEqual({ event: 'chat.message', data: { text: 'hi' }, channel: 'room.1', offset: 1 });
        expect(await ann.ask('subscribe', { channel: 'live.1' })).toEqual({ channel: 'live.1' });
        await app.get(WsRooms).publish('live.1', 'tick', null);
        expect(await ann.next()).toEqual({ event: 'tick', data: null, channel: 'live.1' });
      });

      it('replays what was missed behind the answer, and before what is published next', async () => {
        const { app, enter } = await start();
        const rooms = app.get(WsRooms);
        const ann = await enter('ann');
        const { epoch } = await ann.ask('subscribe', { channel: 'room.1' });
        await ann.client.close();
        for (let n = 1; n <= 3; n++) await rooms.publish('room.1', 'chat', n);
        const again = await enter('ann');
        again.client.send({ event: 'subscribe', data: { channel: 'room.1', since: { epoch, offset: 1 } }, id: 7 });
        expect(await again.next()).toEqual({
          event: 'subscribe',
          data: { channel: 'room.1', epoch, offset: 3, recovered: true, replayed: 2 },
          id: 7,
        });
        await rooms.publish('room.1', 'chat', 4);
        const pushes = [await again.next(), await again.next(), await again.next()];
        expect(pushes.map(({ data, offset }) => [data, offset])).toEqual([
          [2, 2],
          [3, 3],
          [4, 4],
        ]);
      });

      it('says why it cannot recover, and replays nothing then', async () => {
        const { app, enter } = await start({ maxReplay: { messages: 2 } });
        const ann = await enter('ann');
        const { epoch } = await ann.ask('subscribe', { channel: 'room.1' });
        const since = (offset: number, other = epoch): unknown => ({
          channel: 'room.1',
          since: { epoch: other, offset },
        });
        await ann.ask('unsubscribe', { channel: 'room.1' });
        for (let n = 1; n <= 7; n++) await app.get(WsRooms).publish('room.1', 'chat', n);
        const top = { channel: 'room.1', epoch, offset: 7 };
        expect(await ann.ask('subscribe', since(7))).toEqual({ ...top, recovered: true, replayed: 0 });
        expect(await ann.ask('subscribe', since(8))).toEqual({ ...top, recovered: false, reason: 'epoch' });
        expect(await ann.ask('subscribe', since(7, 'other'))).toEqual({ ...top, recovered: false, reason: 'epoch' });
        expect(await ann.ask('subscribe', since(1))).toEqual({ ...top, recovered: false, reason: 'window' });
        expect(await ann.ask('subscribe', since(2))).toEqual({ ...top, recovered: false, reason: 'limit' });
        const none = { channel: 'live.1', since: { epoch, offset: 0 } };
        expect(await ann.ask('subscribe', none)).toEqual({ channel: 'live.1', recovered: false, reason: 'window' });
      });

      it.skipIf(engine.pass === undefined)('proves nothing of what is older than is kept', async () => {
        const { app, clock, enter } = await start();
        const ann = await enter('ann');
        const { epoch } = await ann.ask('subscribe', { channel: 'room.1' });
        await app.get(WsRooms).publish('room.1', 'chat', 1);
        await engine.pass?.(clock, 60_000);
        const { position } = await app.get(WsRooms).publish('room.1', 'chat', 2);
        const since = (offset: number): unknown => ({ channel: 'room.1', since: { epoch, offset } });
        expect(await enter('bob').then((bob) => bob.ask('subscribe', since(0)))).toMatchObject({ reason: 'window' });
        expect(await enter('eve').then((eve) => eve.ask('subscribe', since(1)))).toMatchObject({ replayed: 1 });
        expect(position).toEqual({ epoch, offset: 2 });
      });

      it('takes 100 channels in one frame, each with its own answer, in the order asked', async () => {
        const { app, enter } = await start();
        const rooms = app.get(WsRooms);
        const ann = await enter('ann');
        const { epoch } = await ann.ask('subscribe', { channel: 'room.0' });
        await ann.client.close();
        await rooms.publish('room.0', 'chat', 'missed');
        const again = await enter('ann');
        const channels: unknown[] = [
          { channel: 'room.0', since: { epoch, offset: 0 } },
          { channel: 'secret' },
          { channel: 'a b' },
        ];
        for (let n = 3; n < 100; n++) channels.push({ channel: `room.${n}` });
        const { channels: answers } = (await again.ask('subscribe', { channels })) as {
          channels: Record<string, unknown>[];
        };
        expect(answers).toHaveLength(100);
        expect(answers[0]).toEqual({ channel: 'room.0', epoch, offset: 1, recovered: true, replayed: 1 });
        expect(answers[1]).toEqual({
          channel: 'secret',
          error: { code: 'FORBIDDEN', message: 'Not allowed', retryable: false },
        });
        expect(answers[2]).toMatchObject({ error: { code: 'VALIDATION_FAILED' } });
        expect(answers[2]).not.toHaveProperty('channel');
        expect(answers.slice(3).every(({ offset }) => offset === 0)).toBe(true);
        expect(await again.next()).toMatchObject({ data: 'missed', channel: 'room.0', offset: 1 });
      });

      it.skipIf(engine.clock !== undefined)('takes as many as the session may, and 200 at once', async () => {
        const { enter, clock } = await start({}, { rooms: { maxPerSession: 3 } });
        const ann = await enter('ann');
        const batch = { channels: Array.from({ length: 100 }, (_, n) => ({ channel: `room.${n}` })) };
        const codes = async (): Promise<unknown[]> => {
          const { channels } = (await ann.ask('subscribe', batch)) as { channels: { error?: { code: string } }[] };
          return channels.map(({ error }) => error?.code);
        };
        expect(await codes()).toEqual([
          undefined,
          undefined,
          undefined,
          ...Array<string>(97).fill('SUBSCRIPTION_LIMIT'),
        ]);
        await codes();
        expect(new Set(await codes())).toEqual(new Set(['RATE_LIMITED']));
        expect(await ann.ask('subscribe', { channel: 'room.0' })).toMatchObject({
          code: 'RATE_LIMITED',
          retryAfterMs: 50,
        });
        clock.jump(50);
        expect(await ann.ask('subscribe', { channel: 'room.0' })).toMatchObject({ offset: 0 });
      });

      it('replays no more than half of what may be queued, in a batch as a whole', async () => {
        const { app, enter } = await start({}, { limits: { maxOutboundBytes: 100_000 } });
        const ann = await enter('ann');
        const channels = ['room.1', 'room.2'];
        const { channels: first } = (await ann.ask('subscribe', {
          channels: channels.map((channel) => ({ channel })),
        })) as {
          channels: { channel: string; epoch: string; offset: number }[];
        };
        await ann.client.close();
        for (const channel of channels) await app.get(WsRooms).publish(channel, 'chat', 'x'.repeat(30_000));
        const again = await enter('ann');
        const since = first.map(({ channel, epoch, offset }) => ({ channel, since: { epoch, offset } }));
        expect(await again.ask('subscribe', { channels: since })).toMatchObject({
          channels: [
            { recovered: true, replayed: 1 },
            { recovered: false, reason: 'limit' },
          ],
        });
      });
    });

    describe('rights that are lost', () => {
      it('at a refresh end the subscription, and say so', async () => {
        const { app, enter } = await start();
        const ann = await enter('ann', { roles: ['staff'] });
        await ann.ask('subscribe', { channels: [{ channel: 'staff.1' }, { channel: 'room.1' }] });
        ann.client.send({ event: 'auth', data: { token: token({ sub: 'ann', jti: '2' }) }, id: 9 });
        const data = { code: 'FORBIDDEN', message: 'Not allowed', resubscribe: false };
        expect(await ann.next()).toEqual({ event: 'unsubscribed', data, channel: 'staff.1' });
        expect((await ann.next()).id).toBe(9);
        await app.get(WsRooms).publish('staff.1', 'secret', 1);
        await app.get(WsRooms).publish('room.1', 'chat', 2);
        expect(await ann.next()).toMatchObject({ event: 'chat' });
      });

      it('at a revalidation as well', async () => {
        const auth = { revalidateEveryMs: 1_000, revalidate: (principal: object) => ({ ...principal, roles: [] }) };
        const { clock, enter } = await start({}, { auth });
        const ann = await enter('ann', { roles: ['staff'] });
        await ann.ask('subscribe', { channel: 'staff.1' });
        clock.advance(1_000);
        expect(await ann.next()).toMatchObject({ event: 'unsubscribed', channel: 'staff.1' });
      });

      it('and rights that come: the first rules may be those of a reload', async () => {
        const { app, url } = await startApp();
        const client = await Client.connect(`${url}/ws`, { token: token() });
        const subscribe = { event: 'subscribe', data: { channel: 'room.1' }, id: 1 };
        expect((await client.ask(subscribe)).data).toMatchObject({ code: 'UNKNOWN_EVENT' });
        await app.get(WsGatewayReload).replace({ auth: { jwt: { secret: SECRET } }, channels: { rules: RULES } });
        expect((await client.ask(subscribe)).data).toMatchObject({ offset: 0 });
        await app.get(WsGatewayReload).replace({ auth: { jwt: { secret: SECRET } } });
        expect((await client.next()).event).toBe('unsubscribed');
        expect((await client.ask(subscribe)).data).toMatchObject({ code: 'FORBIDDEN' });
      });

      it.skipIf(engine.options !== undefined)(
        'when the rules are others, but not where the application has joined',
        async () => {
          const { app, enter, sessionOf } = await start();
          const ann = await enter('ann');
          await ann.ask('subscribe', { channels: [{ channel: 'room.1' }, { channel: 'user.ann' }] });
          app.get(WsRooms).join(sessionOf(ann), 'room.2');
          const rules = [{ pattern: 'room.*', subscribe: { roles: ['staff'] } }, ...RULES.slice(0, 2)];
          await app.get(WsGatewayReload).replace({ auth: { jwt: { secret: SECRET } }, channels: { rules } });
          expect(await ann.next()).toMatchObject({ event: 'unsubscribed', channel: 'room.1' });
          expect(sessionOf(ann).rooms).toEqual(['room.2', 'user.ann'].toSorted());
          expect(await ann.codeOf('subscribe', { channel: 'room.1' })).toBe('FORBIDDEN');
          await app.get(WsRooms).publish('room.2', 'chat', 1);
          expect(await ann.next()).toEqual({ event: 'chat', data: 1, channel: 'room.2' });
        },
      );
    });

    describe('publishing', () => {
      it('reaches members, the own session only with echo, and is answered with the position', async () => {
        const { enter } = await start();
        const [ann, bob] = [await enter('ann'), await enter('bob')];
        for (const one of [ann, bob]) await one.ask('subscribe', { channel: 'room.1' });
        ann.client.send({ event: 'publish', data: { channel: 'room.1', data: 'quiet', echo: false }, id: 'a' });
        expect(await ann.next()).toMatchObject({ event: 'publish', data: { channel: 'room.1', offset: 1 }, id: 'a' });
        ann.client.send({ event: 'publish', data: { channel: 'room.1', event: 'chat.message' } });
        expect(await ann.next()).toEqual({ event: 'chat.message', data: null, channel: 'room.1', offset: 2 });
        expect(await bob.next()).toEqual({ event: 'publication', data: 'quiet', channel: 'room.1', offset: 1 });
        expect(await bob.next()).toMatchObject({ offset: 2 });
        ann.client.send({ event: 'publish', data: { channel: 'secret' } });
        expect(await ann.next()).toMatchObject({ event: 'exception', data: { code: 'FORBIDDEN' } });
      });

      it('happens once for a key of a subject, also from another session, and never for that of another', async () => {
        const { app, enter } = await start();
        const [ann, tab, bob] = [await enter('ann'), await enter('ann'), await enter('bob')];
        const publication = { channel: 'room.1', data: { n: 1 }, key: 'c1-7' };
        const first = await ann.ask('publish', publication);
        expect(await tab.ask('publish', publication)).toEqual({ ...first, duplicate: true });
        expect(await tab.codeOf('publish', { ...publication, data: { n: 2 } })).toBe('CONFLICT');
        expect(await bob.ask('publish', { ...publication, data: { n: 2 } })).toEqual({ ...first, offset: 2 });
        expect((await app.get(WsRooms).history('room.1')).items.map(({ data }) => data)).toEqual([{ n: 1 }, { n: 2 }]);
      });

      it.each([
        ['an event of the contract', { event: 'disconnect' }],
        ['the event of exceptions', { event: 'exception' }],
        ['an empty event', { event: '' }],
        ['an empty key', { key: '' }],
        ['a long key', { key: 'k'.repeat(65) }],
        ['echo that is no boolean', { echo: 1 }],
        ['one byte too many', { data: 'x'.repeat(99) }],
      ])('refuses %s', async (_, members) => {
        const { app, enter } = await start({}, { rooms: { maxMessageBytes: 100 } });
        const ann = await enter('ann');
        expect(await ann.codeOf('publish', { channel: 'room.1', ...members })).toBe('VALIDATION_FAILED');
        expect((await app.get(WsRooms).history('room.1')).items).toEqual([]);
        expect(await ann.codeOf('publish', { channel: 'room.1', data: 'x'.repeat(98) })).toBeUndefined();
      });

      it('is limited by session and channel', async () => {
        const { clock, enter } = await start();
        const [ann, bob] = [await enter('ann'), await enter('bob')];
        const codes = [];
        for (const channel of ['live.1', 'live.1', 'live.1', 'live.2'])
          codes.push(await ann.codeOf('publish', { channel }));
        expect(codes).toEqual([undefined, undefined, 'RATE_LIMITED', undefined]);
        expect(await bob.codeOf('publish', { channel: 'live.1' })).toBeUndefined();
        clock.jump(500);
        expect(await ann.codeOf('publish', { channel: 'live.1' })).toBeUndefined();
      });
    });

    describe('unsubscribing', () => {
      it('ends it, and twice is fine', async () => {
        const { app, enter } = await start();
        const ann = await enter('ann');
        await ann.ask('subscribe', { channel: 'room.1' });
        for (let n = 0; n < 2; n++)
          expect(await ann.ask('unsubscribe', { channel: 'room.1' })).toEqual({ channel: 'room.1' });
        expect(await app.get(WsRooms).publish('room.1', 'chat', 1)).toMatchObject({ local: 0 });
      });
    });

    describe('what cannot be', () => {
      const many = Array.from({ length: 1_000 }, (_, n) => ({ channel: `room.${n}` }));
      it('has its code each, loses nothing, and tells nothing of what one may not see', async () => {
        const { app, enter } = await start({}, { rooms: { maxMessageBytes: 100, maxPerSession: 100 } });
        const [ann, bob] = [await enter('ann'), await enter('bob')];
        const { epoch } = await bob.ask('subscribe', { channel: 'room.1' });
        await ann.ask('publish', { channel: 'room.1', data: 1, key: 'k' });
        await app.get(WsRooms).publish('user.eve', 'secret', 1); // there is such a channel, and none of the others
        const rows: [string, string, object, string | undefined][] = [
          ['a bad name', 'subscribe', { channel: 'room..1' }, 'VALIDATION_FAILED'],
          ['a pattern', 'subscribe', { channel: 'room.*' }, 'VALIDATION_FAILED'],
          ['a pattern to publish in', 'publish', { channel: 'room.**' }, 'VALIDATION_FAILED'],
          ['another epoch', 'subscribe', { channel: 'room.1', since: { epoch: 'other', offset: 1 } }, undefined],
          ['a position to come', 'subscribe', { channel: 'room.1', since: { epoch, offset: 9 } }, undefined],
          ['1,000 channels at once', 'subscribe', { channels: many }, 'VALIDATION_FAILED'],
          ['a byte too many', 'publish', { channel: 'room.1', data: 'x'.repeat(99) }, 'VALIDATION_FAILED'],
          ['a key with another body', 'publish', { channel: 'room.1', data: 2, key: 'k' }, 'CONFLICT'],
          ['a key with another event', 'publish', { channel: 'room.1', event: 'x', data: 1, key: 'k' }, 'CONFLICT'],
          ['the channel of another', 'subscribe', { channel: 'user.eve' }, 'FORBIDDEN'],
          ['a channel without a rule', 'subscribe', { channel: 'nothing.1' }, 'FORBIDDEN'],
          ['another to publish in', 'publish', { channel: 'user.eve' }, 'FORBIDDEN'],
          ['who is with another', 'presence', { channel: 'user.eve' }, 'FORBIDDEN'],
        ];
        const answers = [];
        for (const [what, event, data, code] of rows) {
          const answer = await ann.ask(event, data);
          answers.push([what, answer.code, answer.recovered, answer.reason]);
          expect([what, JSON.stringify(answer).includes('secret')]).toEqual([what, false]);
          expect([what, answer.code]).toEqual([what, code]);
        }
        expect(answers.slice(3, 5).map((answer) => answer.slice(2))).toEqual([
          [false, 'epoch'],
          [false, 'epoch'],
        ]);
        const of = async (channel: string): Promise<unknown> => ann.ask('subscribe', { channel });
        expect(await of('user.eve')).toEqual(await of('user.nobody'));
        await ann.ask('unsubscribe', { channel: 'room.1' });
        let refused = 0;
        for (let from = 0; from < 200; from += 100) {
          const { channels } = (await ann.ask('subscribe', { channels: many.slice(from, from + 100) })) as {
            channels: { error?: { code: string } }[];
          };
          for (const { error } of channels) if (error !== undefined) refused++;
        }
        expect(refused).toBe(100);
        await ann.ask('publish', { channel: 'room.1', data: 2, echo: false });
        await engine.settle?.();
        expect([await bob.next(), await bob.next()].map(({ data, offset }) => [data, offset])).toEqual([
          [1, 1],
          [2, 2],
        ]);
      });
    });

    describe('presence', () => {
      it('shows who is there to who may subscribe', async () => {
        const { clock, enter } = await start();
        const [ann, tab, bob] = [await enter('ann'), await enter('ann'), await enter('bob')];
        for (const one of [ann, tab]) await one.ask('subscribe', { channel: 'room.1' });
        const { members, next, ...rest } = await bob.ask('presence', { channel: 'room.1', limit: 1 });
        expect(rest).toEqual({ channel: 'room.1', count: { sessions: 2, subjects: 1 } });
        const since = exactly(clock.now());
        expect(members).toEqual([{ sessionId: tab.sessionId, subject: 'ann', since }]);
        expect(await bob.ask('presence', { channel: 'room.1', limit: 1, cursor: next })).toMatchObject({
          members: [{ sessionId: ann.sessionId, subject: 'ann', since }],
        });
        expect(await bob.codeOf('presence', { channel: 'user.bob' })).toBe('FORBIDDEN');
        expect(await bob.codeOf('presence', { channel: 'secret' })).toBe('FORBIDDEN');
        expect(await bob.codeOf('presence', { channel: 'room.1', limit: 0 })).toBe('VALIDATION_FAILED');
      });

      it('says once a second who has come and gone, and nothing of who only passes by', async () => {
        const { clock, enter } = await start();
        const ann = await enter('ann');
        await ann.ask('subscribe', { channel: 'live.1' });
        clock.advance(250);
        const joined = [{ sessionId: ann.sessionId, subject: 'ann', since: expect.any(Number) as number }];
        const changed = { event: 'presence.changed', channel: 'live.1' };
        const alone = { sessions: 1, subjects: 1 };
        expect(await ann.next()).toEqual({ ...changed, data: { joined, left: [], count: alone } });
        const bob = await enter('bob');
        await bob.ask('subscribe', { channel: 'live.1' });
        await bob.ask('unsubscribe', { channel: 'live.1' });
        await bob.ask('subscribe', { channel: 'live.1' });
        expect(await (await enter('eve')).codeOf('subscribe', { channel: 'live.1' })).toBe('SUBSCRIPTION_LIMIT');
        clock.advance(750);
        expect(ann.client.frames.filter(({ event }) => event === 'presence.changed')).toHaveLength(1);
        clock.advance(250);
        expect(await ann.next()).toMatchObject({
          data: { joined: [{ sessionId: bob.sessionId }], left: [], count: { sessions: 2 } },
        });
        bob.client.socket.terminate();
        await until(() => {
          clock.advance(250);
          return ann.client.frames.filter(({ event }) => event === 'presence.changed').length === 3;
        });
        expect(await ann.next()).toMatchObject({
          data: { joined: [], left: [{ sessionId: bob.sessionId }], count: alone },
        });
      });
    });

    describe('a ChannelAuthorizer', () => {
      const asked: [string, ChannelAct][] = [];
      const startWith = (answer: (session: WsSession, channel: string) => unknown) => {
        asked.length = 0;
        const useValue: ChannelAuthorizer = {
          authorize: (session, channel, act) => {
            asked.push([channel, act]);
            return answer(session, channel) as boolean;
          },
        };
        return start({}, {}, { providers: [{ provide: ChannelAuthorizer, useValue }] });
      };

      it('is asked after the rules, and only narrows them', async () => {
        const { enter } = await startWith((_, channel) => channel === 'room.1');
        const ann = await enter('ann');
        expect(await ann.codeOf('subscribe', { channel: 'room.1' })).toBeUndefined();
        expect(await ann.codeOf('subscribe', { channel: 'room.2' })).toBe('FORBIDDEN');
        expect(await ann.codeOf('subscribe', { channel: 'secret' })).toBe('FORBIDDEN');
        expect(await ann.codeOf('publish', { channel: 'room.2' })).toBe('FORBIDDEN');
        expect(await ann.codeOf('presence', { channel: 'room.1' })).toBeUndefined();
        expect(asked).toEqual([
          ['room.1', 'subscribe'],
          ['room.2', 'subscribe'],
          ['room.2', 'publish'],
          ['room.1', 'presence'],
        ]);
      });

      it.each([
        [
          'throws',
          () => {
            throw new Error('secret');
          },
          'UNAVAILABLE',
        ],
        ['rejects', () => Promise.reject(new Error('secret')), 'UNAVAILABLE'],
        [
          'throws a code',
          () => {
            throw new GatewayError('ROOM_CLOSED');
          },
          'ROOM_CLOSED',
        ],
        ['answers a text', () => 'yes', 'FORBIDDEN'],
        ['answers 1', () => 1, 'FORBIDDEN'],
        ['answers nothing', () => undefined, 'FORBIDDEN'],
        ['answers an object later', () => Promise.resolve({}), 'FORBIDDEN'],
        ['answers later', () => new Promise((resolve) => setImmediate(resolve, true)), undefined],
      ])('that %s decides nothing else', async (_, answer, code) => {
        const { enter, log } = await startWith(answer);
        const ann = await enter('ann');
        expect(await ann.codeOf('subscribe', { channel: 'room.1' })).toBe(code);
        const { channels } = (await ann.ask('subscribe', { channels: [{ channel: 'room.2' }] })) as {
          channels: { error?: { code: string } }[];
        };
        expect(channels[0]?.error?.code).toBe(code);
        expect(JSON.stringify(ann.client.frames)).not.toContain('"secret"');
        expect(log.lines.filter(({ code: logged }) => logged === 'INTERNAL')).toHaveLength(
          code === 'UNAVAILABLE' ? 2 : 0,
        );
      });

      it('that never answers has its time, as a handler has', async () => {
        const { clock, enter } = await startWith(() => new Promise(() => undefined));
        const ann = await enter('ann');
        ann.client.send({ event: 'subscribe', data: { channel: 'room.1' }, id: 1 });
        await until(() => asked.length === 1);
        clock.advance(5_000);
        expect(await ann.next()).toMatchObject({ id: 1, data: { code: 'UNAVAILABLE', retryable: true } });
        expect(await ann.ask('presence', { channel: 'secret' })).toMatchObject({ code: 'FORBIDDEN' });
      });

      it('keeps the order of requests for one channel, and holds up no other', async () => {
        const waiting: (() => void)[] = [];
        const { enter, sessionOf } = await startWith((_, channel) =>
          channel === 'room.1' ? new Promise((resolve) => waiting.push(() => resolve(true))) : true,
        );
        const ann = await enter('ann');
        ann.client.send({ event: 'subscribe', data: { channel: 'room.1' }, id: 1 });
        ann.client.send({ event: 'unsubscribe', data: { channel: 'room.1' }, id: 2 });
        ann.client.send({ event: 'subscribe', data: { channel: 'room.2' }, id: 3 });
        expect((await ann.next()).id).toBe(3);
        waiting[0]?.();
        expect([(await ann.next()).id, (await ann.next()).id]).toEqual([1, 2]);
        expect(sessionOf(ann).rooms).toEqual(['room.2']);
      });

      it('is asked again when the token is another', async () => {
        let allowed = true;
        const { enter } = await startWith(() => Promise.resolve(allowed));
        const ann = await enter('ann');
        await ann.ask('subscribe', { channel: 'room.1' });
        allowed = false;
        ann.client.send({ event: 'auth', data: { token: token({ sub: 'ann', jti: '2' }) }, id: 9 });
        expect((await ann.next()).id).toBe(9);
        expect(await ann.next()).toMatchObject({
          event: 'unsubscribed',
          channel: 'room.1',
          data: { resubscribe: false },
        });
      });
    });

    it('@OnWsEvent hears who subscribes and unsubscribes', async () => {
      const events: ChannelEvent[] = [];
      class Told {
        @OnWsEvent('channel')
        on(event: ChannelEvent): void {
          events.push(event);
        }
      }
      const { enter } = await start({}, {}, { providers: [Told] });
      const ann = await enter('ann');
      await ann.ask('subscribe', { channel: 'room.1' });
      await ann.ask('unsubscribe', { channel: 'room.1' });
      await ann.ask('subscribe', { channel: 'room.2' });
      await ann.client.close();
      await until(() => events.length === 4);
      expect(events.map(({ channel, action, subject }) => [channel, action, subject])).toEqual([
        ['room.1', 'subscribed', 'ann'],
        ['room.1', 'unsubscribed', 'ann'],
        ['room.2', 'subscribed', 'ann'],
        ['room.2', 'unsubscribed', 'ann'],
      ]);
    });
  });
}
