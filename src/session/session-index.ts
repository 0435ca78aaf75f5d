import { Injectable } from '@nestjs/common';
import type { Session } from './session.js';

/** Sessions by subject, in the order of their authentication. A Set of its own costs as much as the rest, and most have one. */
@Injectable()
export class SubjectIndex {
  readonly #sessions = new Map<string, Session | Set<Session>>();

  /** How many subjects have a session. */
  get size(): number {
    return this.#sessions.size;
  }

  of(subject: string): Iterable<Session> {
    const found = this.#sessions.get(subject);
    if (found === undefined) return [];
    return found instanceof Set ? found : [found];
  }

  add(subject: string, session: Session): void {
    const found = this.#sessions.get(subject);
    if (found === undefined) this.#sessions.set(subject, session);
    else if (found instanceof Set) found.add(session);
    else if (found !== session) this.#sessions.set(subject, new Set([found, session]));
  }

  delete(subject: string, session: Session): void {
    const found = this.#sessions.get(subject);
    if (found === session) this.#sessions.delete(subject);
    if (!(found instanceof Set)) return;
    found.delete(session);
    if (found.size === 0) this.#sessions.delete(subject);
  }
}
