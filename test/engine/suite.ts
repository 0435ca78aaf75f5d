import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Body, BusMessage, Engine, GapReason, Position, PublishHow } from '../../src/engine/engine.js';

/** An engine, and what a test has to do for it from outside. */
export interface EngineUnderTest {
  readonly engine: Engine;
  /** Lets so much time pass for what the engine keeps. Unset: only real time passes, and what takes minutes is not asked. */
  readonly pass?: (ms: number) => void | Promise<void>;
  readonly stop?: () => void | Promise<void>;
  /** What its histories may hold at most, in bytes. Unset: no bound of the process. */
  readonly maxHistoryBytes?: number;
}

/** A fresh engine with nothing in it. */
export type MakeEngine = () => EngineUnderTest | Promise<EngineUnderTest>;

/** An answer with its messages as offset and body alone. */
function plain(answer: unknown): unknown {
  const { messages, ...rest } = answer as { messages?: readonly { offset: number; body: Body }[] };
  return messages === undefined
    ? answer
    : { ...rest, messages: messages.map(({ offset, body: one }) => ({ offset, body: one })) };
}

/** Resolves when the condition holds: an engine may deliver later than it answers. */
async function until(condition: () => boolean): Promise<void> {
  for (const end = Date.now() + 5_000; !condition();) {
    if (Date.now() > end) throw new Error('Waited for 5 seconds');
    await new Promise(setImmediate);
  }
}

const WINDOW = { count: 5, ageMs: 60_000 };
const LIMIT = { messages: 500, bytes: 524_288 };
const HOW: PublishHow = { history: undefined, key: undefined, except: undefined, volatile: false };
const KEPT: PublishHow = { ...HOW, history: WINDOW };

const body = (data: unknown): Body => {
  const text = `{"event":"x","data":${JSON.stringify(data)}`;
  return { text, bytes: Buffer.byteLength(text) };
};

