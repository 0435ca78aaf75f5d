/** A connection was let in. Its end is a {@link FailureEvent} of the kind `connection`. */
export interface AdmittedEvent {
  readonly kind: 'admitted';
  readonly sessionId: string;
  readonly clientAddress: string;
  /** Path of the gateway. */
  readonly path: string;
  /** Subject of the token at the handshake; absent for an anonymous session. */
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

/** A message at a declared event has been handled. The event is made only while a listener for it is subscribed. */
export interface WsMessageEvent {
  readonly kind: 'message';
  readonly event: string;
  readonly sessionId: string;
  readonly clientAddress: string;
  readonly subject?: string;
  /** False when it was answered with an exception, which has a `request` event of its own. */
  readonly ok: boolean;
  /** From the call of the guard to the reply; of a stream, to its end. */
  readonly durationMs: number;
}

/** The events of a connection, failures apart. */
export type ConnectionEvent = AdmittedEvent | AuthenticatedEvent | WsMessageEvent;
