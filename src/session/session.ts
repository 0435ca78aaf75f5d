import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Principal } from '../authentication/principal.js';
import type { WsClock } from '../base/clock.js';
import { contain } from '../base/contain.js';
import { NO_PARAMS } from '../base/path-params.js';
import type { PathParams } from '../base/path-params.js';
import { LeakyCounter } from '../base/token-bucket.js';
import { MessageBudget } from '../firewall/message-budget.js';
import type { SubjectUsage } from '../firewall/usage.js';
import type { Client, Metered } from '../firewall/client.js';
import type { EventLimit, MessageLimits } from '../firewall/message-budget.js';
import { GatewayError, isErrorCode, specOf } from '../protocol/errors.js';
import type { ErrorCode } from '../protocol/errors.js';
import type { DisconnectData, ExceptionData } from '../protocol/message.js';
import type { Encoded } from '../protocol/wire-protocol.js';
import { isClose, SESSION } from '../socket/gateway-socket.js';
import type { GatewaySocket, SocketOwner } from '../socket/gateway-socket.js';
import { flushFanOuts, waitingFanOuts } from '../socket/text-frames.js';
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
import type { EndDetails, RequestInfo } from './answers.js';
import type { SessionToken } from './earlier-tokens.js';
import type { FailureLevel } from './events.js';
import { isFiltered, toFailure } from './failure.js';
import type { Failure } from './failure.js';
import { Identity } from './identity.js';
import { Intake } from './intake.js';
import type { IntakeOwner } from './intake.js';
import { Liveness } from './liveness.js';
import type { SessionHost, SessionLink } from './session-host.js';
import type { JoinOptions } from './ws-session.js';
import { WsSession } from './ws-session.js';
import type { SessionPhase } from './ws-session.js';

const OPENING: SessionPhase = { phase: 'opening' };
const OPEN: SessionPhase = { phase: 'open' };
const CLOSING: SessionPhase = { phase: 'closing' };
const CLOSED: SessionPhase = { phase: 'closed', byPeer: false };
const CLOSED_BY_PEER: SessionPhase = { phase: 'closed', byPeer: true };

/** What an application closes with that has thrown (RFC 6455 §7.4.1). */
const INTERNAL_ERROR = 1011;

/** What a close frame without a code counts as (RFC 6455 §7.4.1). */
const NO_CLOSE_CODE = 1005;

/** What the event of an end says beside the failure. */
interface Report {
  /** Default: the catalogue's. */
  readonly level?: FailureLevel;
  readonly closeCode?: number;
  readonly event?: string | undefined;
  readonly durationMs?: number | undefined;
}

