import type { ExceptionData } from '../protocol/message.js';
import type { Disconnect } from './types.js';

/** Told apart by brand: an application may have loaded two copies of this file. */
const BRAND = Symbol.for('ws-gateway.error');

const branded = (error: Error, name: string, members: object): void =>
  void Object.assign(error, { [BRAND]: name, name }, members);

/** The server's answer to a request that failed (PROTOCOL.md §3). */
export class GatewayException extends Error {
  declare readonly code: string;
  /** True when the same request may succeed later. */
  declare readonly retryable: boolean;
  declare readonly retryAfterMs: number | undefined;
  declare readonly details: unknown;
  /** Also in the server's log, where the fault is the server's. */
  declare readonly incidentId: string | undefined;

  constructor({
    code,
    message,
    retryable,
    retryAfterMs,
    details,
    incidentId,
  }: Omit<ExceptionData, 'status'> & Partial<ExceptionData>) {
    super(message);
    branded(this, 'GatewayException', { code, retryable, retryAfterMs, details, incidentId });
  }
}

export type ConnectionErrorCode =
  'TIMEOUT' | 'CONNECTION_LOST' | 'NOT_CONNECTED' | 'QUEUE_FULL' | 'CLOSED' | 'SAME_TOKEN' | 'TOO_SLOW';

/** What happened between client and server, not in a handler. */
export class ConnectionError extends Error {
  declare readonly code: ConnectionErrorCode;
  /** True when the request was sent, so that its handler may have run. */
  declare readonly maybeExecuted: boolean;
  /** Why the connection ended, where that is the reason. */
  declare readonly disconnect: Disconnect | undefined;

  constructor(code: ConnectionErrorCode, maybeExecuted: boolean, disconnect?: Disconnect) {
    super(disconnect === undefined ? code : `${code}: ${disconnect.code}`);
    branded(this, 'ConnectionError', { code, maybeExecuted, disconnect });
  }
}

/** @param error anything that was thrown */
const isOf = (error: unknown, kind: string, code?: string): boolean => {
  const { [BRAND]: brand, code: own } = (error ?? {}) as { [BRAND]?: unknown; code?: unknown };
  return brand === kind && (code === undefined || own === code);
};

/** True for an exception of the server's, and of that code where one is given. */
export function isException(error: unknown, code?: string): error is GatewayException {
  return isOf(error, 'GatewayException', code);
}

export function isConnectionError(error: unknown, code?: ConnectionErrorCode): error is ConnectionError {
  return isOf(error, 'ConnectionError', code);
}
