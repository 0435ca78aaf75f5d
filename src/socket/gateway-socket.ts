import type { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import { contain, containResult, Faults } from '../base/contain.js';
import type { WsClock } from '../base/clock.js';
import { Backlog } from './backlog.js';
import { Pongs } from './pongs.js';
import type { SharedFrame } from './shared-frame.js';
import { bytesFrame, flushFanOuts, flushSoon, frame, frames, MAX_COPIED_BYTES, waitingFanOuts } from './text-frames.js';
import { corkSoon, onceDrained } from './corks.js';
import { BINARY_TYPES, inType } from './binary-types.js';
import type { BinaryType } from './binary-types.js';
import { fencedOf } from './fenced-handlers.js';
import type { Handler } from './fenced-handlers.js';
import { internalsOf, receivingOf } from './ws-internals.js';

// By symbol, not instanceof: an application may have a second copy of `ws`.
export const SESSION = Symbol.for('nestjs-ws-gateway.session');

/** The session that a socket belongs to: the socket calls it for what it receives and sends, and reads its bounds. */
export interface SocketOwner {
  /** True until a close has begun. */
  readonly isLive: boolean;
  /** Bytes that may be queued for the peer. */
  readonly maxOutboundBytes: number;
  readonly clock: Pick<WsClock, 'monotonic'>;
  onMessage(data: Buffer, isBinary: boolean): void;
  /** A ping or a pong has come. */
  onControl(data: Buffer): void;
  onPong(): void;
  /** `ws` has found that the peer breaks RFC 6455, and closes with this code. */
  onViolation(closeCode: number): void;
  onApplicationClose(closeCode: number, reason: string): void;
  /** The TCP connection has closed. @param closeCode as RFC 6455 §7.1.5 has it */
  onClosed(closeCode: number, reason: string): void;
  /** A listener, or a callback, of the application threw. @param at names it, as the log does */
  onFault(error: unknown, at: string): void;
  /** The peer is over its bound by one message of so many bytes, and is not to be read before {@link onDrained}. */
  onBehind(bytes: number): void;
  /** The peer has read what was queued for it. */
  onDrained(): void;
  /** The peer is over its bound by more than that one message. */
  onTooFarBehind(): void;
  sent(messages: number, bytes: number): void;
}

/** UTF-16 units queued within one tick before they are written all the same. */
const MAX_QUEUED_LENGTH = 65_536;

/** What `ws` itself emits on the socket of a server. */
const NATIVE: ReadonlySet<string> = new Set(['message', 'ping', 'pong', 'close', 'error']);

const BINARY = { binary: true } as const;
const TEXT = { binary: false } as const;

/** For a socket that never became a session: its upgrade was refused. */
const FAULTS = new Faults('A listener of a WebSocket threw');

/** Longest reason of a close, in bytes (RFC 6455 §5.5). */
const MAX_REASON_BYTES = 123;

/**
 * The socket that handlers receive: that of `ws`, which sends the peer a reason before it closes, and calls the session itself:
 * listeners would cost memory in every idle session, and an application could remove them.
 */
export class GatewaySocket extends WebSocket {
  [SESSION]: SocketOwner | undefined = undefined;
  #stream: Duplex | undefined = undefined;
  #queued: string | string[] | undefined = undefined;
  #queuedLength = 0;
  #pongs: Pongs | undefined = undefined;
  #backlog: Backlog | undefined = undefined;
  #isPausedByApplication = false;
  #isStopped = false;
  #binaryType: BinaryType = 'nodebuffer';
  /** Fragments of the unfinished message that have memory of their own. */
  #ownFragments = 0;

  // `ws` is left at Buffers, whose size is charged; the application's listeners get what it has asked for. No accessor of the
  // class, since @types/ws declares a property.
  static {
    Object.defineProperty(this.prototype, 'binaryType', {
      get(this: GatewaySocket): BinaryType {
        return this.#binaryType;
      },
      set(this: GatewaySocket, type: BinaryType) {
        if (BINARY_TYPES.has(type)) this.#binaryType = type; // as with ws, any other changes nothing
      },
    });
  }

  /** Writes text frames itself from now on, unless `ws` has to compress them. */
  writeTo(stream: Duplex): void {
    if (this.extensions === '') this.#stream = stream;
  }

  /**
   * Bytes behind a message that is being decompressed reach the receiver of `ws` (8.23.0) also after it has found a violation; it then
   * reads a mask that it has released, which ends the process. From now on the receiver gets no more bytes.
   */
  stopAtViolation(): void {
    if (this.extensions === '') return; // bytes wait only for decompression
    const { _receiver: receiver } = internalsOf(this);
    if (receiver === undefined) return;
    const write = receiver._write.bind(receiver);
    receiver._write = (chunk, encoding, done) => (receiver.errored ? done() : write(chunk, encoding, done));
  }

  /**
   * A fragment is a view of the chunk that it was read in. Control frames cost the peer nothing and fill chunks, so that a
   * message of 1,024 bytes could hold 64 MiB: where they come between fragments, those get memory of their own.
   */
  #releaseChunks(): void {
    const fragments = internalsOf(this)._receiver?._fragments;
    if (fragments === undefined) return;
    for (let i = this.#ownFragments; i < fragments.length; i++) {
      const fragment = fragments[i] as Buffer; // because i stays below the length
      const own = Buffer.allocUnsafeSlow(fragment.length);
      own.set(fragment);
      fragments[i] = own;
    }
    this.#ownFragments = fragments.length;
  }

  /** Bytes received of an unfinished message or frame, at least 1; 0 between two messages. */
  get receiving(): number {
    return receivingOf(this);
  }

  /** Sets the limits of messages from now on. `ws` reads them once for a connection, so this writes them where it keeps them. */
  limitTo({ maxMessageBytes, maxFragments }: { maxMessageBytes: number; maxFragments: number }): void {
    const { _receiver: receiver, _extensions: extensions } = internalsOf(this);
    if (receiver) {
      receiver._maxPayload = maxMessageBytes;
      receiver._maxFragments = maxFragments;
    }
    const deflate = extensions?.['permessage-deflate'];
    if (deflate !== undefined) deflate._maxPayload = maxMessageBytes;
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const session = this[SESSION];
    if (event === 'message') {
      this.#ownFragments = 0; // the message is complete
      session?.onMessage(args[0] as Buffer, args[1] as boolean);
      return true; // the application's listeners hear it from deliver()
    } else if (event === 'pong') {
      this.#releaseChunks();
      session?.onPong();
      session?.onControl(args[0] as Buffer);
    } else if (event === 'ping') {
      this.#releaseChunks();
      session?.onControl(args[0] as Buffer);
      (this.#pongs ??= new Pongs(this)).answer(args[0] as Buffer);
    } else if (event === 'close') {
      this.#forgetBacklog();
      session?.onClosed(args[0] as number, String(args[1] ?? ''));
    }
    // An error without a listener ends the process. The close that follows reports it.
    if (event === 'error' && this.listenerCount('error') === 0) return true;
    // An application expects that its own events throw where it emits them.
    return typeof event === 'string' && NATIVE.has(event) ? this.#tell(event, args) : super.emit(event, ...args);
  }

  /** True where the application has a listener of its own for messages. */
  get isListenedTo(): boolean {
    return this.listenerCount('message') > 0;
  }

  /**
   * Calls the application's own listeners for a message. The session does so when the message has its turn and the peer may be
   * heard: a listener for messages stands behind authentication, budgets and the end of the session.
   */
  deliver(bytes: Buffer, isBinary: boolean): void {
    this.#tell('message', [isBinary ? inType(bytes, this.#binaryType) : bytes, isBinary]);
  }

  /** Calls the application's listeners, each in a fence: `ws` emits from where a throw, or a rejection, ends the process. */
  #tell(event: string, args: unknown[]): boolean {
    if (this.listenerCount(event) === 0) return false;
    for (const listener of this.rawListeners(event)) {
      // Not contain(): messages come here too, and this makes no closure for each.
      let result: unknown;
      try {
        result = Reflect.apply(listener, this, args);
      } catch (error) {
        this.#failed(event, error);
      }
      if (typeof result === 'object') containResult(result, (error) => this.#failed(event, error));
    }
    return true;
  }

  #failed(event: string, error: unknown): void {
    const session = this[SESSION];
    if (session === undefined) FAULTS.tell(error, ` at "${event}"`);
    else session.onFault(error, `socket.${event}`);
  }

  /** `ws` wraps these listeners and drops what they return, so an async one would reject unhandled. */
  override addEventListener(type: string, handler: Handler, ...rest: unknown[]): void {
    // because the overloads of addEventListener() differ in the type of the event only, which is passed on untouched
    (super.addEventListener as (...args: unknown[]) => void)(type, fencedOf(handler), ...rest);
  }

  override removeEventListener(type: string, handler: Handler): void {
    (super.removeEventListener as (...args: unknown[]) => void)(type, fencedOf(handler)); // because of the same overloads
  }

  /** @internal What a listener of addEventListener() has returned. */
  returned(event: string, result: unknown): void {
    containResult(result, (error) => this.#failed(event, error));
  }

  override ping(...args: unknown[]): void {
    (super.ping as (...args: unknown[]) => void)(...this.#fenced('ping', args)); // because data and mask are passed on untouched
  }

  override pong(...args: unknown[]): void {
    (super.pong as (...args: unknown[]) => void)(...this.#fenced('pong', args)); // because data and mask are passed on untouched
  }

  /** Fences the application's callback, where there is one: the stream calls it from where a throw ends the process. */
  #fenced(method: string, args: unknown[]): unknown[] {
    if (args.length === 0) return args;
    return args.map((arg) => {
      if (typeof arg !== 'function') return arg;
      return (...results: unknown[]) =>
        contain(
          () => Reflect.apply(arg, this, results),
          (error) => this.#failed(method, error),
        );
    });
  }

  /** The application pauses for itself, see {@link stopReading}: neither of the two resumes for the other. */
  override pause(): void {
    this.#isPausedByApplication = true;
    super.pause();
  }

  override resume(): void {
    this.#isPausedByApplication = false;
    if (!this.#isStopped) super.resume();
  }

  /** The session does not read the peer until {@link readOn}. */
  stopReading(): void {
    this.#isStopped = true;
    super.pause();
  }

  readOn(): void {
    this.#isStopped = false;
    if (!this.#isPausedByApplication) super.resume();
  }

  /** True between {@link stopReading} and {@link readOn}. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** The session has ended: the peer's close frame has to be read, whatever has paused the socket. */
  readToEnd(): void {
    this.#isPausedByApplication = false;
    if (this.isPaused) this.readOn();
  }

  /** Both `ws` and the application close here. `ws` does so before it emits `error` for a violation of RFC 6455. */
  override close(code?: number, reason?: string | Buffer): void {
    if (waitingFanOuts > 0) flushFanOuts();
    this.flush();
    const session = this[SESSION];
    const { _closeFrameReceived, _receiver } = internalsOf(this);
    if (!session?.isLive || _closeFrameReceived) super.close(code, reason);
    else if (_receiver?.errored) session.onViolation(code ?? 1002);
    else if (isClose(code, reason)) session.onApplicationClose(code ?? 1000, reason?.toString() ?? '');
    else super.close(code, reason); // throws for an invalid code or reason
  }

  override send(data: Parameters<WebSocket['send']>[0], ...rest: unknown[]): void {
    if (waitingFanOuts > 0) flushFanOuts();
    if (typeof data === 'string' && rest.length === 0 && this.#stream !== undefined && this.readyState === this.OPEN) {
      return this.#queue(data);
    }
    if (rest.length === 0 && data instanceof Uint8Array && data.length <= MAX_COPIED_BYTES) {
      if (this.#stream !== undefined && this.readyState === this.OPEN) return this.#sendBytes(data, this.#stream);
    }
    this.flush(); // what was sent first goes first
    this[SESSION]?.sent(1, sizeOf(data));
    const before = this.bufferedAmount;
    // because the overloads of send() take (cb) or (options, cb), and both are passed on untouched
    (super.send as (data: unknown, ...rest: unknown[]) => void)(data, ...this.#fenced('send', rest));
    this.#checkOutbound(before, this.bufferedAmount - before);
  }

  /** In one write: `ws` makes two, of header and payload. */
  #sendBytes(data: Uint8Array, stream: Duplex): void {
    this.flush(); // what was sent first goes first
    if (stream.writable) this.#write(stream, bytesFrame(data, stream.writableLength > 0), 1);
  }

  /**
   * Sends a message that another socket has received, as it came: what is relayed within one tick leaves in one write. Call
   * {@link flush} for what is to leave at once.
   */
  relay(data: Buffer, isBinary: boolean): void {
    const stream = this.#stream;
    if (stream === undefined || data.length > MAX_COPIED_BYTES || this.readyState !== this.OPEN) {
      return this.send(data, isBinary ? BINARY : TEXT);
    }
    this.flush(); // what was sent first goes first
    if (!stream.writable) return;
    corkSoon(stream);
    this.#write(stream, bytesFrame(data, stream.writableLength > MAX_QUEUED_LENGTH, isBinary), 1);
  }

  /** Calls back once when the peer has read all that is queued for it, or soon where that is little: look at `bufferedAmount` then. */
  onceDrained(callback: () => void): void {
    onceDrained(internalsOf(this)._socket, callback);
  }

  /** Text is written at the end of the tick, together with all else that is sent in it. */
  #queue(text: string): void {
    this.#queuedLength += text.length;
    if (this.#queued === undefined) {
      this.#queued = text;
      flushSoon(this);
    } else if (typeof this.#queued === 'string') this.#queued = [this.#queued, text];
    else this.#queued.push(text);
    if (this.#queuedLength > MAX_QUEUED_LENGTH) this.flush();
  }

  /** Sends text frames that are encoded already and shared with other sockets. */
  sendFrame(shared: SharedFrame): void {
    const { bytes, texts } = shared;
    const stream = this.#stream;
    if (stream === undefined || this.readyState !== this.OPEN) {
      for (const text of texts) this.send(text);
      return;
    }
    this.flush(); // what was sent first goes first
    if (!stream.writable) return;
    this.#write(stream, bytes, texts.length);
    const waiting = stream.writableLength;
    if (waiting > 0) (this.#backlog ??= new Backlog(waiting)).holdShared(shared);
  }

  flush(): void {
    const queued = this.#queued;
    if (queued === undefined) return;
    this.#queued = undefined;
    this.#queuedLength = 0;
    // ws or the peer has ended the stream: a write would be an error.
    const stream = this.#stream;
    if (!stream?.writable) return;
    const isKept = stream.writableLength > 0;
    if (typeof queued === 'string') this.#write(stream, frame(queued, isKept), 1);
    else this.#write(stream, frames(queued, isKept), queued.length);
  }

  #write(stream: Duplex, bytes: Buffer, messages: number): void {
    const before = stream.writableLength;
    stream.write(bytes);
    this[SESSION]?.sent(messages, bytes.length);
    if (this.#backlog === undefined && stream.writableLength === 0) return; // all of it has left
    this.#checkOutbound(before, bytes.length);
  }

  /**
   * A peer may be over its bound by one message and has time to read it; meanwhile nothing is read from it. One more ends it.
   *
   * @param before bytes that were queued before the message
   * @param size bytes of the message
   */
  #checkOutbound(before: number, size: number): void {
    this.#backlog?.wrote(size);
    const session = this[SESSION];
    if (!session?.isLive) return;
    const { maxOutboundBytes } = session;
    const waiting = this.bufferedAmount;
    if (waiting <= maxOutboundBytes) return;
    const backlog = (this.#backlog ??= new Backlog(waiting));
    if (backlog.granted > 0 && before > maxOutboundBytes) {
      if (waiting - backlog.granted > maxOutboundBytes) session.onTooFarBehind();
      return;
    }
    backlog.grant(size, waiting, session.clock.monotonic());
    this.#stream?.once('drain', () => session.onDrained()); // a sweep would be late for a peer that reads quickly
    session.onBehind(size);
  }

  /** True while the peer is over its bound: nothing is read from it then. */
  get isBehind(): boolean {
    return this.#backlog !== undefined && this.#backlog.granted > 0 && this.bufferedAmount > this.#maxOutboundBytes;
  }

  get #maxOutboundBytes(): number {
    return this[SESSION]?.maxOutboundBytes ?? Infinity;
  }

  /** True when a message of so many bytes does not end the session. */
  hasRoomFor(size: number): boolean {
    if (!this.isBehind) return true;
    const waiting = this.bufferedAmount + this.#queuedLength + size;
    return waiting - (this.#backlog?.granted ?? 0) <= this.#maxOutboundBytes;
  }

  /** True when the peer has had its time to read and is still over its bound; the sweep asks. @param now monotonic */
  isLate(now: number): boolean {
    const backlog = this.#backlog;
    if (backlog === undefined) return false;
    const waiting = this.bufferedAmount;
    backlog.sharedOf(waiting);
    if (waiting === 0) this.#backlog = undefined;
    else if (waiting <= this.#maxOutboundBytes) backlog.withdraw();
    else return backlog.isLate(now);
    return false;
  }

  /** The process was stopped for so long: deadlines move. */
  postpone(ms: number): void {
    this.#backlog?.postpone(ms);
  }

  override terminate(): void {
    this.#forgetBacklog();
    super.terminate();
  }

  #forgetBacklog(): void {
    this.#backlog?.sharedOf(0);
    this.#backlog = undefined;
  }

  /** Bytes queued for this peer alone; none once it is cut. */
  get ownOutbound(): number {
    if (internalsOf(this)._socket?.destroyed) return 0;
    const waiting = this.bufferedAmount;
    return this.#backlog === undefined ? waiting : waiting - this.#backlog.sharedOf(waiting);
  }
}

function sizeOf(data: Parameters<WebSocket['send']>[0]): number {
  if (typeof data === 'string') return Buffer.byteLength(data);
  if (Array.isArray(data)) return data.reduce((sum, { length }) => sum + length, 0);
  return typeof data === 'object' && 'byteLength' in data ? data.byteLength : 0;
}

/** True for a close code that an endpoint may send (RFC 6455 §7.4). */
export function isClose(code = 1000, reason: string | Buffer = ''): boolean {
  if (Buffer.byteLength(reason) > MAX_REASON_BYTES) return false;
  return (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999);
}
