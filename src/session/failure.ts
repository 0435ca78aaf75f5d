import { randomUUID } from 'node:crypto';
import { HttpException } from '@nestjs/common';
import { WsException } from '@nestjs/websockets';
import { refusedDigestOf } from '../authentication/refused-token.js';
import { causesOf, stackOf } from '../base/thrown.js';
import { ERRORS, GatewayError, isErrorCode, specOf } from '../protocol/errors.js';
import type { ErrorCode } from '../protocol/errors.js';

/** Ends the session, though the catalogue does not say so of its code. */
export class SessionEnd extends GatewayError {}

/** An error that a filter of the application has handled: it is logged, and a request with an `id` still gets its answer. */
export class FilteredError {
  constructor(readonly error: unknown) {}
}

/** A thrown value as the client and the log may see it; plain data, read from it once. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: unknown;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  /** It ends the session too. */
  readonly fatal: boolean;
  /** On every INTERNAL: in the frame and in the log line. */
  readonly incidentId?: string;
  /** For the log: why, in our own words. */
  readonly reason?: string;
  /** For the log: what caused it, as far as it was an error or another value. */
  readonly cause?: string;
  /** For the log: where, of what was not foreseen. */
  readonly stack?: string;
  /** For the firewall: of the token that is refused. */
  readonly refusedDigest?: string;
}

/** What a thrown value of the application's means, where that is known better than it says itself. */
export interface Meaning {
  readonly code: ErrorCode;
  /** Undefined: the catalogue's. */
  readonly message: string | undefined;
  readonly details: unknown;
}

const meanings = new WeakMap<object, Meaning>();

/** Filters see the value itself; where none takes it, it is what is said here. */
export function explain(thrown: object, meaning: Meaning): void {
  meanings.set(thrown, meaning);
}

/**
 * Any thrown value as a failure. What is unforeseen is INTERNAL, and its message never leaves the server. A thrown value
 * may be anything at all, a Proxy or an object whose getters throw included, and this does not.
 */
export function toFailure(thrown: unknown): Failure {
  try {
    if (thrown instanceof GatewayError) return fromGatewayError(thrown);
    const meaning = meanings.get(thrown as object); // because it may be asked for anything, which it does not have
    if (meaning !== undefined) return fromMeaning(meaning);
    if (thrown instanceof WsException) return fromWsException(thrown);
    if (thrown instanceof HttpException) return fromHttpException(thrown);
    return internal(thrown);
  } catch {
    return internal(undefined); // it throws when inspected
  }
}

/** True if an application filter handled it; false for a value that throws when inspected. */
export function isFiltered(thrown: unknown): thrown is FilteredError {
  try {
    return thrown instanceof FilteredError;
  } catch {
    return false;
  }
}

/** True if it has a code; false for a value that throws when inspected. */
export function isGatewayError(thrown: unknown): thrown is GatewayError {
  try {
    return thrown instanceof GatewayError;
  } catch {
    return false;
  }
}

/** What the catalogue says of a code. It makes no Error and takes no stack, since any client may cause it. */
export function failureOf(code: ErrorCode, rest: Partial<Failure> = {}): Failure {
  const spec = specOf(code);
  return {
    code,
    message: spec.message,
    details: undefined,
    retryable: spec.retryable ?? false,
    retryAfterMs: undefined,
    fatal: spec.fatal ?? false,
    ...rest,
  };
}

function internal(thrown: unknown): Failure {
  const stack = stackOf(thrown);
  return failureOf('INTERNAL', {
    incidentId: randomUUID(),
    ...(stack !== undefined && { stack }),
    ...causeIn(thrown),
  });
}

function fromGatewayError(error: GatewayError): Failure {
  const { code, message, details, retryable, retryAfterMs, cause } = error;
  if (code === 'INTERNAL') return internal(error);
  const refusedDigest = refusedDigestOf(error);
  return failureOf(code, {
    message: typeof message === 'string' ? message : specOf(code).message,
    details,
    retryable: retryable === true,
    retryAfterMs: Number.isFinite(retryAfterMs) ? retryAfterMs : undefined,
    ...(error instanceof SessionEnd && { fatal: true }),
    ...(typeof cause === 'string' ? { reason: cause } : causeIn(error)),
    ...(refusedDigest !== undefined && { refusedDigest }),
  });
}

function fromMeaning({ code, message, details }: Meaning): Failure {
  return failureOf(code, { details, ...(message !== undefined && { message }) });
}

/** What Nest's own context throws when a guard says false. */
const NEST_GUARD_SAID_NO = 'Forbidden resource';

function fromWsException(exception: WsException): Failure {
  const content: unknown = exception.getError();
  if (content === NEST_GUARD_SAID_NO) return failureOf('FORBIDDEN');
  if (typeof content === 'string') return failureOf('APPLICATION_ERROR', { message: content, ...causeIn(exception) });
  if (typeof content !== 'object' || content === null) return failureOf('APPLICATION_ERROR', causeIn(exception));
  const { code, message, status: _status, ...details } = content as Record<string, unknown>;
  if (code === 'INTERNAL') return internal(exception);
  return failureOf(isErrorCode(code) ? code : 'APPLICATION_ERROR', {
    ...(typeof message === 'string' && { message }),
    ...(Object.keys(details).length > 0 && { details }),
    ...causeIn(exception),
  });
}

function causeIn(error: unknown): { readonly cause?: string } {
  const cause = causesOf(error);
  return cause === undefined ? {} : { cause };
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

/** What Nest says of a 400 and a 422 that are thrown without a word of their own. */
const NEST_SAYS_NOTHING: ReadonlySet<unknown> = new Set(['Bad Request', 'Unprocessable Entity']);

/** Its words are the application's where they are one text; a list of sentences, as pipes have it, may quote the payload. */
function fromHttpException(exception: HttpException): Failure {
  const status = exception.getStatus();
  const code = CODE_OF_STATUS[status] ?? (status < 500 ? 'APPLICATION_ERROR' : 'INTERNAL');
  if (code === 'INTERNAL') return internal(exception);
  const response: unknown = exception.getResponse();
  if (typeof response === 'object' && response !== null) {
    const { code: own, message, error: _error, status: _status, statusCode: _code, ...details } = response as Body;
    if (own === 'INTERNAL') return internal(exception);
    if (isErrorCode(own)) {
      return failureOf(own, {
        ...(typeof message === 'string' && { message }),
        ...(Object.keys(details).length > 0 && { details }),
        ...causeIn(exception),
      });
    }
  }
  if (code === 'VALIDATION_FAILED') return invalid(wordsIn(response), exception);
  return failureOf(code, { message: String(exception.message), ...causeIn(exception) });
}

/** What an HttpException carries as an object. */
type Body = Readonly<Record<string, unknown>>;

function wordsIn(response: unknown): string | undefined {
  const words = typeof response === 'object' && response !== null ? (response as Body).message : response;
  return typeof words === 'string' && !NEST_SAYS_NOTHING.has(words) ? words : undefined;
}

function invalid(words: string | undefined, exception: HttpException): Failure {
  const message = words ?? ERRORS.VALIDATION_FAILED.message;
  return failureOf('VALIDATION_FAILED', {
    message,
    details: [{ path: '', rule: 'badRequest', message }],
    ...causeIn(exception),
  });
}
