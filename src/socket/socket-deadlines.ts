import type { EventEmitter } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import type { Duplex } from 'node:stream';
import { Server as TlsServer, TLSSocket } from 'node:tls';

/** Milliseconds in which a connection has to bring its first request, all its headers and a TLS handshake included. */
const FIRST_REQUEST_MS = 10_000;

/** Milliseconds in which another upgrade listener has to write to an upgrade at a path of its own. */
const CLAIM_MS = 10_000;

/** Milliseconds a refused peer has to take its answer and close. */
const LINGER_MS = 5_000;

/** Milliseconds for which a connection without a request keeps its place while all places are taken. */
const SPARED_MS = 2_000;

/** Milliseconds between two reports that all places are taken. */
const REPORT_EVERY_MS = 1_000;

const HOLDER = Symbol('nestjs-ws-gateway.holder');

/** Called when a socket has closed. A socket has one holder at a time, so its place is given back once. */
export interface SocketHolder {
  onClosed(): void;
}

interface HeldSocket extends Duplex {
  [HOLDER]?: SocketHolder | undefined;
}

type TlsConnection = TLSSocket & {
  [HOLDER]?: SocketHolder | undefined;
  /** The TCP connection that it runs on: Node's own name for it, see {@link hasParent}. */
  readonly _parent?: HeldSocket;
};

/** True where this Node shows which TCP connection a TLS socket runs on. */
function hasParent(): boolean {
  const socket = new TLSSocket(new PassThrough());
  socket.destroy();
  return '_parent' in socket;
}

/** Replaces the holder that is called when the socket has closed. */
export function hold(socket: HeldSocket, holder: SocketHolder): void {
  if (socket.closed) return holder.onClosed(); // 'close' has been emitted, and is not emitted again
  if (!(HOLDER in socket)) socket.on('close', closed); // one function for all: an idle session pays for no closure
  socket[HOLDER] = holder;
}

function closed(this: HeldSocket): void {
  const holder = this[HOLDER];
  this[HOLDER] = undefined;
  holder?.onClosed();
}

/** How many sockets there may be. */
export interface SocketQuota {
  /** True when the process has reached its limit. */
  readonly isFull: boolean;
  /** @throws when the address has too many */
  checkAddress(address: string): void;
  /** @throws when the process has too many */
  checkAll(address: string): void;
  enter(address: string): void;
  leave(address: string): void;
}

/** A socket that is no session: each counts, and most have a deadline. */
class Waiting implements SocketHolder {
  /** The queue of sockets with the same deadline, the longest first; undefined while HTTP is served, which has Node's own timeouts. */
  line: Set<Waiting> | undefined;
  since = 0;
  /** Bytes that had been written when the upgrade came. */
  written = 0;
  refuse: (() => void) | undefined;

  constructor(
    /** Over TLS, the raw connection until the handshake is done. */
    public socket: HeldSocket,
    /** Gives its place back. */
    private readonly counted: SocketHolder,
  ) {}

  queue(line: Set<Waiting> | undefined, now: number): void {
    this.line?.delete(this);
    this.line = line;
    this.since = now;
    line?.add(this);
  }

  onClosed(): void {
    this.line?.delete(this);
    this.counted.onClosed();
  }

  /** Stops counting the socket. */
  release(): void {
    this.socket[HOLDER] = undefined;
    this.onClosed();
  }

  get isWritten(): boolean {
    return bytesWritten(this.socket) > this.written;
  }
}

/**
 * Every socket of the HTTP servers from the moment it is accepted until it is a session, another protocol's or closed: each is
 * counted, and has a deadline while it does nothing. Silent ones get ten seconds for their first request (Node
 * gives them a minute, and two for a TLS handshake); another listener has ten to write to its upgrade; refused
 * peers have five to read their answer.
 */
export class SocketDeadlines {
  readonly #silent = new Set<Waiting>();
  readonly #unclaimed = new Set<Waiting>();
  readonly #lingering = new Set<Waiting>();
  #isOver = false;
  #reportAt = -Infinity;

  /**
   * @param now monotonic milliseconds
   * @param refused called with the reason for which a socket was cut as soon as it was accepted
   */
  constructor(
    private readonly now: () => number,
    private readonly quota: SocketQuota,
    private readonly refused: (error: unknown, address: string) => void,
  ) {}

  /** Sockets that have a deadline. */
  get size(): number {
    return this.#silent.size + this.#unclaimed.size + this.#lingering.size;
  }

