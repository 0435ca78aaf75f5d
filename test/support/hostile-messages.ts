import { closeFrame, encodeFrame, textFrame } from './frames.js';
import { HOSTILE } from './hostile-text.js';

/** What a hostile client writes on an open connection, and after that a message that is as it should be. */
export interface Hostile {
  readonly name: string;
  readonly bytes: Buffer;
}

/** A break of RFC 6455, with the code that it ends with on every wire. */
export interface Violation extends Hostile {
  readonly code: 'PROTOCOL_VIOLATION' | 'INVALID_UTF8' | 'MESSAGE_TOO_BIG';
}

const named = (texts: Readonly<Record<string, string>>): Hostile[] =>
  Object.entries(texts).map(([name, text]) => ({ name, bytes: textFrame(text) }));

const binary = (name: string, ...bytes: number[]): Hostile => ({
  name,
  bytes: encodeFrame({ opcode: 2, payload: Buffer.from(bytes) }),
});

const violates = (code: Violation['code'], frames: Readonly<Record<string, Buffer>>): Violation[] =>
  Object.entries(frames).map(([name, bytes]) => ({ name, bytes, code }));

const begun = encodeFrame({ opcode: 1, payload: 'x', fin: false });
const fragment = encodeFrame({ opcode: 0, payload: 'x', fin: false });

/** For every wire. */
export const VIOLATIONS: readonly Violation[] = [
  ...violates('PROTOCOL_VIOLATION', {
    'a frame without a mask': encodeFrame({ opcode: 1, payload: '{}', mask: false }),
    'a reserved bit': encodeFrame({ opcode: 1, payload: '{}', reserved: 1 }),
    'compression that no one has agreed on': encodeFrame({ opcode: 1, payload: '{}', reserved: 4 }),
    'a reserved opcode': encodeFrame({ opcode: 3 }),
    'a reserved opcode of control': encodeFrame({ opcode: 11 }),
    'a continuation of nothing': encodeFrame({ opcode: 0, payload: 'x' }),
    'a message within a message': Buffer.concat([begun, textFrame('x')]),
    'a ping in parts': encodeFrame({ opcode: 9, fin: false }),
    'a ping of 126 bytes': encodeFrame({ opcode: 9, payload: 'x'.repeat(126) }),
    'a close of one byte': encodeFrame({ opcode: 8, payload: 'x' }),
    'a close with a code that no frame has': closeFrame(1005),
  }),
  ...violates('INVALID_UTF8', {
    'a text that is no UTF-8': textFrame(Buffer.from([0x22, 0xff, 0xfe, 0x22])),
    'a text with half a surrogate pair': textFrame(Buffer.from([0xed, 0xa0, 0x80])),
    'a close whose reason is no UTF-8': closeFrame(1000, Buffer.from([0xff])),
  }),
  ...violates('MESSAGE_TOO_BIG', {
    'a length of a terabyte': encodeFrame({ opcode: 2, declared: 1n << 40n }),
    'a length that no number holds': encodeFrame({ opcode: 1, declared: (1n << 64n) - 1n }),
    'fragments without end': Buffer.concat([begun, ...Array<Buffer>(2_000).fill(fragment)]),
  }),
];

/** What holds no message on any wire of JSON. */
const NO_JSON = named({
  'an empty text': '',
  'a bracket': '{',
  'a quote': '"',
  'words': 'hello there', // prettier-ignore
  'null': 'null', // prettier-ignore
  'a number': '1e999',
  'a text of JSON': '"text"',
  'two documents': '{}{}',
  'a byte order mark': '\ufeff{}',
  'a comma too many': '[1,]',
  zeros: '\0\0\0\0',
  'lines for the log': HOSTILE,
  'brackets without end': '['.repeat(60_000),
  'brackets to the deepest': `${'['.repeat(30_000)}${']'.repeat(30_000)}`,
  'objects to the deepest': `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`,
});

const BYTES: readonly Hostile[] = [
  binary('a binary message', 1, 2, 3),
  binary('an empty binary message'),
  binary('a text in a binary message', ...Buffer.from('{"event":"ping"}')),
];

/**
 * For a wire of objects, where one member names the event and another has what it carries.
 *
 * @param event one with a payload of an object, and of which no member may be missing
 */
