/**
 * The error catalogue: one table from which the error class, the frames, the close codes, the log levels and the
 * documentation derive. `PROTOCOL.md` beside this file describes it for clients; a test holds the two together.
 */

/** What the catalogue says of one code. */
export interface ErrorSpec {
  /** The text a client reads. An exception may carry a more exact one; never one that quotes what the client sent. */
  readonly message: string;
  /** The HTTP status of a refusal before the upgrade. */
  readonly status?: number;
  /** The close code (RFC 6455 §7.4, IANA's registry, or one of our own 41nn and 44nn), where a connection can end so. */
  readonly close?: number;
  /** True when a request that fails so always ends the session as well. */
  readonly fatal?: boolean;
  /** What `disconnect` tells the client to do. @default false */
  readonly reconnect?: boolean;
  /** True when the same request may succeed later. @default false */
  readonly retryable?: boolean;
  /** Who caused it: `client` is logged as a warning, `operator` as information, `server` as an error, which is never sampled. */
  readonly cause: 'client' | 'server' | 'operator';
  /** The status of an answer to a plain HTTP request, where that is not `status`. @default `status`, else 400 */
  readonly http?: number;
  /** The close code of a session that an application's own hook ends so, where no rule of the protocol does. */
  readonly closeByHook?: number;
  /** True when a handshake that fails so is refused before the upgrade, also with `auth.reject: 'message'`. */
  readonly early?: boolean;
  /** True when a credential that the browser sends by itself counts as absent if it fails so, where one may be anonymous. */
  readonly setAside?: boolean;
  /** It counts towards `limits.maxBadFrames`. */
  readonly badFrame?: boolean;
  /** It counts towards a ban: as a message, as a message beyond a budget, or as a token that is not valid. */
  readonly violation?: 'message' | 'budget' | 'token';
  /** The audit's type of a session's end, where that is more than an end. @default `ended` */
  readonly audit?: 'expired' | 'revoked' | 'replaced' | 'denied' | 'refused';
  /** True when the audit has the request that fails so. */
  readonly denied?: boolean;
  /** True of an end that is no failure: no row of PROTOCOL.md, since a client has nothing to obey. */
  readonly isEnd?: boolean;
}

export const ERRORS = {
  BAD_FRAME: { message: 'Not a valid message', close: 4400, cause: 'client', badFrame: true, violation: 'message' },
  UNKNOWN_EVENT: { message: 'No handler for this event', cause: 'client', badFrame: true, violation: 'message' },
  VALIDATION_FAILED: { message: 'The payload is not valid', cause: 'client', http: 400 },
  UNAUTHENTICATED: {
    message: 'Authentication required',
    status: 401,
    cause: 'client',
    closeByHook: 3000,
    early: true,
    audit: 'refused',
    denied: true,
  },
  TOKEN_INVALID: {
    message: 'The token is not valid',
    status: 401,
    close: 3000,
    fatal: true,
    cause: 'client',
    setAside: true,
    violation: 'token',
    audit: 'refused',
  },
  TOKEN_EXPIRED: {
    message: 'The token has expired',
    status: 401,
    close: 4101,
    fatal: true,
    reconnect: true,
    cause: 'client',
    setAside: true,
    audit: 'expired',
  },
  AUTH_TIMEOUT: {
    message: 'No authentication in time',
    close: 3008,
    reconnect: true,
    cause: 'client',
    audit: 'refused',
  },
  FORBIDDEN: { message: 'Not allowed', status: 403, close: 3003, cause: 'client', audit: 'denied', denied: true },
  SESSION_REVOKED: {
    message: 'The session was revoked',
    close: 4410,
    fatal: true,
    cause: 'operator',
    http: 401,
    audit: 'revoked',
  },
  SESSION_REPLACED: {
    message: 'A newer session took the place of this one',
    close: 4409,
    cause: 'client',
    audit: 'replaced',
  },
  SESSION_LIMIT: { message: 'Too many sessions', close: 4429, fatal: true, cause: 'client', audit: 'refused' },
  RATE_LIMITED: {
    message: 'Too many messages',
    close: 4129,
    reconnect: true,
    retryable: true,
    cause: 'client',
    violation: 'budget',
  },
  BANNED: { message: 'Banned for repeated violations', status: 403, close: 4429, fatal: true, cause: 'client' },
  NOT_FOUND: { message: 'Not found', status: 404, cause: 'client' },
  CONFLICT: { message: 'Conflict', cause: 'client', http: 409 },
  APPLICATION_ERROR: { message: 'The request failed', cause: 'client' },
  HANDLER_TIMEOUT: { message: 'The handler did not answer in time', retryable: true, cause: 'server' },
  INTERNAL: { message: 'Internal error', close: 1011, reconnect: true, cause: 'server', http: 500 },
  PROTOCOL_VIOLATION: { message: 'WebSocket protocol violation', close: 1002, cause: 'client', violation: 'message' },
  UNSUPPORTED_DATA: { message: 'Binary messages are not accepted', close: 1003, cause: 'client' },
  INVALID_UTF8: { message: 'Text is not valid UTF-8', close: 1007, cause: 'client', violation: 'message' },
  MESSAGE_TOO_BIG: { message: 'The message is too big', close: 1009, cause: 'client', http: 413 },
  SLOW_CONSUMER: { message: 'Reading too slowly', close: 4113, reconnect: true, cause: 'client' },
  NO_PONG: { message: 'No answer to a ping', close: 4108, reconnect: true, cause: 'client' },
  STALLED: { message: 'A message was begun and not finished', close: 4108, reconnect: true, cause: 'client' },
  SHUTTING_DOWN: {
    message: 'The server is shutting down',
    status: 503,
    close: 1012,
    reconnect: true,
    retryable: true,
    cause: 'operator',
  },
  OVERLOADED: {
    message: 'The server is at capacity',
    status: 503,
    close: 1013,
    reconnect: true,
    retryable: true,
    cause: 'server',
  },
  UNAVAILABLE: {
    message: 'Cannot be answered now',
    status: 503,
    close: 1013,
    reconnect: true,
    retryable: true,
    cause: 'server',
  },
  BAD_GATEWAY: {
    message: 'The application behind the gateway has failed',
    status: 502,
    close: 1014,
    reconnect: true,
    retryable: true,
    cause: 'server',
  },
  SUBSCRIPTION_LIMIT: { message: 'Too many subscriptions', cause: 'client', http: 409 },
  BAD_UPGRADE: { message: 'Not a valid WebSocket handshake', status: 400, cause: 'client' },
  UPGRADE_REQUIRED: { message: 'This is a WebSocket endpoint', status: 426, cause: 'client' },
  ORIGIN_FORBIDDEN: { message: 'Origin not allowed', status: 403, cause: 'client', early: true },
  IP_FORBIDDEN: { message: 'Address not allowed', status: 403, cause: 'client' },
  TOO_MANY_CONNECTIONS: { message: 'Too many connections from this address', status: 429, cause: 'client' },
  CLOSED: { message: 'The connection was closed', cause: 'client', isEnd: true },
  CONNECTION_LOST: { message: 'The connection broke without a close frame', cause: 'client', isEnd: true },
} as const satisfies Record<string, ErrorSpec>;

