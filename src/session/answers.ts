import type { ServerResponse } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { withoutSensitive } from '../data-protection/sensitive.js';
import { encode } from '../protocol/codec.js';
import { closeCodeOf, GatewayError, isErrorCode, specOf } from '../protocol/errors.js';
import type { ErrorCode } from '../protocol/errors.js';
import type { DisconnectData, ExceptionData, MessageId } from '../protocol/message.js';
import type { Emitter } from '../base/emitter.js';
import type { MessageTrace } from '../connection/tracing.js';
import type { SocketDeadlines } from '../socket/socket-deadlines.js';
import type { FailureEvent, FailureLevel, SessionEvent } from './events.js';
import { describe, failureOf, isFiltered } from './failure.js';
import type { Failure } from './failure.js';
import type { WsSession } from './session.js';

/**
 * The one place where a failure becomes what the client sees (an HTTP answer, an `exception`, a `disconnect` and a close
 * code) and one event for the log. Nothing here throws.
 */

/** A request that can be answered. */
export interface Answerable {
  readonly id: MessageId | undefined;
  /** The declared event, for the log; undefined while it is only what a client wrote. */
  readonly event: string | undefined;
  readonly durationMs?: number;
  /** What its message is on the heap, in bytes. */
  readonly heapBytes?: number;
  /** The spans of the request, where there are any. */
  readonly trace?: MessageTrace | undefined;
}

/**
 * Fails a request; ends the session too where the code says so. Without a request there is nobody to answer.
 *
 * @param isOurs true where it is the state of the process that the request fails by: it is no violation then
 */
export function fail(session: WsSession, thrown: unknown, request: Answerable | undefined, isOurs = false): void {
  const filtered = isFiltered(thrown);
  const failure = describe(filtered ? thrown.error : thrown);
  const wasLive = session.isLive;
  request?.trace?.failed(failure.code, failure.incidentId);
  if (request !== undefined && wasLive && (!filtered || request.id !== undefined)) {
    session.sendText(encodeException(session, failure, request.id));
  }
  if (wasLive && failure.fatal) return endWith(session, failure, { request });
  if (wasLive && (failure.code === 'BAD_FRAME' || failure.code === 'UNKNOWN_EVENT')) {
    if (!session.takeBadFrame(session.server.context.clock.monotonic())) {
      return end(session, new GatewayError('BAD_FRAME'), { request });
    }
  }
  if (failure.code === 'VALIDATION_FAILED') {
    session.server.context.firewall.chargeRefused(session, request?.heapBytes ?? 0);
  }
  // When the session has ended, a client's fault is no news any more; a fault of ours still is.
  const level = levelOf(failure.code);
  if (wasLive || level === 'error') report(session, 'request', failure, level, { request, isOurs });
}

/** How an end differs from what the catalogue says. */
export interface EndDetails {
  readonly closeCode?: number;
  readonly level?: FailureLevel;
  readonly reconnect?: boolean;
  readonly request?: Answerable | undefined;
  /** No violation, whatever the code. */
  readonly isOurs?: boolean;
}

/** Ends a session on purpose: `disconnect` where a frame can still go out, then the close, and one event. */
export function end(session: WsSession, thrown: unknown, details: EndDetails = {}): void {
  if (session.isLive) endWith(session, describe(thrown), details);
}

function endWith(session: WsSession, failure: Failure, details: EndDetails): void {
  session.closing();
  const closeCode = sayGoodbye(session.socket, failure, details, session.server.takeRaw === undefined);
  report(session, 'connection', failure, details.level ?? levelOf(failure.code), { ...details, closeCode });
}

/** Ends a peer that never became a session: its token was bad and `auth.reject` is `close`. */
export function turnAway(
  socket: WebSocket,
  thrown: unknown,
  monitor: Emitter<SessionEvent>,
  clientAddress: string,
): Failure {
  const failure = describe(thrown);
  const closeCode = sayGoodbye(socket, failure, {});
  monitor.emit({ kind: 'connection', ...logged(failure), level: levelOf(failure.code), clientAddress, closeCode });
  return failure;
}

/** @returns the close code */
function sayGoodbye(
  socket: WebSocket,
  { code, message, retryable, retryAfterMs }: Failure,
  details: EndDetails,
  speaksEnvelopes = true,
): number {
  const reconnect = details.reconnect ?? specOf(code).reconnect ?? retryable;
  const closeCode = details.closeCode ?? closeCodeOf(code, reconnect);
  const data: DisconnectData = {
    code,
    message,
    closeCode,
    reconnect,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  };
  if (speaksEnvelopes) socket.send(encode('disconnect', data));
  socket.close(closeCode, code);
  return closeCode;
}

