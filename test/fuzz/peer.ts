import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { constants, inflateRawSync } from 'node:zlib';

/** A frame of the server's. */
export type ServerFrame =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'ping' | 'pong'; readonly payload: Buffer }
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
  #bytes: Buffer = Buffer.alloc(0);
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

  static async open(port: number, onFrame: (frame: ServerFrame) => void): Promise<Peer> {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
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
      if (cuts.length > 0) await new Promise(setImmediate); // eslint-disable-line no-await-in-loop
    }
  }

  /** Resolves when `isDone` says so, which is asked whenever something has come. @returns false when the time is over */
  async until(isDone: () => boolean, ms: number): Promise<boolean> {
    const deadline = Date.now() + ms;
    while (this.broken === undefined && !isDone()) {
      const left = deadline - Date.now();
      if (left <= 0) return false;
      // eslint-disable-next-line no-await-in-loop
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
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    try {
      if (!this.isUpgraded) this.#readHead();
      if (this.isUpgraded) while (this.#readFrame());
    } catch (error) {
      this.broken ??= error; // the input that is waiting fails with it
    }
    this.#wake?.();
  }

  #readHead(): void {
    const end = this.#bytes.indexOf('\r\n\r\n');
    this.isUpgraded = end !== -1 && this.#bytes.subarray(0, 13).toString('latin1') === 'HTTP/1.1 101 ';
    const size = this.isUpgraded ? end + 4 : this.#bytes.length;
    this.head += this.#bytes.subarray(0, size).toString('latin1');
    this.#bytes = this.#bytes.subarray(size);
  }

  #readFrame(): boolean {
    const bytes = this.#bytes;
    if (bytes.length < 2) return false;
    const [first, second] = [bytes[0] as number, bytes[1] as number];
    if (second & 0x80) throw new Broken('a frame of the server is masked');
    if ((first & 0x80) === 0 || (first & 0x30) !== 0) throw new Broken(`a frame of the server begins with ${first}`);
    const extra = (second & 0x7f) === 126 ? 2 : (second & 0x7f) === 127 ? 8 : 0;
    if (bytes.length < 2 + extra) return false;
    const length = extra === 0 ? second : extra === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    const end = 2 + extra + length;
    if (bytes.length < end) return false;
    const payload = bytes.subarray(2 + extra, end);
    this.#bytes = bytes.subarray(end);
    this.onFrame(frameOf(first & 0x0f, (first & 0x40) !== 0 ? inflate(payload) : payload));
    return true;
  }
}

function frameOf(opcode: number, payload: Buffer): ServerFrame {
  if (opcode === 1) return { kind: 'text', text: new TextDecoder('utf-8', { fatal: true }).decode(payload) };
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
