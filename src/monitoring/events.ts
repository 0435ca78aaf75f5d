import type { ErrorCode } from '../protocol/errors.js';

/** How serious an end is: a client's fault is a warning, ours an error, an operator's act information. */
export type FailureLevel = 'debug' | 'info' | 'warn' | 'error';

/**
 * The end of a request or of a connection. There is exactly one for each, and it never holds a token, an e-mail address
 * or a payload: `event` names a declared event only.
 */
export interface FailureEvent {
  /** What ended: an upgrade that was refused, a request, or a connection. */
  readonly kind: 'upgrade' | 'request' | 'connection';
  readonly code: ErrorCode;
  readonly level: FailureLevel;
  readonly message: string;
  readonly sessionId?: string;
  readonly subject?: string;
  readonly clientAddress?: string;
  readonly event?: string;
  /** HTTP status of a refused upgrade. */
  readonly status?: number;
  /** Close code of an ended connection. */
  readonly closeCode?: number;
  /** Also in the frame that the client got. */
  readonly incidentId?: string;
  readonly durationMs?: number;
  /** Why, in this package's own words: of a token that is not valid, for one. */
  readonly reason?: string;
  /** Where, of what was not foreseen. */
  readonly stack?: string;
}

export type FailureListener = (event: FailureEvent) => void;

/** Where the connection layer reports to, and what logs, and later audit and metrics, subscribe to. */
export class WsMonitor {
  readonly #listeners: FailureListener[] = [];

  /** @returns a function that ends the subscription */
  subscribe(listener: FailureListener): () => void {
    this.#listeners.push(listener);
    return () => {
      const at = this.#listeners.indexOf(listener);
      if (at !== -1) this.#listeners.splice(at, 1);
    };
  }

  /** Tells every listener. One that throws is a fault of its own: it must not end a session, let alone the process. */
  emit(event: FailureEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch {
        process.emitWarning('A listener of WsMonitor threw', 'WsGatewayWarning');
      }
    }
  }
}