/** What `ws` closes with when a peer breaks RFC 6455, and the code it stands for. */
const CODE_OF_VIOLATION: Readonly<Record<number, ErrorCode>> = {
  1002: 'PROTOCOL_VIOLATION',
  1007: 'INVALID_UTF8',
  1008: 'MESSAGE_TOO_BIG', // too many fragments or chunks: the sum of its parts is what is too big
  1009: 'MESSAGE_TOO_BIG',
};

/** `ws` gives the peer up. */
export function endViolation(session: WsSession, closeCode: number): void {
  end(session, new GatewayError(CODE_OF_VIOLATION[closeCode] ?? 'PROTOCOL_VIOLATION'));
}

/** Close codes by which a client is to come back, beside our own 41nn (IANA's registry). */
const COME_BACK: ReadonlySet<number> = new Set([1001, 1011, 1012, 1013, 1014, 3008]);

/** The application closes by number. Its reason is the code when it looks like one, and the message otherwise. */
export function endByApplication(session: WsSession, closeCode: number, reason: string): void {
  if (!session.isLive) return;
  const code = isErrorCode(reason) ? reason : 'CLOSED';
  const message = reason === '' || reason === code ? 'Closed by the application' : reason;
  const failure = failureOf(code, { message, fatal: false });
  const reconnect = COME_BACK.has(closeCode) || (closeCode >= 4100 && closeCode < 4200);
  endWith(session, failure, { closeCode, reconnect, level: 'debug' });
}

/** The peer has closed, or its connection broke. Nothing can be sent; it is one event all the same. */
export function reportClosedByPeer(session: WsSession, closeCode: number): void {
  const clean = closeCode !== 1006; // RFC 6455 §7.1.5
  const failure = clean
    ? failureOf('CLOSED', { message: 'Closed by the peer' })
    : failureOf('CONNECTION_LOST', { message: 'The connection broke without a close frame' });
  report(session, 'connection', failure, clean ? 'debug' : 'info', { closeCode });
}

/** Something of the application's threw when nobody waited for it: there is nobody to tell but the log. */
export function reportStray(session: WsSession, thrown: unknown, event: string): void {
  report(session, 'request', describe(thrown), 'error', { request: { id: undefined, event } });
}

/** A bad credential that counts as absent: the peer is told nothing, and goes on without it. */
export function reportSetAside(
  thrown: unknown,
  source: string,
  monitor: Emitter<SessionEvent>,
  clientAddress: string,
): void {
  const failure = describe(thrown);
  const because = failure.reason === undefined ? '' : `: ${failure.reason}`;
  const reason = `the ${source} counts as absent${because}`;
  monitor.emit({ kind: 'request', ...logged(failure), reason, level: 'info', clientAddress });
}

