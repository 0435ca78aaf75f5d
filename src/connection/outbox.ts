/** First byte of an unfragmented text frame (RFC 6455 §5.2). */
const FIN_TEXT = 0x81;

/** A socket that has something to say at the end of this tick. */
interface Flushable {
  flush(): void;
}

// One callback at the end of the tick for all sockets: what is sent in one tick leaves in one write for each of them.
let waiting: Flushable[] = [];

export function flushSoon(socket: Flushable): void {
  if (waiting.push(socket) === 1) process.nextTick(flushAll);
}

function flushAll(): void {
  const sockets = waiting;
  waiting = [];
  for (const socket of sockets) socket.flush();
}

/** One text frame as a server sends it, whole and unmasked: header and payload are written once, into one buffer. */
export function frame(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const buffer = Buffer.allocUnsafe(headerSize(length) + length);
  buffer.write(text, writeHeader(buffer, 0, length));
  return buffer;
}

/** Several of them, one after the other. */
export function frames(texts: readonly string[]): Buffer {
  let size = 0;
  for (const text of texts) {
    const length = Buffer.byteLength(text);
    size += headerSize(length) + length;
  }
  const buffer = Buffer.allocUnsafe(size);
  let at = 0;
  for (const text of texts) {
    at = writeHeader(buffer, at, Buffer.byteLength(text));
    at += buffer.write(text, at);
  }
  return buffer;
}

function headerSize(length: number): number {
  if (length < 126) return 2;
  return length < 65_536 ? 4 : 10;
}

function writeHeader(buffer: Buffer, at: number, length: number): number {
  buffer[at] = FIN_TEXT;
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
