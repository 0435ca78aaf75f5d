import type { Duplex, Writable } from 'node:stream';
import { WebSocket } from 'ws';
import { contain, containResult, Faults } from '../base/contain.js';
import type { WsClock } from '../base/clock.js';
import { Backlog } from './backlog.js';
import { Pongs } from './pongs.js';
import type { SharedFrame } from './shared-frame.js';
import { flushFanOuts, flushSoon, frame, frames, waitingFanOuts } from './text-frames.js';

// By symbol, not instanceof: an application may have a second copy of `ws`.
export const SESSION = Symbol.for('nestjs-ws-gateway.session');

/** The session that a socket belongs to: the socket tells it what has come and what has gone, and asks for its bounds. */
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
  onClosed(closeCode: number): void;
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

/**
 * What is read of `ws`'s own state, since nothing public says it: its receiver has given the peer up, the peer's close frame
 * has come, or fragments wait for more. Were these gone, a violation would be called a close by the application, a close
 * answered twice, fragments would hold more memory than they are long, and nobody would be STALLED.
 */
interface Internals {
  readonly _socket?: Duplex;
  readonly _closeFrameReceived?: boolean;
  readonly _receiver?: Writable & {
    readonly _fragments?: Buffer[];
    readonly _bufferedBytes?: number;
    readonly _totalPayloadLength?: number;
    readonly _fragmented?: number;
    readonly _state?: number;
    _maxPayload: number;
    _maxFragments: number;
  };
  readonly _extensions?: { readonly 'permessage-deflate'?: { _maxPayload: number } };
}

/** The state of `ws`'s receiver between two frames. */
const BETWEEN_FRAMES = 0;

/** UTF-16 units queued within one tick before they are written all the same. */
const MAX_QUEUED_LENGTH = 65_536;

/** What `ws` itself emits on the socket of a server. */
const NATIVE: ReadonlySet<string> = new Set(['message', 'ping', 'pong', 'close', 'error']);

/** For a socket that is no session: it was turned away. */
const FAULTS = new Faults('A listener of a WebSocket threw');

/** A listener as browsers have it. */
type Handler = ((event: unknown) => unknown) | { handleEvent(event: unknown): unknown };

/** The same for the same handler: it is what removeEventListener() looks for. */
const fencedHandlers = new WeakMap<object, (this: GatewaySocket, event: { readonly type: string }) => void>();

function fencedOf(handler: Handler): unknown {
  if ((typeof handler !== 'function' && typeof handler !== 'object') || handler === null) return handler;
  let fenced = fencedHandlers.get(handler);
  if (fenced === undefined) {
    fenced = function (event) {
      const result = typeof handler === 'function' ? handler.call(this, event) : handler.handleEvent(event);
      if (typeof result === 'object') this.returned(event.type, result);
    };
    fencedHandlers.set(handler, fenced);
  }
  return fenced;
}

/** Longest reason of a close, in bytes (RFC 6455 §5.5). */
const MAX_REASON_BYTES = 123;

/**
 * The socket that handlers receive: `ws`'s own, which tells the peer why before it closes, and which hands its events to
 * the session by itself: listeners would cost every idle session its memory, and an application could remove them.
 */
export class GatewaySocket extends WebSocket {
  [SESSION]: SocketOwner | undefined = undefined;
  #stream: Duplex | undefined = undefined;
  #queued: string | string[] | undefined = undefined;
  #queuedLength = 0;
  #pongs: Pongs | undefined = undefined;
  #backlog: Backlog | undefined = undefined;
  /** Fragments of the message that has begun which have memory of their own. */
  #ownFragments = 0;

  /** Writes text frames itself from now on, unless `ws` has to compress them. */
  writeTo(stream: Duplex): void {
    if (this.extensions === '') this.#stream = stream;
  }

