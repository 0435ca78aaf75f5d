import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { HttpException } from '@nestjs/common';
import { WsException } from '@nestjs/websockets';
import { encode } from '../protocol/codec.js';
import { closeCodeOf, GatewayError, isErrorCode, specOf } from '../protocol/errors.js';
import type { ErrorCode } from '../protocol/errors.js';
import type { DisconnectData, ExceptionData, MessageId } from '../protocol/message.js';
import type { FailureLevel, WsMonitor } from '../monitoring/events.js';
import type { Lingering } from './lingering.js';
import type { WsSession } from './session.js';

/**
 * The one place where an error becomes what the client sees (an HTTP answer, an `exception`, a `disconnect` and a close
 * code) and one event for the log. Nothing here throws.
 */

/** Ends the session, though the catalogue does not say so of its code. */
export class SessionEnd extends GatewayError {}

/** An error that a filter of the application has handled: it is logged, and a request with an `id` still gets its answer. */
export class FilteredError {
  constructor(readonly error: unknown) {}
}

/** A request that can be answered. */
export interface Answerable {
  readonly id: MessageId | undefined;
  /** The declared event, for the log; undefined while it is only what a client wrote. */
  readonly event: string | undefined;
  readonly durationMs?: number;
}

/** Fails a request; ends the session too where the code says so. Without a request there is nobody to answer. */
export function fail(session: WsSession, thrown: unknown, request: Answerable | undefined): void {
  const filtered = thrown instanceof FilteredError;
  const { error, incidentId, cause } = describe(filtered ? thrown.error : thrown);
  const wasLive = session.isLive;
  if (request !== undefined && wasLive && (!filtered || request.id !== undefined)) {
    session.sendText(encodeException(session, error, incidentId, request.id));
  }
  if (wasLive && (error instanceof SessionEnd || specOf(error.code).fatal)) {
    return end(session, error, { incidentId, cause, request });
  }
  if (wasLive && (error.code === 'BAD_FRAME' || error.code === 'UNKNOWN_EVENT')) {
    if (!session.takeBadFrame(session.server.context.clock.now())) {
      return end(session, new GatewayError('BAD_FRAME'), { request });
    }
  }
  // When the session has ended, a client's fault is no news any more; a fault of ours still is.
  if (wasLive || levelOf(error.code) === 'error') {
    report(session, 'request', error, levelOf(error.code), { incidentId, cause, request });
  }
}

/** How an end differs from what the catalogue says. */
export interface EndDetails {
  readonly closeCode?: number;
  readonly reason?: string;
  readonly level?: FailureLevel;
  readonly incidentId?: string | undefined;
  readonly cause?: unknown;
  readonly request?: Answerable | undefined;
}

/** Ends a session on purpose: `disconnect` where a frame can still go out, then the close, and one event. */
export function end(session: WsSession, thrown: unknown, details: EndDetails = {}): void {
  if (!session.isLive) return;
  const described = describe(thrown);
  const { error } = described;
  const reconnect = specOf(error.code).reconnect ?? error.retryable;
  const closeCode = details.closeCode ?? closeCodeOf(error.code, reconnect);
  session.closing(error.code);
  const data: DisconnectData = {
    code: error.code,
    message: error.message,
    closeCode,
    reconnect,
    ...(error.retryAfterMs !== undefined && { retryAfterMs: error.retryAfterMs }),
  };
  session.socket.send(encode('disconnect', data));
  session.socket.close(closeCode, details.reason ?? error.code);
  const level = details.level ?? levelOf(error.code);
  report(session, 'connection', error, level, {
    incidentId: described.incidentId,
    cause: described.cause,
    ...details,
    closeCode,
  });
}

/** Ends a peer that never became a session: its token was bad and `auth.reject` is `close`. */
export function turnAway(
  socket: { send(text: string): void; close(code: number, reason: string): void },
  error: GatewayError,
  monitor: WsMonitor,
  clientAddress: string,
): void {
  const reconnect = specOf(error.code).reconnect ?? false;
  const closeCode = closeCodeOf(error.code, reconnect);
  socket.send(
    encode('disconnect', { code: error.code, message: error.message, closeCode, reconnect } satisfies DisconnectData),
  );
  socket.close(closeCode, error.code);
  monitor.emit({
    kind: 'connection',
    code: error.code,
    level: levelOf(error.code),
    message: error.message,
    clientAddress,
    closeCode,
  });
}

