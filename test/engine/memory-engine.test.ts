import { expect, it } from 'vitest';
import { MemoryEngine } from '../../src/engine/memory-engine.js';
import { ManualClock } from '../support/app.js';

const WINDOW = { count: 5, ageMs: 60_000 };
const LIMIT = { messages: 500, bytes: 524_288 };
const HOW = { history: undefined, key: undefined, except: undefined, volatile: false };
const body = { text: '{"event":"x","data":1', bytes: 21 };

it('keeps no more idempotency keys than it may, and the oldest go', () => {
  const engine = new MemoryEngine({ maxHistoryBytes: 1_048_576 }, new ManualClock(), 100);
  const publish = (n: number) => engine.publish('c', body, { ...HOW, key: { owner: 'ann', value: `${n}` } });
  for (let n = 0; n < 110; n++) publish(n);
  expect(engine.size).toBeLessThanOrEqual(100);
  expect(engine.size).toBeGreaterThan(97);
  expect(publish(109)).toHaveProperty('duplicate');
  expect(publish(0)).not.toHaveProperty('duplicate');
});

it('evicts no history for a client that asks for channels which nothing was published in', () => {
  const engine = new MemoryEngine({ maxHistoryBytes: 8_388_608 }, new ManualClock());
  const { position } = engine.publish('real', body, { ...HOW, history: WINDOW });
  const first = engine.read('fresh 0', undefined, LIMIT, WINDOW).position;
  const seen: boolean[] = [];
  for (let n = 1; n < 20_000; n++) {
    engine.subscribe(`fresh ${n}`);
    engine.read(`fresh ${n}`, undefined, LIMIT, WINDOW);
    engine.unsubscribe(`fresh ${n}`);
    if (n === 9_800) seen.push(engine.read('fresh 0', first, LIMIT, WINDOW).recovered);
  }
  expect(seen).toEqual([true]);
  expect(engine.size).toBeLessThanOrEqual(10_001);
  expect(engine.read('real', { epoch: position?.epoch ?? '', offset: 0 }, LIMIT, WINDOW)).toMatchObject({
    recovered: true,
    messages: [{ offset: 1 }],
  });
  expect(engine.read('fresh 1', { ...first, offset: 0 }, LIMIT, WINDOW)).toMatchObject({ recovered: false });
});
