/** A connection was let in. Its end is a {@link FailureEvent} of the kind `connection`. */
export interface AdmittedEvent {
  readonly kind: 'admitted';
  readonly sessionId: string;
  readonly clientAddress: string;
  /** Path of the gateway. */
  readonly path: string;
  /** Who authenticated at the handshake; absent while the session is anonymous. */
  readonly subject?: string;
}

/** A session that was open already has a principal, or a new token for it. */
export interface AuthenticatedEvent {
  readonly kind: 'authenticated';
  readonly sessionId: string;
  readonly clientAddress: string;
  readonly subject: string;
  /** True for a new token in the place of an earlier one. */
  readonly refreshed: boolean;
  /** Epoch milliseconds. */
  readonly expiresAt: number;
}

/** A message at a declared event has been handled. Made only while somebody listens. */
export interface WsMessageEvent {
  readonly kind: 'message';
  readonly event: string;
  readonly sessionId: string;
  readonly clientAddress: string;
  readonly subject?: string;
  /** False when it was answered with an exception, of which a `request` event tells. */
  readonly ok: boolean;
  /** From the call of the guard to the reply; of a stream, to its end. */
  readonly durationMs: number;
}

/** What the path of a connection tells of, beside its failures. */
export type ConnectionEvent = AdmittedEvent | AuthenticatedEvent | WsMessageEvent;
