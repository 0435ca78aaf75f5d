import type { ErrorCode } from '../protocol/errors.js';

/** How serious an end is: a client's fault is a warning, ours an error, an operator's act information. */
export type FailureLevel = 'debug' | 'info' | 'warn' | 'error';

/**
 * The end of a request or of a connection. There is exactly one for each, and it never holds a token, an e-mail address
 * or a payload: `event` names a declared event only.
 */
export interface FailureEvent {
  /** What ended: an upgrade that was refused, a request, a connection, or a request over plain HTTP that was refused or failed. */
  readonly kind: 'upgrade' | 'request' | 'connection' | 'http';
  readonly code: ErrorCode;
  readonly level: FailureLevel;
  readonly message: string;
  readonly sessionId?: string;
  readonly subject?: string;
  readonly clientAddress?: string;
  readonly event?: string;
  /** Of plain HTTP: method and path as they are declared, `POST /admin/revoke`. */
  readonly route?: string;
  /** HTTP status of a refused upgrade, or of plain HTTP. */
  readonly status?: number;
  /** Close code of an ended connection. */
  readonly closeCode?: number;
  /** Also in the frame that the client got. */
  readonly incidentId?: string;
  readonly durationMs?: number;
  /** Why, in this package's own words: for a token that is not valid, what is wrong with it. */
  readonly reason?: string;
  /** What caused an error of the application's: its causes, the nearest first, each with its place. */
  readonly cause?: string;
  /** Where an unforeseen error was thrown, with the stacks of its causes, or what a thrown value that is no error looks like. */
  readonly stack?: string;
}

/** `WsSessions.revoke()` was called, by the application or by an administrator. The ends of the sessions follow by themselves. */
export interface RevocationEvent {
  readonly kind: 'revocation';
  readonly sessionId?: string;
  readonly subject?: string;
  readonly tokenId?: string;
  /** Whose token id it is. */
  readonly issuer?: string;
  /** Epoch seconds. */
  readonly issuedBefore?: number;
  /** How many sessions were ended. */
  readonly ended: number;
}

/** The events of sessions, and of peers that never became one. */
export type SessionEvent = FailureEvent | RevocationEvent;
