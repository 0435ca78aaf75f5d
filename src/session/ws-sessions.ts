import type { Principal } from '../authentication/principal.js';
import { originOf, tokenIdOf } from '../authentication/principal.js';
import { Revocations } from '../authentication/revocations.js';
import { Inject, Injectable } from '@nestjs/common';
import { AUTH_OPTIONS } from '../authentication/options.js';
import { WsClock } from '../base/clock.js';
import { EMITTER } from '../base/emitter.js';
import type { Emitter } from '../base/emitter.js';
import { encode } from '../protocol/codec.js';
import { GatewayError } from '../protocol/errors.js';
import type { SessionEvent } from './events.js';
import { Ledger } from './ledger.js';
import { SharedFrame } from '../socket/shared-frame.js';
import { frame } from '../socket/text-frames.js';
import type { SessionPhase, WsSession } from './session.js';
import { concerns, decide } from './revoke.js';
import type { RevocationEntry, RevocationFilter, Revoked } from './revoke.js';
import { SubjectIndex } from './session-index.js';

/**
 * Which sessions are meant; several members narrow it down, none means all. One that is there and undefined means nobody:
 * `{ subject: user?.id }` without a user is not everybody.
 */
export interface SessionFilter {
  readonly sessionId?: string;
  readonly subject?: string;
  readonly clientAddress?: string;
}

/** Which sessions are listed, and from where on. */
export interface SessionQuery extends SessionFilter {
  /** Most items of a page, 1 to 1_000. @default 100 */
  readonly limit?: number;
  /** `next` of the page before. */
  readonly cursor?: string;
}

/** Some of the sessions, oldest first. */
export interface SessionPage {
  readonly items: WsSession[];
  /** There are more: the `cursor` of the next page. */
  readonly next?: string;
}

/** What the registry is told of the options. */
export interface SessionLimits {
  /** `Infinity` is off. */
  readonly maxSessionsPerSubject: number;
  readonly onSessionLimit: 'replace-oldest' | 'refuse-new';
}

const PAGE = 100;
const MAX_PAGE = 1_000;

/** The registry: every session of the module, on all paths and ports. Injectable anywhere in the application. */
@Injectable()
export class WsSessions {
  readonly #sessions = new Map<string, WsSession>();
  readonly #bySubject = new SubjectIndex();
  /** Since when their `handleConnection` runs, in monotonic milliseconds. */
  readonly #opening = new Map<WsSession, number>();
  readonly #onLeave: ((session: WsSession) => void)[] = [];
  #sequence = 0;
  #drain: (() => number) | undefined;
  #whenEmpty: (() => void) | undefined;

  /** @internal True from the first word of a shutdown: no upgrade is accepted any more. */
  refusesNew = false;

  constructor(
    @Inject(AUTH_OPTIONS) private readonly limits: SessionLimits,
    private readonly revocations: Revocations,
    private readonly clock: WsClock,
    @Inject(EMITTER) private readonly monitor: Emitter<SessionEvent>,
    private readonly ledger: Ledger,
  ) {}