/** A code of the catalogue. */
export type CatalogueCode = keyof typeof ERRORS;

/** A code of the catalogue, or an application's own (`ORDER_CLOSED`): upper case letters, digits and underscores. */
export type ErrorCode = CatalogueCode | (string & Record<never, never>);

const APPLICATION_CODE = /^[A-Z][A-Z0-9_]{1,63}$/;

/** True for a name that an application's own code may have. */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && APPLICATION_CODE.test(value);
}

/** The catalogue's entry, or for an application's own code what holds for all of those. */
export function specOf(code: ErrorCode): ErrorSpec {
  // hasOwn, not `in`: "constructor" is no code.
  return Object.hasOwn(ERRORS, code) ? ERRORS[code as CatalogueCode] : ERRORS.APPLICATION_ERROR;
}

/** The close code of a connection that ends with `code`: the catalogue's, else 41nn for "come back" and 44nn for "stop". */
export function closeCodeOf(code: ErrorCode, reconnect: boolean): number {
  const { close, closeByHook } = specOf(code);
  return close ?? closeByHook ?? (reconnect ? 4100 : 4400);
}

/** One broken rule of a payload: `path` names declared properties only and is `""` at the root. */
export interface ErrorDetail {
  readonly path: string;
  readonly rule: string;
  readonly message: string;
}

export interface GatewayErrorOptions {
  /** What the client reads; the catalogue's text when absent. Never put in it what the client sent. */
  readonly message?: string;
  /** For VALIDATION_FAILED an array of {@link ErrorDetail}; an application's own code may carry any JSON value. */
  readonly details?: unknown;
  /** True when the same request may succeed later. Default: as the catalogue says. */
  readonly retryable?: boolean;
  /** Milliseconds the client should wait before it tries again; a whole number of at least 0. */
  readonly retryAfterMs?: number;
  /** For the log, never for the peer. */
  readonly cause?: unknown;
}

/**
 * A failure with a code. Thrown in a handler, a guard, a pipe or `handleConnection` it reaches the client as it is.
 *
 * @throws TypeError when `code` is not upper case letters, digits and underscores, 2 to 64 of them
 */
export class GatewayError extends Error {
  override readonly name = 'GatewayError';
  readonly code: ErrorCode;
  readonly details: unknown;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, options: GatewayErrorOptions = {}) {
    if (!isErrorCode(code)) throw new TypeError('An error code is 2 to 64 upper case letters, digits and underscores');
    const spec = specOf(code);
    super(options.message ?? spec.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details;
    this.retryable = options.retryable ?? spec.retryable ?? false;
    const { retryAfterMs } = options;
    this.retryAfterMs = Number.isFinite(retryAfterMs) ? Math.max(0, Math.ceil(retryAfterMs as number)) : undefined;
  }
}
