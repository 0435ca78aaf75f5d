import * as fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Body, BusMessage, Engine, GapReason, Position, PublishHow } from '../../src/engine/engine.js';
import { MemoryEngine } from '../../src/engine/memory-engine.js';
import { ManualClock } from '../support/app.js';

interface Started {
  engine: Engine;
  clock: ManualClock;
  limits: { maxHistoryBytes: number };
}

/** An answer with its messages as offset and body alone. */
function plain(answer: unknown): unknown {
  const { messages, ...rest } = answer as { messages?: readonly { offset: number; body: Body }[] };
  return messages === undefined
    ? answer
    : { ...rest, messages: messages.map(({ offset, body: one }) => ({ offset, body: one })) };
}

/** Each engine has to pass the same. */
const ENGINES: [string, () => Started][] = [
  [
    'memory',
    () => {
      const clock = new ManualClock();
      const limits = { maxHistoryBytes: 1_048_576 };
      return { engine: new MemoryEngine(limits, clock), clock, limits };
    },
  ],
];

const WINDOW = { count: 5, ageMs: 60_000 };
const LIMIT = { messages: 500, bytes: 524_288 };
const HOW: PublishHow = { history: undefined, key: undefined, except: undefined, volatile: false };
const KEPT: PublishHow = { ...HOW, history: WINDOW };

const body = (data: unknown): Body => {
  const text = `{"event":"x","data":${JSON.stringify(data)}`;
  return { text, bytes: Buffer.byteLength(text) };
};

