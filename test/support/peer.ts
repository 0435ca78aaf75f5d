import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { constants, inflateRawSync } from 'node:zlib';

/** A frame of the server's. */
export type ServerFrame =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'binary' | 'ping' | 'pong'; readonly payload: Buffer }
  | { readonly kind: 'close'; readonly code: number; readonly reason: string };

/** The server broke a rule of its own. */
export class Broken extends Error {
  override readonly name = 'Broken';
}

/** The client's end of one TCP connection: it writes what it is told to and reads strictly. */
export class Peer {
  /** What the server has sent, up to the end of the answer that upgrades. */
  head = '';
  isUpgraded = false;
  isClosed = false;
  /** Why what the server sent cannot be read. */
  broken: unknown;
  #chunks: Buffer[] = [];
  #length = 0;
  /** Bytes without which nothing can be read. */
  #needed = 0;
  #wake: (() => void) | undefined;

  private constructor(
    readonly socket: Socket,
    private readonly onFrame: (frame: ServerFrame) => void,
  ) {
    socket.setNoDelay(true);
    socket.on('error', () => undefined); // resets are part of what is tried; 'close' follows
    socket.on('data', (chunk) => this.#read(chunk));
    socket.on('close', () => {
      this.isClosed = true;
      this.#wake?.();
    });
  }

  /** @param localAddress where it connects from: Linux has all of 127.0.0.0/8 */
  static async open(port: number, onFrame: (frame: ServerFrame) => void, localAddress?: string): Promise<Peer> {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, localAddress });
    const peer = new Peer(socket, onFrame);
    await once(socket, 'connect');
    socket.on('end', () => socket.end());
    return peer;
  }

  /** Writes the bytes in as many pieces as the cuts make of them, a turn of the event loop apart. */
  async write(bytes: Buffer, cuts: readonly number[] = []): Promise<void> {
    let from = 0;
    for (const cut of [...cuts, bytes.length]) {
      if (this.isClosed || !this.socket.writable) return;
      if (cut > from) this.socket.write(bytes.subarray(from, cut));
      from = Math.max(from, cut);
      if (cuts.length > 0) await new Promise(setImmediate);
    }
  }

  /** Resolves when `isDone` says so, which is asked whenever something has come. @returns false when the time is over */
  async until(isDone: () => boolean, ms: number): Promise<boolean> {
    const deadline = Date.now() + ms;
    while (this.broken === undefined && !isDone()) {
      const left = deadline - Date.now();
      if (left <= 0) return false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    if (this.broken !== undefined) throw this.broken;
    return true;
  }

  #read(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#length < this.#needed) return;
    try {
      let rest = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
      if (!this.isUpgraded) rest = this.#readHead(rest);
      while (this.isUpgraded && rest.length >= (this.#needed = neededFor(rest))) rest = this.#readFrame(rest);
      this.#chunks = rest.length === 0 ? [] : [rest];
      this.#length = rest.length;
    } catch (error) {
      this.broken ??= error; // whoever waits is told
    }
    this.#wake?.();
  }

  #readHead(bytes: Buffer): Buffer {
    const end = bytes.indexOf('\r\n\r\n');
    this.isUpgraded = end !== -1 && bytes.subarray(0, 13).toString('latin1') === 'HTTP/1.1 101 ';
    // An answer that refuses is read as a whole, and a head that is not all there again with what follows.
    this.head = bytes.subarray(0, this.isUpgraded ? end + 4 : bytes.length).toString('latin1');
    return this.isUpgraded ? bytes.subarray(end + 4) : bytes;
  }

  #readFrame(bytes: Buffer): Buffer {
    const first = bytes[0] as number;
    if ((first & 0x80) === 0 || (first & 0x30) !== 0) throw new Broken(`a frame of the server begins with ${first}`);
    const payload = bytes.subarray(headSize(bytes), this.#needed);
    this.onFrame(frameOf(first & 0x0f, (first & 0x40) !== 0 ? inflate(payload) : payload));
    return bytes.subarray(this.#needed);
  }
}

function headSize(bytes: Buffer): number {
  const short = bytes[1] as number;
  if (short & 0x80) throw new Broken('a frame of the server is masked');
  return short === 126 ? 4 : short === 127 ? 10 : 2;
}

/** How many bytes the frame takes that these begin with, or its header, as long as that is not all there. */
function neededFor(bytes: Buffer): number {
  if (bytes.length < 2) return 2;
  const size = headSize(bytes);
  if (bytes.length < size) return size;
  if (size === 2) return 2 + (bytes[1] as number);
  const length = size === 4 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (length < (size === 4 ? 126 : 65_536)) throw new Broken('a length of the server is longer than it need be');
  return size + length;
}

function frameOf(opcode: number, payload: Buffer): ServerFrame {
  if (opcode === 1)
    return { kind: 'text', text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload) };
  if (opcode === 2) return { kind: 'binary', payload };
  if (opcode === 9) return { kind: 'ping', payload };
  if (opcode === 10) return { kind: 'pong', payload };
  if (opcode !== 8) throw new Broken(`a frame of the server has opcode ${opcode}`);
  if (payload.length === 0) return { kind: 'close', code: 1005, reason: '' };
  return { kind: 'close', code: payload.readUInt16BE(), reason: payload.subarray(2).toString() };
}

function inflate(payload: Buffer): Buffer {
  const whole = Buffer.concat([payload, Buffer.from([0, 0, 0xff, 0xff])]);
  return inflateRawSync(whole, { finishFlush: constants.Z_SYNC_FLUSH });
}
