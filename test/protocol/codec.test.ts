import { describe, expect, it } from 'vitest';
import { BadFrame, decode, encode, encodeDone, isDeeperThan, isWsResponse } from '../../src/protocol/codec.js';
import { isBareToken } from '../../src/protocol/message.js';

function refusalOf(text: string): BadFrame {
  try {
    decode(text, 32);
  } catch (error) {
    if (error instanceof BadFrame) return error;
    throw error;
  }
  throw new Error(`accepted: ${text}`);
}

describe('decode', () => {
  it('takes event, data, id and meta and ignores other members', () => {
    expect(decode('{"event":"a","data":[1],"id":"x","meta":{},"other":1}', 32)).toEqual({
      event: 'a',
      data: [1],
      id: 'x',
      meta: {},
    });
  });

  it('takes any event name of 1 to 128 units, those of Object.prototype included', () => {
    for (const event of ['a', 'x'.repeat(128), '__proto__', 'constructor', 'toString', '💥', '\u0000', ' ']) {
      expect(decode(JSON.stringify({ event }), 32).event).toBe(event);
    }
  });

  it.each(['', 'x'.repeat(129), 1, null, true, {}, []])('refuses the event %j and knows the id', (event) => {
    expect(refusalOf(JSON.stringify({ event, id: 7 })).id).toBe(7);
  });

  it('refuses a message without an event', () => {
    expect(refusalOf('{"id":1}').id).toBe(1);
  });

  it.each([0, 1, 2 ** 53 - 1, 'a', 'x'.repeat(64)])('takes the id %j', (id) => {
    expect(decode(JSON.stringify({ event: 'a', id }), 32).id).toBe(id);
  });

  it.each(['""', `"${'x'.repeat(65)}"`, '-1', '1.5', '9007199254740992', '1e999', 'null', 'true', '{}', '[]'])(
    'refuses the id %s and does not echo it',
    (id) => {
      expect(refusalOf(`{"event":"a","id":${id}}`).id).toBeUndefined();
    },
  );

  it.each(['', ' ', '{', 'nonsense', 'null', '1', '"a"', '[]', '{"event":"a"}x', '\u0000', 'undefined', 'NaN'])(
    'refuses %j, which is no JSON object',
    (text) => {
      expect(refusalOf(text).code).toBe('BAD_FRAME');
    },
  );

  it.each(['', '\\u0061', '"__proto'])('refuses a byte order mark before a message with %j in it', (text) => {
    expect(refusalOf(`\ufeff{"event":"a","data":${JSON.stringify(text)}}`).message).toBe('Not JSON');
    expect(refusalOf(`\ufeff{"event":"a","data":"${text.replace('"', '')}"}`).message).toBe('Not JSON');
  });

  it('never quotes the text in its message', () => {
    expect(refusalOf('{"event":"a","secret-in-here').message).not.toContain('secret');
    expect(refusalOf('forbidden-secret').message).toBe('Not JSON');
  });

  it.each([
    '{"event":"a","data":{"__proto__":{}}}',
    '{"event":"a","data":[{"x":{"__proto__":1}}]}',
    '{"event":"a","__proto__":{"id":1}}',
    '{"event":"a","data":{"\\u005f_proto__":1}}',
    '{"event":"a","data":{"constructor":{"prototype":{}}}}',
    '{"event":"a","data":{"c\\u006fnstructor":{"prototype":1}}}',
  ])('refuses the forbidden key in %s', (text) => {
    expect(refusalOf(text).message).toBe('Forbidden key');
  });

  it('takes constructor as a key where its value has no prototype, and both names as values', () => {
    expect(decode('{"event":"__proto__","data":{"constructor":"x","a":"__proto__"}}', 32).data).toEqual({
      constructor: 'x',
      a: '__proto__',
    });
  });

  it('counts the envelope as level 1 of the depth', () => {
    const nested = (levels: number): string => `{"event":"a","data":${'['.repeat(levels)}${']'.repeat(levels)}}`;
    expect(decode(nested(31), 32).event).toBe('a');
    expect(refusalOf(nested(32)).message).toBe('Nested too deep');
    expect(refusalOf(nested(5_000)).message).toBe('Nested too deep');
  });
});

describe('isDeeperThan', () => {
  it('does not count brackets in strings, escaped quotes included', () => {
    expect(isDeeperThan(JSON.stringify({ a: '[[[[[[\\"[[[[[[' }), 2)).toBe(false);
    expect(isDeeperThan(JSON.stringify({ a: '"', b: '[[[[[[[' }), 2)).toBe(false);
  });

  it('does not count what lies beside', () => {
    expect(isDeeperThan(JSON.stringify(Array.from({ length: 1_000 }, () => ({}))), 2)).toBe(false);
  });
});

describe('encode', () => {
  it('writes the same as JSON.stringify does of the envelope', () => {
    expect(encode('a"b', { x: 1 }, 'i"d')).toBe(JSON.stringify({ event: 'a"b', data: { x: 1 }, id: 'i"d' }));
    expect(encode('a', null)).toBe('{"event":"a","data":null}');
    expect(encodeDone('a', 0)).toBe('{"event":"a","id":0,"done":true}');
  });

  it.each([undefined, () => 1, Symbol('s')])('writes null for what JSON has no word for', (value) => {
    expect(encode('a', value, 1)).toBe('{"event":"a","data":null,"id":1}');
  });

  it('throws on what cannot be serialised', () => {
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    expect(() => encode('a', 1n)).toThrow(TypeError);
    expect(() => encode('a', cycle)).toThrow(TypeError);
  });
});

describe('isWsResponse', () => {
  it('is exact about the keys', () => {
    expect(isWsResponse({ event: 'a', data: 1 })).toBe(true);
    expect(isWsResponse({ event: 'a', data: undefined })).toBe(true);
    for (const value of [
      { event: 'a' },
      { event: 1, data: 1 },
      { event: 'a', data: 1, id: 1 },
      { data: 1 },
      [],
      null,
      'a',
    ]) {
      expect(isWsResponse(value)).toBe(false);
    }
  });
});

describe('isBareToken', () => {
  it('is three base64url parts joined by dots and nothing else', () => {
    expect(isBareToken('aa.bb.c_-')).toBe(true);
    for (const text of ['aa.bb.', 'aa.bb', 'a.b.c.d', ' a.b.c', 'a.b.c\n', 'a+.b.c', '{"event":"a"}', '']) {
      expect(isBareToken(text)).toBe(false);
    }
  });
});