/** What every engine has to do. The tests wait for what an engine of many nodes does later than one that is alone. */
export function testEngine(name: string, make: MakeEngine): void {
  describe(`the ${name} engine`, () => {
    let made: EngineUnderTest;
    let engine: Engine;
    let delivered: BusMessage[];
    let gaps: [string, Position, GapReason][];

    const publish = async (channel: string, data: unknown, how = KEPT) => engine.bus.publish(channel, body(data), how);
    const read = async (since?: Position, limit = LIMIT, window = WINDOW, channel = 'c') =>
      engine.bus.read(channel, since, limit, window);
    const pass = async (ms: number) => made.pass?.(ms);

    beforeEach(async () => {
      made = await make();
      ({ engine } = made);
      [delivered, gaps] = [[], []];
      await engine.start({
        deliver: (message) => delivered.push(message),
        deliverTo: () => undefined,
        gap: (...gap) => gaps.push(gap),
      });
    });

    afterEach(async () => made.stop?.());

    it('delivers what is published, in its order, with who is excepted', async () => {
      await engine.bus.subscribe('c');
      await publish('c', 1, HOW);
      await publish('c', 2, { ...HOW, except: ['s'], volatile: true });
      await until(() => delivered.length === 2);
      expect(delivered).toEqual([
        { channel: 'c', body: body(1), offset: undefined, except: undefined, volatile: false },
        { channel: 'c', body: body(2), offset: undefined, except: ['s'], volatile: true },
      ]);
    });

    it('delivers the text as it was written, whatever is in it', async () => {
      await engine.bus.subscribe('c');
      const texts = ['é€😀', '\u2028"\\', '{"event":"x"}', 'x'.repeat(60_000), ''];
      for (const text of texts) await publish('c', text);
      await until(() => delivered.length === texts.length);
      expect(delivered.map(({ body: one }) => one)).toEqual(texts.map(body));
      const { messages } = await read();
      expect(messages.map((message) => message.body)).toEqual(texts.map(body));
    });

    it('numbers the messages of a channel with history, in an epoch of its own', async () => {
      await engine.bus.subscribe('c');
      const positions = [await publish('c', 1), await publish('c', 2), await publish('d', 1)].map(
        ({ position }) => position,
      );
      expect(positions.map((position) => position?.offset)).toEqual([1, 2, 1]);
      expect(positions[0]?.epoch).toBe(positions[1]?.epoch);
      expect(positions[0]?.epoch).not.toBe(positions[2]?.epoch);
      const own = () => delivered.filter(({ channel }) => channel === 'c');
      await until(() => own().length === 2);
      expect(own().map(({ offset }) => offset)).toEqual([1, 2]);
    });

    it('keeps the order of what is published in one turn of the event loop', async () => {
      await engine.bus.subscribe('c');
      const sent = await Promise.all(Array.from({ length: 20 }, (_, n) => publish('c', n + 1)));
      expect(sent.map(({ position }) => position?.offset)).toEqual(sent.map((_, n) => n + 1));
      await until(() => delivered.length === 20);
      expect(delivered.map((one) => [one.offset, one.body])).toEqual(sent.map((_, n) => [n + 1, body(n + 1)]));
    });

    it('leaves nothing out between what is read and what is delivered next', async () => {
      const window = { ...WINDOW, count: 100 };
      const how = { ...KEPT, history: window };
      const { position: start } = await read(undefined, LIMIT, window);
      for (let n = 1; n <= 10; n++) await publish('c', n, how);
      delivered.length = 0;
      void engine.bus.subscribe('c');
      const reading = read(start, LIMIT, window);
      const publishing = Array.from({ length: 20 }, (_, n) => publish('c', n + 11, how));
      const { messages, position } = await reading;
      await Promise.all(publishing);
      const live = () => delivered.filter(({ offset = 0 }) => offset > position.offset);
      await until(() => live().length === 30 - position.offset);
      const offsets = [...messages, ...live()].map(({ offset }) => offset);
      expect(offsets).toEqual(Array.from({ length: 30 }, (_, n) => n + 1));
    });

    it('delivers to a channel again that was left and is joined again', async () => {
      for (let round = 0; round < 3; round++) {
        await engine.bus.subscribe('c');
        await publish('c', round, HOW);
        await until(() => delivered.length === round + 1);
        engine.bus.unsubscribe('c');
      }
      expect(delivered.map(({ body: one }) => one)).toEqual([0, 1, 2].map(body));
    });

    it('gives a fresh channel an epoch that its first message keeps', async () => {
      const { position } = await read();
      expect(position.offset).toBe(0);
      expect((await publish('c', 1)).position).toEqual({ epoch: position.epoch, offset: 1 });
    });

    it('proves nothing for an epoch that is another, or a position that is still to come', async () => {
      const { position } = await publish('c', 1);
      const { epoch, offset } = position as Position; // because it has history
      for (const since of [
        { epoch: `${epoch}x`, offset },
        { epoch, offset: offset + 1 },
        { epoch, offset: Number.MAX_SAFE_INTEGER },
        { epoch: '\u0000\n', offset: 0 },
      ]) {
        expect(plain(await read(since))).toEqual({ position, recovered: false, reason: 'epoch', messages: [] });
      }
    });

    it('reads nothing at all where nothing is asked for', async () => {
      await publish('c', 1);
      expect((await read(undefined, { messages: 0, bytes: 0 })).messages).toEqual([]);
    });

    it('reads the newest within a limit of messages and bytes', async () => {
      for (let n = 1; n <= 4; n++) await publish('c', n);
      const { bytes } = body(1);
      expect((await read(undefined, { messages: 2, bytes: 1_000 })).messages.map(({ offset }) => offset)).toEqual([
        3, 4,
      ]);
      expect((await read(undefined, { messages: 9, bytes: bytes * 3 })).messages.map(({ offset }) => offset)).toEqual([
        2, 3, 4,
      ]);
    });

    it('publishes once for a key of an owner in a channel, with history and without', async () => {
      const key = { owner: 'ann', value: 'k' };
      for (const how of [HOW, KEPT]) {
        const channel = how === HOW ? 'plain' : 'c';
        const first = await publish(channel, 1, { ...how, key });
        expect(await publish(channel, 1, { ...how, key })).toEqual({ ...first, duplicate: true });
        await expect(publish(channel, 2, { ...how, key })).rejects.toMatchObject({ code: 'CONFLICT' });
        expect(await publish(channel, 2, { ...how, key: { ...key, owner: 'bob' } })).not.toHaveProperty('duplicate');
        expect(await publish(`${channel}2`, 2, { ...how, key })).not.toHaveProperty('duplicate');
      }
      expect((await read()).messages.map((message) => message.body)).toEqual([body(1), body(2)]);
    });

    it('takes the same key at once from many, and publishes once', async () => {
      const how = { ...KEPT, key: { owner: 'ann', value: 'k' } };
      const sent = await Promise.all(Array.from({ length: 10 }, () => publish('c', 1, how)));
      expect(sent.filter(({ duplicate }) => duplicate === true)).toHaveLength(9);
      expect(new Set(sent.map(({ position }) => position?.offset))).toEqual(new Set([1]));
    });

    it('forgets a key after five minutes', async ({ skip }) => {
      if (made.pass === undefined) skip('the time of this engine cannot be moved');
      const key = { owner: 'ann', value: 'k' };
      await publish('c', 1, { ...KEPT, key });
      await pass(299_000);
      expect(await publish('c', 1, { ...KEPT, key })).toHaveProperty('duplicate');
      await pass(1_000);
      expect(await publish('c', 2, { ...KEPT, key })).not.toHaveProperty('duplicate');
    });

    it('keeps no more than it may, and nothing for ever', async ({ skip }) => {
      const { maxHistoryBytes } = made;
      if (maxHistoryBytes === undefined) return skip('this engine has no bound of the process');
      for (let n = 0; n < 200; n++)
        await publish(`c${n}`, 'x'.repeat(10_000), { ...KEPT, key: { owner: 'ann', value: `${n}` } });
      expect(engine.stats.historyBytes).toBeLessThanOrEqual(maxHistoryBytes);
      expect(engine.stats.historyMessages).toBeGreaterThan(20);
      await pass(WINDOW.ageMs);
      expect(engine.stats.historyMessages).toBe(0);
      await pass(86_400_000);
      expect(engine.stats.historyBytes).toBe(0);
    });

    it('says when a history had to go, and never that it is whole', async ({ skip }) => {
      if (made.maxHistoryBytes === undefined) return skip('this engine has no bound of the process');
      await engine.bus.subscribe('c');
      const { position } = await publish('c', 1);
      for (let n = 0; n < 200; n++) await publish(`c${n}`, 'x'.repeat(10_000));
      const answer = await read(position);
      expect(answer).toMatchObject({ recovered: false, reason: 'epoch', messages: [] });
      expect(gaps).toEqual([['c', answer.position, 'epoch']]);
    });

    const act = fc.oneof(
      fc.record({ act: fc.constant('publish' as const), count: fc.integer({ min: 1, max: 4 }) }),
      fc.record({ act: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 40_000 }) }),
      fc.record({
        act: fc.constant('resume' as const),
        behind: fc.integer({ min: -2, max: 8 }),
        most: fc.integer({ min: 0, max: 6 }),
      }),
    );

    it('says whole exactly when the window of count and age has all of it', async () => {
      let run = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(act, { minLength: 10, maxLength: 30 }), async (acts) => {
          const channel = `run.${run++}`;
          const { position } = await read(undefined, LIMIT, WINDOW, channel);
          let kept: number[] = [];
          let ages: number[] = [];
          let now = 0;
          let top = 0;
          const answers: [unknown, unknown][] = [];
          for (const one of acts) {
            if (one.act === 'pass' && made.pass !== undefined) {
              now += one.ms;
              await made.pass(one.ms);
            }
            for (let n = 0; one.act === 'publish' && n < one.count; n++) {
              answers.push([(await publish(channel, top + 1)).position, { ...position, offset: ++top }]);
              kept = [...kept, top].slice(-WINDOW.count);
              ages = [...ages, now].slice(-WINDOW.count);
            }
            if (one.act !== 'resume' || one.behind > top) continue;
            const from = top - one.behind;
            const missed = kept.filter((offset, index) => now - (ages[index] ?? 0) < WINDOW.ageMs && offset > from);
            const since = { ...position, offset: from };
            const answer = await read(since, { ...LIMIT, messages: one.most }, WINDOW, channel);
            const tooMany = missed.length > one.most ? 'limit' : undefined;
            const reason = from > top ? 'epoch' : missed.length < top - from ? 'window' : tooMany;
            const messages = (reason === undefined ? missed : []).map((offset) => ({ offset, body: body(offset) }));
            const recovered = reason === undefined;
            const expected = { position: { ...position, offset: top }, recovered, messages };
            answers.push([plain(answer), recovered ? expected : { ...expected, reason }]);
          }
          expect(answers.map(([answer]) => answer)).toEqual(answers.map(([, expected]) => expected));
        }),
        { numRuns: 150 },
      );
    });
  });
}