  /**
   * Watches a server. Its upgrades come through {@link asked}: a listener for them here would look like another owner.
   *
   * @returns a function that ends the watch
   */
  watch(http: HttpServer): () => void {
    const server: EventEmitter = http;
    const asked = ({ socket }: { socket: Duplex }): void => this.asked(socket);
    // Where Node does not show it, a TLS handshake has Node's own deadline: better than to cut a peer that has done it.
    if (!(http instanceof TlsServer) || hasParent()) server.on('connection', this.#accept);
    server.on('secureConnection', this.#onSecureConnection); // only of servers that speak TLS
    server.prependListener('request', asked);
    return () => {
      server.off('connection', this.#accept);
      server.off('secureConnection', this.#onSecureConnection);
      server.off('request', asked);
    };
  }

  /** The socket has brought a request. */
  asked(socket: HeldSocket): void {
    const holder = socket[HOLDER]; // by property: over HTTP/2 `request.socket` is a proxy of the socket
    if (holder instanceof Waiting && holder.line === this.#silent) holder.queue(undefined, 0);
  }

  /** From here on `holder` counts the socket. */
  handOver(socket: HeldSocket, holder: SocketHolder): void {
    const before = socket[HOLDER];
    if (before instanceof Waiting) before.release();
    hold(socket, holder);
  }

  /**
   * Waits for another listener to answer an upgrade. When it has written nothing in ten seconds, `refuse` is called; when it has, the
   * socket belongs to that listener and counts no longer.
   */
  await(socket: Duplex, refuse: () => void): void {
    if (this.#isOver) return void socket.destroy();
    const waiting = this.#waitingOf(socket);
    waiting.written = bytesWritten(socket);
    waiting.refuse = refuse;
    waiting.queue(this.#unclaimed, this.now());
  }

  /**
   * Waits for a refused peer to read its answer and close. A close at once could reach the peer as a reset before the answer does;
   * waiting for ever would be a leak.
   */
  linger(socket: Duplex): void {
    if (this.#isOver) {
      socket.end();
      return void setImmediate(() => socket.destroy());
    }
    this.#waitingOf(socket).queue(this.#lingering, this.now());
    socket.resume(); // reads and drops what the peer still sends, so that its end is noticed
  }

  /** True for a peer that has been refused already. */
  isRefused(socket: HeldSocket): boolean {
    const holder = socket[HOLDER];
    return holder instanceof Waiting && holder.line === this.#lingering;
  }

  /** The process was stopped for so long: a request, or a TLS handshake, may wait in the kernel. */
  postpone(ms: number): void {
    for (const line of [this.#silent, this.#unclaimed, this.#lingering])
      for (const waiting of line) waiting.since += ms;
  }

  sweep(): void {
    const now = this.now();
    for (const waiting of this.#unclaimed) {
      if (waiting.isWritten) waiting.release();
      else if (now >= waiting.since + CLAIM_MS) refuseUnclaimed(waiting);
    }
    for (const waiting of overdue(this.#silent, now - FIRST_REQUEST_MS)) {
      // 'request' is not emitted for a CONNECT, or where 'checkContinue' has served the request.
      if (waiting.isWritten && !speaksHttp2(waiting.socket)) waiting.queue(undefined, 0);
      else cut(waiting);
    }
    for (const waiting of overdue(this.#lingering, now - LINGER_MS)) cut(waiting);
  }

  /** Destroys all sockets that have a deadline, and all later ones at once. */
  close(): void {
    this.#isOver = true;
    for (const line of [this.#silent, this.#unclaimed, this.#lingering]) for (const waiting of line) cut(waiting);
  }

  /** Keeps the deadline: a TLS handshake gains no time. */
  readonly #onSecureConnection = (socket: TlsConnection): void => {
    const waiting = socket._parent?.[HOLDER];
    if (!(waiting instanceof Waiting)) return this.#accept(socket);
    waiting.socket[HOLDER] = undefined;
    waiting.socket = socket;
    waiting.written = bytesWritten(socket);
    hold(socket, waiting);
  };

  readonly #accept = (socket: HeldSocket & Socket): void => {
    if (HOLDER in socket) return; // an upgrade that is served as plain HTTP is emitted once more
    if (this.#isOver) return void socket.destroy();
    const { remoteAddress = '' } = socket;
    try {
      this.quota.checkAddress(remoteAddress);
      if (this.quota.isFull && !this.#makeRoom()) this.quota.checkAll(remoteAddress);
    } catch (error) {
      socket.destroy();
      return this.#report(error, remoteAddress);
    }
    this.#enter(socket, remoteAddress).queue(this.#silent, this.now());
  };

  #enter(socket: HeldSocket, address: string): Waiting {
    const { quota } = this;
    quota.enter(address);
    const waiting = new Waiting(socket, { onClosed: () => quota.leave(address) });
    hold(socket, waiting);
    return waiting;
  }

  /** Cuts the socket that has been silent for longest: honest clients hardly ever wait for so long. */
  #makeRoom(): boolean {
    for (const waiting of overdue(this.#silent, this.now() - SPARED_MS)) {
      cut(waiting);
      return true;
    }
    return false;
  }

  #report(error: unknown, address: string): void {
    if (this.quota.isFull && this.now() < this.#reportAt) return;
    if (this.quota.isFull) this.#reportAt = this.now() + REPORT_EVERY_MS;
    this.refused(error, address);
  }

  #waitingOf(socket: HeldSocket): Waiting {
    const holder = socket[HOLDER];
    if (holder instanceof Waiting) return holder;
    // A connection older than the watch counts from now on; one with another holder stays with it.
    if (holder === undefined) return this.#enter(socket, (socket as Partial<Socket>).remoteAddress ?? '');
    const waiting = new Waiting(socket, holder);
    hold(socket, waiting);
    return waiting;
  }
}

function* overdue(line: Set<Waiting>, since: number): Generator<Waiting> {
  for (const waiting of line) {
    if (waiting.since > since) return;
    yield waiting;
  }
}

/** Frees its place at once, before the operating system has closed it. */
function cut(waiting: Waiting): void {
  const { socket } = waiting;
  waiting.release();
  socket.destroy();
}

function refuseUnclaimed(waiting: Waiting): void {
  const { socket, refuse } = waiting;
  if (!socket.writable || refuse === undefined) return cut(waiting);
  waiting.queue(undefined, 0);
  refuse();
}

/** Over HTTP/2 the server speaks first. */
function speaksHttp2(socket: Duplex): boolean {
  return (socket as Partial<TLSSocket>).alpnProtocol === 'h2';
}

function bytesWritten(socket: Duplex): number {
  return (socket as Partial<Socket>).bytesWritten ?? 0;
}