/** The working class behind {@link WsSession}: its phase, its end, and what a failed request leads to. */
export class Session<State extends object = object>
  extends WsSession<State>
  implements SocketOwner, IntakeOwner, Metered
{
  readonly connectedAt: number;
  /** The moment of {@link connectedAt}, in monotonic milliseconds. */
  readonly openedAt: number;
  readonly clientAddress: string;
  readonly budget: MessageBudget;
  /** Set while it has a principal. */
  subjectUsage: SubjectUsage | undefined;
  readonly intake: Intake;

  #phase = OPENING;
  #state: State | undefined;
  #identity: Identity | undefined;
  #authenticateBy = Infinity;
  readonly #liveness: Liveness;
  readonly #badFrames = new LeakyCounter();

  /** Set where its messages go on to another application. */
  link: SessionLink | undefined;
  /** The upgrade, where connection guards may be asked again. */
  request: IncomingMessage | undefined;
  /** Its number in the order of connecting, from 1. */
  sequence = 0;
  /** How many of the path's gateways `handleConnection` was called of. */
  hooksCalled = 0;
  /** Set while an async `handleConnection` runs and is waited for; never rejects. */
  opening: Promise<void> | undefined;
  #giveUpOpening: (() => void) | undefined;

  constructor(
    readonly socket: GatewaySocket,
    readonly server: SessionHost<Session>,
    /** Who connected, as the firewall knows it. */
    readonly client: Client,
    readonly params: PathParams = NO_PARAMS,
    readonly id: string = randomUUID(),
  ) {
    super();
    const { clock, options } = server.context;
    const now = clock.monotonic();
    this.clientAddress = client.address;
    this.budget = new MessageBudget(options.limits, now);
    this.connectedAt = clock.now();
    this.openedAt = now;
    this.intake = new Intake(this);
    this.#liveness = new Liveness(now, options.heartbeat);
    if (!options.auth.anonymous) this.#authenticateBy = now + options.auth.timeoutMs;
    socket[SESSION] = this;
  }

  get state(): State {
    return (this.#state ??= {} as State); // because the members are the application's to set
  }

  get principal(): Principal | undefined {
    return this.#identity?.principal;
  }

  get phase(): SessionPhase['phase'] {
    return this.#phase.phase;
  }

  get isLive(): boolean {
    return this.#phase === OPEN || this.#phase === OPENING;
  }

  /** True when broadcasts may go to it: it is open, and has authenticated or need not. */
  get mayBeWrittenTo(): boolean {
    return this.#phase === OPEN && (this.principal !== undefined || this.server.context.options.auth.anonymous);
  }

  /** It has not ended, and is no stranger: what is published in its rooms is for it, also while `handleConnection` runs. */
  get mayReceive(): boolean {
    return this.isLive && (this.principal !== undefined || this.server.context.options.auth.anonymous);
  }

  join(room: string, options?: JoinOptions): boolean {
    return this.server.context.rooms.join(this, room, options);
  }

  leave(room: string): boolean {
    return this.server.context.rooms.leave(this, room);
  }

  get rooms(): readonly string[] {
    return this.server.context.rooms.of(this);
  }

  send(event: string, data: unknown): boolean {
    return this.sendEncoded(this.server.protocol.push(event, data));
  }

  sendBinary(data: Uint8Array): boolean {
    if (!(data instanceof Uint8Array)) throw new TypeError('A binary message is a Buffer or a Uint8Array');
    if (!this.isLive) return false;
    this.socket.send(data);
    return true;
  }

  close(code: ErrorCode | number = 1000): void {
    if (typeof code === 'number') {
      if (!isClose(code)) throw new TypeError('A close code is 1000 to 1014 without 1004 to 1006, or 3000 to 4999');
      return this.onApplicationClose(code, '');
    }
    if (!isErrorCode(code)) throw new TypeError('An error code is 2 to 64 upper case letters, digits and underscores');
    this.end(new GatewayError(code), { level: 'info' });
  }

  /** @returns false when nothing was sent */
  sendEncoded(encoded: Encoded | undefined): boolean {
    if (typeof encoded === 'string') return this.sendText(encoded);
    return encoded !== undefined && this.sendBinary(encoded);
  }

  sendText(text: string): boolean {
    if (!this.isLive) return false;
    this.socket.send(text);
    return true;
  }

  /** Takes a principal, at first or in place of an earlier one with the same subject; `adopt()` of sign-in.ts has asked whether it may. */
  adopt(principal: Principal): void {
    const { clock, options } = this.server.context;
    const timeOfDay = clock.now();
    if (this.#identity === undefined) this.#identity = new Identity(principal, timeOfDay, options.auth.refreshLeadMs);
    else this.#identity.refresh(principal, timeOfDay, options.auth.refreshLeadMs);
    this.#authenticateBy = Infinity;
    this.joinBroadcasts();
  }

  /** The same subject and token with other roles or scopes. */
  replacePrincipal(principal: Principal): void {
    if (this.#identity !== undefined) this.#identity.principal = principal;
  }

  /** The tokens that it was opened or refreshed with, as far as they are still good. */
  get tokens(): SessionToken[] {
    return this.#identity?.tokens ?? [];
  }

  /** Tokens that it had are not all among {@link tokens}: the others were issued before this time, in epoch seconds. */
  forgottenTokensBefore(timeOfDay: number): number | undefined {
    return this.#identity?.forgottenTokensBefore(timeOfDay);
  }

  /** Puts it among the `clients` of its server, unless it is a stranger; `handleConnection` finds it there. */
  joinBroadcasts(): void {
    if (this.mayReceive) this.server.admitToBroadcasts(this.socket);
  }

  /** True when the token has expired, also before the sweep ends the session. */
  isExpired(timeOfDay: number): boolean {
    return this.#identity?.isExpired(timeOfDay) === true;
  }

  open(): void {
    if (this.#phase !== OPENING) return;
    this.#phase = OPEN;
    this.link?.start();
  }

  /** Resolves when the time of `handleConnection` is over, also after the session has closed. */
  openingTimedOut(): Promise<void> {
    this.server.context.sessions.watchOpening(this);
    return new Promise((resolve) => (this.#giveUpOpening = resolve));
  }

  /** @returns true when there is nothing to wait for any more */
  sweepOpening(waitedMs: number): boolean {
    if (this.opening === undefined) return true;
    if (waitedMs < this.server.context.options.limits.handlerTimeoutMs) return false;
    this.end(new Error('handleConnection did not settle in time'));
    this.#giveUpOpening?.();
    return true;
  }

  /**
   * Ends the session: a `disconnect` frame where the path has one, the close frame, and one event. Never throws.
   */
  end(thrown: unknown, details: EndDetails = {}): void {
    if (waitingFanOuts > 0) flushFanOuts(); // what was published before is for it
    if (this.isLive) this.#end(toFailure(thrown), details);
  }

  #end(failure: Failure, details: EndDetails): void {
    this.#close();
    const disconnect = disconnectOf(failure, details);
    const reason = details.reason ?? failure.code;
    this.#sendDisconnect(disconnect);
    if (disconnect.closeCode === NO_CLOSE_CODE) this.socket.close();
    else this.socket.close(disconnect.closeCode, reason);
    this.link?.sessionEnded(disconnect.closeCode, reason);
    this.#report('connection', failure, { ...details, closeCode: disconnect.closeCode });
    this.#countViolation(failure);
  }

  /**
   * Fails a request, and ends the session too where the code says so. Never throws.
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
      this.#sendException(failure, request);
    }
    if (wasLive && failure.fatal) return this.#end(failure, { event: request?.event });
    if (wasLive && specOf(failure.code).badFrame === true) {
      if (!this.#takeBadFrame()) return this.end(new GatewayError('BAD_FRAME'), { event: request?.event });
    }
    if (failure.code === 'VALIDATION_FAILED') {
      this.server.context.firewall.metering.chargeRefused(this, request?.heapBytes ?? 0);
    }
    // After the end of the session only a fault of the server is worth a line.
    if (!wasLive && levelOf(failure.code) !== 'error') return;
    this.#report('request', failure, { event: request?.event, durationMs: request?.durationMs });
    if (!isOurs) this.#countViolation(failure);
  }

  /**
   * Tells of what has failed in parts of a request that is answered as a whole. Never throws.
   *
   * @param parts how many of them have failed so
   */
  failPart(thrown: unknown, event: string, parts: number): void {
    const failure = toFailure(thrown);
    if (failure.code === 'VALIDATION_FAILED') this.server.context.firewall.metering.chargeRefused(this, 0);
    this.#report('request', { ...failure, reason: failure.reason ?? `${parts} of a batch` }, { event });
    this.#countViolation(failure);
  }

  #sendException(failure: Failure, { id, event, context }: RequestInfo): void {
    const { protocol, context: shared } = this.server;
    // That an event is declared no protocol is to tell a stranger.
    const request = { id, event: failure.code === 'UNAUTHENTICATED' ? undefined : event, context };
    const encode = (data: ExceptionData): Encoded | undefined =>
      protocol.exception(data, request, this, shared.options);
    try {
      this.sendEncoded(encodeException(failure, encode));
    } catch (error) {
      this.onFault(error, 'protocol.exception');
    }
  }

  #sendDisconnect(disconnect: DisconnectData): void {
    try {
      const encoded = this.server.protocol.disconnect(disconnect, this);
      if (encoded !== undefined) this.socket.send(encoded);
    } catch (error) {
      this.onFault(error, 'protocol.disconnect');
    }
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
      ...(this.principal !== undefined && { subject: this.principal.subject }),
      ...(event !== undefined && { event }),
      ...(closeCode !== undefined && { closeCode }),
      ...(lifeMs !== undefined && { durationMs: lifeMs }),
    });
  }

  /** Counts the failure towards a ban, where its code is a violation. */
  #countViolation({ code, refusedDigest }: Failure): void {
    const { firewall } = this.server.context;
    const { violation } = specOf(code);
    if (violation === 'token') firewall.violations.failedAuthentication(this.client, refusedDigest, this);
    else if (violation !== undefined) firewall.violations.count(this.client, this, violation === 'budget');
  }

  /** @returns false with the bad frame that is too many */
  #takeBadFrame(): boolean {
    return !this.#badFrames.add(this.server.context.options.limits.maxBadFrames, 60_000, this.clock.monotonic());
  }

  #close(): void {
    this.#phase = CLOSING;
    this.intake.stop();
    this.socket.readToEnd();
  }

  /** The TCP connection has closed. Where that was not our doing, it is one event. */
  closed(closeCode: number, reason = ''): void {
    this.link?.sessionEnded(closeCode, reason);
    if (this.isLive) {
      const isClean = isCleanClose(closeCode);
      this.#report('connection', closeByPeer(closeCode), { level: isClean ? 'debug' : 'info', closeCode });
    }
    this.#phase = this.isLive ? CLOSED_BY_PEER : CLOSED;
    this.intake.closed();
  }

  /** True while messages are handled: also those that came before the peer's close, unless it is revoked since. */
  get handlesMessages(): boolean {
    if (this.isLive) return true;
    return this.#phase === CLOSED_BY_PEER && !this.server.context.sessions.isRevoked(this.principal);
  }

  /** True when the application's own listeners may hear what the peer sends: it has authenticated, or need not. */
  get isHeard(): boolean {
    if (this.#identity === undefined) return this.server.context.options.auth.anonymous;
    return !this.isExpired(this.clock.now());
  }

  /** Handles a message that the {@link Intake} has held. */
  handle(bytes: Buffer, isBinary: boolean): void {
    this.server.handle(this, bytes, isBinary);
  }

  /**
   * Charges the session for an event that has a limit of its own.
   *
   * @throws GatewayError RATE_LIMITED
   */
  chargeEvent(event: string, limit: EventLimit): void {
    const wait = this.server.context.firewall.metering.chargeEvent(this, event, limit);
    if (wait > 0) throw new GatewayError('RATE_LIMITED', { retryAfterMs: wait });
  }

  get limits(): MessageLimits {
    return this.server.context.options.limits;
  }

  /** Bytes that wait to be sent and are freed by its end. */
  get outbound(): number {
    return this.socket.ownOutbound + (this.link?.outbound ?? 0);
  }

  /** Bytes of messages that are begun and not complete. */
  get receiving(): number {
    return this.socket.receiving + (this.link?.receiving ?? 0);
  }

  get maxOutboundBytes(): number {
    return this.server.context.options.limits.maxOutboundBytes;
  }

  get clock(): WsClock {
    return this.server.context.clock;
  }

  onMessage(data: Buffer, isBinary: boolean): void {
    this.#liveness.received++;
    this.server.onMessage(this, data, isBinary);
  }

  onControl(data: Buffer): void {
    this.server.onControl(this, data);
  }

  onPong(): void {
    this.#liveness.onPong();
  }

  onViolation(closeCode: number): void {
    this.end(new GatewayError(codeOfViolation(closeCode)));
  }

  onApplicationClose(closeCode: number, reason: string): void {
    if (waitingFanOuts > 0) flushFanOuts();
    if (!this.isLive) return;
    const text = reason !== '' && { reason };
    this.#end(closeByApplication(reason), { closeCode, reconnect: comesBack(closeCode), level: 'debug', ...text });
  }

  /**
   * The application behind a proxy has closed.
   *
   * @param closeCode its own, as `reason` is; 1005 for none
   * @param application as the log names it, where it says that it has failed
   */
  closeAs(closeCode: number, reason: string, application: string): void {
    if (!this.isLive) return;
    const isFault = closeCode === INTERNAL_ERROR;
    const failure = isFault
      ? { ...closeByApplication(reason), reason: `${application} has failed` }
      : closeByApplication(reason);
    const level = isFault ? 'error' : 'debug';
    this.#end(failure, { closeCode, reason, reconnect: comesBack(closeCode), level });
  }

  onClosed(closeCode: number, reason: string): void {
    this.server.onClosed(this, closeCode, reason);
  }

  /** The application threw where no request waits for an answer: the failure goes into the log alone. */
  onFault(error: unknown, at: string): void {
    const failure = toFailure(error);
    this.#report('request', failure, { level: 'error', event: at });
    this.#countViolation(failure);
  }

  onBehind(bytes: number): void {
    this.intake.stopReading();
    this.server.context.byteBudget.grant(bytes);
  }

  onDrained(): void {
    this.intake.release();
  }

  onTooFarBehind(): void {
    this.end(new GatewayError('SLOW_CONSUMER'));
  }

  sent(messages: number, bytes: number): void {
    const { traffic } = this.server.context;
    traffic.sentMessages += messages;
    traffic.sentBytes += bytes;
  }

  /** The process was stopped for so long: what the peer did meanwhile has not been read. */
  postpone(ms: number): void {
    this.#authenticateBy += ms;
    this.#liveness.postpone(ms);
    this.socket.postpone(ms);
  }

  /** Does what is due. The one sweep calls it for every session. */
  sweep(now: number, timeOfDay: number): void {
    if (!this.isLive) return;
    if (now >= this.#authenticateBy) return this.end(new GatewayError('AUTH_TIMEOUT'));
    if (this.isExpired(timeOfDay)) return this.end(new GatewayError('TOKEN_EXPIRED'));
    if (this.socket.isLate(now)) return this.end(new GatewayError('SLOW_CONSUMER'));
    const silence = this.#liveness.sweep(now, this.socket, this.server.context.options);
    if (silence === 'NO_PONG' && this.link?.isHeldUp) return this.end(new GatewayError('SLOW_CONSUMER')); // the ping waits, too
    if (silence !== undefined) return this.end(new GatewayError(silence));
    if (this.#phase === OPEN && this.#identity?.takeExpiring(timeOfDay)) {
      const push = (): unknown => this.send('auth.expiring', { expiresAt: this.principal?.expiresAt });
      contain(push, (error) => this.onFault(error, 'protocol.push'));
    }
  }
}

/** The session of a socket that {@link WsSession.of} knows, with its inner members. */
export function sessionOf(socket: object): Session {
  return WsSession.of(socket) as Session; // because the handshake makes sessions of this class only
}
