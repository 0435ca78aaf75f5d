import { expect, it } from 'vitest';
import { readJson } from '../../src/index.js';

const options = { limits: { maxJsonDepth: 3 } };

it.each<[unknown, string | Buffer]>([
  [{ a: [1] }, '{"a":[1]}'],
  [{ a: 'ü' }, Buffer.from('{"a":"ü"}')],
  [null, 'null'],
])('reads %j', (value, message) => {
  expect(readJson(message, options)).toEqual(value);
});

it.each([
  ['Not JSON', '{'],
  ['Not JSON', ''],
  ['Not JSON', '\ufeff{}'],
  ['Not UTF-8', Buffer.from([0x22, 0xff, 0x22])],
  ['Nested too deep', '[[[[]]]]'],
  ['Nested too deep', '['.repeat(60_000)],
  ['Forbidden key', '{"__proto__":{}}'],
  ['Forbidden key', '{"a":{"\\u005f_proto__":{}}}'],
  ['Forbidden key', '{"constructor":{"prototype":{}}}'],
])('%s: %j', (message, text) => {
  expect(() => readJson(text, options)).toThrow(expect.objectContaining({ code: 'BAD_FRAME', message }) as Error);
});
