import type { BanNotice } from '../firewall/bans.js';
import type { Principal } from '../authentication/principal.js';
import { originOf, tokenIdOf } from '../authentication/principal.js';
import { Revocations } from '../authentication/revocations.js';
import { Inject, Injectable } from '@nestjs/common';
import { Deadlines } from '../authentication/deadlines.js';
import { WsClock } from '../base/clock.js';
import { EMITTER } from '../base/emitter.js';
import type { Emitter } from '../base/emitter.js';
import { GatewayError } from '../protocol/errors.js';
import { unavailable } from '../protocol/unavailable.js';
import { FACTS } from '../engine/facts.js';
import type { Fact, Facts } from '../engine/facts.js';
import type { SessionEvent } from './events.js';
import { ByteBudget } from './byte-budget.js';
import { SharedFrame } from '../socket/shared-frame.js';
import { flushFanOuts, frame } from '../socket/text-frames.js';
import type { Session } from './session.js';
import { concerns, decide, factOf, heard } from './revoke.js';
import type { RevocationEntry, RevocationFilter, RevocationTold, Revoked } from './revoke.js';
import { SubjectIndex } from './session-index.js';
import { SubjectSlots } from './subject-slots.js';
import { isThenable } from '../base/thenable.js';
import type { SessionPhase } from './ws-session.js';
import { WsSessions } from './ws-sessions.js';
import type { SessionFilter, SessionPage, SessionQuery } from './ws-sessions.js';

const PAGE = 100;
const MAX_PAGE = 1_000;

/** The working class behind {@link WsSessions}. */
@Injectable()
export class SessionRegistry extends WsSessions {
  readonly #sessions = new Map<string, Session>();
  /** Since when their `handleConnection` runs, in monotonic milliseconds. */
  readonly #opening = new Map<Session, number>();
  readonly #onLeave: ((session: Session) => void)[] = [];
  readonly #onRefresh: ((session: Session) => void)[] = [];
  #sequence = 0;
  #drain: (() => number) | undefined;
  #whenEmpty: (() => void) | undefined;

  /** True from the first word of a shutdown: no upgrade is accepted any more. */
  refusesNew = false;