export function objects(name: string, payload: string, event: string): Hostile[] {
  const of = (value: unknown, more: object = {}): string => JSON.stringify({ [name]: value, ...more });
  const carrying = (text: string): string => `{"${name}":"${event}","${payload}":${text}}`;
  return [
    ...NO_JSON,
    ...BYTES,
    ...named({
      'an object without an event': '{}',
      'an array': '[]',
      'an event that is a number': of(1),
      'an event that is null': of(null),
      'an event that is an object': of({}),
      'an event that is empty': of(''),
      'an event of 129 characters': of('x'.repeat(129)),
      'an event that there is not': of('nothing'),
      'an event of every object': of('constructor'),
      'an event of every prototype': `{"${name}":"__proto__"}`,
      'an event with lines for the log': of(HOSTILE),
      'an event twice': `{"${name}":"${event}","${name}":1}`,
      'an event beside a prototype': `{"__proto__":{"${name}":"${event}"}}`,
      'no payload': of(event),
      'a payload that is null': carrying('null'),
      'a payload that is a number': carrying('1'),
      'a payload that is a text': carrying('"text"'),
      'a payload that is an array': carrying('[[],[]]'),
      'a payload with a prototype': carrying('{"__proto__":{"isAdmin":true}}'),
      'a payload with an escaped prototype': carrying('{"\\u005f_proto__":{"isAdmin":true}}'),
      'a payload with a constructor': carrying('{"constructor":{"prototype":{"isAdmin":true}}}'),
      'a payload to the deepest': carrying(`${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`),
      'a payload of many members': carrying(`{${Array.from({ length: 5_000 }, (_, i) => `"a${i}":0`).join()}}`),
      'a payload of numbers that are none': carrying('{"a":1e999,"b":-0,"c":1e-999}'),
      'a payload of half characters': carrying('{"text":"\\ud800"}'),
    }),
  ];
}

/** For wires of arrays: `["event", …]`, OCPP-J's calls, and what a relay is told. */
export const ARRAYS: readonly Hostile[] = [
  ...NO_JSON,
  ...BYTES,
  ...named({
    'an object': '{"event":"ping"}',
    'an empty array': '[]',
    'an array of null': '[null]',
    'an array of arrays': '[[],[]]',
    'an array of many': `[${'0,'.repeat(20_000)}0]`,
    'an event that is empty': '[""]',
    'an event of 129 characters': JSON.stringify(['x'.repeat(129)]),
    'an event that there is not': '["nothing"]',
    'an event of every object': '["constructor",{}]',
    'an event of every prototype': '["__proto__",{}]',
    'an event with lines for the log': JSON.stringify([HOSTILE]),
    'a note that is null': '["EVENT",null]',
    'a note that is no note': '["EVENT",{"id":1}]',
    'a note of every prototype': '["EVENT",{"__proto__":{"kind":1}}]',
    'a subscription without an id': '["REQ"]',
    'a subscription of a number': '["REQ",1,{}]',
    'a subscription without a filter': '["REQ","s"]',
    'a subscription of null': '["REQ","s",null]',
    'a subscription with a prototype': '["REQ","s",{"__proto__":{"kinds":[1]}}]',
    'a subscription of too many filters': `["REQ","s"${',{}'.repeat(1_000)}]`,
    'a call without an id': '[2]',
    'a call with a number for an id': '[2,1,"Heartbeat",{}]',
    'a call with an id of 37 characters': JSON.stringify([2, 'x'.repeat(37), 'Heartbeat', {}]),
    'a call of nothing': '[2,"1"]',
    'a call of every prototype': '[2,"1","__proto__",{}]',
    'a call with a prototype': '[2,"1","BootNotification",{"__proto__":{"chargePointVendor":"v"}}]',
    'a call with a payload that is null': '[2,"1","BootNotification",null]',
    'a call with a payload that is an array': '[2,"1","BootNotification",[1]]',
    'a call with a payload of other types': '[2,"1","BootNotification",{"chargePointVendor":1,"chargePointModel":[]}]',
    'a call of a type that is a text': '["2","1","Heartbeat",{}]',
    'a call of a type that is a fraction': '[2.5,"1","Heartbeat",{}]',
    'a result of nothing': '[3]',
    'a result with a payload that is a number': '[3,"1",17]',
    'an error of nothing': '[4,"1"]',
    'an error of other types': '[4,"1",[],{},"x"]',
  }),
];

/** For wires of bytes. Numbers of a variable length, as Yjs and protocol buffers have them, are what most of it is about. */
export const BINARY: readonly Hostile[] = [
  ...BYTES,
  ...[0, 1, 2, 3, 4, 127, 128, 255].map((byte) => binary(`a byte of ${byte}`, byte)),
  binary('a number without end', ...Array<number>(64).fill(0xff)),
  binary('a type, and a number without end', 0, ...Array<number>(64).fill(0xff)),
  binary('a step without its bytes', 0, 0),
  binary('a step of a length that is not there', 0, 0, 0xff, 0xff, 0x7f),
  binary('an update of a length that is not there', 0, 2, 0xff, 0xff, 0x7f, 1),
  binary('an update of four billion parts', 0, 2, 7, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 1),
  binary('an update of ten million parts', 0, 2, 6, 1, 0x80, 0xad, 0xe2, 0x04, 1),
  binary('an update of parts that are none', 0, 2, 8, 1, 1, 1, 0, 0xff, 0xff, 0xff, 0xff),
  binary('a step of a kind that there is not', 0, 9, 1, 1),
  binary('a cursor that is no JSON', 1, 5, 1, 1, 1, 1, 0x7b),
  binary('a thousand cursors that are not there', 1, 2, 0xe8, 0x07),
  { name: 'noise', bytes: encodeFrame({ opcode: 2, payload: noise(4_097) }) },
];

/** The same for every run. */
function noise(length: number): Buffer {
  let state = 1;
  return Buffer.from(Array.from({ length }, () => (state = (state * 48_271) % 2_147_483_647) & 0xff));
}