  /**
   * What waits behind a message that is being unpacked is handed to `ws`'s receiver also after it has found a violation;
   * it then reads a mask that it has let go of (8.23.0), which ends the process. From now on it gets nothing more.
   */
  stopAtViolation(): void {
    if (this.extensions === '') return; // only what is unpacked lets anything wait
    const { _receiver: receiver } = this as unknown as Internals;
    if (receiver === undefined) return;
    const write = receiver._write.bind(receiver);
    receiver._write = (chunk, encoding, done) => (receiver.errored ? done() : write(chunk, encoding, done));
  }

  /**
   * A fragment is a view of the chunk that it was read in. Control frames cost the peer nothing and fill chunks, so that a
   * message of 1,024 bytes could hold 64 MiB: where they come between fragments, those get memory of their own.
   */
  #releaseChunks(): void {
    const fragments = (this as unknown as Internals)._receiver?._fragments;
    if (fragments === undefined) return;
    for (let i = this.#ownFragments; i < fragments.length; i++) {
      const fragment = fragments[i] as Buffer; // because i stays below the length
      const own = Buffer.allocUnsafeSlow(fragment.length);
      own.set(fragment);
      fragments[i] = own;
    }
    this.#ownFragments = fragments.length;
  }

  /** Bytes of a message, or a frame, that has begun and is not complete, at least 1 then; 0 between two messages. */
  get receiving(): number {
    const receiver = (this as unknown as Internals)._receiver;
    if (receiver === undefined) return 0;
    const { _bufferedBytes: buffered = 0, _totalPayloadLength: kept = 0, _fragmented = 0, _state } = receiver;
    if (buffered + _fragmented === 0 && (_state === undefined || _state === BETWEEN_FRAMES)) return 0;
    return Math.max(1, buffered + kept);
  }

  /** Limits for what comes from now on. `ws` reads those of a connection once, so they are written where it keeps them. */
  limitTo({ maxMessageBytes, maxFragments }: { maxMessageBytes: number; maxFragments: number }): void {
    const { _receiver: receiver, _extensions: extensions } = this as unknown as Internals;
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
      this.#ownFragments = 0; // they are no more
      session?.onMessage(args[0] as Buffer, args[1] as boolean);
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
      session?.onClosed(args[0] as number);
    }
    // An error without a listener ends the process. What it says comes again as the close.
    if (event === 'error' && this.listenerCount('error') === 0) return true;
    // Of its own events the application expects that they throw where it emits them.
    return typeof event === 'string' && NATIVE.has(event) ? this.#tell(event, args) : super.emit(event, ...args);
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

  /** `ws` wraps these, and lets go of what they return: of an async one, what it rejects with. */
  override addEventListener(type: string, handler: Handler, ...rest: unknown[]): void {
    // because the overloads of addEventListener() differ in the type of the event only, which is passed on untouched
    (super.addEventListener as (...args: unknown[]) => void)(type, fencedOf(handler), ...rest);
  }

  override removeEventListener(type: string, handler: Handler): void {
    (super.removeEventListener as (...args: unknown[]) => void)(type, fencedOf(handler)); // because of the same overloads
  }

  /** @internal What a listener of the style of browsers has returned. */
  returned(event: string, result: unknown): void {
    containResult(result, (error) => this.#failed(event, error));
  }

  override ping(...args: unknown[]): void {
    (super.ping as (...args: unknown[]) => void)(...this.#fenced('ping', args)); // because data and mask are passed on untouched
  }

  override pong(...args: unknown[]): void {
    (super.pong as (...args: unknown[]) => void)(...this.#fenced('pong', args)); // because data and mask are passed on untouched
  }

  /** With the callback of the application, where there is one, in a fence: the stream calls it from where a throw ends the process. */
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

  /** Both `ws` and the application close here. `ws` does so before it emits `error` for a violation of RFC 6455. */
  override close(code?: number, reason?: string | Buffer): void {
    if (waitingFanOuts > 0) flushFanOuts();
    this.flush();
    const session = this[SESSION];
    const { _closeFrameReceived, _receiver } = this as unknown as Internals;
    if (!session?.isLive || _closeFrameReceived) super.close(code, reason);
    else if (_receiver?.errored) session.onViolation(code ?? 1002);
    else if (isClose(code, reason)) session.onApplicationClose(code ?? 1000, reason?.toString() ?? '');
    else super.close(code, reason); // throws what is wrong with it
  }

  override send(data: Parameters<WebSocket['send']>[0], ...rest: unknown[]): void {
    if (waitingFanOuts > 0) flushFanOuts();
    if (typeof data === 'string' && rest.length === 0 && this.#stream !== undefined && this.readyState === this.OPEN) {
      return this.#queue(data);
    }
    this.flush(); // what was sent first goes first
    this[SESSION]?.sent(1, sizeOf(data));
    const before = this.bufferedAmount;
    // because the overloads of send() take (cb) or (options, cb), and both are passed on untouched
    (super.send as (data: unknown, ...rest: unknown[]) => void)(data, ...this.#fenced('send', rest));
    this.#checkOutbound(before, this.bufferedAmount - before);
  }

  /** Text leaves at the end of the tick, together with what else is sent in it. */
  #queue(text: string): void {
    this.#queuedLength += text.length;
    if (this.#queued === undefined) {
      this.#queued = text;
      flushSoon(this);
    } else if (typeof this.#queued === 'string') this.#queued = [this.#queued, text];
    else this.#queued.push(text);
    if (this.#queuedLength > MAX_QUEUED_LENGTH) this.flush();
  }

  /** Sends text frames that are made already, and shared with other sockets. */
  sendFrame(shared: SharedFrame): void {
    const { bytes, texts } = shared;
    const stream = this.#stream;
    if (stream === undefined || this.readyState !== this.OPEN) {
      for (const text of texts) this.send(text);
      return;
    }
    this.flush(); // what was sent first goes first
    if (!stream.writable) return;
    const before = stream.writableLength;
    stream.write(bytes);
    this[SESSION]?.sent(texts.length, bytes.length);
    this.#checkOutbound(before, bytes.length);
    const waiting = stream.writableLength;
    if (waiting > 0) (this.#backlog ??= new Backlog(waiting)).holdShared(shared);
  }

  flush(): void {
    const queued = this.#queued;
    if (queued === undefined) return;
    this.#queued = undefined;
    this.#queuedLength = 0;
    // ws has ended it, or the peer has: what is written then would be an error of the stream.
    const stream = this.#stream;
    if (!stream?.writable) return;
    const before = stream.writableLength;
    const bytes = typeof queued === 'string' ? frame(queued, before > 0) : frames(queued, before > 0);
    stream.write(bytes);
    this[SESSION]?.sent(typeof queued === 'string' ? 1 : queued.length, bytes.length);
    this.#checkOutbound(before, bytes.length);
  }

  /**
   * Over its bound a peer may be by one message, and has time to read it; meanwhile it is not read. One more ends it.
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
    this.#stream?.once('drain', () => session.onDrained()); // the sweep would be late for one that reads quickly
    session.onBehind(size);
  }

  /** True while it is over its bound: what the peer asks is not read then. */
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

  /** Asked by the sweep: had the peer its time to read, and is it over its bound all the same? @param now monotonic */
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

  /** The process was stopped for so long. */
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
    if ((this as unknown as Internals)._socket?.destroyed) return 0;
    const waiting = this.bufferedAmount;
    return this.#backlog === undefined ? waiting : waiting - this.#backlog.sharedOf(waiting);
  }
}

function sizeOf(data: Parameters<WebSocket['send']>[0]): number {
  if (typeof data === 'string') return Buffer.byteLength(data);
  if (Array.isArray(data)) return data.reduce((sum, { length }) => sum + length, 0);
  return typeof data === 'object' && 'byteLength' in data ? data.byteLength : 0;
}

/** May it be sent? (RFC 6455 §7.4) */
export function isClose(code = 1000, reason: string | Buffer = ''): boolean {
  if (Buffer.byteLength(reason) > MAX_REASON_BYTES) return false;
  return (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999);
}
