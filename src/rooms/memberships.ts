import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { EMITTER } from '../base/emitter.js';
import type { Emitter } from '../base/emitter.js';
import { ENGINE } from '../engine/engine.js';
import type { Engine } from '../engine/engine.js';
import { GatewayError } from '../protocol/errors.js';
import { ByteBudget } from '../session/byte-budget.js';
import { SessionRegistry } from '../session/registry.js';
import type { Session } from '../session/session.js';
import type { WsSession } from '../session/ws-session.js';
import { ruleOf } from './channel-rules.js';
import type { ChannelRule } from './channel-rules.js';
import type { RoomsEvent } from './events.js';
import { CHANNEL_OPTIONS, ROOM_OPTIONS } from './options.js';
import type { ResolvedChannels, ResolvedRooms } from './options.js';
import { Membership, Room } from './room.js';

/** Hears of members that come and go. */
export interface MembershipListener {
  joined(membership: Membership): void;
  left(membership: Membership): void;
}

/** Which session is in which room at this node, within the limits; a room is there while it has members. */
@Injectable()
export class Memberships {
  readonly #rooms = new Map<string, Room>();
  readonly #bySession = new Map<WsSession, Membership[]>();
  readonly #startedAt: number;
  #count = 0;
  #listener: MembershipListener | undefined;

  constructor(
    @Inject(ROOM_OPTIONS) private readonly limits: ResolvedRooms,
    @Inject(CHANNEL_OPTIONS) private readonly channels: ResolvedChannels,
    @Inject(ENGINE) private readonly engine: Engine,
    registry: SessionRegistry,
    private readonly byteBudget: ByteBudget,
    private readonly clock: WsClock,
    @Inject(EMITTER) private readonly monitor: Emitter<RoomsEvent>,
  ) {
    this.#startedAt = clock.now();
    registry.onLeave((session) => this.leaveAll(session));
  }

  /** How many rooms, and how many memberships, there are. */
  get size(): { readonly rooms: number; readonly memberships: number } {
    return { rooms: this.#rooms.size, memberships: this.#count };
  }

  listen(listener: MembershipListener): void {
    this.#listener = listener;
  }

  of(session: WsSession): readonly Membership[] {
    return this.#bySession.get(session) ?? [];
  }

  find(session: WsSession, room: string): Membership | undefined {
    return this.#bySession.get(session)?.find((membership) => membership.room.name === room);
  }

  room(name: string): Room | undefined {
    return this.#rooms.get(name);
  }

  rooms(): Room[] {
    return [...this.#rooms.values()];
  }

  /** Epoch milliseconds. */
  joinedAt({ joinedAt }: Membership): number {
    return this.#startedAt + joinedAt;
  }

  /** @throws GatewayError SUBSCRIPTION_LIMIT */
  add(session: Session, name: string, isByRule: boolean, as?: Membership['as']): Membership {
    const own = this.#bySession.get(session);
    const room = this.#rooms.get(name) ?? this.#make(name);
    this.#demandPlace(own?.length ?? 0, room);
    if (room.members.length === 0) {
      this.#rooms.set(name, room);
      void this.engine.bus.subscribe(name);
    }
    room.flush(); // what was published before is not for it
    const membership = new Membership(session, room, this.clock.now() - this.#startedAt, isByRule);
    if (as !== undefined) membership.keep(as);
    if (own === undefined) this.#bySession.set(session, [membership]);
    else membership.indexInSession = own.push(membership) - 1;
    room.add(membership);
    this.#count++;
    this.#listener?.joined(membership);
    this.#tell(membership, 'joined');
    return membership;
  }

  remove(membership: Membership): void {
    const { session, room, indexInSession } = membership;
    const own = this.#bySession.get(session);
    if (own?.[indexInSession] !== membership) return;
    const last = own.pop();
    if (last !== undefined && last !== membership) {
      own[indexInSession] = last;
      last.indexInSession = indexInSession;
    }
    if (own.length === 0) this.#bySession.delete(session);
    this.#left(membership, room);
  }

  /** The session has ended. */
  leaveAll(session: WsSession): void {
    const own = this.#bySession.get(session);
    if (own === undefined) return;
    this.#bySession.delete(session);
    for (const membership of own) this.#left(membership, membership.room);
  }

  #left(membership: Membership, room: Room): void {
    room.flush(); // what was published before is for it
    room.remove(membership);
    this.#count--;
    if (room.members.length === 0) {
      this.#rooms.delete(room.name);
      this.engine.bus.unsubscribe(room.name);
    }
    this.#listener?.left(membership);
    this.#tell(membership, 'left');
  }

  #tell({ session, room, isByRule }: Membership, action: 'joined' | 'left'): void {
    const isSubscription = isByRule && this.monitor.has('channel');
    if (!isSubscription && !this.monitor.has('room')) return;
    const { id: sessionId, principal } = session;
    const who = { sessionId, ...(principal !== undefined && { subject: principal.subject }) };
    this.monitor.emit({ kind: 'room', room: room.name, action, ...who });
    if (!isSubscription) return;
    const what = action === 'joined' ? 'subscribed' : 'unsubscribed';
    this.monitor.emit({ kind: 'channel', channel: room.name, action: what, ...who });
  }

  #make(name: string): Room {
    const room = new Room(name, this.byteBudget);
    room.rule = this.ruleOf(name);
    return room;
  }

  #demandPlace(rooms: number, room: Room): void {
    const { maxPerSession, maxPerProcess, maxMembershipsPerProcess, maxMembers } = this.limits;
    const isNew = room.members.length === 0;
    if (
      rooms >= maxPerSession ||
      (isNew && this.#rooms.size >= maxPerProcess) ||
      this.#count >= maxMembershipsPerProcess ||
      room.members.length >= (room.rule?.maxMembers ?? maxMembers)
    ) {
      throw new GatewayError('SUBSCRIPTION_LIMIT');
    }
  }

  /** The rule that a room has its history and presence from; undefined for one that is no channel. */
  ruleOf(name: string): ChannelRule | undefined {
    const room = this.#rooms.get(name);
    if (room !== undefined) return room.rule;
    return this.channels.rules === undefined ? undefined : ruleOf(this.channels.rules, name);
  }

  /** The rules in force are others. */
  applyRules(): void {
    const { rules } = this.channels;
    for (const room of this.#rooms.values()) {
      room.rule = rules === undefined ? undefined : ruleOf(rules, room.name);
    }
  }
}
