import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { closeFrame, encodeFrame, textFrame } from '../support/frames.js';
import type { FrameSpec } from '../support/frames.js';
import { Peer } from '../support/peer.js';
import type { ServerFrame } from '../support/peer.js';
import { hasProgram } from '../support/service.js';
import { startTarget, stopTargets } from '../support/target.js';
import { handshake } from '../support/tcp.js';

/** RFC 6455, case by case, as the public conformance suites ask it of an echo. */

const MIB = 1_048_576;
const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

let port: number;

beforeAll(async () => {
  ({ port } = await startTarget('conformance-target.mjs'));
});
afterAll(stopTargets);

/** A frame of the server in short; what is long is told by its size. */
function show(frame: ServerFrame): string {
  switch (frame.kind) {
    case 'text':
      return frame.text.length > 200 ? `text of ${Buffer.byteLength(frame.text)}` : `text ${frame.text}`;
    case 'close':
      return `close ${frame.code}`;
    default:
      return frame.payload.length > 200 ? `${frame.kind} of ${frame.payload.length}` : `${frame.kind} ${frame.payload.toString('hex')}`; // prettier-ignore
  }
}

/** Opens, sends the pieces, each a write of its own, and reads until the server has closed. */
async function converse(...pieces: Buffer[]): Promise<string[]> {
  const shown: string[] = [];
  const peer = await Peer.open(port, (frame) => {
    if (shown.at(-1)?.startsWith('close')) throw new Error(`a ${frame.kind} frame after the close`);
    shown.push(show(frame));
    if (frame.kind === 'close') void peer.write(closeFrame(1000)); // an answer, or one too many, which is ignored
  });
  await peer.write(Buffer.from(handshake()));
  await peer.until(() => peer.isUpgraded, 10_000);
  const all = Buffer.concat(pieces);
  let end = 0;
  await peer.write(all, pieces.slice(0, -1).map((piece) => (end += piece.length))); // prettier-ignore
  expect(await peer.until(() => peer.isClosed, 15_000)).toBe(true);
  return shown;
}

const frame = (opcode: number, payload: Buffer | string = '', rest: Partial<FrameSpec> = {}): Buffer =>
  encodeFrame({ opcode, payload, ...rest });
const bye = closeFrame(1000);

/** The bytes one by one. */
const chopped = (bytes: Buffer, size = 1): Buffer[] =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size));

/** A message in fragments of that size. */
function fragments(opcode: number, payload: Buffer, size: number): Buffer[] {
  const parts = chopped(payload, size);
  return parts.map((part, i) => frame(i === 0 ? opcode : 0, part, { fin: i === parts.length - 1 }));
}

describe('a message', () => {
  it.each([0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537])('of %i bytes comes back as it was', async (size) => {
    const text = 'x'.repeat(size);
    const bytes = Buffer.alloc(size, 0xfe);
    const expected = [
      size > 200 ? `text of ${size}` : `text ${text}`,
      size > 200 ? `binary of ${size}` : `binary ${bytes.toString('hex')}`,
      'close 1000',
    ];
    expect(await converse(frame(TEXT, text), frame(BINARY, bytes), bye)).toEqual(expected);
    const one = Buffer.concat([frame(TEXT, text), frame(BINARY, bytes), bye]);
    expect(await converse(one)).toEqual(expected);
    expect(await converse(...chopped(one, 997))).toEqual(expected);
  });

  it.each([TEXT, BINARY])('of 16 MiB comes back, and of a byte more closes with 1009: opcode %i', async (opcode) => {
    const payload = Buffer.alloc(16 * MIB, 'x');
    const kind = opcode === TEXT ? 'text' : 'binary';
    expect(await converse(frame(opcode, payload), bye)).toEqual([`${kind} of ${16 * MIB}`, 'close 1000']);
    expect(await converse(frame(opcode, Buffer.concat([payload, Buffer.from('x')])))).toEqual(['close 1009']);
    expect(await converse(...fragments(opcode, Buffer.concat([payload, Buffer.from('x')]), MIB))).toEqual(['close 1009']); // prettier-ignore
  });

  it('of 4 MiB may come in fragments of 64 bytes', async () => {
    const payload = Buffer.alloc(4 * MIB, 'x');
    expect(await converse(Buffer.concat(fragments(BINARY, payload, 64)), bye)).toEqual([`binary of ${4 * MIB}`, 'close 1000']); // prettier-ignore
  });

  it('of 1 MiB may come in one frame and pieces of 64 bytes', async () => {
    const pieces = chopped(frame(TEXT, Buffer.alloc(MIB, 'x')), 64);
    expect(await converse(...pieces, bye)).toEqual([`text of ${MIB}`, 'close 1000']);
  });

  it('a thousand of them come back in order', async () => {
    const texts = Array.from({ length: 1_000 }, (_, i) => `number ${i}`);
    expect(await converse(Buffer.concat(texts.map(textFrame)), bye)).toEqual([
      ...texts.map((text) => `text ${text}`),
      'close 1000',
    ]);
  });

  it('that looks like an envelope is a text like any other', async () => {
    const text = '{"event":"ping","id":1}';
    expect(await converse(textFrame(text), textFrame('a.b.c'), bye)).toEqual([`text ${text}`, 'text a.b.c', 'close 1000']); // prettier-ignore
  });
});