  /**
   * The sessions that match and have not ended, oldest first.
   *
   * @throws TypeError for a filter with an unknown member
   */
  find(filter: SessionFilter = {}): WsSession[] {
    return [...this.#candidates(filter)]
      .filter((session) => session.isLive && matches(session, filter))
      .toSorted(bySequence);
  }

  /**
   * How many match and have not ended.
   *
   * @throws TypeError for a filter with an unknown member
   */
  count(filter: SessionFilter = {}): number {
    let count = 0;
    for (const session of this.#candidates(filter)) if (session.isLive && matches(session, filter)) count++;
    return count;
  }

  /**
   * The sessions that match and have not ended, page by page. One that comes or goes meanwhile moves no other to another page.
   *
   * @throws TypeError for a limit or a cursor that cannot be, and for an unknown member
   */
  list({ limit = PAGE, cursor, ...filter }: SessionQuery = {}): SessionPage {
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE) throw new TypeError(`limit is 1 to ${MAX_PAGE}`);
    if (cursor !== undefined && !/^[0-9a-z]{1,11}$/.test(cursor)) throw new TypeError('cursor is the next of a page');
    const after = cursor === undefined ? 0 : parseInt(cursor, 36);
    const items: WsSession[] = [];
    const candidates = this.#candidates(filter);
    // The registry is in order already; a subject's sessions are in the order of their authentication.
    for (const session of filter.subject === undefined ? candidates : [...candidates].toSorted(bySequence)) {
      if (session.sequence <= after || !session.isLive || !matches(session, filter)) continue;
      if (items.length === limit) return { items, next: (items.at(-1) as WsSession).sequence.toString(36) }; // because limit is not 0
      items.push(session);
    }
    return { items };
  }

  /**
   * Ends sessions at once, with SESSION_REVOKED, and refuses their tokens until these expire. The list is this process's own:
   * it does not outlive it. The sessions have ended when this returns, before the promise resolves.
   *
   * @throws as a rejection: TypeError for a filter that names nothing or too much; GatewayError OVERLOADED when the list of
   * revocations is full: the sessions have ended then, and their tokens are good
   */
  async revoke(filter: RevocationFilter): Promise<Revoked> {
    const entry = decide(filter, this.clock.now());
    const ended = this.#apply(entry);
    return { ended, nodes: 1, missing: [] };
  }

  /** Applies a revocation to this process. @returns how many sessions it ended */
  #apply(entry: RevocationEntry): number {
    const { filter, at, tokensBefore } = entry;
    const { sessionId, subject, tokenId, issuer } = filter;
    // Member by member: here one that is undefined is one that is left out.
    const whose = { ...(sessionId !== undefined && { sessionId }), ...(subject !== undefined && { subject }) };
    const ended = this.find(whose).filter(({ principal }) => concerns(filter, principal));
    if (this.monitor.has('revocation')) {
      this.monitor.emit({ kind: 'revocation', ...filter, ended: ended.length });
    }
    for (const session of ended) session.end(new GatewayError('SESSION_REVOKED'));
    // What says most comes first, should the list be full.
    if (tokenId !== undefined) this.revocations.addTokenId(tokenId, at, issuer);
    if (tokensBefore !== undefined) {
      if (subject === undefined) this.revocations.addEveryone(tokensBefore, at);
      else this.revocations.addSubject(subject, tokensBefore, at);
    }
    for (const session of ended) this.#revokeTokensOf(session, at);
    return ended.length;
  }

