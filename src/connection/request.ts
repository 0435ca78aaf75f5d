import type { Unsubscribable } from 'rxjs';
import type { MessageTrace } from './tracing.js';
import type { MessageId } from '../protocol/message.js';
import type { Route } from './router.js';
import type { WsSession } from '../session/session.js';

/** A request whose handler has not answered at once. */
export class PendingRequest {
  /** True when it has been answered, or nobody waits any more. */
  settled = false;
  /** True once the reply is a stream; it counts among the session's streams then. */
  isStream = false;
  /** Set while the stream is subscribed to. */
  stream: Unsubscribable | undefined = undefined;
  /** The handler's promise, until it settles or is no longer waited for. */
  promise: object | undefined = undefined;
  /** True where it is answered and its handler still runs: what it holds is no longer its session's. */
  isAbandoned = false;
  /** The answer, where it waits until the peer has read what was sent before it. */
  answer: string | undefined = undefined;

  constructor(
    readonly session: WsSession,
    readonly route: Route,
    readonly id: MessageId | undefined,
    /** True for a token without an envelope: there is no request to answer with an exception. */
    readonly bare: boolean,
    /** What its message holds on the heap, as far as it is charged for; 0 once it is let go. */
    public bytes: number,
    /** In monotonic milliseconds; moved by the time for which the process was stopped. */
    public startedAt: number,
    /** See {@link beginning}. */
    readonly measuredFrom: number,
    readonly trace: MessageTrace | undefined,
  ) {}
}

/**
 * Requests that wait for their handler, oldest first. All have the same time to answer, so the sweep looks only at the
 * front, and no request needs a timer of its own.
 */
export class PendingRequests {
  // A Set keeps the order of insertion.
  readonly #requests = new Set<PendingRequest>();

  get size(): number {
    return this.#requests.size;
  }

  add(request: PendingRequest): void {
    this.#requests.add(request);
  }

  /** It has answered, or begun to. */
  delete(request: PendingRequest): void {
    this.#requests.delete(request);
  }

  /** Stays in order: all are moved alike, and what begins later began later. */
  postpone(ms: number): void {
    for (const request of this.#requests) request.startedAt += ms;
  }

  /** Removes and returns what began at or before `startedBy`. */
  *overdue(startedBy: number): Generator<PendingRequest> {
    for (const request of this.#requests) {
      if (request.startedAt > startedBy) return;
      this.#requests.delete(request);
      yield request;
    }
  }
}
