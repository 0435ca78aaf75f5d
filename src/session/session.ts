import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { endOf, originOf } from '../authentication/principal.js';
import type { Principal } from '../authentication/principal.js';
import { LeakyCounter } from '../base/token-bucket.js';
import { MessageBudget } from '../firewall/message-budget.js';
import type { MessageLimits } from '../firewall/message-budget.js';
import type { Client, EventLimit, WsFirewall } from '../firewall/ws-firewall.js';
import type { SubjectPeer } from '../firewall/usage.js';
import { encode } from '../protocol/codec.js';
import { GatewayError, isErrorCode, specOf } from '../protocol/errors.js';
import type { ErrorCode } from '../protocol/errors.js';
import type { MessageId } from '../protocol/message.js';
import { EarlierTokens } from './earlier-tokens.js';
import type { SessionToken } from './earlier-tokens.js';
import {
  closeByApplication,
  closeByPeer,
  codeOfViolation,
  comesBack,
  disconnectOf,
  encodeException,
  isCleanClose,
  levelOf,
  logged,
} from './answers.js';
import type { EndDetails } from './answers.js';
import type { FailureLevel, SessionEvent } from './events.js';
import type { Ledger } from './ledger.js';
import type { Emitter } from '../base/emitter.js';
import { isFiltered, toFailure } from './failure.js';
import { costOf, Inbox } from './inbox.js';
import type { Failure } from './failure.js';
import { isClose, SESSION } from '../socket/gateway-socket.js';
import type { GatewaySocket } from '../socket/gateway-socket.js';
import type { WsClock } from '../base/clock.js';

/** Where a session is in its life. Frames that arrive while it is `opening` are held. */
export type SessionPhase =
  | { readonly phase: 'opening' }
  | { readonly phase: 'open' }
  | { readonly phase: 'closing' }
  | { readonly phase: 'closed'; readonly byPeer: boolean };

const OPENING: SessionPhase = { phase: 'opening' };
const OPEN: SessionPhase = { phase: 'open' };
const CLOSING: SessionPhase = { phase: 'closing' };
const CLOSED: SessionPhase = { phase: 'closed', byPeer: false };
const CLOSED_BY_PEER: SessionPhase = { phase: 'closed', byPeer: true };

/** The options that a session reads, each time anew, since a reload changes them. */
export interface SessionOptions {
  readonly limits: MessageLimits & {
    readonly maxMessageBytes: number;
    readonly maxConcurrentMessages: number;
    readonly maxStreams: number;
    readonly maxBadFrames: number;
    readonly maxOutboundBytes: number;
    readonly messageTimeoutMs: number;
    readonly handlerTimeoutMs: number;
  };
  readonly heartbeat: { readonly intervalMs: number; readonly timeoutMs: number };
  readonly auth: { readonly anonymous: boolean; readonly timeoutMs: number; readonly refreshLeadMs: number };
  readonly errors: { readonly event: string };
}

/** What all sessions share. */
export interface SessionContext {
  readonly options: SessionOptions;
  readonly clock: WsClock;
  readonly monitor: Emitter<SessionEvent>;
  readonly firewall: WsFirewall;
  readonly ledger: Ledger;
  readonly traffic: { sentMessages: number; sentBytes: number };
  readonly sessions: {
    isRevoked(principal: Principal | undefined): boolean;
    watchOpening(session: WsSession): void;
  };
}

/** The server of a session's path. */
export interface SessionHost {
  readonly pathname: string;
  readonly context: SessionContext;
  /** False where the path has a wire of its own: then its sessions end without a `disconnect`. */
  readonly speaksEnvelopes: boolean;
  /** A message has come as a whole. */
  onMessage(session: WsSession, data: Buffer, isBinary: boolean): void;
  /** A ping or a pong has come. */
  onControl(session: WsSession, data: Buffer): void;
  onClosed(session: WsSession, closeCode: number): void;
  /** Handles a message that the session has held. */
  handle(session: WsSession, bytes: Buffer): void;
  /** The socket may be written to from now on. */
  admitToBroadcasts(socket: GatewaySocket): void;
}