describe('a ping', () => {
  it.each(['', 'hello', 'x'.repeat(125), '\x00\xff\xfe\xfd'])(
    'with the payload %j is answered with it',
    async (text) => {
      const payload = Buffer.from(text, 'latin1');
      const expected = [`pong ${payload.toString('hex')}`, 'close 1000'];
      expect(await converse(frame(PING, payload), bye)).toEqual(expected);
      expect(await converse(...chopped(frame(PING, payload)), bye)).toEqual(expected);
    },
  );

  it('of 126 bytes closes with 1002', async () => {
    expect(await converse(frame(PING, 'x'.repeat(126)))).toEqual(['close 1002']);
  });

  it('is answered once, in order, when ten come at once', async () => {
    const pings = Array.from({ length: 10 }, (_, i) => frame(PING, String(i)));
    const expected = Array.from({ length: 10 }, (_, i) => `pong ${Buffer.from(String(i)).toString('hex')}`);
    expect(await converse(Buffer.concat(pings), bye)).toEqual([...expected, 'close 1000']);
    expect(await converse(...pings.flatMap((ping) => chopped(ping)), bye)).toEqual([...expected, 'close 1000']);
  });

  it('is no answer to a pong, and a pong gets none', async () => {
    expect(await converse(frame(PONG, 'unsolicited'), frame(PONG), frame(PING, 'a'), bye)).toEqual([
      'pong 61',
      'close 1000',
    ]);
  });
});

describe('reserved bits', () => {
  it.each([1, 2, 3, 4, 5, 6, 7])('%i close with 1002, after what came before is answered', async (reserved) => {
    for (const opcode of [TEXT, BINARY, PING, PONG, CLOSE]) {
      const bytes = [textFrame('before'), frame(opcode, 'x', { reserved }), frame(PING, 'after')];
      expect(await converse(...bytes)).toEqual(['text before', 'close 1002']);
      expect(await converse(Buffer.concat(bytes))).toEqual(['text before', 'close 1002']);
    }
  });
});

describe('opcodes', () => {
  it.each([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])('%i closes with 1002', async (opcode) => {
    for (const payload of ['', 'payload']) {
      const bytes = [textFrame('before'), frame(opcode, payload), frame(PING)];
      expect(await converse(...bytes)).toEqual(['text before', 'close 1002']);
      expect(await converse(...chopped(Buffer.concat(bytes)))).toEqual(['text before', 'close 1002']);
    }
  });

  it('without a mask close with 1002', async () => {
    for (const opcode of [TEXT, BINARY, PING, CLOSE])
      expect(await converse(frame(opcode, '', { mask: false }))).toEqual(['close 1002']);
  });
});

describe('fragments', () => {
  const first = frame(TEXT, 'one,', { fin: false });
  const middle = frame(0, 'two,', { fin: false });
  const last = frame(0, 'three');

  it.each<[string, Buffer[], string[]]>([
    ['are put together', [first, last], ['text one,three']],
    ['may be many', [first, middle, middle, last], ['text one,two,two,three']],
    ['may be empty', [frame(TEXT, '', { fin: false }), frame(0, '', { fin: false }), frame(0)], ['text ']],
    ['may have only a last one with something in it', [frame(TEXT, '', { fin: false }), last], ['text three']],
    ['may have a ping between them', [first, frame(PING, 'p'), last], ['pong 70', 'text one,three']],
    ['may have a pong between them', [first, frame(PONG, 'p'), last], ['text one,three']],
    ['may be binary', [frame(BINARY, 'a', { fin: false }), frame(0, 'b')], ['binary 6162']],
    [
      'may have pings between them, message after message',
      [first, frame(PING, '1'), middle, frame(PING, '2'), last, frame(BINARY, 'z'), first, frame(PING, '3'), last],
      ['pong 31', 'pong 32', 'text one,two,three', 'binary 7a', 'pong 33', 'text one,three'],
    ],
  ])('%s', async (_, frames, expected) => {
    for (const pieces of [frames, [Buffer.concat(frames)], chopped(Buffer.concat(frames))])
      expect(await converse(...pieces, bye)).toEqual([...expected, 'close 1000']);
  });

  it.each<[string, Buffer[], string[]]>([
    ['of a ping', [frame(PING, 'a', { fin: false }), frame(0, 'b')], []],
    ['of a pong', [frame(PONG, 'a', { fin: false }), frame(0, 'b')], []],
    ['of a close', [frame(CLOSE, '', { fin: false })], []],
    ['that continue nothing', [last], []],
    ['that continue nothing and go on', [middle, last], []],
    ['that continue a message that is complete', [first, last, last], ['text one,three']],
    ['with a text message between them', [first, textFrame('other')], []],
    ['with a binary message between them', [first, frame(BINARY, 'other')], []],
    ['with another beginning between them', [first, frame(TEXT, 'other', { fin: false })], []],
  ])('%s close with 1002', async (_, frames, expected) => {
    for (const pieces of [frames, [Buffer.concat(frames)], chopped(Buffer.concat(frames))])
      expect(await converse(...pieces)).toEqual([...expected, 'close 1002']);
  });
});

