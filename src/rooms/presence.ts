import { Injectable } from '@nestjs/common';
import { encode } from '../protocol/codec.js';
import { inChannel } from './channel-frames.js';
import type { Membership, Room } from './room.js';
import { Members } from './members.js';
import { Memberships } from './memberships.js';

/** A member as other clients see it. What the application says of it stays on the server. */
export interface PresentMember {
  readonly sessionId: string;
  readonly subject: string | undefined;
  /** Epoch milliseconds. */
  readonly since: number;
}

/** What has changed in a channel since its members were told. */
interface Changes {
  readonly joined: Map<string, PresentMember>;
  readonly left: Map<string, PresentMember>;
}

const EVERY_MS = 1_000;
const MAX_NAMED = 50;

/** In a channel of more members only their number is told. */
const MAX_MEMBERS = 1_000;

/** Tells the members of channels with `presence: 'events'` who comes and goes: once a second a channel, however many do. */
@Injectable()
export class Presence {
  readonly #changes = new Map<Room, Changes>();
  readonly #toldAt = new WeakMap<Room, number>();

  constructor(
    memberships: Memberships,
    private readonly members: Members,
  ) {
    memberships.listen(this);
  }

  joined(membership: Membership): void {
    const { session, room } = membership;
    if (room.rule?.presence !== 'events') return;
    const { joined, left } = this.#changesOf(room);
    if (!left.delete(session.id) && joined.size < MAX_NAMED) joined.set(session.id, this.presentOf(membership));
  }

  left(membership: Membership): void {
    const { session, room } = membership;
    if (room.rule?.presence !== 'events') return;
    const { joined, left } = this.#changesOf(room);
    if (!joined.delete(session.id) && left.size < MAX_NAMED) left.set(session.id, this.presentOf(membership));
  }

  presentOf(membership: Membership): PresentMember {
    const { sessionId, subject, since } = this.members.describe(membership);
    return { sessionId, subject, since };
  }

  #changesOf(room: Room): Changes {
    let changes = this.#changes.get(room);
    if (changes === undefined) this.#changes.set(room, (changes = { joined: new Map(), left: new Map() }));
    return changes;
  }

  sweep(now: number): void {
    for (const [room, changes] of this.#changes) {
      if (now - (this.#toldAt.get(room) ?? -Infinity) < EVERY_MS) continue;
      this.#changes.delete(room);
      if (room.members.length === 0 || changes.joined.size + changes.left.size === 0) continue;
      this.#toldAt.set(room, now);
      this.#tell(room, changes);
    }
  }

  #tell(room: Room, { joined, left }: Changes): void {
    const count = this.members.count(room.name);
    const named = count.sessions <= MAX_MEMBERS;
    const data = { joined: named ? [...joined.values()] : [], left: named ? [...left.values()] : [], count };
    room.send(inChannel(encode('presence.changed', data).slice(0, -1), room.name), undefined, undefined, false);
  }
}