/** What has something to send, and waits until the peer has read what it is behind with. */
interface Waiting {
  /** True when it has been sent, or no longer waits. */
  readonly settled: boolean;
  /** How much it is, in UTF-16 units; Infinity where it waits until the peer is behind no longer. */
  readonly size: number;
  proceed(): void;
}

/** A request that the session counts until its answer is complete. */
export interface OpenRequest extends Waiting {
  readonly id: MessageId | undefined;
  /** What its message holds on the heap, as far as it is charged for. */
  bytes: number;
  readonly isStream: boolean;
  promise: object | undefined;
  isAbandoned: boolean;
  answer: string | undefined;
  settle(): void;
  /** The client wants no more of it. */
  cancel(): void;
  /** The session is over: its handler is told, where it has asked to be. */
  abort(): void;
}

/** What the event of an end says beside the failure. */
interface Report {
  /** Default: the catalogue's. */
  readonly level?: FailureLevel;
  readonly closeCode?: number;
  readonly event?: string | undefined;
  readonly durationMs?: number | undefined;
}

/** A request that can be answered. */
export interface RequestInfo {
  readonly id: MessageId | undefined;
  /** The declared event, for the log; undefined while it is only what a client wrote. */
  readonly event: string | undefined;
  readonly durationMs?: number;
  /** What its message is on the heap, in bytes. */
  readonly heapBytes?: number;
  /** The spans of the request, where there are any. */
  readonly trace?: { failed(code: ErrorCode, incidentId: string | undefined): void } | undefined;
}

/**
 * One peer: from the upgrade to the close.
 *
 * @typeParam State what the application keeps in {@link state}
 */
export class WsSession<State extends object = object> {
  // No `implements Metered, SocketOwner`: those members are internal, and the published declaration would lack them.

  readonly id = randomUUID();
  /** When the upgrade was accepted, in epoch milliseconds. */
  readonly connectedAt: number;
  /** @internal The same moment, in monotonic milliseconds. */
  readonly openedAt: number;
  /** Address of the peer, through the proxies that `firewall.trustProxy` names. */
  readonly clientAddress: string;
  /** @internal */
  readonly budget: MessageBudget;
  /** @internal Set while it has a principal. */
  subjectPeer: SubjectPeer | undefined;

  #phase = OPENING;
  #state: State | undefined;
  #earlier: EarlierTokens | undefined;
  #principal: Principal | undefined;
  #endsAt = Infinity;
  #expiringAt = Infinity;
  #authenticateBy = Infinity;
  #pingAt: number;
  #pongBy = Infinity;
  #receivedAt = 0;
  #received = 0;
  #receivingSince = Infinity;
  readonly #badFrames = new LeakyCounter();
  #inbox: Inbox | undefined;
  #handling = 0;
  #refusedUntil = 0;
  #answers: Waiting[] | undefined;
  #releasing = false;
  #pending: Set<OpenRequest> | undefined;
  #streams = 0;
  #blocked = 0;

  /** @internal The upgrade, where connection guards may be asked again. */
  request: IncomingMessage | undefined;
  /** @internal Its place in the order in which sessions came. */
  sequence = 0;
  /** @internal How many of the path's gateways have been told of the connection. */
  hooksCalled = 0;
  /** @internal Set while an async `handleConnection` runs and is waited for; never rejects. */
  opening: Promise<void> | undefined;
  #giveUpOpening: (() => void) | undefined;

  constructor(
    /** The native socket, as `@ConnectedSocket()` gives it. */
    readonly socket: GatewaySocket,
    /** @internal */
    readonly server: SessionHost,
    /** @internal Who connected, as the firewall knows it. */
    readonly client: Client,
  ) {
    const { clock, options } = server.context;
    const now = clock.monotonic();
    this.clientAddress = client.address;
    this.budget = new MessageBudget(options.limits, now);
    this.connectedAt = clock.now();
    this.openedAt = now;
    this.#pingAt = now + options.heartbeat.intervalMs;
    if (!options.auth.anonymous) this.#authenticateBy = now + options.auth.timeoutMs;
    socket[SESSION] = this;
  }