describe('UTF-8', () => {
  const valid = ['Hello-µ@ßöäüàá-UTF-8!!', 'κόσμε', '\u0000', '\u007f', '\u0080', '\u07ff', '\u0800', '\ud7ff', '\ue000', '\ufeff', '\ufffd', '\ufffe', '\uffff', '\u{10000}', '\u{10ffff}', '😀'.repeat(40)]; // prettier-ignore

  it.each(valid)('that is right comes back, however it is cut: %j', async (text) => {
    const bytes = Buffer.from(text);
    const expected = [`text ${text}`, 'close 1000'];
    expect(await converse(frame(TEXT, bytes), bye)).toEqual(expected);
    expect(await converse(...fragments(TEXT, bytes, 1), bye)).toEqual(expected);
    expect(await converse(...chopped(Buffer.concat(fragments(TEXT, bytes, 1))), bye)).toEqual(expected);
  });

  it.each([
    'cebae1bdb9cf83cebcceb5eda080656469746564', // a surrogate inside
    'cebae1bdb9cf83cebcceb5f4908080656469746564', // above U+10FFFF
    'eda080',
    'edbfbf',
    'edadbfedb080',
    'f8888080 80',
    'fc8480808080',
    'fe',
    'ff',
    '80',
    'bf',
    'c0af',
    'c1bf',
    'e08080',
    'e09fbf',
    'f0808080',
    'f08fbfbf',
    'f7bfbfbf',
    'c3',
    'e282',
    'f09f98',
    'ceba e1',
    'c328',
    'e228a1',
    'e28228',
    'f0288cbc',
    'f09028bc',
  ])('that is wrong closes with 1007, however it is cut: %s', async (hex) => {
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
    expect(await converse(frame(TEXT, bytes))).toEqual(['close 1007']);
    expect(await converse(...fragments(TEXT, bytes, 1))).toEqual(['close 1007']);
    expect(await converse(...chopped(frame(TEXT, Buffer.concat([Buffer.from('fine: '), bytes]))))).toEqual(['close 1007']); // prettier-ignore
    expect(await converse(frame(BINARY, bytes), bye)).toEqual([`binary ${bytes.toString('hex')}`, 'close 1000']);
  });
});

describe('a close', () => {
  it.each([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])(
    'with %i is answered with it',
    async (code) => {
      expect(await converse(closeFrame(code))).toEqual([`close ${code}`]);
      expect(await converse(closeFrame(code, 'why'))).toEqual([`close ${code}`]);
    },
  );

  it.each([0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])(
    'with %i closes with 1002',
    async (code) => {
      expect(await converse(closeFrame(code))).toEqual(['close 1002']);
      expect(await converse(closeFrame(code, 'why'))).toEqual(['close 1002']);
    },
  );

  it('without a code is answered without one', async () => {
    expect(await converse(closeFrame())).toEqual(['close 1005']);
  });

  it('of one byte, or with a reason that is too long, closes with 1002', async () => {
    expect(await converse(frame(CLOSE, 'x'))).toEqual(['close 1002']);
    expect(await converse(closeFrame(1000, 'x'.repeat(124)))).toEqual(['close 1002']);
    expect(await converse(closeFrame(1000, 'x'.repeat(123)))).toEqual(['close 1000']);
  });

  it('with a reason that is not UTF-8 closes with 1007', async () => {
    expect(await converse(closeFrame(1000, Buffer.from('cebae1bdb9cf83cebcceb5eda080', 'hex')))).toEqual([
      'close 1007',
    ]);
  });

  it.each<[string, Buffer]>([
    ['a text', textFrame('late')],
    ['a ping', frame(PING, 'late')],
    ['a second close', closeFrame(1001)],
    ['a violation', frame(3)],
    ['256 KiB', frame(BINARY, Buffer.alloc(262_144))],
  ])('is the end: %s behind it gets no answer', async (_, late) => {
    expect(await converse(textFrame('before'), closeFrame(1000), late)).toEqual(['text before', 'close 1000']);
    expect(await converse(Buffer.concat([textFrame('before'), closeFrame(1000), late]))).toEqual(['text before', 'close 1000']); // prettier-ignore
  });

  it('between two fragments ends the message, too', async () => {
    expect(await converse(frame(TEXT, 'begun', { fin: false }), bye, frame(0, 'late'))).toEqual(['close 1000']);
  });
});

const python = '/usr/bin/python3'; // Debian's, which has the package; another one on PATH may not

describe.runIf(hasProgram('python3-websockets', python, ['-c', 'import websockets']))('a Python client', () => {
  it('has everything echoed: texts, bytes, fragments, pings and 16 MiB', async () => {
    const script = new URL('../apps/clients/echo.py', import.meta.url).pathname;
    const { stdout } = await promisify(execFile)(python, [script, `ws://127.0.0.1:${port}/`]);
    expect(stdout).toBe('echoed\n');
  });
});
