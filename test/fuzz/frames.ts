import { deflateRawSync } from 'node:zlib';
import { encodeFrame, textFrame } from '../support/frames.js';
import type { FrameSpec } from '../support/frames.js';
import { authentication, envelope } from './envelopes.js';
import { MARKER, MAX_FRAGMENTS, MAX_MESSAGE_BYTES } from './input.js';
import type { Speaker } from './input.js';
import { damaged } from './random.js';
import type { Random } from './random.js';

/** Text messages of one input, one frame each, or in pieces. */
export function envelopes(random: Random, index: number, speaker: Speaker): Buffer {
  const count = random.chance(0.7) ? 1 : random.between(2, 6);
  const frames = Array.from({ length: count }, () => {
    const isAuth = random.chance(speaker === 'anonymous' ? 0.1 : 0.03);
    const text = Buffer.from(isAuth ? authentication(random, index) : envelope(random, index));
    const bytes = random.chance(0.12) ? damaged(random, text) : text;
    if (speaker === 'deflate' && random.chance(0.5)) return compressed(random, bytes);
    if (random.chance(0.1)) return fragmented(random, bytes);
    return textFrame(bytes);
  });
  return Buffer.concat(frames);
}

/** Frames that arrive one by one while long messages before them are still being unpacked. */
export function behindCompressed(random: Random, index: number): { bytes: Buffer; cuts: number[] } {
  const long = Buffer.from(`{"event":"echo","data":"${'x'.repeat(60_000)}"}`);
  const frames = Array.from({ length: random.between(1, 4) }, () => compressed(random, long));
  for (let left = random.between(2, 5); left > 0; left--) frames.push(encodeFrame(frameSpec(random, index, 'deflate')));
  let end = 0;
  return { bytes: Buffer.concat(frames), cuts: frames.slice(0, -1).map((frame) => (end += frame.length)) };
}

function compressed(random: Random, bytes: Buffer): Buffer {
  const packed = deflateRawSync(bytes, { finishFlush: 2 /* Z_SYNC_FLUSH */ }).subarray(0, -4); // RFC 7692 §7.2.1
  const payload = random.chance(0.1) ? damaged(random, packed) : packed;
  return encodeFrame({ opcode: 1, reserved: 4, payload });
}

/** A message in pieces, with control frames between them (RFC 6455 §5.4). */
function fragmented(random: Random, bytes: Buffer): Buffer {
  const frames: Buffer[] = [];
  const count = random.chance(0.02) ? random.between(MAX_FRAGMENTS - 1, MAX_FRAGMENTS + 2) : random.between(2, 8);
  const cuts = Array.from({ length: count - 1 }, () => random.below(bytes.length + 1)).toSorted((a, b) => a - b);
  for (const [i, end] of [...cuts, bytes.length].entries()) {
    const payload = bytes.subarray(i === 0 ? 0 : cuts[i - 1], end);
    frames.push(encodeFrame({ opcode: i === 0 ? 1 : 0, fin: i === count - 1, payload }));
    if (count < 9 && random.chance(0.2)) frames.push(encodeFrame({ opcode: random.pick([9, 10]), payload: MARKER }));
  }
  return Buffer.concat(frames);
}

const LENGTHS = [0, 1, 2, 124, 125, 126, 127, 128, 1_000, MAX_MESSAGE_BYTES - 1, MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1]; // prettier-ignore
const DECLARED = [0n, 1n, 125n, 126n, 127n, 65_535n, 65_536n, 65_537n, 1n << 20n, (1n << 31n) - 1n, 1n << 31n, 1n << 32n, (1n << 53n) - 1n, 1n << 53n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n]; // prettier-ignore
const CLOSE_CODES = [0, 1, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015, 1016, 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65_535]; // prettier-ignore
const NOT_UTF8 = ['ff', 'c0af', 'c3', 'eda080', 'f4908080', 'f8', 'e28228', 'f09f98', 'ceb1ff', 'fe', '80'];

/** A few frames, most of them right by themselves, in an order that may not be. */
export function frameSequence(random: Random, index: number, speaker: Speaker): Buffer {
  const frames = Array.from({ length: random.between(1, 6) }, () => encodeFrame(frameSpec(random, index, speaker)));
  const bytes = Buffer.concat(frames);
  if (random.chance(0.05)) return random.bytes(random.between(1, 64));
  return random.chance(0.25) ? damaged(random, bytes) : bytes;
}

function frameSpec(random: Random, index: number, speaker: Speaker): FrameSpec {
  const usual = frameOf(random, index);
  return {
    ...usual,
    ...(random.chance(0.06) && { reserved: random.between(1, 7) }),
    ...(speaker === 'deflate' && usual.opcode === 1 && random.chance(0.3) && { reserved: 4 }),
    ...(random.chance(0.04) && { mask: false as const }),
    ...(random.chance(0.2) && { mask: random.chance(0.3) ? Buffer.alloc(4) : random.bytes(4) }),
    ...(random.chance(0.05) && { declared: random.pick(DECLARED), lengthBits: 64 as const }),
    ...(random.chance(0.05) && { declared: BigInt(random.below(70_000)), lengthBits: random.pick([7, 16, 64] as const) }), // prettier-ignore
    ...(random.chance(0.05) && { lengthBits: random.pick([16, 64] as const) }),
  };
}

function frameOf(random: Random, index: number): FrameSpec {
  const roll = random.below(100);
  const fin = random.chance(0.7);
  if (roll < 30) return { opcode: 1, fin, payload: textPayload(random, index) };
  if (roll < 50) return { opcode: 0, fin, payload: textPayload(random, index) };
  if (roll < 54) return { opcode: 2, fin, payload: random.bytes(random.pick([0, 1, 130])) };
  if (roll < 76) return { opcode: random.pick([9, 10]), payload: controlPayload(random), fin: !random.chance(0.05) };
  if (roll < 90) return { opcode: 8, payload: closePayload(random), fin: !random.chance(0.05) };
  return { opcode: random.below(16), fin, payload: controlPayload(random) };
}

function textPayload(random: Random, index: number): Buffer {
  const roll = random.below(100);
  if (roll < 55) return Buffer.from(envelope(random, index));
  if (roll < 65) return Buffer.from('κόσμε 😀').subarray(random.below(8), random.between(8, 16));
  if (roll < 75) return Buffer.from(random.pick(NOT_UTF8), 'hex');
  if (roll < 90) return Buffer.from(MARKER);
  return Buffer.alloc(random.pick(LENGTHS), 'x');
}

function controlPayload(random: Random): Buffer {
  return random.chance(0.5) ? Buffer.from(MARKER) : random.bytes(random.pick([0, 1, 2, 124, 125, 126, 200]));
}

function closePayload(random: Random): Buffer {
  const roll = random.below(100);
  if (roll < 10) return Buffer.alloc(0);
  if (roll < 15) return Buffer.from([3]);
  const code = Buffer.alloc(2);
  code.writeUInt16BE(random.chance(0.9) ? random.pick(CLOSE_CODES) : random.below(65_536));
  const reason = random.pick([
    Buffer.alloc(0),
    Buffer.from(MARKER),
    Buffer.alloc(123, 'r'),
    Buffer.alloc(124, 'r'),
    Buffer.from(random.pick(NOT_UTF8), 'hex'),
  ]);
  return Buffer.concat([code, reason]);
}