  /**
   * The session of a socket that this package accepted.
   *
   * @throws TypeError for any other socket
   */
  static of<State extends object = object>(socket: object): WsSession<State> {
    const session = (socket as Partial<GatewaySocket>)[SESSION];
    if (session === undefined) throw new TypeError('This socket was not accepted by WsGatewayModule');
    return session as WsSession<State>; // because sockets have no other owners, and only the application knows the state
  }

  /** What the application keeps with the session: an empty object at first, so its members are best optional. */
  get state(): State {
    return (this.#state ??= {} as State); // because the members are the application's to set
  }

  /** Who authenticated; undefined while the session is anonymous. */
  get principal(): Principal | undefined {
    return this.#principal;
  }

  get phase(): SessionPhase['phase'] {
    return this.#phase.phase;
  }

  /** True until a close has begun: what is sent now goes out. */
  get isLive(): boolean {
    return this.#phase === OPEN || this.#phase === OPENING;
  }

  /** @internal Open, and not a stranger: broadcasts are for it. */
  get mayBeWrittenTo(): boolean {
    return this.#phase === OPEN && (this.#principal !== undefined || this.server.context.options.auth.anonymous);
  }

  /**
   * Pushes an event to the peer.
   *
   * @returns false when the session has ended and nothing was sent
   * @throws TypeError when `data` cannot be serialised
   */
  send(event: string, data: unknown): boolean {
    return this.sendText(encode(event, data));
  }

  /**
   * Ends the session: a `disconnect` frame, then the close.
   *
   * @param code a code of the catalogue, an application's own (closes with 4400), or a close code as RFC 6455 §7.4 has them
   * @throws TypeError when it is none of these
   */
  close(code: ErrorCode | number = 1000): void {
    if (typeof code === 'number') {
      if (!isClose(code)) throw new TypeError('A close code is 1000 to 1014 without 1004 to 1006, or 3000 to 4999');
      return this.onApplicationClose(code, '');
    }
    if (!isErrorCode(code)) throw new TypeError('An error code is 2 to 64 upper case letters, digits and underscores');
    this.end(new GatewayError(code), { level: 'info' });
  }

  /** @internal */
  sendText(text: string): boolean {
    if (!this.isLive) return false;
    this.socket.send(text);
    return true;
  }

  /** @internal Takes a principal, at first or in place of an earlier one with the same subject; `adopt()` of sign-in.ts has asked whether it may. */
  adopt(principal: Principal): void {
    const { clock, options } = this.server.context;
    const timeOfDay = clock.now();
    if (this.#principal !== undefined) this.#keepEarlier(this.#principal, timeOfDay);
    this.#endsAt = endOf(principal, timeOfDay);
    this.#expiringAt = principal.expiresAt - options.auth.refreshLeadMs;
    this.#authenticateBy = Infinity;
    this.#principal = principal;
    this.#joinBroadcasts();
  }

  /** @internal The same subject and token with other roles or scopes. */
  replacePrincipal(principal: Principal): void {
    this.#principal = principal;
  }

  /** @internal The tokens that this session was opened or refreshed with, as far as they are still good. */
  get tokens(): SessionToken[] {
    const current = this.#principal === undefined ? undefined : tokenOf(this.#principal);
    return [...(this.#earlier?.tokens ?? []), ...(current === undefined ? [] : [current])];
  }

  /** @internal Tokens that it had are not all among {@link tokens}: the others were issued before this time, in epoch seconds. */
  forgottenTokensBefore(timeOfDay: number): number | undefined {
    return this.#earlier?.forgottenBefore(timeOfDay);
  }

  #keepEarlier(principal: Principal, timeOfDay: number): void {
    const token = tokenOf(principal);
    if (token !== undefined) (this.#earlier ??= new EarlierTokens()).add(token, timeOfDay);
  }

  /** From here on it is among the `clients` of its server. */
  #joinBroadcasts(): void {
    if (this.mayBeWrittenTo) this.server.admitToBroadcasts(this.socket);
  }

  /** @internal True when the token's time is over, whether or not the sweep has come by. */
  isExpired(timeOfDay: number): boolean {
    return timeOfDay >= this.#endsAt;
  }

  /** @internal */
  open(): void {
    if (this.#phase !== OPENING) return;
    this.#phase = OPEN;
    this.#joinBroadcasts();
  }

  /** @internal Resolves when `handleConnection` has had its time, whether or not the session is still there. */
  openingTimedOut(): Promise<void> {
    this.server.context.sessions.watchOpening(this);
    return new Promise((resolve) => (this.#giveUpOpening = resolve));
  }

  /** @internal @returns true when there is nothing to wait for any more */
  sweepOpening(waitedMs: number): boolean {
    if (this.opening === undefined) return true;
    if (waitedMs < this.server.context.options.limits.handlerTimeoutMs) return false;
    this.end(new Error('handleConnection did not settle in time'));
    this.#giveUpOpening?.();
    return true;
  }

  /**
   * @internal Ends it on purpose: `disconnect` where a frame can still go out, then the close, and one event. Never throws.
   */
  end(thrown: unknown, details: EndDetails = {}): void {
    if (this.isLive) this.#end(toFailure(thrown), details);
  }

  #end(failure: Failure, details: EndDetails): void {
    this.#close();
    const disconnect = disconnectOf(failure, details);
    if (this.server.speaksEnvelopes) this.socket.send(encode('disconnect', disconnect));
    this.socket.close(disconnect.closeCode, details.reason ?? failure.code);
    this.#report('connection', failure, { ...details, closeCode: disconnect.closeCode });
    this.#countViolation(failure);
  }

  /**
   * @internal Fails a request, and ends the session too where the code says so. Never throws.
   *
   * @param request undefined where there is no request to answer
   * @param isOurs true where the state of the process fails the request: then it is no violation
   */
  fail(thrown: unknown, request: RequestInfo | undefined, isOurs = false): void {
    const filtered = isFiltered(thrown);
    const failure = toFailure(filtered ? thrown.error : thrown);
    const wasLive = this.isLive;
    request?.trace?.failed(failure.code, failure.incidentId);
    if (request !== undefined && wasLive && (!filtered || request.id !== undefined)) {
      this.sendText(encodeException(this.server.context.options.errors.event, failure, request.id));
    }
    if (wasLive && failure.fatal) return this.#end(failure, { event: request?.event });
    if (wasLive && specOf(failure.code).badFrame === true) {
      if (!this.#takeBadFrame()) return this.end(new GatewayError('BAD_FRAME'), { event: request?.event });
    }
    if (failure.code === 'VALIDATION_FAILED') {
      this.server.context.firewall.chargeRefused(this, request?.heapBytes ?? 0);
    }
    // When the session has ended, a client's fault is no news any more; a fault of ours still is.
    if (!wasLive && levelOf(failure.code) !== 'error') return;
    this.#report('request', failure, { event: request?.event, durationMs: request?.durationMs });
    if (!isOurs) this.#countViolation(failure);
  }

  /** The one event of an end. */
  #report(kind: 'request' | 'connection', failure: Failure, { level, closeCode, event, durationMs }: Report): void {
    const lifeMs = kind === 'connection' ? Math.round(this.clock.monotonic() - this.openedAt) : durationMs;
    this.server.context.monitor.emit({
      kind,
      ...logged(failure),
      level: level ?? levelOf(failure.code),
      sessionId: this.id,
      clientAddress: this.clientAddress,
      ...(this.#principal !== undefined && { subject: this.#principal.subject }),
      ...(event !== undefined && { event }),
      ...(closeCode !== undefined && { closeCode }),
      ...(lifeMs !== undefined && { durationMs: lifeMs }),
    });
  }

  /** What counts towards a ban. */
  #countViolation({ code, refusedDigest }: Failure): void {
    const { firewall } = this.server.context;
    const { violation } = specOf(code);
    if (violation === 'token') firewall.failedAuthentication(this.client, refusedDigest, this);
    else if (violation !== undefined) firewall.violation(this.client, this, violation === 'budget');
  }

  /** @returns false with the bad frame that is too many */
  #takeBadFrame(): boolean {
    return !this.#badFrames.add(this.server.context.options.limits.maxBadFrames, 60_000, this.clock.monotonic());
  }

  #close(): void {
    this.#phase = CLOSING;
    this.#dropHeld();
    this.#endStreams();
    if (this.socket.isPaused) this.socket.resume(); // the peer's half of the close has to be read
  }

  /** @internal The TCP connection has closed. Where that was not our doing, it is one event. */
  closed(closeCode: number): void {
    if (this.isLive) {
      const isClean = isCleanClose(closeCode);
      this.#report('connection', closeByPeer(closeCode), { level: isClean ? 'debug' : 'info', closeCode });
    }
    this.#phase = this.isLive ? CLOSED_BY_PEER : CLOSED;
    this.#endStreams();
    this.server.context.ledger.goesOn(this);
    this.release(); // what the peer had sent before it closed is handled all the same
  }

  /** Nobody reads them any more, and no answer that waits for its turn. */
  #endStreams(): void {
    this.#answers = undefined;
    for (const request of this.#pending ?? []) {
      request.abort();
      if (request.isStream || request.answer !== undefined) request.settle();
    }
  }

  /** @internal Ends the streams of the requests with that `id`, and tells the handlers of those that are not answered yet. */
  cancel(id: unknown): void {
    if (this.#pending === undefined || id === undefined) return;
    for (const request of [...this.#pending].filter((pending) => pending.id === id)) request.cancel();
  }

  /** @internal True while messages are handled: also those that came before the peer's close, unless it is revoked since. */
  get handlesMessages(): boolean {
    if (this.isLive) return true;
    return this.#phase === CLOSED_BY_PEER && !this.server.context.sessions.isRevoked(this.#principal);
  }

  /** @internal Requests whose answer is not complete. */
  get inFlight(): number {
    return this.#pending?.size ?? 0;
  }

  /** @internal */
  began(request: OpenRequest): void {
    (this.#pending ??= new Set()).add(request);
    this.#charge(request.bytes);
    if (this.#isFull) this.stopReading();
  }

  /** @internal Bytes of its messages that wait for their turn or for their handler, as they are on the heap. */
  get handling(): number {
    return this.#handling;
  }

  #charge(bytes: number): void {
    this.#handling += bytes;
    this.server.context.ledger.charge(this.client.peer, bytes);
  }

  #discharge(bytes: number): void {
    this.#handling -= bytes;
    this.server.context.ledger.discharge(this.client.peer, bytes);
  }

  /** @internal Nothing holds the request's message any more. */
  letGo(request: OpenRequest): void {
    const { bytes } = request;
    if (bytes === 0) return;
    request.bytes = 0;
    if (!request.isAbandoned) return this.#discharge(bytes);
    this.server.context.ledger.reclaim(request);
    this.server.context.ledger.discharge(this.client.peer, bytes);
  }

  /** @internal It is answered, and its handler still has the message: that counts for its address until the promise has gone. */
  abandon(request: OpenRequest, promise: object): void {
    request.isAbandoned = true;
    request.promise = undefined;
    this.#handling -= request.bytes;
    this.server.context.ledger.abandon(promise, this.client.peer, request.bytes, request);
  }

  /** @internal True when no message may be handed to a handler that takes its time: handlers hold too much already. */
  get mayNotWait(): boolean {
    const { ledger } = this.server.context;
    return ledger.isPressed && ledger.refuses(this.client.peer, this.inFlight === this.#streams);
  }

  /**
   * @internal It was told to come again in so long, and is not read before, unless there is room sooner: a message of 64 KB
   * takes milliseconds to parse, and is parsed to be refused.
   */
  refused(retryAfterMs: number): void {
    this.#refusedUntil = this.server.context.clock.monotonic() + retryAfterMs;
    if (this.isLive) this.stopReading();
  }

  /** @internal The answer is sent when the peer has read what it is behind with. */
  answerLater(request: OpenRequest, text: string): void {
    request.answer = text;
    request.bytes += text.length;
    this.#charge(text.length);
    this.waitForRoom(request);
  }

  /** @internal It is called when the peer has read what it is behind with, unless the session ends before. */
  waitForRoom(waiting: Waiting): void {
    (this.#answers ??= []).push(waiting);
  }

  #sendAnswers(): void {
    let next: Waiting | undefined;
    while ((next = this.#answers?.[0]) !== undefined) {
      if (!next.settled && !this.socket.hasRoomFor(next.size)) return;
      this.#answers?.shift();
      if (!next.settled) next.proceed();
    }
    this.#answers = undefined;
  }

  /** @internal Not read until {@link release} finds room; the sweep asks for what no end of a request does. */
  stopReading(): void {
    this.socket.pause();
    const { ledger } = this.server.context;
    if (ledger.isPressed || this.socket.isBehind) ledger.stop(this);
  }

  /**
   * @internal Its answer is a stream. Streams may stay for hours, so they leave the count that stops the reading and
   * have a limit of their own. @returns false when that is reached
   */
  streaming(): boolean {
    if (this.#streams >= this.server.context.options.limits.maxStreams) return false;
    this.#streams++;
    return true;
  }

  /** @internal Its answer is complete. */
  ended(request: OpenRequest): void {
    if (!this.#pending?.delete(request)) return;
    if (request.isStream) this.#streams--;
    this.release();
  }

  /** @internal Nothing more is handled until unblock(): `handleConnection` or an `auth` is still running. */
  block(): void {
    this.#blocked++;
    this.socket.pause();
  }

  /** @internal */
  unblock(): void {
    this.#blocked--;
    this.release();
  }

  /**
   * @internal Keeps a frame for later when the session cannot take it now. The socket is paused then, so what can pile
   * up is what one chunk of TCP already held.
   */
  hold(bytes: Buffer): boolean {
    if (!this.#isFull && (this.#inbox === undefined || this.#releasing)) return false;
    const inbox = (this.#inbox ??= new Inbox());
    inbox.put(bytes);
    this.#charge(costOf(bytes));
    if (!this.socket.isPaused) this.stopReading();
    if (inbox.isOverfull(this.server.context.options.limits.maxMessageBytes)) {
      this.end(new GatewayError('RATE_LIMITED', { retryAfterMs: 1_000 }));
    }
    return true;
  }

  #dropHeld(): void {
    if (this.#inbox !== undefined) this.#discharge(this.#inbox.cost);
    this.#inbox = undefined;
  }

  get #isFull(): boolean {
    if (this.#blocked > 0 || this.socket.isBehind) return true;
    const { ledger, options, clock } = this.server.context;
    const inHandlers = this.inFlight - this.#streams;
    if (inHandlers >= options.limits.maxConcurrentMessages) return true;
    if (!ledger.isPressed) return false;
    return inHandlers > 0 ? ledger.isStopped(this.client.peer) : this.#refusedUntil > clock.monotonic();
  }

  /** @internal Handles what was held, as far as there is room. A message that makes room meanwhile does not start it anew. */
  release(): void {
    if (this.#releasing) return;
    this.#releasing = true;
    if (this.#answers !== undefined) this.#sendAnswers();
    let next: Buffer | undefined;
    while (this.handlesMessages && !this.#isFull && (next = this.#inbox?.take()) !== undefined) {
      this.#discharge(costOf(next));
      this.server.handle(this, next);
    }
    this.#releasing = false;
    if (this.#inbox?.isEmpty || !this.handlesMessages) this.#dropHeld();
    if (!this.isLive || !this.socket.isPaused) return;
    if (this.#isFull) return this.stopReading();
    this.server.context.ledger.goesOn(this);
    this.socket.resume();
  }

  /**
   * @internal Charges it for an event with a limit of its own.
   *
   * @throws GatewayError RATE_LIMITED
   */
  chargeEvent(event: string, limit: EventLimit): void {
    const wait = this.server.context.firewall.chargeEvent(this, event, limit);
    if (wait > 0) throw new GatewayError('RATE_LIMITED', { retryAfterMs: wait });
  }

  /** A message, or a frame, that has begun and does not come to its end. */
  #isStalled(now: number): boolean {
    const isSame = this.#receivedAt === this.#received && this.socket.receiving > 0 && !this.socket.isPaused;
    this.#receivedAt = this.#received;
    if (!isSame) this.#receivingSince = Infinity;
    else if (this.#receivingSince === Infinity) this.#receivingSince = now;
    return now >= this.#receivingSince + this.server.context.options.limits.messageTimeoutMs;
  }

  /** @internal */
  get maxOutboundBytes(): number {
    return this.server.context.options.limits.maxOutboundBytes;
  }

  /** @internal */
  get clock(): WsClock {
    return this.server.context.clock;
  }

  /** @internal */
  onMessage(data: Buffer, isBinary: boolean): void {
    this.#received++;
    this.server.onMessage(this, data, isBinary);
  }

  /** @internal */
  onControl(data: Buffer): void {
    this.server.onControl(this, data);
  }

  /** @internal */
  onPong(): void {
    this.#pongBy = Infinity;
  }

  /** @internal */
  onViolation(closeCode: number): void {
    this.end(new GatewayError(codeOfViolation(closeCode)));
  }

  /** @internal */
  onApplicationClose(closeCode: number, reason: string): void {
    if (!this.isLive) return;
    const text = reason !== '' && { reason };
    this.#end(closeByApplication(reason), { closeCode, reconnect: comesBack(closeCode), level: 'debug', ...text });
  }

  /** @internal */
  onClosed(closeCode: number): void {
    this.server.onClosed(this, closeCode);
  }

  /** @internal The application threw where nothing waits for it: only the log is told. */
  onFault(error: unknown, at: string): void {
    const failure = toFailure(error);
    this.#report('request', failure, { level: 'error', event: at });
    this.#countViolation(failure);
  }

  /** @internal */
  onBehind(bytes: number): void {
    this.stopReading();
    this.server.context.ledger.grant(bytes);
  }

  /** @internal */
  onDrained(): void {
    this.release();
  }

  /** @internal */
  onTooFarBehind(): void {
    this.end(new GatewayError('SLOW_CONSUMER'));
  }

  /** @internal */
  sent(messages: number, bytes: number): void {
    const { traffic } = this.server.context;
    traffic.sentMessages += messages;
    traffic.sentBytes += bytes;
  }

  /** @internal The process was stopped for so long: what the peer did meanwhile has not been read. */
  postpone(ms: number): void {
    this.#authenticateBy += ms;
    this.#receivingSince += ms;
    this.#pingAt += ms;
    this.#pongBy += ms;
    this.socket.postpone(ms);
  }

  /** @internal Does what is due; called by the one sweep for all sessions. */
  sweep(now: number, timeOfDay: number): void {
    if (!this.isLive) return;
    if (now >= this.#authenticateBy) return this.end(new GatewayError('AUTH_TIMEOUT'));
    if (timeOfDay >= this.#endsAt) return this.end(new GatewayError('TOKEN_EXPIRED'));
    if (this.socket.isLate(now)) return this.end(new GatewayError('SLOW_CONSUMER'));
    if (this.#isStalled(now)) return this.end(new GatewayError('STALLED'));
    if (now >= this.#pongBy) {
      if (!this.socket.isPaused) return this.end(new GatewayError('NO_PONG'));
      this.#pongBy = now + this.server.context.options.heartbeat.timeoutMs; // it is us who do not read
    }
    if (timeOfDay >= this.#expiringAt && this.#phase === OPEN) {
      this.#expiringAt = Infinity; // once per token
      this.send('auth.expiring', { expiresAt: this.#principal?.expiresAt });
    }
    if (now >= this.#pingAt) {
      const { intervalMs, timeoutMs } = this.server.context.options.heartbeat;
      this.#pingAt = now + intervalMs;
      if (this.#pongBy === Infinity) this.#pongBy = now + timeoutMs;
      this.socket.ping();
    }
  }
}

function tokenOf(principal: Principal): SessionToken | undefined {
  const { digest, toleranceMs } = originOf(principal);
  if (digest === undefined) return undefined;
  const { iat } = principal.claims;
  const issuedAt = typeof iat === 'number' ? iat : 0;
  return { digest, expiresAt: principal.expiresAt + toleranceMs, issuedAt };
}