/** What `ws` closes with when a peer breaks RFC 6455, and the code it stands for. */
const CODE_OF_CLOSE: Readonly<Record<number, ErrorCode>> = {
  1002: 'PROTOCOL_VIOLATION',
  1007: 'INVALID_UTF8',
  1008: 'MESSAGE_TOO_BIG', // too many fragments or chunks: the sum of its parts is what is too big
  1009: 'MESSAGE_TOO_BIG',
};

/** A close that came by number: from `ws`, or from an application that closed the native socket. */
export function endByCloseCode(session: WsSession, closeCode: number, reason?: string | Buffer): void {
  const code = CODE_OF_CLOSE[closeCode];
  if (code !== undefined) return end(session, new GatewayError(code));
  const text = reason?.toString() ?? '';
  const error = new GatewayError(isErrorCode(text) ? text : 'CLOSED', {
    message: 'Closed by the application',
    retryable:
      (closeCode >= 4100 && closeCode < 4200) || closeCode === 1001 || closeCode === 1012 || closeCode === 1013,
  });
  end(session, error, { closeCode, reason: text, level: 'debug' });
}

export function endSlowConsumer(session: WsSession): void {
  end(session, new GatewayError('SLOW_CONSUMER'));
}

/** The peer has closed, or its connection broke. Nothing can be sent; it is one event all the same. */
export function reportClosedByPeer(session: WsSession, closeCode: number): void {
  const clean = closeCode !== 1006;
  const error = new GatewayError(clean ? 'CLOSED' : 'CONNECTION_LOST', {
    message: clean ? 'Closed by the peer' : 'The connection broke without a close frame',
  });
  report(session, 'connection', error, clean ? 'debug' : 'info', { closeCode });
}

/** A `handleDisconnect` that threw: the session is over, so there is nobody to tell but the log. */
export function reportHook(session: WsSession, thrown: unknown): void {
  const { error, incidentId, cause } = describe(thrown);
  report(session, 'request', error, 'error', {
    incidentId,
    cause,
    request: { id: undefined, event: 'handleDisconnect' },
  });
}