  constructor(
    private readonly bySubject: SubjectIndex,
    private readonly slots: SubjectSlots,
    private readonly deadlines: Deadlines,
    private readonly revocations: Revocations,
    private readonly clock: WsClock,
    @Inject(EMITTER) private readonly monitor: Emitter<SessionEvent>,
    private readonly byteBudget: ByteBudget,
    @Inject(FACTS) private readonly facts: Facts,
  ) {
    super();
    facts.listen('revocation', (fact) => this.#hear(fact));
    facts.onNotice('replaced', (sessionId) => this.#sessions.get(sessionId)?.end(new GatewayError('SESSION_REPLACED')));
    revocations.onProlonged(({ tokenId, issuer, subject, issuedBefore = 0, until }) => {
      const told: RevocationTold =
        tokenId === undefined
          ? { kind: 'issuedBefore', seconds: issuedBefore, ...(subject !== undefined && { subject }) }
          : { kind: 'tokenId', tokenId, ...(issuer !== undefined && { issuer }) };
      facts.record([factOf(told, until)])?.catch(() => undefined); // it is kept, and told when it can be
    });
  }

  override find(filter: SessionFilter = {}): Session[] {
    return [...this.#candidates(filter)]
      .filter((session) => session.isLive && matches(session, filter))
      .toSorted(bySequence);
  }

  override count(filter: SessionFilter = {}): number {
    let count = 0;
    for (const session of this.#candidates(filter)) if (session.isLive && matches(session, filter)) count++;
    return count;
  }

  override list({ limit = PAGE, cursor, ...filter }: SessionQuery = {}): SessionPage {
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE) throw new TypeError(`limit is 1 to ${MAX_PAGE}`);
    if (cursor !== undefined && !/^[0-9a-z]{1,11}$/.test(cursor)) throw new TypeError('cursor is the next of a page');
    const after = cursor === undefined ? 0 : parseInt(cursor, 36);
    const items: Session[] = [];
    const candidates = this.#candidates(filter);
    // The registry is in order already; a subject's sessions are in the order of their authentication.
    for (const session of filter.subject === undefined ? candidates : [...candidates].toSorted(bySequence)) {
      if (session.sequence <= after || !session.isLive || !matches(session, filter)) continue;
      if (items.length === limit) return { items, next: (items.at(-1) as Session).sequence.toString(36) }; // because limit is not 0
      items.push(session);
    }
    return { items };
  }

  override async revoke(filter: RevocationFilter): Promise<Revoked> {
    const entry = decide(filter, this.clock.now());
    const ended = this.#concerned(entry);
    if (this.monitor.has('revocation')) {
      this.monitor.emit({ kind: 'revocation', ...filter, ended: ended.length });
    }
    for (const session of ended) session.end(new GatewayError('SESSION_REVOKED'));
    const told: RevocationTold[] = [
      { kind: 'entry', entry },
      ...ended.flatMap((session) => tokensOf(session, entry.at)),
    ];
    const reached = this.facts.record(this.#factsOf(told, entry.at), true);
    reached?.catch(() => undefined); // what is thrown below is more
    for (const one of told) this.#refuse(one, entry.at); // the list may fill up on the way
    const { answers, missing } = (await reached) ?? { answers: [], missing: [] };
    return {
      ended: answers.reduce((sum, count) => sum + count, ended.length),
      nodes: 1 + answers.length,
      missing,
    };
  }

  /** Another node has decided it. @returns how many sessions it has ended, when the tokens of these are known to all */
  #hear({ data, until }: Fact): number | Promise<number> {
    const told = data as RevocationTold; // because a node of this cluster has recorded it
    const now = this.clock.now();
    if (told.kind !== 'entry') {
      this.#refuse(told, now, until);
      return 0;
    }
    const entry = heard(told.entry);
    const ended = this.#concerned(entry);
    for (const session of ended) session.end(new GatewayError('SESSION_REVOKED'));
    this.#refuse(told, now, until);
    const follows = ended.flatMap((session) => tokensOf(session, now));
    for (const one of follows) this.#refuse(one, now);
    const recorded = follows.length === 0 ? undefined : this.facts.record(this.#factsOf(follows, now));
    return recorded === undefined ? ended.length : recorded.then(() => ended.length);
  }

  /** The sessions of this node that a revocation is about. */
  #concerned({ filter }: RevocationEntry): readonly Session[] {
    const { sessionId, subject } = filter;
    // Member by member, since in a SessionFilter an undefined member selects nothing.
    const whose = { ...(sessionId !== undefined && { sessionId }), ...(subject !== undefined && { subject }) };
    return this.find(whose).filter(({ principal }) => concerns(filter, principal));
  }

  #factsOf(told: readonly RevocationTold[], now: number): Fact[] {
    return told.map((one) => factOf(one, one.kind === 'token' ? one.until : this.revocations.keptUntil(now)));
  }

  /** Refuses tokens from now on. @throws GatewayError OVERLOADED */
  #refuse(told: RevocationTold, now: number, until = 0): void {
    const { revocations } = this;
    switch (told.kind) {
      case 'token':
        return revocations.addToken(told.digest, told.until);
      case 'tokenId':
        return revocations.addTokenId(told.tokenId, now, told.issuer, until);
      case 'issuedBefore':
        if (told.subject === undefined) return revocations.addEveryone(told.seconds, now, until);
        return revocations.addSubject(told.subject, told.seconds, now, until);
      case 'entry': {
        const { filter, tokensBefore } = told.entry;
        const { subject, tokenId, issuer } = filter;
        if (tokenId !== undefined) revocations.addTokenId(tokenId, now, issuer, until);
        if (tokensBefore === undefined) return undefined;
        if (subject === undefined) return revocations.addEveryone(tokensBefore, now, until);
        return revocations.addSubject(subject, tokensBefore, now, until);
      }
      default:
        return told satisfies never;
    }
  }

  override broadcast(event: string, data: unknown, filter: SessionFilter = {}): number {
    // Once for each language that is spoken, and all of it before anything is sent.
    const pushes = new Map<object, SharedFrame | Uint8Array | undefined>();
    const receivers: Session[] = [];
    for (const session of this.#candidates(filter)) {
      if (!session.mayBeWrittenTo || !matches(session, filter)) continue;
      const { protocol } = session.server;
      if (!pushes.has(protocol)) {
        const push = protocol.push(event, data);
        const shared = typeof push === 'string' ? new SharedFrame(frame(push, true), [push], this.byteBudget) : push;
        pushes.set(protocol, shared);
      }
      if (pushes.get(protocol) !== undefined) receivers.push(session);
    }
    flushFanOuts(); // what was published first goes first
    for (const session of receivers) {
      const push = pushes.get(session.server.protocol);
      if (push instanceof SharedFrame) session.socket.sendFrame(push);
      else if (push !== undefined) session.sendBinary(push);
    }
    return receivers.length;
  }

  /** The sessions of the smallest index that holds every match. */
  #candidates(filter: SessionFilter): Iterable<Session> {
    const { sessionId, subject, clientAddress: _, ...unknown } = filter;
    const [name] = Object.keys(unknown);
    if (name !== undefined) throw new TypeError(`A filter has sessionId, subject and clientAddress, not ${name}`);
    for (const value of Object.values(filter)) if (value === undefined) return [];
    if (sessionId !== undefined) {
      const session = this.#sessions.get(sessionId);
      return session === undefined ? [] : [session];
    }
    return subject === undefined ? this.#sessions.values() : this.bySubject.of(subject);
  }

