import type { Position, Replay } from '../engine/engine.js';
import type { JoinOptions, WsSession } from '../session/ws-session.js';

export interface PublishOptions {
  /** This session, or the one with this id, does not get it. */
  except?: WsSession | string;
  /** Not for sessions that have more than 65,536 bytes to read yet. @default false */
  volatile?: boolean;
  /** 1 to 64 characters. The same key in the same room within five minutes publishes nothing again. */
  key?: string;
}

/** What became of a message. */
export interface Published {
  /** Members at this node that it goes to. */
  readonly local: number;
  readonly cluster: 'single' | 'sent' | 'queued' | 'dropped';
  /** Of rooms with history: it is stored there. */
  readonly position?: Position;
  /** It was published before, by the same key. */
  readonly duplicate?: true;
}

export interface RoomCount {
  readonly sessions: number;
  /** Different subjects of those that have one. In rooms of more than 1,000 members up to half a second old. */
  readonly subjects: number;
  /** Different values of the member that was asked for; 0 where none was. */
  readonly distinct: number;
  /** Nodes that did not answer; none on one node. */
  readonly missing: readonly string[];
}

export interface RoomMember {
  readonly sessionId: string;
  /** Undefined while the session is anonymous. */
  readonly subject: string | undefined;
  /** Epoch milliseconds. */
  readonly since: number;
  readonly as: Readonly<Record<string, unknown>> | undefined;
}

/** Some of the members, the newest first. */
export interface MemberPage {
  readonly items: RoomMember[];
  /** There are more: the `cursor` of the next page. */
  readonly next?: string;
}

/** A message of the history. */
export interface HistoryItem {
  readonly offset: number;
  readonly event: string;
  readonly data: unknown;
}

export interface History extends Omit<Replay, 'messages'> {
  /** Oldest first. */
  readonly items: readonly HistoryItem[];
}

/** Several rooms as the target of one message. */
export interface RoomTarget {
  /** Without these sessions, or those with these ids. */
  except(...sessions: readonly (WsSession | string)[]): RoomTarget;
  /** Not for sessions that have more than 65,536 bytes to read yet. */
  volatile(): RoomTarget;
  /**
   * Publishes. A session in several of the rooms gets it once; rooms with history get a publication each.
   *
   * @throws as a rejection, what {@link WsRooms.publish} throws
   */
  emit(event: string, data: unknown): Promise<Published>;
}

/**
 * Rooms of the application, and channels: one space of names. A room is there while it has members. Injectable anywhere.
 *
 * A name is 1 to 256 UTF-16 units without control characters. One that a rule of `channels.rules` matches is a channel: its
 * messages have `channel` and, with history, `offset` as well.
 */
export abstract class WsRooms {
  /**
   * Makes the session a member, at once and until it leaves or ends.
   *
   * @returns true when it gets the messages of the room from now on; false for a session that has ended
   * @throws TypeError for a name, or an `as`, that cannot be; GatewayError SUBSCRIPTION_LIMIT
   */
  abstract join(session: WsSession, room: string, options?: JoinOptions): boolean;

  /** @returns false when it was no member */
  abstract leave(session: WsSession, room: string): boolean;

  /** The rooms of a session. */
  abstract of(session: WsSession): readonly string[];

  /**
   * Publishes to the members of a room. All that is published in a room in one turn of the event loop leaves in one write for
   * each member.
   *
   * @throws as a rejection: TypeError for a name, an event or a key that cannot be, and for data that cannot be serialised;
   * GatewayError VALIDATION_FAILED, rule `maxBytes`, above `rooms.maxMessageBytes`; CONFLICT for a key that was used with another body
   */
  abstract publish(room: string, event: string, data: unknown, options?: PublishOptions): Promise<Published>;

  /** @throws TypeError for a name that cannot be */
  abstract to(...rooms: readonly [string, ...string[]]): RoomTarget;

  /** Publishes to all sessions of a subject. @throws as {@link publish} */
  abstract toSubject(subject: string, event: string, data: unknown): Promise<Published>;

  /** Publishes to one session. @throws as {@link publish} */
  abstract toSession(sessionId: string, event: string, data: unknown): Promise<Published>;

  /** Publishes to all authenticated sessions. @throws as {@link publish} */
  abstract broadcast(event: string, data: unknown): Promise<Published>;

  /**
   * How many members a room has.
   *
   * @param by a member of what `join()` was given as `as`: how many different values it has
   */
  abstract count(room: string, by?: string): Promise<RoomCount>;

  /**
   * The members of a room, page by page. One that is a member all the while is on one of the pages at least.
   *
   * @param page.limit 1 to 1,000, default 100
   * @throws as a rejection, TypeError for a limit or a cursor that cannot be
   */
  abstract members(room: string, page?: { limit?: number; cursor?: string }): Promise<MemberPage>;

  /**
   * What a room with history has behind a position, page by page: the next page is behind the last item. Without a position, its
   * newest messages.
   *
   * @param limit 1 to 10,000, default 100
   * @throws as a rejection, GatewayError NOT_FOUND where the room has no history
   */
  abstract history(room: string, since?: Position, limit?: number): Promise<History>;
}
