import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import type { ClientOptions } from 'ws';
import { BadFrame, isDeeperThan, parseJson } from '../protocol/codec.js';
import { GatewayError } from '../protocol/errors.js';
import type { Session } from '../session/session.js';
import type { SessionLink } from '../session/session-host.js';
import { isClose } from '../socket/gateway-socket.js';
import { receivingOf } from '../socket/ws-internals.js';
import { Pongs } from '../socket/pongs.js';
import { corkSoon, onceDrained } from '../socket/corks.js';
import type { UpstreamTraffic } from './traffic.js';

const BINARY = { binary: true } as const;
const TEXT = { binary: false } as const;

/** The time that a peer which has fallen behind has to read half of what is queued: a base, and one second for each so many bytes. */
const READ_MS = 10_000;
const BYTES_PER_SECOND = 65_536;

interface Farewell {
  readonly closeCode: number;
  readonly reason: string;
}

const NOT_READING = 'reads too slowly';

/** What the sockets of one path share. */
export interface UpstreamHost {
  readonly traffic: UpstreamTraffic;
  /** True where texts of clients have to be JSON. */
  readonly isJson: boolean;
  /** True where a message that is refused gets an exception; it ends the session otherwise. */
  readonly exceptions: boolean;
  readonly heartbeat: { readonly intervalMs: number; readonly timeoutMs: number };
  now(): number;
  /** The session needs no look at times any more. */
  closed(socket: UpstreamSocket): void;
}

/** Hears what becomes of the handshake. */
export interface HandshakeListener {
  accepted(socket: UpstreamSocket): void;
  /** @param status of the answer, where there was one */
  refused(socket: UpstreamSocket, status: number | undefined, why: string): void;
}

/**
 * The application's end of a relayed session, and the link between the two. Like the client's end it needs no listener: its own events are
 * its methods. Each side stops reading the other while what it has to send waits for a slow peer.
 */
export class UpstreamSocket extends WebSocket implements SessionLink {
  #session: Session | undefined;
  #handshake: HandshakeListener | undefined;
  #status: number | undefined;
  #failure: string | undefined;
  #stream: Duplex | undefined;
  #isOver = false;
  /** What was received, in the chunk that was being read, when the client fell behind. */
  #held: { readonly data: Buffer; readonly isBinary: boolean }[] | undefined;
  #heldBytes = 0;
  /** How the application has closed, while the client has yet to read what it said before. */
  #farewell: Farewell | undefined;
  /** When the client, or the application, has to have read half of what is queued for it, in monotonic milliseconds. */
  #clientReadsBy = Infinity;
  #upstreamReadsBy = Infinity;
  /** A listener is there already: the sweep may have released before. */
  #awaitsDrain = false;
  #awaitsClientDrain = false;
  #pongs: Pongs | undefined;
  #pingAt = Infinity;
  #pongBy = Infinity;
  /** The subprotocol that the application has selected. */
  selected: string | undefined;

  constructor(
    url: string,
    options: ClientOptions,
    private readonly host: UpstreamHost,
    /** The URL without what is secret in it. */
    readonly label: string,
    handshake: HandshakeListener,
  ) {
    super(url, [], options);
    this.#handshake = handshake;
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    switch (event) {
      case 'message':
        this.#onMessage(args[0] as Buffer, args[1] as boolean); // because ws is left at Buffers
        return true;
      case 'ping':
        (this.#pongs ??= new Pongs(this)).answer(args[0] as Buffer); // because ws says so
        return true;
      case 'pong':
        this.#pongBy = Infinity;
        return true;
      case 'upgrade':
        this.#onUpgrade(args[0] as IncomingMessage); // because ws says so
        return true;
      case 'unexpected-response':
        this.#status = (args[1] as IncomingMessage).statusCode; // because ws says so
        return false; // ws destroys the request, and with it a body that no client is told
      case 'open':
        this.#onOpen();
        return true;
      case 'error':
        this.#onError(whatFailed(args[0]));
        return true;
      case 'close':
        this.#onClose(args[0] as number, String(args[1] ?? ''));
        return true;
      default:
        return false; // no code listens
    }
  }

  /**
   * `ws` fails a connection whose subprotocol it has not asked for, and one that selects none of those that it has: what the client and
   * the application agree on is theirs, so `ws` does not see it.
   */
  #onUpgrade({ headers, socket }: IncomingMessage): void {
    this.#stream = socket;
    this.selected = headers['sec-websocket-protocol'];
    delete headers['sec-websocket-protocol'];
  }