  /** How many sessions are in each phase. */
  countByPhase(): Record<SessionPhase['phase'], number> {
    const counts = { opening: 0, open: 0, closing: 0, closed: 0 };
    for (const { phase } of this.#sessions.values()) counts[phase]++;
    return counts;
  }

  /** Every session of the registry, oldest first. */
  all(): Iterable<Session> {
    return this.#sessions.values();
  }

  /** How many entries the registry has in all its tables. */
  get size(): number {
    return this.#sessions.size + this.bySubject.size + this.#opening.size;
  }

  add(session: Session): void {
    session.sequence = ++this.#sequence;
    this.#sessions.set(session.id, session);
  }

  /** @throws GatewayError SESSION_REVOKED */
  refuseRevoked(principal: Principal): void {
    if (this.isRevoked(principal)) throw new GatewayError('SESSION_REVOKED');
  }

  isRevoked(principal: Principal | undefined): boolean {
    return principal !== undefined && this.revocations.isRevoked(principal);
  }

  /**
   * Claims one of the subject's slots for the session, which does not speak for it yet.
   *
   * @returns the sessions of this node that lose theirs, for {@link join}
   * @throws GatewayError SESSION_LIMIT; UNAVAILABLE, also as a rejection
   */
  claim(session: Session, subject: string): readonly Session[] | Promise<readonly Session[]> {
    let answer: readonly Session[] | Promise<readonly Session[]>;
    const replaced = this.deadlines.ask(() => (answer = this.slots.claim(subject, session)), 'the table of sessions');
    if (!isThenable(replaced)) return replaced;
    return replaced.catch((error: unknown) => {
      // A claim that is answered too late has to be given back.
      void Promise.resolve(answer).then(
        () => this.slots.release(subject, session),
        () => undefined,
      );
      throw error;
    });
  }

  /**
   * Other nodes may not know which sessions there are here: Redis has lost that, or could not be reached.
   *
   * @throws as a rejection, when a claim could not be made: those behind it are not made either
   */
  async announce(): Promise<void> {
    for (const session of this.#sessions.values()) {
      const { principal, isLive } = session;
      if (principal === undefined || !isLive) continue;
      const surplus = await this.slots.renew(principal.subject, session);
      for (const other of surplus) other.end(new GatewayError('SESSION_REPLACED'));
    }
  }

  /** The session speaks for the subject from now on; those that lose their slot to it end. */
  join(session: Session, subject: string, replaced: readonly Session[]): void {
    for (const other of replaced) other.end(new GatewayError('SESSION_REPLACED'));
    this.bySubject.add(subject, session);
  }

  /** The session does not come to speak for the subject. */
  unclaim(session: Session, subject: string): void {
    this.slots.release(subject, session);
  }

  /** Each table that has an entry for a session takes it out here. @param listener must not throw */
  onLeave(listener: (session: Session) => void): void {
    this.#onLeave.push(listener);
  }

  /** What a session may do can have changed: its principal is another. @param listener must not throw */
  onRefresh(listener: (session: Session) => void): void {
    this.#onRefresh.push(listener);
  }

  refreshed(session: Session): void {
    for (const listener of this.#onRefresh) listener(session);
  }

  /** The session's connection has closed. */
  delete(session: Session): void {
    this.#sessions.delete(session.id);
    if (session.principal !== undefined) {
      this.bySubject.delete(session.principal.subject, session);
      this.slots.release(session.principal.subject, session);
    }
    for (const listener of this.#onLeave) listener(session);
    if (this.#sessions.size === 0) this.#whenEmpty?.();
  }

  /**
   * Ends the sessions that a ban is about. A ban of an address that the firewall made by itself spares those who have
   * authenticated: many may share the address, and their own violations count against themselves. `spared` ends by itself.
   */
  endBanned({ ban, forMs, spared, isManual }: BanNotice): void {
    for (const session of this.#sessions.values()) {
      if (session === spared || session.client.isExempt || !isBanned(session, ban, isManual)) continue;
      session.end(new GatewayError('BANNED', { retryAfterMs: forMs }));
    }
  }

  /** Its `handleConnection` runs: it has its time, even when the peer has gone. */
  watchOpening(session: Session): void {
    this.#opening.set(session, session.openedAt);
  }

  sweep(now: number, timeOfDay: number): void {
    for (const [session, since] of this.#opening) {
      if (session.sweepOpening(now - since)) this.#opening.delete(session);
    }
    for (const session of this.#sessions.values()) {
      session.sweep(now, timeOfDay);
    }
  }

  /** See {@link Swept}. */
  postpone(ms: number): void {
    for (const [session, since] of this.#opening) this.#opening.set(session, since + ms);
    for (const session of this.#sessions.values()) session.postpone(ms);
  }

  /**
   * No upgrade is accepted any more.
   *
   * @param retryAfterMs how long a client should wait, drawn anew for each so that they do not all come back at once
   */
  drain(retryAfterMs: () => number): void {
    this.refusesNew = true;
    this.#drain = retryAfterMs;
  }

  /** Ends so many sessions that have nothing in flight, the oldest first; the others when they have answered. */
  endSome(count: number): void {
    let left = count;
    for (const session of this.#sessions.values()) {
      if (left <= 0) return;
      if (!session.isLive || session.intake.inFlight > 0) continue;
      this.#endForShutdown(session, this.#drain ?? (() => 0));
      left--;
    }
  }

  /** Ends all that are left, answered or not. */
  endAll(): void {
    for (const session of this.#sessions.values()) this.#endForShutdown(session, this.#drain ?? (() => 0));
  }

  #endForShutdown(session: Session, retryAfterMs: () => number): void {
    session.end(new GatewayError('SHUTTING_DOWN', { retryAfterMs: retryAfterMs() }));
  }

  /** Ends all: for too long this node could not know what was revoked elsewhere. */
  endUninformed(): void {
    for (const session of this.#sessions.values()) session.end(unavailable('the cluster has been blind for too long'));
  }

  /** Cuts the TCP connections that are left: their peers had their `disconnect` and do not close. */
  terminateAll(): void {
    for (const session of this.#sessions.values()) session.socket.terminate();
  }

  /** Resolves when the last session has closed. */
  whenEmpty(): Promise<void> {
    if (this.#sessions.size === 0) return Promise.resolve();
    return new Promise((resolve) => (this.#whenEmpty = resolve));
  }
}

function matches(session: Session, filter: SessionFilter): boolean {
  return (
    (filter.sessionId === undefined || session.id === filter.sessionId) &&
    (filter.subject === undefined || session.principal?.subject === filter.subject) &&
    (filter.clientAddress === undefined || session.clientAddress === filter.clientAddress)
  );
}

/** What refuses the tokens that a session was opened or refreshed with, those first that refuse most. */
function tokensOf(session: Session, now: number): RevocationTold[] {
  const { principal, tokens } = session;
  if (principal === undefined) return [];
  const told: RevocationTold[] = [];
  const seconds = session.forgottenTokensBefore(now);
  if (seconds !== undefined) told.push({ kind: 'issuedBefore', subject: principal.subject, seconds });
  for (const { digest, expiresAt } of tokens) told.push({ kind: 'token', digest, until: expiresAt });
  // A principal that an application copied for a ticket has lost its digest: only its token id says which token it came from.
  const tokenId = originOf(principal).digest === undefined ? tokenIdOf(principal) : undefined;
  if (tokenId === undefined) return told;
  const { iss } = principal.claims;
  return [...told, { kind: 'tokenId', tokenId, ...(typeof iss === 'string' && { issuer: iss }) }];
}

function bySequence(one: Session, other: Session): number {
  return one.sequence - other.sequence;
}

function isBanned({ principal, client }: Session, ban: BanNotice['ban'], isManual: boolean): boolean {
  if ('subject' in ban) return principal?.subject === ban.subject;
  return client.usage.key === ban.address && (isManual || principal === undefined);
}