/** Refuses an upgrade: an HTTP answer with a JSON body, and one event. */
export function refuse(
  socket: Duplex,
  thrown: unknown,
  monitor: WsMonitor,
  lingering: Lingering,
  clientAddress: string | undefined,
): void {
  const { error, incidentId, cause } = describe(thrown);
  const status = specOf(error.code).status ?? 500;
  const body = refusalBody(error);
  if (socket.writable) {
    const head = Object.entries(refusalHeaders(error, body)).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${head.join('')}\r\n${body}`);
    lingering.add(socket);
  } else socket.destroy();
  monitor.emit({
    kind: 'upgrade',
    code: error.code,
    level: levelOf(error.code),
    message: error.message,
    status,
    ...(clientAddress !== undefined && { clientAddress }),
    ...(incidentId !== undefined && { incidentId }),
    ...(cause !== undefined && { error: cause }),
  });
}

/** Plain HTTP at a gateway's path, or at a port that has nothing but gateways. */
export function refuseRequest(response: ServerResponse, error: GatewayError, method: string | undefined): void {
  const body = refusalBody(error);
  response.writeHead(specOf(error.code).status ?? 500, refusalHeaders(error, body));
  response.end(method === 'HEAD' ? undefined : body);
}

function refusalBody(error: GatewayError): string {
  return JSON.stringify({ code: error.code, message: error.message });
}

/** Seconds after which a refused client may try again, where the error does not say. */
const DEFAULT_RETRY_AFTER_SECONDS = 5;

function refusalHeaders(error: GatewayError, body: string): Record<string, string> {
  const status = specOf(error.code).status;
  const upgrade = error.code === 'UPGRADE_REQUIRED';
  const retry = status === 429 || status === 503 || error.code === 'BANNED';
  const seconds = error.retryAfterMs === undefined ? DEFAULT_RETRY_AFTER_SECONDS : Math.ceil(error.retryAfterMs / 1000);
  return {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(body)),
    Connection: upgrade ? 'close, upgrade' : 'close',
    ...(upgrade && { Upgrade: 'websocket' }),
    ...(retry && { 'Retry-After': String(seconds) }),
    ...(error.code === 'BAD_UPGRADE' && { 'Sec-WebSocket-Version': '13' }), // RFC 6455 §4.4
    ...(status === 401 && { 'WWW-Authenticate': 'Bearer' }), // RFC 6750 §3
  };
}

function levelOf(code: ErrorCode): FailureLevel {
  const { cause } = specOf(code);
  if (cause === 'client') return 'warn';
  return cause === 'server' ? 'error' : 'info';
}

function report(
  session: WsSession,
  kind: 'request' | 'connection',
  error: GatewayError,
  level: FailureLevel,
  details: EndDetails,
): void {
  const { context } = session.server;
  const { closeCode, incidentId, cause, request } = details;
  const durationMs = kind === 'connection' ? context.clock.now() - session.connectedAt : request?.durationMs;
  const thrown = cause ?? error.cause;
  context.monitor.emit({
    kind,
    code: error.code,
    level,
    message: error.message,
    sessionId: session.id,
    clientAddress: session.clientAddress,
    ...(session.principal !== undefined && { subject: session.principal.subject }),
    ...(request?.event !== undefined && { event: request.event }),
    ...(closeCode !== undefined && { closeCode }),
    ...(incidentId !== undefined && { incidentId }),
    ...(durationMs !== undefined && { durationMs }),
    ...(thrown !== undefined && { error: thrown }),
  });
}

function encodeException(
  session: WsSession,
  error: GatewayError,
  incidentId: string | undefined,
  id: MessageId | undefined,
): string {
  const data: ExceptionData = {
    status: 'error',
    code: error.code,
    message: error.message,
    retryable: error.retryable,
    ...(error.retryAfterMs !== undefined && { retryAfterMs: error.retryAfterMs }),
    ...(error.details !== undefined && { details: error.details }),
    ...(incidentId !== undefined && { incidentId }),
  };
  const { event } = session.server.context.options.errors;
  try {
    return encode(event, data, id);
  } catch {
    // The application's own `details` cannot be serialised; the code still can.
    return encode(event, { ...data, details: undefined }, id);
  }
}

interface Described {
  readonly error: GatewayError;
  readonly incidentId?: string;
  /** What the log shows of an error that the client must not see. */
  readonly cause?: unknown;
}

/** Any thrown value as a GatewayError. What is unforeseen is INTERNAL: its message never leaves the server. */
function describe(thrown: unknown): Described {
  if (thrown instanceof GatewayError) return thrown.code === 'INTERNAL' ? internal(thrown) : { error: thrown };
  if (thrown instanceof WsException) return { error: fromWsException(thrown) };
  if (thrown instanceof HttpException) return fromHttpException(thrown);
  return internal(thrown);
}

function internal(cause: unknown): Described {
  return { error: new GatewayError('INTERNAL'), incidentId: randomUUID(), cause };
}

/** What Nest's own context throws when a guard says false. */
const NEST_GUARD_SAID_NO = 'Forbidden resource';

function fromWsException(exception: WsException): GatewayError {
  const content = exception.getError();
  if (content === NEST_GUARD_SAID_NO) return new GatewayError('FORBIDDEN', { cause: exception });
  if (typeof content === 'string') return new GatewayError('APPLICATION_ERROR', { message: content });
  const { code, message, status: _status, ...details } = content as Record<string, unknown>;
  return new GatewayError(isErrorCode(code) ? code : 'APPLICATION_ERROR', {
    ...(typeof message === 'string' && { message }),
    ...(Object.keys(details).length > 0 && { details }),
  });
}

const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'VALIDATION_FAILED',
  401: 'UNAUTHENTICATED',
  403: 'FORBIDDEN',
  404: 'NOT_FOUND',
  408: 'HANDLER_TIMEOUT',
  409: 'CONFLICT',
  410: 'NOT_FOUND',
  422: 'VALIDATION_FAILED',
  429: 'RATE_LIMITED',
  503: 'OVERLOADED',
  504: 'HANDLER_TIMEOUT',
};

function fromHttpException(exception: HttpException): Described {
  const status = exception.getStatus();
  const code = CODE_OF_STATUS[status] ?? (status < 500 ? 'APPLICATION_ERROR' : 'INTERNAL');
  if (code === 'INTERNAL') return internal(exception);
  if (code === 'VALIDATION_FAILED') {
    // A pipe of the application speaks in sentences that may quote the payload, so they stay here.
    const details = [{ path: '', rule: 'badRequest', message: specOf(code).message }];
    return { error: new GatewayError(code, { details, cause: exception }) };
  }
  return { error: new GatewayError(code, { message: exception.message, cause: exception }) };
}
