import { encode } from '../protocol/codec.js';
import { GatewayError } from '../protocol/errors.js';
import { end } from './failure.js';
import { frame } from './outbox.js';
import type { WsSession } from './session.js';

/** Which sessions are meant; several members narrow it down, none means all. */
export interface SessionFilter {
  readonly sessionId?: string;
  readonly subject?: string;
  readonly clientAddress?: string;
}

/** The registry: every session of the module, on all paths and ports. Injectable anywhere in the application. */
export class WsSessions {
  readonly #sessions = new Map<string, WsSession>();
  readonly #opening = new Set<WsSession>();
  #drain: (() => number) | undefined;
  #whenEmpty: (() => void) | undefined;

  /** @internal True from the first word of a shutdown: no upgrade is accepted any more. */
  refusesNew = false;

  /** The sessions that match, oldest first. */
  find(filter: SessionFilter = {}): WsSession[] {
    if (filter.sessionId !== undefined) {
      const session = this.#sessions.get(filter.sessionId);
      return session !== undefined && matches(session, filter) ? [session] : [];
    }
    return [...this.#sessions.values()].filter((session) => matches(session, filter));
  }

  /** How many match. */
  count(filter: SessionFilter = {}): number {
    return Object.keys(filter).length === 0 ? this.#sessions.size : this.find(filter).length;
  }

  /**
   * Pushes an event to every session that matches and may be written to: it is encoded once, and the same bytes go to all.
   *
   * @returns how many it was sent to
   * @throws TypeError when `data` cannot be serialised; nothing has been sent then
   */
  broadcast(event: string, data: unknown, filter: SessionFilter = {}): number {
    const text = encode(event, data);
    const bytes = frame(text, true);
    let sent = 0;
    for (const session of this.#sessions.values()) {
      if (!session.mayBeWrittenTo || !matches(session, filter)) continue;
      session.socket.sendFrame(bytes, text);
      sent++;
    }
    return sent;
  }

  /** @internal */
  add(session: WsSession): void {
    this.#sessions.set(session.id, session);
  }

  /** @internal */
  delete(session: WsSession): void {
    this.#sessions.delete(session.id);
    if (this.#sessions.size === 0) this.#whenEmpty?.();
  }

  /** @internal Its `handleConnection` runs: it has its time, even when the peer has gone. */
  watchOpening(session: WsSession): void {
    this.#opening.add(session);
  }

  /** @internal */
  sweep(now: number): void {
    for (const session of this.#opening) if (session.sweepOpening(now)) this.#opening.delete(session);
    for (const session of this.#sessions.values()) {
      session.sweep(now);
      if (this.#drain !== undefined && session.inFlight === 0) this.#endForShutdown(session, this.#drain);
    }
  }

  /**
   * @internal Ends every session that has nothing in flight; the others when they have answered, which the sweep sees.
   *
   * @param retryAfterMs how long a client should wait, drawn anew for each so that they do not all come back at once
   */
  drain(retryAfterMs: () => number): void {
    this.refusesNew = true;
    this.#drain = retryAfterMs;
    for (const session of this.#sessions.values()) {
      if (session.inFlight === 0) this.#endForShutdown(session, retryAfterMs);
    }
  }

  /** @internal Ends all that are left, answered or not. */
  endAll(): void {
    for (const session of this.#sessions.values()) this.#endForShutdown(session, this.#drain ?? (() => 0));
  }

  #endForShutdown(session: WsSession, retryAfterMs: () => number): void {
    end(session, new GatewayError('SHUTTING_DOWN', { retryAfterMs: retryAfterMs() }));
  }

  /** @internal Cuts the TCP connections that are left: their peers had their `disconnect` and do not close. */
  terminateAll(): void {
    for (const session of this.#sessions.values()) session.socket.terminate();
  }

  /** @internal Resolves when the last session has closed. */
  whenEmpty(): Promise<void> {
    if (this.#sessions.size === 0) return Promise.resolve();
    return new Promise((resolve) => (this.#whenEmpty = resolve));
  }
}

function matches(session: WsSession, filter: SessionFilter): boolean {
  return (
    (filter.sessionId === undefined || session.id === filter.sessionId) &&
    (filter.subject === undefined || session.principal?.subject === filter.subject) &&
    (filter.clientAddress === undefined || session.clientAddress === filter.clientAddress)
  );
}