describe.each(ENGINES)('the %s engine', (_, make) => {
  let engine: Engine;
  let clock: ManualClock;
  let delivered: BusMessage[];
  let gaps: [string, Position, GapReason][];

  const publish = async (channel: string, data: unknown, how = KEPT) => engine.bus.publish(channel, body(data), how);
  const read = async (since?: Position, limit = LIMIT, window = WINDOW) => engine.bus.read('c', since, limit, window);

  beforeEach(async () => {
    ({ engine, clock } = make());
    [delivered, gaps] = [[], []];
    await engine.start({
      deliver: (message) => delivered.push(message),
      gap: (...gap) => gaps.push(gap),
    });
  });

  it('delivers what is published, in its order, with who is excepted', async () => {
    await engine.bus.subscribe('c');
    await publish('c', 1, HOW);
    await publish('c', 2, { ...HOW, except: ['s'], volatile: true });
    expect(delivered).toEqual([
      { channel: 'c', body: body(1), offset: undefined, except: undefined, volatile: false },
      { channel: 'c', body: body(2), offset: undefined, except: ['s'], volatile: true },
    ]);
  });

  it('numbers the messages of a channel with history, in an epoch of its own', async () => {
    await engine.bus.subscribe('c');
    const positions = [await publish('c', 1), await publish('c', 2), await publish('d', 1)].map(
      ({ position }) => position,
    );
    expect(positions.map((position) => position?.offset)).toEqual([1, 2, 1]);
    expect(positions[0]?.epoch).toBe(positions[1]?.epoch);
    expect(positions[0]?.epoch).not.toBe(positions[2]?.epoch);
    expect(delivered.map(({ offset }) => offset).slice(0, 2)).toEqual([1, 2]);
  });

  it('gives a fresh channel an epoch that its first message keeps', async () => {
    const { position } = await read();
    expect(position.offset).toBe(0);
    expect((await publish('c', 1)).position).toEqual({ epoch: position.epoch, offset: 1 });
  });

  it('reads nothing at all where nothing is asked for', async () => {
    await publish('c', 1);
    expect((await read(undefined, { messages: 0, bytes: 0 })).messages).toEqual([]);
  });

  it('reads the newest within a limit of messages and bytes', async () => {
    for (let n = 1; n <= 4; n++) await publish('c', n);
    const { bytes } = body(1);
    expect((await read(undefined, { messages: 2, bytes: 1_000 })).messages.map(({ offset }) => offset)).toEqual([3, 4]);
    expect((await read(undefined, { messages: 9, bytes: bytes * 3 })).messages.map(({ offset }) => offset)).toEqual([
      2, 3, 4,
    ]);
  });

  it('publishes once for a key of an owner in a channel, with history and without, for five minutes', async () => {
    const key = { owner: 'ann', value: 'k' };
    for (const how of [HOW, KEPT]) {
      const channel = how === HOW ? 'plain' : 'c';
      const first = await publish(channel, 1, { ...how, key });
      expect(await publish(channel, 1, { ...how, key })).toEqual({ ...first, duplicate: true });
      await expect(publish(channel, 2, { ...how, key })).rejects.toMatchObject({ code: 'CONFLICT' });
      expect(await publish(channel, 2, { ...how, key: { ...key, owner: 'bob' } })).not.toHaveProperty('duplicate');
    }
    const before = delivered.length;
    clock.jump(300_000);
    expect(await publish('c', 2, { ...KEPT, key })).not.toHaveProperty('duplicate');
    expect(delivered).toHaveLength(before + 1);
  });

  it('keeps no more keys, and no more history, than it may', async () => {
    for (let n = 0; n < 200; n++)
      await publish(`c${n}`, 'x'.repeat(10_000), { ...KEPT, key: { owner: 'ann', value: `${n}` } });
    expect(engine.stats.historyBytes).toBeLessThanOrEqual(1_048_576);
    expect(engine.stats.historyMessages).toBeGreaterThan(20);
    clock.jump(WINDOW.ageMs);
    for (let n = 0; n < 4; n++) engine.sweep(clock.monotonic());
    expect(engine.stats.historyMessages).toBe(0);
    clock.jump(86_400_000);
    for (let n = 0; n < 4; n++) engine.sweep(clock.monotonic());
    expect(engine.stats.historyBytes).toBe(0);
  });

  it('says when a history had to go, and never that it is whole', async () => {
    await engine.bus.subscribe('c');
    const { position } = await publish('c', 1);
    for (let n = 0; n < 200; n++) await publish(`c${n}`, 'x'.repeat(10_000));
    const answer = await read(position);
    expect(answer).toMatchObject({ recovered: false, reason: 'epoch', messages: [] });
    expect(gaps).toEqual([['c', answer.position, 'epoch']]);
  });

  it('says whole exactly when the window of count and age has all of it', async () => {
    const act = fc.oneof(
      fc.record({ act: fc.constant('publish' as const), count: fc.integer({ min: 1, max: 4 }) }),
      fc.record({ act: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 40_000 }) }),
      fc.record({
        act: fc.constant('resume' as const),
        behind: fc.integer({ min: -2, max: 8 }),
        most: fc.integer({ min: 0, max: 6 }),
      }),
      fc.record({ act: fc.constant('sweep' as const) }),
    );
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(act, { minLength: 10, maxLength: 30 }), async (acts) => {
        const channel = `run ${run++}`;
        const { position } = engine.bus.read(channel, undefined, LIMIT, WINDOW);
        const kept: { offset: number; at: number }[] = [];
        const answers: [unknown, unknown][] = [];
        let top = 0;
        for (const one of acts) {
          if (one.act === 'pass') clock.jump(one.ms);
          if (one.act === 'sweep') engine.sweep(clock.monotonic());
          for (let n = 0; one.act === 'publish' && n < one.count; n++) {
            answers.push([(await publish(channel, top + 1)).position, { ...position, offset: ++top }]);
            kept.push({ offset: top, at: clock.monotonic() });
          }
          if (one.act !== 'resume' || one.behind > top) continue;
          const from = top - one.behind;
          const there = kept.slice(-WINDOW.count).filter(({ at }) => clock.monotonic() - at < WINDOW.ageMs);
          const missed = there.filter(({ offset }) => offset > from);
          const since = { ...position, offset: from };
          const answer = engine.bus.read(channel, since, { ...LIMIT, messages: one.most }, WINDOW);
          const reason =
            from > top
              ? 'epoch'
              : missed.length < top - from
                ? 'window'
                : missed.length > one.most
                  ? 'limit'
                  : undefined;
          const messages = (reason === undefined ? missed : []).map(({ offset }) => ({ offset, body: body(offset) }));
          const newest = { ...position, offset: top };
          const { recovered } = answer;
          answers.push([
            answer,
            { position: newest, recovered: reason === undefined, ...(!recovered && { reason }), messages },
          ]);
        }
        expect(answers.map(([answer]) => plain(answer))).toEqual(answers.map(([, expected]) => expected));
      }),
      { numRuns: 300 },
    );
  });
});