/** Refuses an upgrade: an HTTP answer with a JSON body, and one event. */
export function refuse(
  socket: Duplex,
  thrown: unknown,
  monitor: Emitter<SessionEvent>,
  sockets: SocketDeadlines,
  clientAddress: string,
): Failure {
  const failure = describe(thrown);
  const status = specOf(failure.code).status ?? 500;
  const body = refusalBody(failure);
  if (socket.writable) {
    const head = Object.entries(refusalHeaders(failure, body)).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${head.join('')}\r\n${body}`);
    sockets.linger(socket);
  } else socket.destroy();
  reportRefusal(failure, status, monitor, clientAddress);
  return failure;
}

/** What is known of a plain HTTP request that is refused. */
export interface RefusedHttp {
  /** `upgrade` at a gateway's path, where a WebSocket is what was meant; `http` at any other door. @default 'upgrade' */
  readonly kind?: 'upgrade' | 'http';
  /** The HTTP status, where it is not the catalogue's. */
  readonly status?: number;
  readonly route?: string;
  readonly subject?: string;
}

/** Refuses a plain HTTP request: a JSON body as a refused upgrade has it, and one event. */
export function refuseRequest(
  response: ServerResponse,
  thrown: unknown,
  monitor: Emitter<SessionEvent>,
  clientAddress: string,
  { kind = 'upgrade', status: given, ...who }: RefusedHttp = {},
): void {
  const failure = describe(thrown);
  const status = given ?? specOf(failure.code).status ?? 500;
  const body = refusalBody(failure);
  if (response.headersSent)
    response.destroy(); // half an answer cannot be taken back
  else {
    const headers = refusalHeaders(failure, body, status);
    const stays = kind === 'http' && !KEPT_OUT.has(status);
    if (stays || response.req.httpVersionMajor > 1) for (const name of OF_ONE_HOP) delete headers[name];
    response.writeHead(status, headers);
    response.end(response.req.method === 'HEAD' ? undefined : body);
  }
  reportRefusal(failure, status, monitor, clientAddress, { kind, ...who });
}

/** HTTP statuses of peers that are kept out: each further request takes them a connection. */
const KEPT_OUT: ReadonlySet<number> = new Set([401, 403, 429]);

/** A TCP connection was cut before it had asked for anything, so there was nothing to answer. */
export function reportCut(thrown: unknown, monitor: Emitter<SessionEvent>, clientAddress: string): void {
  reportRefusal(describe(thrown), undefined, monitor, clientAddress);
}

/** HTTP/2 has none of them (RFC 9113 §8.2.2). */
const OF_ONE_HOP = ['Connection', 'Upgrade'] as const;

function reportRefusal(
  failure: Failure,
  status: number | undefined,
  monitor: Emitter<SessionEvent>,
  clientAddress: string,
  who: { readonly kind: 'upgrade' | 'http'; readonly route?: string; readonly subject?: string } = { kind: 'upgrade' },
): void {
  const address = clientAddress !== '' && { clientAddress };
  const answer = status !== undefined && { status };
  monitor.emit({ ...who, ...logged(failure), level: levelOf(failure.code), ...answer, ...address });
}

function refusalBody({ code, message, incidentId }: Failure): string {
  return JSON.stringify({ code, message, ...(incidentId !== undefined && { incidentId }) });
}

/** Seconds after which a refused client may try again, where the failure does not say. */
const DEFAULT_RETRY_AFTER_SECONDS = 5;

function refusalHeaders(
  { code, retryAfterMs }: Failure,
  body: string,
  status = specOf(code).status ?? 500,
): Record<string, string> {
  const upgrade = code === 'UPGRADE_REQUIRED';
  const retry = status === 429 || status === 503 || code === 'BANNED';
  const seconds = retryAfterMs === undefined ? DEFAULT_RETRY_AFTER_SECONDS : Math.ceil(retryAfterMs / 1000);
  return {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(body)),
    Connection: upgrade ? 'close, upgrade' : 'close',
    ...(upgrade && { Upgrade: 'websocket' }),
    ...(retry && { 'Retry-After': String(seconds) }),
    ...(code === 'BAD_UPGRADE' && { 'Sec-WebSocket-Version': '13' }), // RFC 6455 §4.4
    ...(status === 401 && { 'WWW-Authenticate': 'Bearer' }), // RFC 6750 §3
  };
}

function levelOf(code: ErrorCode): FailureLevel {
  const { cause } = specOf(code);
  if (cause === 'client') return 'warn';
  return cause === 'server' ? 'error' : 'info';
}

/** What of a failure goes into the log. Its details stay out: they tell of the payload. */
function logged({
  code,
  message,
  incidentId,
  reason,
  stack,
}: Failure): Pick<FailureEvent, 'code' | 'message' | 'incidentId' | 'reason' | 'stack'> {
  return {
    code,
    message,
    ...(incidentId !== undefined && { incidentId }),
    ...(reason !== undefined && { reason }),
    ...(stack !== undefined && { stack }),
  };
}

function report(
  session: WsSession,
  kind: 'request' | 'connection',
  failure: Failure,
  level: FailureLevel,
  details: EndDetails,
): void {
  const { context } = session.server;
  const { closeCode, request } = details;
  const lifeMs = (): number => Math.round(context.clock.monotonic() - session.openedAt);
  const durationMs = kind === 'connection' ? lifeMs() : request?.durationMs;
  context.monitor.emit({
    kind,
    ...logged(failure),
    level,
    sessionId: session.id,
    clientAddress: session.clientAddress,
    ...(session.principal !== undefined && { subject: session.principal.subject }),
    ...(request?.event !== undefined && { event: request.event }),
    ...(closeCode !== undefined && { closeCode }),
    ...(durationMs !== undefined && { durationMs }),
  });
  if (failure.code === 'TOKEN_INVALID') {
    context.firewall.failedAuthentication(session.client, failure.refusedDigest, session);
  } else if (VIOLATIONS.has(failure.code) && details.isOurs !== true) {
    context.firewall.violation(session.client, session, failure.code === 'RATE_LIMITED');
  }
}

/** Codes of what counts towards a ban, beside bad tokens. */
const VIOLATIONS: ReadonlySet<ErrorCode> = new Set([
  'BAD_FRAME',
  'UNKNOWN_EVENT',
  'RATE_LIMITED',
  'PROTOCOL_VIOLATION',
  'INVALID_UTF8',
]);

function encodeException(session: WsSession, failure: Failure, id: MessageId | undefined): string {
  const { code, message, retryable, retryAfterMs, details, incidentId } = failure;
  const data: ExceptionData = {
    status: 'error',
    code,
    message,
    retryable,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(incidentId !== undefined && { incidentId }),
  };
  const { event } = session.server.context.options.errors;
  if (details === undefined) return encode(event, data, id);
  try {
    return encode(event, { ...data, details: withoutSensitive(details) }, id);
  } catch {
    return encode(event, data, id); // the application's own details cannot be serialised; the code still can
  }
}
