/** First byte of an unfragmented frame (RFC 6455 §5.2). */
const FIN_TEXT = 0x81;
const FIN_BINARY = 0x82;

/** A socket that has text to write at the end of this tick. */
interface Flushable {
  flush(): void;
}

// One callback at the end of the tick for all sockets: each writes once for all that it sends in the tick.
let waiting: Flushable[] = [];

export function flushSoon(socket: Flushable): void {
  if (waiting.push(socket) === 1) process.nextTick(flushAll);
}

function flushAll(): void {
  if (waitingFanOuts > 0) flushFanOuts();
  const sockets = waiting;
  waiting = [];
  for (const socket of sockets) socket.flush();
}

let fanOuts: Flushable[] = [];

/** How many rooms have a message that no socket has yet: what is sent to one socket alone goes behind it. */
export let waitingFanOuts = 0;

/** A room has a message: it leaves at the end of the tick, and before the next text that one socket is sent. */
export function fanOutSoon(room: Flushable): void {
  waitingFanOuts = fanOuts.push(room);
  if (waitingFanOuts === 1 && waiting.length === 0) process.nextTick(flushAll);
}

export function flushFanOuts(): void {
  const rooms = fanOuts;
  fanOuts = [];
  waitingFanOuts = 0;
  for (const room of rooms) room.flush();
}

/** One text frame as a server sends it, whole and unmasked: header and payload are written once, into one buffer. */
export function frame(text: string, isKept: boolean): Buffer {
  const length = Buffer.byteLength(text);
  const buffer = take(headerSize(length) + length, isKept);
  buffer.write(text, writeHeader(buffer, 0, length));
  return buffer;
}

/** A frame of that kind of bytes, which are UTF-8 unless it is binary: its payload is a copy, so what was sent may change. */
export function bytesFrame(bytes: Uint8Array, isKept: boolean, isBinary = true): Buffer {
  const buffer = take(headerSize(bytes.length) + bytes.length, isKept);
  buffer.set(bytes, writeHeader(buffer, 0, bytes.length, isBinary ? FIN_BINARY : FIN_TEXT));
  return buffer;
}

/** Several text frames, one after the other. */
export function frames(texts: readonly string[], isKept: boolean): Buffer {
  let size = 0;
  for (const text of texts) {
    const length = Buffer.byteLength(text);
    size += headerSize(length) + length;
  }
  const buffer = take(size, isKept);
  let at = 0;
  for (const text of texts) {
    at = writeHeader(buffer, at, Buffer.byteLength(text));
    at += buffer.write(text, at);
  }
  return buffer;
}

/** Longest payload that is copied next to its header; a longer one is cheaper to write as it is. */
export const MAX_COPIED_BYTES = 8_192;

/** A slab that frames are cut from one after the other: one allocation outside the heap for many frames. */
const SLAB_BYTES = 65_536;
let slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
let used = 0;

/**
 * @param isKept true when the buffer is likely to wait for a peer that does not read: then it gets memory of its own, since a
 * few queued bytes would keep a whole slab
 */
function take(size: number, isKept: boolean): Buffer {
  if (isKept || size > SLAB_BYTES / 4) return Buffer.allocUnsafeSlow(size);
  if (used + size > SLAB_BYTES) {
    slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    used = 0;
  }
  const buffer = slab.subarray(used, used + size);
  used += size;
  return buffer;
}

function headerSize(length: number): number {
  if (length < 126) return 2;
  return length < 65_536 ? 4 : 10;
}

function writeHeader(buffer: Buffer, at: number, length: number, first = FIN_TEXT): number {
  buffer[at] = first;
  if (length < 126) {
    buffer[at + 1] = length;
    return at + 2;
  }
  if (length < 65_536) {
    buffer[at + 1] = 126;
    return buffer.writeUInt16BE(length, at + 2);
  }
  buffer[at + 1] = 127;
  return buffer.writeBigUInt64BE(BigInt(length), at + 2);
}
