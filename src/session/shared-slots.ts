import type { SessionClaims } from '../engine/cluster.js';
import { GatewayError } from '../protocol/errors.js';
import type { Session } from './session.js';
import type { SubjectIndex } from './session-index.js';
import { SubjectSlots } from './subject-slots.js';
import type { LocalSlots, SlotLimits } from './subject-slots.js';

/**
 * The slots of all nodes. While they cannot be asked each node has the limit for itself: it is a limit, and no secret. What is too much
 * then ends when nodes see each other again, the oldest first.
 */
export class SharedSlots extends SubjectSlots {
  constructor(
    private readonly claims: SessionClaims,
    private readonly limits: SlotLimits,
    private readonly local: LocalSlots,
    private readonly index: SubjectIndex,
  ) {
    super();
  }

  override claim(subject: string, session: Session): readonly Session[] | Promise<readonly Session[]> {
    const { maxSessionsPerSubject, onSessionLimit } = this.limits;
    if (maxSessionsPerSubject === Infinity || !this.claims.isShared) return this.local.claim(subject);
    return this.claims.claim(subject, session.id, maxSessionsPerSubject, onSessionLimit === 'refuse-new').then(
      (ids) => this.#sessionsOf(subject, ids),
      (error: unknown) => {
        if (error instanceof GatewayError) throw error;
        return this.local.claim(subject);
      },
    );
  }

  override release(subject: string, session: Session): void {
    if (this.limits.maxSessionsPerSubject !== Infinity) this.claims.release(subject, session.id);
  }

  /** Claims a slot for a session that is there: the others may not know of it. @returns those that are too much now */
  override async renew(subject: string, session: Session): Promise<readonly Session[]> {
    const { maxSessionsPerSubject } = this.limits;
    if (maxSessionsPerSubject === Infinity) return [];
    const ids = await this.claims.claim(subject, session.id, maxSessionsPerSubject, false, session.connectedAt);
    return this.#sessionsOf(subject, ids);
  }

  #sessionsOf(subject: string, ids: readonly string[]): readonly Session[] {
    return ids.length === 0 ? [] : [...this.index.of(subject)].filter(({ id, isLive }) => isLive && ids.includes(id));
  }
}