  #revokeTokensOf(session: WsSession, now: number): void {
    const { principal, tokens } = session;
    if (principal === undefined) return;
    const forgottenBefore = session.forgottenTokensBefore(now);
    if (forgottenBefore !== undefined) this.revocations.addSubject(principal.subject, forgottenBefore, now);
    for (const { digest, expiresAt } of tokens) this.revocations.addToken(digest, expiresAt);
    // A copy that an application gave a ticket for: which token it came from, only its id says.
    const tokenId = originOf(principal).digest === undefined ? tokenIdOf(principal) : undefined;
    if (tokenId === undefined) return;
    const { iss } = principal.claims;
    this.revocations.addTokenId(tokenId, now, typeof iss === 'string' ? iss : undefined);
  }

  /**
   * Pushes an event to every session that matches and may be written to: it is encoded once, and the same bytes go to all.
   *
   * @returns how many it was sent to
   * @throws TypeError when `data` cannot be serialised, and for a filter with an unknown member; nothing has been sent then
   */
  broadcast(event: string, data: unknown, filter: SessionFilter = {}): number {
    const text = encode(event, data);
    const shared = new SharedFrame(frame(text, true), text, this.ledger);
    let sent = 0;
    for (const session of this.#candidates(filter)) {
      if (!session.mayBeWrittenTo || !matches(session, filter)) continue;
      session.socket.sendFrame(shared);
      sent++;
    }
    return sent;
  }

  /** Those that a filter can be about, as cheap as they are to be had. */
  #candidates(filter: SessionFilter): Iterable<WsSession> {
    const { sessionId, subject, clientAddress: _, ...unknown } = filter;
    const [name] = Object.keys(unknown);
    if (name !== undefined) throw new TypeError(`A filter has sessionId, subject and clientAddress, not ${name}`);
    for (const value of Object.values(filter)) if (value === undefined) return [];
    if (sessionId !== undefined) {
      const session = this.#sessions.get(sessionId);
      return session === undefined ? [] : [session];
    }
    return subject === undefined ? this.#sessions.values() : this.#bySubject.of(subject);
  }

  /** @internal How many sessions are in each phase. */
  countByPhase(): Record<SessionPhase['phase'], number> {
    const counts = { opening: 0, open: 0, closing: 0, closed: 0 };
    for (const { phase } of this.#sessions.values()) counts[phase]++;
    return counts;
  }

  /** @internal Every session of the registry, oldest first. */
  all(): Iterable<WsSession> {
    return this.#sessions.values();
  }

  /** @internal How many entries the registry has in all its tables. */
  get size(): number {
    return this.#sessions.size + this.#bySubject.size + this.#opening.size;
  }

  /** @internal */
  add(session: WsSession): void {
    session.sequence = ++this.#sequence;
    this.#sessions.set(session.id, session);
  }

  /** @internal @throws GatewayError SESSION_REVOKED */
  refuseRevoked(principal: Principal): void {
    if (this.isRevoked(principal)) throw new GatewayError('SESSION_REVOKED');
  }

  /** @internal */
  isRevoked(principal: Principal | undefined): boolean {
    return principal !== undefined && this.revocations.isRevoked(principal);
  }

  /**
   * @internal The session has its subject, and is that one's newest.
   *
   * @throws GatewayError SESSION_LIMIT
   */
  join(session: WsSession, subject: string): void {
    const { maxSessionsPerSubject, onSessionLimit } = this.limits;
    const others = this.#bySubject.of(subject);
    let live = 0;
    for (const other of others) if (other.isLive) live++;
    if (live >= maxSessionsPerSubject && onSessionLimit === 'refuse-new') throw new GatewayError('SESSION_LIMIT');
    for (const other of others) {
      if (live < maxSessionsPerSubject) break;
      if (!other.isLive) continue;
      other.end(new GatewayError('SESSION_REPLACED'));
      live--;
    }
    this.#bySubject.add(subject, session);
  }

  /** @internal Each table that has an entry for a session takes it out here. @param listener must not throw */
  onLeave(listener: (session: WsSession) => void): void {
    this.#onLeave.push(listener);
  }

  /** @internal The session's connection has closed. */
  delete(session: WsSession): void {
    this.#sessions.delete(session.id);
    if (session.principal !== undefined) this.#bySubject.delete(session.principal.subject, session);
    for (const listener of this.#onLeave) listener(session);
    if (this.#sessions.size === 0) this.#whenEmpty?.();
  }

  /** @internal Its `handleConnection` runs: it has its time, even when the peer has gone. */
  watchOpening(session: WsSession): void {
    this.#opening.set(session, session.openedAt);
  }

  /** @internal */
  sweep(now: number, timeOfDay: number): void {
    for (const [session, since] of this.#opening) {
      if (session.sweepOpening(now - since)) this.#opening.delete(session);
    }
    for (const session of this.#sessions.values()) {
      session.sweep(now, timeOfDay);
    }
  }

  /** @internal See {@link Swept}. */
  postpone(ms: number): void {
    for (const [session, since] of this.#opening) this.#opening.set(session, since + ms);
    for (const session of this.#sessions.values()) session.postpone(ms);
  }

  /**
   * @internal No upgrade is accepted any more.
   *
   * @param retryAfterMs how long a client should wait, drawn anew for each so that they do not all come back at once
   */
  drain(retryAfterMs: () => number): void {
    this.refusesNew = true;
    this.#drain = retryAfterMs;
  }

  /** @internal Ends so many sessions that have nothing in flight, the oldest first; the others when they have answered. */
  endSome(count: number): void {
    let left = count;
    for (const session of this.#sessions.values()) {
      if (left <= 0) return;
      if (!session.isLive || session.inFlight > 0) continue;
      this.#endForShutdown(session, this.#drain ?? (() => 0));
      left--;
    }
  }

  /** @internal Ends all that are left, answered or not. */
  endAll(): void {
    for (const session of this.#sessions.values()) this.#endForShutdown(session, this.#drain ?? (() => 0));
  }

  #endForShutdown(session: WsSession, retryAfterMs: () => number): void {
    session.end(new GatewayError('SHUTTING_DOWN', { retryAfterMs: retryAfterMs() }));
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

function bySequence(one: WsSession, other: WsSession): number {
  return one.sequence - other.sequence;
}
