import type { ExceptionData } from '../protocol/message.js';
import type { Disconnect } from './types.js';

/** Told apart by brand: an application may have loaded two copies of this file. */
const EXCEPTION = Symbol.for('ws-gateway.exception');
const CONNECTION_ERROR = Symbol.for('ws-gateway.connection-error');

/** The server's answer to a request that failed (PROTOCOL.md §3). */
export class GatewayException extends Error {
  readonly [EXCEPTION] = true;
  override readonly name = 'GatewayException';
  readonly code: string;
  /** True when the same request may succeed later. */
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly details: unknown;
  /** Also in the server's log, where the fault is the server's. */
  readonly incidentId: string | undefined;

  constructor({ code, message, retryable, retryAfterMs, details, incidentId }: ExceptionData) {
    super(message);
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
    this.details = details;
    this.incidentId = incidentId;
  }
}

export type ConnectionErrorCode =
  'TIMEOUT' | 'CONNECTION_LOST' | 'NOT_CONNECTED' | 'QUEUE_FULL' | 'CLOSED' | 'SAME_TOKEN' | 'TOO_SLOW';

/** What happened between client and server, not in a handler. */
export class ConnectionError extends Error {
  readonly [CONNECTION_ERROR] = true;
  override readonly name = 'ConnectionError';

  constructor(
    readonly code: ConnectionErrorCode,
    /** True when the request was sent, so that its handler may have run. */
    readonly maybeExecuted: boolean,
    /** Why the connection ended, where that is the reason. */
    readonly disconnect?: Disconnect,
  ) {
    super(disconnect === undefined ? code : `${code}: ${disconnect.code}`);
  }
}

const isBranded = (value: unknown, brand: symbol): boolean =>
  typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[brand] === true;

/** True for an exception of the server's, and of that code where one is given. */
export function isException(error: unknown, code?: string): error is GatewayException {
  return isBranded(error, EXCEPTION) && (code === undefined || (error as GatewayException).code === code);
}

export function isConnectionError(error: unknown, code?: ConnectionErrorCode): error is ConnectionError {
  return isBranded(error, CONNECTION_ERROR) && (code === undefined || (error as ConnectionError).code === code);
}
