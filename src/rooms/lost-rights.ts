import { Inject, Injectable } from '@nestjs/common';
import { isThenable } from '../base/thenable.js';
import { GatewayError } from '../protocol/errors.js';
import { SessionRegistry } from '../session/registry.js';
import type { Session } from '../session/session.js';
import { ChannelRights } from './channel-rights.js';
import type { Refusal } from './channel-rights.js';
import { Memberships } from './memberships.js';
import { CHANNEL_OPTIONS } from './options.js';
import type { ResolvedChannels } from './options.js';
import type { Membership } from './room.js';
import { Subscriptions } from './subscriptions.js';

/** Asks again for rights that may be lost: at a refresh and a revalidation of a session, and where the rules are others. */
@Injectable()
export class LostRights {
  #rules: string;
  /** Sessions whose rights the application is being asked for; true: they are to be asked for once more. */
  readonly #asking = new WeakMap<Session, boolean>();

  constructor(
    @Inject(CHANNEL_OPTIONS) private readonly options: ResolvedChannels,
    private readonly memberships: Memberships,
    private readonly rights: ChannelRights,
    private readonly subscriptions: Subscriptions,
    registry: SessionRegistry,
  ) {
    this.#rules = JSON.stringify(options.rules);
    registry.onRefresh((session) => this.#checkRights(session));
  }

  /** The rules in force may be others: who has lost a right by them is a subscriber no longer. */
  applyRules(): void {
    const rules = JSON.stringify(this.options.rules);
    if (rules === this.#rules) return;
    this.#rules = rules;
    this.memberships.applyRules();
    for (const room of this.memberships.rooms()) {
      for (const membership of room.members.slice()) this.#checkRule(membership);
    }
  }

  /** The session's principal is another. A client that refreshes again and again has the application asked by one at a time. */
  #checkRights(session: Session): void {
    const subscribed = this.memberships.of(session).filter(({ isByRule }) => isByRule);
    const left = subscribed.filter((membership) => this.#checkRule(membership));
    if (this.#asking.has(session)) return void this.#asking.set(session, true);
    const asked = left.map((membership) => this.#askFor(membership)).filter(isThenable);
    if (asked.length === 0) return;
    this.#asking.set(session, false);
    void Promise.all(asked).then(() => {
      const again = this.#asking.get(session) === true && session.isLive;
      this.#asking.delete(session);
      if (again) this.#checkRights(session);
    });
  }

  #askFor(membership: Membership): void | Promise<void> {
    const asked = this.rights.refusal(membership.session, membership.room.name, 'subscribe');
    if (isThenable(asked)) return asked.then((refusal) => this.#judge(membership, refusal));
    return this.#judge(membership, asked);
  }

  #judge(membership: Membership, refusal: Refusal): void {
    if (refusal !== undefined) this.subscriptions.drop(membership, refusal);
  }

  /** @returns false when the membership is over */
  #checkRule(membership: Membership): boolean {
    const { session, room, isByRule } = membership;
    if (!isByRule) return true;
    const refusal = this.rights.refusalByRule(session, room.name, 'subscribe');
    if (refusal !== undefined) this.subscriptions.drop(membership, new GatewayError('FORBIDDEN'));
    return refusal === undefined;
  }
}
