import { Inject, Injectable } from '@nestjs/common';
import { AUTH_OPTIONS } from '../authentication/options.js';
import { GatewayError } from '../protocol/errors.js';
import type { Session } from './session.js';
import { SubjectIndex } from './session-index.js';

/** The limit of a subject's sessions, read for each claim. */
export interface SlotLimits {
  /** `Infinity` is off. */
  readonly maxSessionsPerSubject: number;
  readonly onSessionLimit: 'replace-oldest' | 'refuse-new';
}

const NONE: readonly Session[] = [];

/**
 * Which sessions a subject has, as far as `auth.maxSessionsPerSubject` goes. Memory answers at once; a table that many nodes share
 * answers with a promise, which has half of `auth.timeoutMs`. What it throws without a code, or does not answer, is UNAVAILABLE.
 */
export abstract class SubjectSlots {
  /**
   * Takes a slot for a session that is to speak for the subject.
   *
   * @returns the sessions of this node that lose theirs to it, the oldest first
   * @throws GatewayError SESSION_LIMIT, also as a rejection
   */
  abstract claim(subject: string, session: Session): readonly Session[] | Promise<readonly Session[]>;

  /** Gives the slot back: the session has closed, or did not come to speak for the subject. Must not throw. */
  abstract release(subject: string, session: Session): void;

  /** Claims the slot of a session once more, since other nodes may not know of it. @returns the sessions of this node that are too much */
  async renew(_subject: string, _session: Session): Promise<readonly Session[]> {
    return NONE;
  }
}

/** The slots of one node, which are the sessions themselves. */
@Injectable()
export class LocalSlots extends SubjectSlots {
  constructor(
    @Inject(AUTH_OPTIONS) private readonly limits: SlotLimits,
    private readonly index: SubjectIndex,
  ) {
    super();
  }

  override claim(subject: string): readonly Session[] {
    const { maxSessionsPerSubject, onSessionLimit } = this.limits;
    const others = this.index.of(subject);
    let live = 0;
    for (const other of others) if (other.isLive) live++;
    if (live < maxSessionsPerSubject) return NONE;
    if (onSessionLimit === 'refuse-new') throw new GatewayError('SESSION_LIMIT');
    const oldest = [...others].filter((other) => other.isLive);
    return oldest.slice(0, live - maxSessionsPerSubject + 1);
  }

  override release(): void {}
}
