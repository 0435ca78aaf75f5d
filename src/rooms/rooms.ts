import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { EMITTER } from '../base/emitter.js';
import type { Emitter } from '../base/emitter.js';
import { isThenable } from '../base/thenable.js';
import { ENGINE } from '../engine/engine.js';
import type { Body, BusMessage, Engine, GapReason, LocalNode, Position, Sent } from '../engine/engine.js';
import { encode } from '../protocol/codec.js';
import { GatewayError } from '../protocol/errors.js';
import { isEventName } from '../protocol/message.js';
import { ByteBudget } from '../session/byte-budget.js';
import { SessionRegistry } from '../session/registry.js';
import type { Session } from '../session/session.js';
import type { JoinOptions, WsSession } from '../session/ws-session.js';
import { SharedFrame } from '../socket/shared-frame.js';
import { flushFanOuts, frame } from '../socket/text-frames.js';
import { ruleOf } from './channel-rules.js';
import type { ChannelRule } from './channel-rules.js';
import type { RoomsEvent } from './events.js';
import { isRoomName } from './names.js';
import { CHANNEL_OPTIONS, ROOM_OPTIONS } from './options.js';
import type { ResolvedChannels, ResolvedRooms } from './options.js';
import { BEHIND_BYTES, Membership, Room } from './room.js';
import { Target } from './target.js';
import type { TargetHow } from './target.js';
import { speaksEnvelope, Translations } from './translations.js';
import { WsRooms } from './ws-rooms.js';
import type {
  History,
  HistoryItem,
  MemberPage,
  Published,
  PublishOptions,
  RoomCount,
  RoomMember,
  RoomTarget,
} from './ws-rooms.js';

const MAX_AS_BYTES = 1_024;
const PAGE = 100;
const MAX_PAGE = 1_000;
const MAX_HISTORY = 10_000;

/** Above so many members subjects are counted anew only after half a second: to count them costs as much as there are. */
const COUNTED_AT_ONCE = 1_000;
const COUNT_MS = 500;

/** What metrics call the rooms that no rule is about. */
const NO_RULE = 'none';

/** What was published in the rooms of one rule, and what their members were sent. */
export interface RoomTraffic {
  published: number;
  delivered: number;
}

/** Rooms in numbers. */
export interface RoomStats {
  readonly rooms: number;
  readonly memberships: number;
  readonly historyMessages: number;
  readonly historyBytes: number;
  /** By the pattern of their rule: names of rooms are without bounds, and may be personal. */
  readonly traffic: ReadonlyMap<string, RoomTraffic>;
}

/** How a message is published. */
export interface How {
  /** Ids of sessions that do not get it. */
  readonly except?: readonly string[] | undefined;
  readonly volatile?: boolean | undefined;
  readonly key?: { readonly owner: string; readonly value: string } | undefined;
}

/** Hears of members that come and go. */
export interface MembershipListener {
  joined(membership: Membership): void;
  left(membership: Membership): void;
}

/** The working class behind {@link WsRooms}: the rooms with members at this node. */
@Injectable()
export class Rooms extends WsRooms implements LocalNode {
  readonly #rooms = new Map<string, Room>();
  readonly #bySession = new Map<WsSession, Membership[]>();
  readonly #subjects = new WeakMap<Room, { version: number; at: number; subjects: number }>();
  readonly #startedAt: number;
  #memberships = 0;
  #listener: MembershipListener | undefined;
  #onGap: (room: Room, position: Position, reason: GapReason) => void = () => undefined;
  readonly #traffic = new Map<string, RoomTraffic>();

  constructor(
    @Inject(ROOM_OPTIONS) private readonly limits: ResolvedRooms,
    @Inject(CHANNEL_OPTIONS) private readonly channels: ResolvedChannels,
    @Inject(ENGINE) private readonly engine: Engine,
    private readonly registry: SessionRegistry,
    private readonly byteBudget: ByteBudget,
    private readonly clock: WsClock,
    @Inject(EMITTER) private readonly monitor: Emitter<RoomsEvent>,
  ) {
    super();
    this.#startedAt = clock.now();
    registry.onLeave((session) => this.leaveAll(session));
  }

