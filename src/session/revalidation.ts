import { Inject, Injectable } from '@nestjs/common';
import { AUTH_OPTIONS } from '../authentication/options.js';
import type { Revalidate } from '../authentication/options.js';
import { WsClock } from '../base/clock.js';
import { principalOf, originOf } from '../authentication/principal.js';
import type { Principal } from '../authentication/principal.js';
import { GatewayError } from '../protocol/errors.js';
import { isGatewayError } from './failure.js';
import type { Session } from './session.js';
import { SessionRegistry } from './registry.js';

/** Questions asked of the application at once; its database is to serve others, too. */
const MAX_ASKED = 32;

/** Time the application has to answer one, in milliseconds; after it the session goes on and the log says so. */
const ANSWER_MS = 30_000;

/** What the log names as the event. */
const NAME = 'auth.revalidate';

/** Asked, and not answered yet. An answer that comes after its time finds another question in its place, or none. */
interface Question {
  readonly principal: Principal;
  until: number;
}

/** What the application is asked, and how often. */
export interface RevalidationOptions {
  readonly revalidate: Revalidate | undefined;
  readonly revalidateEveryMs: number;
}

/** Asks the application, every so often and for each session, whether its principal may go on. */
@Injectable()
export class Revalidation {
  // In the order in which they are due: all have the same interval.
  readonly #due = new Map<Session, number>();
  readonly #asked = new Map<Session, Question>();

  constructor(
    @Inject(AUTH_OPTIONS) private readonly options: RevalidationOptions,
    private readonly clock: WsClock,
    private readonly sessions: SessionRegistry,
  ) {
    sessions.onLeave((session) => this.#forget(session));
  }

  /** How many sessions are watched. */
  get size(): number {
    return this.#due.size + this.#asked.size;
  }

  /** The session has a principal. A refresh puts nothing off: else who refreshes often enough would never be asked about. */
  watch(session: Session): void {
    if (this.options.revalidate === undefined || this.#due.has(session) || this.#asked.has(session)) return;
    this.#due.set(session, this.clock.monotonic() + this.options.revalidateEveryMs);
  }

  #forget(session: Session): void {
    this.#due.delete(session);
    this.#asked.delete(session);
  }

  /** The application's answer may be there and not read. When the next question is due has nothing to do with it. */
  postpone(ms: number): void {
    for (const question of this.#asked.values()) question.until += ms;
  }

  sweep(now: number): void {
    for (const [session, question] of this.#asked) {
      if (now < question.until) break;
      this.#failed(session, question, new Error('auth.revalidate did not answer in time'));
    }
    for (const [session, dueAt] of this.#due) {
      if (now < dueAt || this.#asked.size >= MAX_ASKED) return;
      this.#due.delete(session);
      if (session.isLive && session.principal !== undefined) this.#ask(session, session.principal, now);
    }
  }

  #ask(session: Session, principal: Principal, now: number): void {
    const question = { principal, until: now + ANSWER_MS };
    this.#asked.set(session, question);
    // async, so that a synchronous throw is a rejection as well.
    const { revalidate } = this.options;
    const ask = async (): Promise<unknown> => revalidate?.(principal);
    ask().then(
      (answer) => this.#answered(session, question, answer),
      (error: unknown) => this.#failed(session, question, error),
    );
  }

  #take(session: Session, question: Question): boolean {
    return this.#asked.get(session) === question && this.#asked.delete(session) && session.isLive;
  }

  #answered(session: Session, question: Question, answer: unknown): void {
    if (!this.#take(session, question)) return;
    if (answer === false) return session.end(new GatewayError('SESSION_REVOKED', { cause: NAME }));
    this.watch(session);
    const { principal: asked } = question;
    // A refresh came meanwhile: the answer is about the principal before it.
    if (answer === true || session.principal !== asked) return;
    try {
      const { roles, scopes } = answer as Principal; // because principalOf() looks at them
      session.replacePrincipal(principalOf({ ...asked, roles, scopes }, originOf(asked)));
      this.sessions.refreshed(session);
    } catch {
      session.onFault(new TypeError(`${NAME} must return true, false or a principal`), NAME);
    }
  }

  #failed(session: Session, question: Question, error: unknown): void {
    if (!this.#take(session, question)) return;
    if (isGatewayError(error) && error.code !== 'INTERNAL') return session.end(error);
    session.onFault(error, NAME);
    this.watch(session);
  }
}
