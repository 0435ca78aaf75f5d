import { Inject, Injectable } from '@nestjs/common';
import { isThenable } from '../base/thenable.js';
import { ENGINE } from '../engine/engine.js';
import type { Engine, GapReason, Kept, Replay } from '../engine/engine.js';
import { GatewayError } from '../protocol/errors.js';
import type { Session } from '../session/session.js';
import type { WsSession } from '../session/ws-session.js';
import type { Wanted } from './channel-requests.js';
import { sendIn, sendText } from './channel-frames.js';
import { Memberships } from './memberships.js';
import { CHANNEL_OPTIONS } from './options.js';
import type { ResolvedChannels } from './options.js';
import type { Membership } from './room.js';

/** The answer to one channel of a `subscribe`. */
export interface Subscribed {
  readonly channel: string;
  readonly epoch?: string;
  readonly offset?: number;
  readonly recovered?: boolean;
  readonly replayed?: number;
  readonly reason?: GapReason;
}

/** A subscriber that has yet to be answered. */
export interface Entry {
  readonly wanted: Wanted;
  readonly membership: Membership;
  /** Undefined where the channel keeps no history. */
  readonly replay: Replay | undefined;
  /** It was none before. */
  readonly isNew: boolean;
  /** What is published meanwhile waits until it has been answered. */
  readonly isHeld: boolean;
}

/** Sessions become subscribers, get what they have missed before what is published next, and lose it again. */
@Injectable()
export class Subscriptions {
  constructor(
    @Inject(CHANNEL_OPTIONS) private readonly options: ResolvedChannels,
    @Inject(ENGINE) private readonly engine: Engine,
    private readonly memberships: Memberships,
  ) {}

  /**
   * Makes the session a member, and reads what it has missed; {@link answer} or {@link giveUp} has to follow.
   *
   * @throws GatewayError, also as a rejection: SUBSCRIPTION_LIMIT; UNAUTHENTICATED for a session that has ended; what the engine throws
   */
  enter(session: Session, wanted: Wanted): Entry | Promise<Entry> {
    const { channel, since } = wanted;
    if (!session.isLive) throw new GatewayError('UNAUTHENTICATED');
    const known = this.memberships.find(session, channel);
    const isNew = known === undefined;
    const membership = known ?? this.memberships.add(session, channel, true);
    const { room } = membership;
    room.flush(); // the answer's offset is the top of what it has been sent
    const window = room.rule?.history;
    if (window === undefined) return { wanted, membership, replay: undefined, isNew, isHeld: false };
    const { messages } = this.options.maxReplay;
    const limit = since === undefined ? { messages: 0, bytes: 0 } : { messages, bytes: this.#replayBytes(session) };
    try {
      const replay = this.engine.bus.read(channel, since, limit, window);
      if (!isThenable(replay)) return { wanted, membership, replay, isNew, isHeld: false };
      room.hold(session);
      return replay.then(
        (answer) => ({ wanted, membership, replay: answer, isNew, isHeld: true }),
        (error: unknown) => {
          this.giveUp({ membership, isNew, isHeld: true });
          throw error;
        },
      );
    } catch (error) {
      this.giveUp({ membership, isNew, isHeld: false });
      throw error;
    }
  }

  /** The request has failed: a new subscriber is none, and one of before goes on as it was. */
  giveUp({ membership, isNew, isHeld }: Pick<Entry, 'membership' | 'isNew' | 'isHeld'>): void {
    if (isNew) this.memberships.remove(membership);
    else if (isHeld) this.#release(membership, 0);
  }

  /**
   * What each of the subscribers is told.
   *
   * @returns the answers, and what sends what has to follow them at once, and says how many messages were replayed
   */
  answer(
    session: Session,
    entries: readonly Entry[],
  ): { readonly answers: readonly (Subscribed | GatewayError)[]; readonly follow: () => number } {
    let bytes = this.#replayBytes(session);
    const replayed: (readonly Kept[])[] = [];
    const answers = entries.map((entry, index) => {
      replayed[index] = [];
      if (this.memberships.find(session, entry.wanted.channel) !== entry.membership) {
        return new GatewayError(session.principal === undefined ? 'UNAUTHENTICATED' : 'FORBIDDEN'); // it lost its right meanwhile
      }
      const { answer, messages } = answerOf(entry, bytes);
      for (const { body } of messages) bytes -= body.bytes;
      replayed[index] = messages;
      return answer;
    });
    const follow = (): number => {
      for (const [index, { membership, isHeld, replay }] of entries.entries()) {
        for (const { offset, body } of replayed[index] ?? []) sendText(session, `${body.text},"offset":${offset}}`);
        if (isHeld) this.#release(membership, replay?.position.offset ?? 0);
      }
      return replayed.reduce((sum, { length }) => sum + length, 0);
    };
    return { answers, follow };
  }

  /** @param offset what is published up to there has been replayed, or is known to be missed */
  #release(membership: Membership, offset: number): void {
    const { session, room } = membership;
    const messages = room.release(session);
    // More came than is held for one member: it does not have all, and is to subscribe again.
    if (messages === undefined) return this.drop(membership, new GatewayError('UNAVAILABLE'));
    for (const message of messages) {
      if (message.offset === undefined || message.offset > offset) sendText(session, message.text);
    }
  }

  /** Bytes that may be replayed now: never so many that the session would end as one that reads too slowly. */
  #replayBytes({ maxOutboundBytes, socket }: Session): number {
    return Math.max(
      0,
      Math.min(this.options.maxReplay.bytes, Math.floor(maxOutboundBytes / 2) - socket.bufferedAmount),
    );
  }

  /** A client wants no more of a channel. What the application or a backend has joined stays. */
  leave(session: Session, channel: string): void {
    const membership = this.memberships.find(session, channel);
    if (membership?.isByRule === true) this.memberships.remove(membership);
  }

  /** Takes a subscriber out, and says so. */
  drop(membership: Membership, { code, message, retryable }: GatewayError): void {
    const { session, room } = membership;
    if (this.memberships.find(session, room.name) !== membership) return;
    this.memberships.remove(membership);
    sendIn(session, 'unsubscribed', { code, message, resubscribe: retryable }, room.name);
  }

  /** Takes sessions out of a channel, as a backend wants it. @returns how many were in it */
  expel(sessions: readonly WsSession[], channel: string): number {
    let count = 0;
    for (const session of sessions) {
      const membership = this.memberships.find(session, channel);
      if (membership === undefined) continue;
      this.drop(membership, new GatewayError('FORBIDDEN', { message: 'Unsubscribed by the server' }));
      count++;
    }
    return count;
  }
}

function answerOf(
  { wanted: { channel, since }, replay }: Entry,
  bytes: number,
): { readonly answer: Subscribed; readonly messages: readonly Kept[] } {
  const not = { recovered: false, messages: [], reason: 'window' as const };
  const { position, recovered, reason, messages } = replay ?? { ...not, position: undefined };
  const top = { channel, ...position };
  if (since === undefined) return { answer: top, messages: [] };
  if (!recovered) return { answer: { ...top, recovered, ...(reason !== undefined && { reason }) }, messages: [] };
  if (messages.reduce((sum, { body }) => sum + body.bytes, 0) > bytes)
    return { answer: { ...top, recovered: false, reason: 'limit' }, messages: [] };
  return { answer: { ...top, recovered, replayed: messages.length }, messages };
}
