import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { heapCostOf } from '../../src/session/heap-cost.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void; // because it is there only with the flag

const BYTES = 64_000;
const COPIES = 64;
let unique = 0;
const keys = (next: () => string): string => {
  let text = '[';
  while (text.length < BYTES) text += `${next()},`;
  return `${text}1]`;
};

it.each<[string, () => string]>([
  ['numbers', () => keys(() => '1')],
  ['empty objects', () => keys(() => '{}')],
  ['empty arrays', () => keys(() => '[]')],
  ['arrays of one', () => keys(() => '[1]')],
  ['small objects', () => keys(() => '{"a":1}')],
  ['objects with an index', () => keys(() => '{"9":1}')],
  ['sparse objects', () => keys(() => '{"999":1}')],
  ['objects of shapes of their own', () => keys(() => `{"${(unique++).toString(36)}":1}`)],
  ['records', () => keys(() => `{"id":${unique++},"name":"name ${unique}","price":1.5,"tags":["a","b"]}`)],
  ['short texts', () => keys(() => `"${(unique++).toString(36).padStart(12, 'x')}"`)],
  ['one long text', () => JSON.stringify('x'.repeat(BYTES))],
  ['a long text that is no ASCII', () => JSON.stringify('日'.repeat(BYTES / 3))],
])('%s cost about what is estimated', (_, make) => {
  const texts = Array.from({ length: COPIES }, () => Buffer.from(make()));
  const estimated = texts.reduce((sum, text) => sum + heapCostOf(text), 0);
  const kept: unknown[] = Array(COPIES).fill(undefined);
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < COPIES; i++) kept[i] = JSON.parse((texts[i] as Buffer).toString()); // because i is in range
  collect();
  const held = process.memoryUsage().heapUsed - before;
  expect(kept).toHaveLength(COPIES);
  expect(estimated).toBeGreaterThan(held / 2);
  expect(estimated).toBeLessThan(Math.max(BYTES * COPIES * 2, held * 5));
});

it('is the same for a long text wherever it is looked at, and reads a short one as a whole', () => {
  expect(heapCostOf(Buffer.from('{"event":"x"}'))).toBe(13 + 80 + 48 + 4 * 12);
  const text = Buffer.from(`[${'{},'.repeat(20_000)}1]`);
  for (let i = 0; i < 100; i++) expect(Math.abs(heapCostOf(text) / text.length - (1 + 88 / 3))).toBeLessThan(3);
});