  /** How many rooms, and how many memberships, there are. */
  get size(): { readonly rooms: number; readonly memberships: number } {
    return { rooms: this.#rooms.size, memberships: this.#memberships };
  }

  /** Numbers for metrics. */
  get stats(): RoomStats {
    return { ...this.size, ...this.engine.stats, traffic: this.#traffic };
  }

  listen(listener: MembershipListener): void {
    this.#listener = listener;
  }

  onGap(listener: (room: Room, position: Position, reason: GapReason) => void): void {
    this.#onGap = listener;
  }

  override join(session: WsSession, room: string, { as }: JoinOptions = {}): boolean {
    checkRoom(room);
    const copy = copyOf(as);
    if (!session.isLive) return false;
    const own = session as Session; // because the handshake makes sessions of this class only
    const membership = this.find(own, room);
    if (membership === undefined) this.add(own, room, false, copy);
    else membership.keep(copy);
    return true;
  }

  override leave(session: WsSession, room: string): boolean {
    const membership = this.find(session, room);
    if (membership !== undefined) this.remove(membership);
    return membership !== undefined;
  }

  override of(session: WsSession): readonly string[] {
    return this.membershipsOf(session).map((membership) => membership.room.name);
  }

  membershipsOf(session: WsSession): readonly Membership[] {
    return this.#bySession.get(session) ?? [];
  }

  find(session: WsSession, room: string): Membership | undefined {
    return this.#bySession.get(session)?.find((membership) => membership.room.name === room);
  }

  room(name: string): Room | undefined {
    return this.#rooms.get(name);
  }

  all(): Room[] {
    return [...this.#rooms.values()];
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
    this.#memberships++;
    this.#tell(membership, 'joined');
    this.#listener?.joined(membership);
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

  /** The session has ended, or a backend takes it out of everything. */
  leaveAll(session: WsSession): void {
    const own = this.#bySession.get(session);
    if (own === undefined) return;
    this.#bySession.delete(session);
    for (const membership of own) this.#left(membership, membership.room);
  }

  #left(membership: Membership, room: Room): void {
    room.flush(); // what was published before is for it
    room.remove(membership);
    this.#memberships--;
    if (room.members.length === 0) {
      this.#rooms.delete(room.name);
      this.engine.bus.unsubscribe(room.name);
    }
    this.#tell(membership, 'left');
    this.#listener?.left(membership);
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
      this.#memberships >= maxMembershipsPerProcess ||
      room.members.length >= (room.rule?.maxMembers ?? maxMembers)
    ) {
      throw new GatewayError('SUBSCRIPTION_LIMIT');
    }
  }

  /** The rule that a room has its history and presence from; undefined for one that is no channel. */
  ruleOf(name: string): ChannelRule | undefined {
    return this.channels.rules === undefined ? undefined : ruleOf(this.channels.rules, name);
  }

  /** The rules are others. */
  applyRules(): void {
    for (const room of this.#rooms.values()) room.rule = this.ruleOf(room.name);
  }

  override async publish(
    room: string,
    event: string,
    data: unknown,
    { except, volatile, key }: PublishOptions = {},
  ): Promise<Published> {
    checkRoom(room);
    if (key !== undefined && !isKey(key)) throw new TypeError('A key is a string of 1 to 64 characters');
    return this.publishNow(room, this.encode(event, data), {
      except: except === undefined ? undefined : [typeof except === 'string' ? except : except.id],
      volatile,
      ...(key !== undefined && { key: { owner: '', value: key } }),
    });
  }

  /** @param head the text of the frame without its last brace */
  publishNow(name: string, head: string, { except, volatile = false, key }: How): Published | Promise<Published> {
    const room = this.#rooms.get(name);
    const rule = room === undefined ? this.ruleOf(name) : room.rule;
    const text = rule === undefined ? head : `${head},"channel":${JSON.stringify(name)}`;
    const body = { text, bytes: Buffer.byteLength(text) };
    const members = this.#countWithout(room, except);
    const sent = this.engine.bus.publish(name, body, { history: rule?.history, key, except, volatile });
    const traffic = this.#trafficOf(rule);
    return isThenable(sent)
      ? sent.then((answer) => published(answer, members, traffic))
      : published(sent, members, traffic);
  }

  #trafficOf(rule: ChannelRule | undefined): RoomTraffic {
    const name = rule?.pattern ?? NO_RULE;
    let traffic = this.#traffic.get(name);
    if (traffic === undefined) this.#traffic.set(name, (traffic = { published: 0, delivered: 0 }));
    return traffic;
  }

  #countWithout(room: Room | undefined, except: readonly string[] = []): number {
    if (room === undefined) return 0;
    const excepted = except.filter((sessionId) =>
      this.registry.find({ sessionId }).some((session) => this.find(session, room.name) !== undefined),
    );
    return room.members.length - excepted.length;
  }

  /**
   * The text of a frame without its last brace.
   *
   * @throws TypeError for an event that cannot be, and for data that cannot be serialised; GatewayError VALIDATION_FAILED
   */
  encode(event: string, data: unknown): string {
    if (!isEventName(event)) throw new TypeError('An event is a string of 1 to 128 characters');
    const text = encode(event, data);
    const { maxMessageBytes } = this.limits;
    // Most messages are so short that not even three bytes a unit would be too many.
    if (text.length * 3 > maxMessageBytes) demandSize(text, event, maxMessageBytes);
    return text.slice(0, -1);
  }

  deliver({ channel, body, offset, except, volatile }: BusMessage): void {
    this.#rooms.get(channel)?.send(body, offset, except, volatile);
  }

  gap(channel: string, position: Position, reason: GapReason): void {
    const room = this.#rooms.get(channel);
    if (room !== undefined) this.#onGap(room, position, reason);
  }

  override to(...rooms: readonly [string, ...string[]]): RoomTarget {
    for (const room of rooms) checkRoom(room);
    return new Target(this, rooms);
  }

  /** To all members of several rooms, each once. */
  async publishToAll(names: readonly string[], event: string, data: unknown, how: TargetHow): Promise<Published> {
    const head = this.encode(event, data);
    const except = how.except.length === 0 ? undefined : how.except;
    const [only] = names;
    if (names.length === 1 && only !== undefined) return this.publishNow(only, head, { ...how, except });
    const sessions = new Set<Session>();
    const sent: (Published | Promise<Published>)[] = [];
    for (const name of new Set(names)) {
      const room = this.#rooms.get(name);
      const rule = room === undefined ? this.ruleOf(name) : room.rule;
      if (rule !== undefined) sent.push(this.publishNow(name, head, { ...how, except }));
      else for (const { session } of room?.members ?? []) sessions.add(session);
    }
    for (const session of sessions) if (how.except.includes(session.id)) sessions.delete(session);
    const direct = this.#sendTo(sessions, head, how.volatile);
    const channels = await Promise.all(sent);
    return { cluster: 'single', local: channels.reduce((sum, { local }) => sum + local, direct) };
  }

  override async toSubject(subject: string, event: string, data: unknown): Promise<Published> {
    return { cluster: 'single', local: this.#sendTo(this.registry.find({ subject }), this.encode(event, data)) };
  }

  override async toSession(sessionId: string, event: string, data: unknown): Promise<Published> {
    return { cluster: 'single', local: this.#sendTo(this.registry.find({ sessionId }), this.encode(event, data)) };
  }

  override async broadcast(event: string, data: unknown): Promise<Published> {
    return { cluster: 'single', local: this.#sendTo(this.registry.all(), this.encode(event, data), false, true) };
  }

  #sendTo(sessions: Iterable<Session>, head: string, volatile = false, authenticated = false): number {
    const text = `${head}}`;
    const shared = new SharedFrame(frame(text, true), [text], this.byteBudget);
    const others = new Translations([text], this.byteBudget);
    flushFanOuts(); // what was published first goes first
    let sent = 0;
    for (const session of sessions) {
      if (!session.mayReceive || (authenticated && session.principal === undefined)) continue;
      if (volatile && session.socket.bufferedAmount > BEHIND_BYTES) continue;
      if (speaksEnvelope(session)) session.socket.sendFrame(shared);
      else others.send(session, () => true);
      sent++;
    }
    return sent;
  }

  override async count(name: string, by?: string): Promise<RoomCount> {
    checkRoom(name);
    const room = this.#rooms.get(name);
    return { ...this.countNow(room), distinct: by === undefined ? 0 : distinctOf(room, by), missing: [] };
  }

  countNow(room: Room | undefined): { sessions: number; subjects: number } {
    return { sessions: room?.members.length ?? 0, subjects: room === undefined ? 0 : this.#subjectsOf(room) };
  }

  #subjectsOf(room: Room): number {
    const now = this.clock.monotonic();
    const { version, members } = room;
    const known = this.#subjects.get(room);
    if (known?.version === version) return known.subjects;
    if (known !== undefined && members.length > COUNTED_AT_ONCE && now - known.at < COUNT_MS) return known.subjects;
    const subjects = new Set(members.map(({ session }) => session.principal?.subject));
    subjects.delete(undefined);
    this.#subjects.set(room, { version, at: now, subjects: subjects.size });
    return subjects.size;
  }

  override async members(name: string, page: { limit?: number; cursor?: string } = {}): Promise<MemberPage> {
    checkRoom(name);
    return this.membersNow(this.#rooms.get(name), page);
  }

  membersNow(room: Room | undefined, { limit = PAGE, cursor }: { limit?: number; cursor?: string }): MemberPage {
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE) throw new TypeError(`limit is 1 to ${MAX_PAGE}`);
    if (cursor !== undefined && !isCursor(cursor)) throw new TypeError('cursor is the next of a page');
    const members = room?.members ?? [];
    // From the end: where one leaves, the last takes its place, so that it may be shown twice and never be passed over.
    const from = Math.min(members.length, cursor === undefined ? Infinity : parseInt(cursor, 36));
    const until = Math.max(0, from - limit);
    const items = members
      .slice(until, from)
      .toReversed()
      .map((membership) => this.memberOf(membership));
    return until === 0 ? { items } : { items, next: until.toString(36) };
  }

  memberOf({ session, joinedAt, as }: Membership): RoomMember {
    return { sessionId: session.id, subject: session.principal?.subject, since: this.#startedAt + joinedAt, as };
  }

  override async history(name: string, since?: Position, limit = PAGE): Promise<History> {
    checkRoom(name);
    const window = this.ruleOf(name)?.history;
    if (window === undefined) throw new GatewayError('NOT_FOUND');
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_HISTORY)
      throw new TypeError(`limit is 1 to ${MAX_HISTORY}`);
    const most = { messages: limit, bytes: this.channels.maxHistoryBytes };
    const { messages, ...rest } = this.engine.bus.read(name, since, most, window);
    return { ...rest, items: messages.map(({ offset, body }) => itemOf(offset, body)) };
  }
}

function published(sent: Sent, members: number, traffic: RoomTraffic): Published {
  if (sent.duplicate === true) return { local: 0, ...sent };
  traffic.published++;
  traffic.delivered += members;
  return { local: members, ...sent };
}

function itemOf(offset: number, { text }: Body): HistoryItem {
  const { event, data } = JSON.parse(`${text}}`) as { event: string; data: unknown }; // because encode() has written it
  return { offset, event, data };
}

function checkRoom(room: unknown): void {
  if (!isRoomName(room)) throw new TypeError('A room is a string of 1 to 256 characters without control characters');
}

export function isKey(value: unknown): value is string {
  return typeof value === 'string' && value.length >= 1 && value.length <= 64;
}

export function isCursor(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-z]{1,11}$/.test(value);
}

function demandSize(text: string, event: string, maxBytes: number): void {
  const envelope = '{"event":,"data":}'.length + Buffer.byteLength(JSON.stringify(event));
  if (Buffer.byteLength(text) - envelope <= maxBytes) return;
  const detail = { path: 'data', rule: 'maxBytes', message: `data must be at most ${maxBytes} bytes` };
  throw new GatewayError('VALIDATION_FAILED', { details: [detail] });
}

function copyOf(as: unknown): Readonly<Record<string, unknown>> | undefined {
  if (as === undefined) return undefined;
  const text = typeof as === 'object' && as !== null && !Array.isArray(as) ? JSON.stringify(as) : undefined;
  if (text === undefined || Buffer.byteLength(text) > MAX_AS_BYTES) {
    throw new TypeError(`"as" is a JSON object of at most ${MAX_AS_BYTES} bytes`);
  }
  return Object.freeze(JSON.parse(text) as Record<string, unknown>); // because it was an object
}

/** Values that are no object are the same when their JSON is. */
function distinctOf(room: Room | undefined, by: string): number {
  const values = new Set<string>();
  for (const { as } of room?.members ?? []) {
    if (as !== undefined && Object.hasOwn(as, by)) values.add(JSON.stringify(as[by]));
  }
  return values.size;
}
