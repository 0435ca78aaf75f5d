import { Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { Memberships } from './memberships.js';
import type { Membership, Room } from './room.js';
import type { MemberPage, RoomMember } from './ws-rooms.js';

export const PAGE = 100;
export const MAX_PAGE = 1_000;

/** Above so many members subjects are counted anew only after half a second: to count them costs as much as there are. */
const COUNTED_AT_ONCE = 1_000;
const COUNT_MS = 500;

interface Counted {
  readonly version: number;
  readonly at: number;
  readonly subjects: number;
}

/** Who is in a room, and how many. */
@Injectable()
export class Members {
  readonly #counted = new WeakMap<Room, Counted>();

  constructor(
    private readonly memberships: Memberships,
    private readonly clock: WsClock,
  ) {}

  count(name: string): { sessions: number; subjects: number } {
    const room = this.memberships.room(name);
    return { sessions: room?.members.length ?? 0, subjects: room === undefined ? 0 : this.#subjectsOf(room) };
  }

  #subjectsOf(room: Room): number {
    const now = this.clock.monotonic();
    const { version, members } = room;
    const known = this.#counted.get(room);
    if (known?.version === version) return known.subjects;
    if (known !== undefined && members.length > COUNTED_AT_ONCE && now - known.at < COUNT_MS) return known.subjects;
    const subjects = new Set(members.map(({ session }) => session.principal?.subject));
    subjects.delete(undefined);
    this.#counted.set(room, { version, at: now, subjects: subjects.size });
    return subjects.size;
  }

  /** How many different values a member of what the application gave with `as` has; objects are the same when their JSON is. */
  distinct(name: string, by: string): number {
    const values = new Set<string>();
    for (const { as } of this.memberships.room(name)?.members ?? []) {
      if (as !== undefined && Object.hasOwn(as, by)) values.add(JSON.stringify(as[by]));
    }
    return values.size;
  }

  /** @throws TypeError for a limit or a cursor that cannot be */
  page(name: string, { limit = PAGE, cursor }: { limit?: number; cursor?: string }): MemberPage {
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE) throw new TypeError(`limit is 1 to ${MAX_PAGE}`);
    if (cursor !== undefined && !isCursor(cursor)) throw new TypeError('cursor is the next of a page');
    const members = this.memberships.room(name)?.members ?? [];
    // From the end: where one leaves, the last takes its place, so that it may be shown twice and never be passed over.
    const from = Math.min(members.length, cursor === undefined ? Infinity : parseInt(cursor, 36));
    const until = Math.max(0, from - limit);
    const items = members
      .slice(until, from)
      .toReversed()
      .map((membership) => this.describe(membership));
    return until === 0 ? { items } : { items, next: until.toString(36) };
  }

  describe(membership: Membership): RoomMember {
    const { session, as } = membership;
    const since = this.memberships.joinedAt(membership);
    return { sessionId: session.id, subject: session.principal?.subject, since, as };
  }
}

export function isCursor(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-z]{1,11}$/.test(value);
}
