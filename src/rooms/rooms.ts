import { Inject, Injectable } from '@nestjs/common';
import { ENGINE } from '../engine/engine.js';
import type {
  Audience,
  Body,
  BusMessage,
  Engine,
  GapReason,
  Kept,
  LocalNode,
  Position,
  ReplayLimit,
} from '../engine/engine.js';
import { GatewayError } from '../protocol/errors.js';
import type { Session } from '../session/session.js';
import type { JoinOptions, WsSession } from '../session/ws-session.js';
import { tellGap } from './channel-frames.js';
import { Members, PAGE } from './members.js';
import { Memberships } from './memberships.js';
import { isKey, isRoomName } from './names.js';
import { CHANNEL_OPTIONS } from './options.js';
import type { ResolvedChannels } from './options.js';
import { Publications } from './publications.js';
import type { RoomTraffic } from './publications.js';
import { Target } from './target.js';
import { WsRooms } from './ws-rooms.js';
import type { History, HistoryItem, MemberPage, Published, PublishOptions, RoomCount, RoomTarget } from './ws-rooms.js';

const MAX_AS_BYTES = 1_024;
const MAX_HISTORY = 10_000;

/** Rooms in numbers. */
export interface RoomStats {
  readonly rooms: number;
  readonly memberships: number;
  readonly historyMessages: number;
  readonly historyBytes: number;
  readonly traffic: ReadonlyMap<string, RoomTraffic>;
}

/** The working class behind {@link WsRooms}: checks what the application gives, and is this node for the engine. */
@Injectable()
export class Rooms extends WsRooms implements LocalNode {
  constructor(
    @Inject(CHANNEL_OPTIONS) private readonly channels: ResolvedChannels,
    @Inject(ENGINE) private readonly engine: Engine,
    private readonly memberships: Memberships,
    private readonly publications: Publications,
    private readonly membersOf: Members,
  ) {
    super();
  }

  /** Numbers for metrics. */
  get stats(): RoomStats {
    return { ...this.memberships.size, ...this.engine.stats, traffic: this.publications.traffic };
  }

  override join(session: WsSession, room: string, { as }: JoinOptions = {}): boolean {
    checkRoom(room);
    const copy = copyOf(as);
    if (!session.isLive) return false;
    const own = session as Session; // because the handshake makes sessions of this class only
    const membership = this.memberships.find(own, room);
    if (membership === undefined) this.memberships.add(own, room, false, copy);
    else membership.keep(copy);
    return true;
  }

  override leave(session: WsSession, room: string): boolean {
    const membership = this.memberships.find(session, room);
    if (membership !== undefined) this.memberships.remove(membership);
    return membership !== undefined;
  }

  override of(session: WsSession): readonly string[] {
    return this.memberships.of(session).map((membership) => membership.room.name);
  }

  override async publish(
    room: string,
    event: string,
    data: unknown,
    { except, volatile, key }: PublishOptions = {},
  ): Promise<Published> {
    checkRoom(room);
    if (key !== undefined && !isKey(key)) throw new TypeError('A key is a string of 1 to 64 characters');
    return this.publications.publish(room, this.publications.encode(event, data), {
      except: except === undefined ? undefined : [typeof except === 'string' ? except : except.id],
      volatile,
      ...(key !== undefined && { key: { owner: '', value: key } }),
    });
  }

  override to(...rooms: readonly [string, ...string[]]): RoomTarget {
    for (const room of rooms) checkRoom(room);
    return new Target(this.publications, rooms);
  }

  override async toSubject(subject: string, event: string, data: unknown): Promise<Published> {
    return this.publications.sendTo({ subject }, this.publications.encode(event, data));
  }

  override async toSession(sessionId: string, event: string, data: unknown): Promise<Published> {
    return this.publications.sendTo({ sessionId }, this.publications.encode(event, data));
  }

  override async broadcast(event: string, data: unknown): Promise<Published> {
    return this.publications.sendTo({ everyone: true }, this.publications.encode(event, data));
  }

  override async count(room: string, by?: string): Promise<RoomCount> {
    checkRoom(room);
    const distinct = by === undefined ? 0 : this.membersOf.distinct(room, by);
    return { ...this.membersOf.count(room), distinct, missing: [] };
  }

  override async members(room: string, page: { limit?: number; cursor?: string } = {}): Promise<MemberPage> {
    checkRoom(room);
    return this.membersOf.page(room, page);
  }

  override async history(room: string, since?: Position, limit = PAGE): Promise<History> {
    checkRoom(room);
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_HISTORY)
      throw new TypeError(`limit is 1 to ${MAX_HISTORY}`);
    return this.historyPage(room, since, { messages: limit, bytes: this.channels.maxHistoryBytes });
  }

  /**
   * The oldest messages behind a position, as many as the limit has room for, and one at least; without one the newest.
   *
   * @throws GatewayError NOT_FOUND where the room has no history
   */
  async historyPage(room: string, since: Position | undefined, limit: ReplayLimit): Promise<History> {
    const window = this.memberships.ruleOf(room)?.history;
    if (window === undefined) throw new GatewayError('NOT_FOUND');
    let replay = await this.engine.bus.read(room, since, limit, window);
    if (replay.reason === 'limit') {
      const all = { messages: window.count, bytes: this.channels.maxHistoryBytes };
      replay = await this.engine.bus.read(room, since, all, window);
    }
    const { messages, ...rest } = replay;
    return { ...rest, items: firstOf(messages, limit).map(({ offset, body }) => itemOf(offset, body)) };
  }

  deliver(message: BusMessage): void {
    this.publications.deliver(message);
  }

  deliverTo(audience: Audience, text: string): void {
    this.publications.deliverTo(audience, text);
  }

  gap(channel: string, position: Position, reason: GapReason): void {
    const room = this.memberships.room(channel);
    if (room !== undefined) tellGap(room, position, reason);
  }
}

function firstOf(messages: readonly Kept[], { messages: most, bytes }: ReplayLimit): readonly Kept[] {
  let count = 0;
  for (let sum = 0; count < Math.min(messages.length, most); count++) {
    sum += messages[count]?.body.bytes ?? 0;
    if (sum > bytes && count > 0) break;
  }
  return messages.slice(0, count);
}

function itemOf(offset: number, { text }: Body): HistoryItem {
  const { event, data } = JSON.parse(`${text}}`) as { event: string; data: unknown }; // because encode() has written it
  return { offset, event, data };
}

function checkRoom(room: unknown): void {
  if (!isRoomName(room)) throw new TypeError('A room is a string of 1 to 256 characters without control characters');
}

function copyOf(as: unknown): Readonly<Record<string, unknown>> | undefined {
  if (as === undefined) return undefined;
  const text = typeof as === 'object' && as !== null && !Array.isArray(as) ? JSON.stringify(as) : undefined;
  if (text === undefined || Buffer.byteLength(text) > MAX_AS_BYTES) {
    throw new TypeError(`"as" is a JSON object of at most ${MAX_AS_BYTES} bytes`);
  }
  return Object.freeze(JSON.parse(text) as Record<string, unknown>); // because it was an object
}