  #onOpen(): void {
    this.pause(); // until there is a client
    const handshake = this.#handshake;
    this.#handshake = undefined;
    handshake?.accepted(this);
  }

  /** The session owns it from here on. Nothing is read before the session is open, and the gateway has said what it has to say itself. */
  attach(session: Session): void {
    this.#session = session;
    session.link = this;
    if (session.phase === 'open') setImmediate(() => this.start());
    this.host.traffic.connections++;
    this.#pingAt = this.host.now() + this.host.heartbeat.intervalMs;
  }

  start(): void {
    this.resume();
  }

  /** No session wants it. */
  abandon(): void {
    this.#handshake = undefined;
    this.#end();
    this.terminate();
  }

  get outbound(): number {
    if (this.#stream?.destroyed) return 0;
    return this.bufferedAmount + this.#heldBytes;
  }

  get receiving(): number {
    return receivingOf(this);
  }

  get isHeldUp(): boolean {
    return this.#clientReadsBy !== Infinity;
  }

  forward(bytes: Buffer, isBinary: boolean): void {
    if (this.readyState !== this.OPEN) return; // its close is under way, and ends the session
    if (this.host.isJson && !this.#passes(bytes, isBinary)) return;
    const { traffic } = this.host;
    traffic.up.messages++;
    traffic.up.bytes += bytes.length;
    if (this.#stream !== undefined) corkSoon(this.#stream);
    this.send(bytes, isBinary ? BINARY : TEXT);
    const session = this.#session;
    if (
      session !== undefined &&
      this.#upstreamReadsBy === Infinity &&
      this.bufferedAmount > session.maxOutboundBytes / 2
    ) {
      this.#stopClient(session);
    }
  }

  /** @returns false for what is no JSON, which is answered here */
  #passes(bytes: Buffer, isBinary: boolean): boolean {
    const session = this.#session;
    if (session === undefined) return false;
    try {
      if (isBinary) throw new GatewayError('UNSUPPORTED_DATA');
      const text = bytes.toString();
      if (isDeeperThan(text, session.server.context.options.limits.maxJsonDepth)) throw new BadFrame('Nested too deep');
      parseJson(text);
      return true;
    } catch (error) {
      if (isBinary || !this.host.exceptions) session.end(error);
      else session.fail(error, { id: undefined, event: undefined });
      return false;
    }
  }

  #stopClient(session: Session): void {
    this.#upstreamReadsBy = this.#deadline(this.bufferedAmount);
    session.intake.block();
    if (this.#awaitsDrain) return;
    this.#awaitsDrain = true;
    onceDrained(this.#stream, () => {
      this.#awaitsDrain = false;
      this.#releaseClient();
    });
  }

  /** The application has read enough. */
  #releaseClient(): void {
    const session = this.#session;
    if (session === undefined || this.#upstreamReadsBy === Infinity) return;
    if (this.bufferedAmount > session.maxOutboundBytes / 4) return; // the sweep looks again
    this.#upstreamReadsBy = Infinity;
    session.intake.unblock();
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    const session = this.#session;
    if (session === undefined || !session.isLive) return;
    this.#pongBy = Infinity; // a pong may come far behind what the client has yet to read
    if (!this.isHeldUp) return this.#deliver(session, data, isBinary);
    this.#heldBytes += data.length;
    (this.#held ??= []).push({ data, isBinary });
  }

  #deliver(session: Session, data: Buffer, isBinary: boolean): void {
    const { down } = this.host.traffic;
    const { socket } = session;
    down.messages++;
    down.bytes += data.length;
    socket.relay(data, isBinary);
    if (socket.bufferedAmount > session.maxOutboundBytes / 2 && session.isLive) this.#stopUpstream(session);
  }

  #stopUpstream({ socket }: Session): void {
    this.#clientReadsBy = this.#deadline(socket.bufferedAmount);
    this.pause();
    if (this.#awaitsClientDrain) return;
    this.#awaitsClientDrain = true;
    socket.onceDrained(() => {
      this.#awaitsClientDrain = false;
      this.#releaseUpstream();
    });
  }

  /** The client has read enough. */
  #releaseUpstream(): void {
    const session = this.#session;
    if (session === undefined || !this.isHeldUp || !session.isLive) return;
    if (session.socket.bufferedAmount > session.maxOutboundBytes / 4) return; // the sweep looks again
    this.#clientReadsBy = Infinity;
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const [index, { data, isBinary }] of held.entries()) {
      if (this.isHeldUp) {
        this.#held = held.slice(index);
        return;
      }
      this.#heldBytes -= data.length;
      this.#deliver(session, data, isBinary);
    }
    if (this.isHeldUp) return;
    if (this.#farewell === undefined) this.resume();
    else this.#closeClient(session, this.#farewell);
  }

  #deadline(waiting: number): number {
    return this.host.now() + READ_MS + (waiting / BYTES_PER_SECOND) * 1_000;
  }

  sessionEnded(closeCode: number, reason: string): void {
    if (this.#isOver) return;
    this.#end();
    if (closeCode === 1006 || this.readyState !== this.OPEN) return this.terminate();
    this.#forgetHeld();
    this.resume(); // the application's close frame has to be read
    if (isClose(closeCode, reason) && closeCode !== 1005) this.close(closeCode, reason);
    else this.close();
  }

  override terminate(): void {
    this.#forgetHeld();
    super.terminate();
  }

  #forgetHeld(): void {
    this.#held = undefined;
    this.#heldBytes = 0;
  }

  /** The link is over: it is counted once. */
  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#session !== undefined) this.host.traffic.connections--;
    if (this.readyState === this.CLOSED) this.host.closed(this);
  }

  #onError(why: string): void {
    this.#failure ??= why;
    const session = this.#session;
    if (session !== undefined && !this.#isOver) this.#break(session, why); // what ws still says to the application, no client waits for
  }

  #onClose(closeCode: number, reason: string): void {
    const handshake = this.#handshake;
    this.#handshake = undefined;
    handshake?.refused(this, this.#status, this.#failure ?? 'closed during the handshake');
    const session = this.#session;
    if (session === undefined || this.#isOver) return this.host.closed(this);
    if (closeCode === 1006) this.#break(session, 'closed without a close frame');
    else if (this.isHeldUp) this.#farewell = { closeCode, reason };
    else this.#closeClient(session, { closeCode, reason });
  }

  /** The client has what the application has said before it closed. */
  #closeClient(session: Session, { closeCode, reason }: Farewell): void {
    this.#end();
    session.closeAs(closeCode, reason, this.label);
  }

  /** The application is gone, or does what it may not: the client is told to come back, and the log which application it is. */
  #break(session: Session, why: string): void {
    this.#end();
    this.host.traffic.failed('broken');
    session.end(new GatewayError('BAD_GATEWAY', { cause: `${this.label} ${why}` }));
  }

  /** Sends the ping that is due, and ends what waits for too long. The one sweep calls it. */
  sweep(now: number): void {
    const session = this.#session;
    if (session === undefined || this.#isOver) return;
    if (this.isHeldUp) {
      this.#releaseUpstream();
      if (now >= this.#clientReadsBy) return session.end(new GatewayError('SLOW_CONSUMER'));
    }
    if (this.#upstreamReadsBy !== Infinity) {
      this.#releaseClient();
      if (now >= this.#upstreamReadsBy) return this.#giveUp(session, NOT_READING);
    }
    if (this.#farewell !== undefined) return;
    if (now >= this.#pongBy) {
      const mayWait = this.isPaused || this.#upstreamReadsBy !== Infinity;
      if (!mayWait) return this.#giveUp(session, 'does not answer a ping');
      this.#pongBy = now + this.host.heartbeat.timeoutMs; // a paused socket is not read, and the ping may stand behind what is queued
    }
    if (now < this.#pingAt) return;
    this.#pingAt = now + this.host.heartbeat.intervalMs;
    if (this.#pongBy === Infinity) this.#pongBy = now + this.host.heartbeat.timeoutMs;
    this.ping();
  }

  #giveUp(session: Session, why: string): void {
    this.#break(session, why);
    this.terminate();
  }

  /** The process was stopped for so long: what the peers did meanwhile has not been read. */
  postpone(ms: number): void {
    this.#clientReadsBy += ms;
    this.#upstreamReadsBy += ms;
    this.#pingAt += ms;
    this.#pongBy += ms;
  }
}

/** What is wrong, for the log: `ws` and Node say it without quoting the peer. */
function whatFailed(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException; // because ws and Node emit errors
  if (code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') return 'sent a message larger than maxMessageBytes';
  return code !== undefined && /^E[A-Z]/.test(code) ? `failed with ${code}` : `failed: ${message}`;
}
