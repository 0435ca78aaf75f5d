import { withoutSensitive } from '../data-protection/sensitive.js';
import { closeCodeOf, isErrorCode, specOf } from '../protocol/errors.js';
import type { ErrorCode } from '../protocol/errors.js';
import type { DisconnectData, ExceptionData, MessageId } from '../protocol/message.js';
import type { FailureEvent, FailureLevel } from './events.js';
import { failureOf } from './failure.js';
import type { Failure } from './failure.js';

/**
 * What a client sees of a failure (an HTTP answer, an `exception`, a `disconnect` and a close code) and what the log gets. Every
 * function here derives that from a {@link Failure} alone and sends nothing.
 */

/** How an end differs from what the catalogue says. */
export interface EndDetails {
  readonly closeCode?: number;
  readonly level?: FailureLevel;
  readonly reconnect?: boolean;
  /** The text of the close frame. @default the code */
  readonly reason?: string;
  /** The declared event of the request that ended it. */
  readonly event?: string | undefined;
}

/** A request that can be answered. */
export interface RequestInfo {
  readonly id: MessageId | undefined;
  /** The declared event, for the log; undefined while it is only what a client wrote. */
  readonly event: string | undefined;
  /** What the protocol of the path wants back with the answer. */
  readonly context?: unknown;
  readonly durationMs?: number;
  /** What its message is on the heap, in bytes. */
  readonly heapBytes?: number;
  /** The spans of the request, where there are any. */
  readonly trace?: { failed(code: ErrorCode, incidentId: string | undefined): void } | undefined;
}

/** The `disconnect` of a session that ends by this failure. */
export function disconnectOf(
  { code, message, retryable, retryAfterMs }: Failure,
  details: EndDetails = {},
): DisconnectData {
  const reconnect = details.reconnect ?? specOf(code).reconnect ?? retryable;
  const closeCode = details.closeCode ?? closeCodeOf(code, reconnect);
  return { code, message, closeCode, reconnect, ...(retryAfterMs !== undefined && { retryAfterMs }) };
}

/**
 * The `exception` of a request that fails so, as `encode` writes it: without its details where it cannot be written with them.
 *
 * @throws what `encode` throws of an exception without details
 */
export function encodeException<T>(failure: Failure, encode: (exception: ExceptionData) => T): T {
  const { code, message, retryable, retryAfterMs, details, incidentId } = failure;
  const data: ExceptionData = {
    status: 'error',
    code,
    message,
    retryable,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(incidentId !== undefined && { incidentId }),
  };
  if (details === undefined) return encode(data);
  try {
    return encode({ ...data, details: withoutSensitive(details) });
  } catch {
    return encode(data); // the application's own details cannot be serialised; the code still can
  }
}

/** What `ws` closes with when a peer breaks RFC 6455, and the code it stands for. */
const CODE_OF_VIOLATION: Readonly<Record<number, ErrorCode>> = {
  1002: 'PROTOCOL_VIOLATION',
  1007: 'INVALID_UTF8',
  1008: 'MESSAGE_TOO_BIG', // too many fragments or chunks: the sum of its parts is what is too big
  1009: 'MESSAGE_TOO_BIG',
};

export function codeOfViolation(closeCode: number): ErrorCode {
  return CODE_OF_VIOLATION[closeCode] ?? 'PROTOCOL_VIOLATION';
}

/** Close codes by which a client is to come back, beside our own 41nn (IANA's registry). */
const COME_BACK: ReadonlySet<number> = new Set([1001, 1011, 1012, 1013, 1014, 3008]);

/** True where a close by this number tells the client to come back. */
export function comesBack(closeCode: number): boolean {
  return COME_BACK.has(closeCode) || (closeCode >= 4100 && closeCode < 4200);
}

/** The application closes by number. Its reason is the code when it looks like one, and the message otherwise. */
export function closeByApplication(reason: string): Failure {
  const code = isErrorCode(reason) ? reason : 'CLOSED';
  const message = reason === '' || reason === code ? 'Closed by the application' : reason;
  return failureOf(code, { message, fatal: false });
}

/** True where the peer closed by a close frame (RFC 6455 §7.1.5). */
export function isCleanClose(closeCode: number): boolean {
  return closeCode !== 1006;
}

/** The peer has closed, or its connection broke. */
export function closeByPeer(closeCode: number): Failure {
  return isCleanClose(closeCode)
    ? failureOf('CLOSED', { message: 'Closed by the peer' })
    : failureOf('CONNECTION_LOST');
}

export function refusalBody({ code, message, incidentId }: Failure): string {
  return JSON.stringify({ code, message, ...(incidentId !== undefined && { incidentId }) });
}

/** Seconds after which a refused client may try again, where the failure does not say. */
const DEFAULT_RETRY_AFTER_SECONDS = 5;

export function refusalHeaders(
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

export function levelOf(code: ErrorCode): FailureLevel {
  const { cause } = specOf(code);
  if (cause === 'client') return 'warn';
  return cause === 'server' ? 'error' : 'info';
}

/** What of a failure goes into the log. Its details stay out: they tell of the payload. */
export function logged({
  code,
  message,
  incidentId,
  reason,
  cause,
  stack,
}: Failure): Pick<FailureEvent, 'code' | 'message' | 'incidentId' | 'reason' | 'cause' | 'stack'> {
  return {
    code,
    message,
    ...(incidentId !== undefined && { incidentId }),
    ...(reason !== undefined && { reason }),
    ...(cause !== undefined && { cause }),
    ...(stack !== undefined && { stack }),
  };
}
