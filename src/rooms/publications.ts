import { Inject, Injectable } from '@nestjs/common';
import { isThenable } from '../base/thenable.js';
import { ENGINE } from '../engine/engine.js';
import type { Audience, BusMessage, Engine, Sent } from '../engine/engine.js';
import { encode } from '../protocol/codec.js';
import { GatewayError } from '../protocol/errors.js';
import { isEventName } from '../protocol/message.js';
import { ByteBudget } from '../session/byte-budget.js';
import { SessionRegistry } from '../session/registry.js';
import type { Session } from '../session/session.js';
import { SharedFrame } from '../socket/shared-frame.js';
import { flushFanOuts, frame } from '../socket/text-frames.js';
import { inChannel } from './channel-frames.js';
import type { ChannelRule } from './channel-rules.js';
import { Memberships } from './memberships.js';
import { ROOM_OPTIONS } from './options.js';
import type { ResolvedRooms } from './options.js';
import { BEHIND_BYTES } from './room.js';
import type { Room } from './room.js';
import type { TargetHow } from './target.js';
import { speaksEnvelope, Translations } from './translations.js';
import type { Published } from './ws-rooms.js';

/** What metrics call the rooms that no rule is about. */
const NO_RULE = 'none';

/** What was published in the rooms of one rule, and what their members were sent. */
export interface RoomTraffic {
  published: number;
  delivered: number;
}

/** How a message is published. */
export interface How {
  /** Ids of sessions that do not get it. */
  readonly except?: readonly string[] | undefined;
  readonly volatile?: boolean | undefined;
  readonly key?: { readonly owner: string; readonly value: string } | undefined;
}

/** Whose idempotency keys they are: those of a subject by socket and by HTTP, those of an anonymous session its own. */
export function keysOf(subject: string | undefined, sessionId: string): string {
  return subject === undefined ? `session ${sessionId}` : `subject ${subject}`;
}

/** The path of a published message: written once, given to the engine, and delivered to the members at this node. */
@Injectable()
export class Publications {
  readonly #traffic = new Map<string, RoomTraffic>();

  constructor(
    @Inject(ROOM_OPTIONS) private readonly limits: ResolvedRooms,
    @Inject(ENGINE) private readonly engine: Engine,
    private readonly memberships: Memberships,
    private readonly registry: SessionRegistry,
    private readonly byteBudget: ByteBudget,
  ) {}

  /** By the pattern of the rule: names of rooms are without bounds, and may be personal. */
  get traffic(): ReadonlyMap<string, RoomTraffic> {
    return this.#traffic;
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

  /**
   * @param head the text of the frame without its last brace
   * @throws GatewayError, also as a rejection, what the engine throws
   */
  publish(name: string, head: string, { except, volatile = false, key }: How): Published | Promise<Published> {
    const room = this.memberships.room(name);
    const rule = this.memberships.ruleOf(name);
    const text = rule === undefined ? head : inChannel(head, name);
    const body = { text, bytes: Buffer.byteLength(text) };
    const members = this.#countWithout(room, except);
    const sent = this.engine.bus.publish(name, body, { history: rule?.history, key, except, volatile });
    const traffic = this.#trafficOf(rule);
    return isThenable(sent)
      ? sent.then((answer) => published(answer, members, traffic))
      : published(sent, members, traffic);
  }

  /** A message of the engine's, for the members at this node. */
  deliver({ channel, body, offset, except, volatile }: BusMessage): void {
    const room = this.memberships.room(channel);
    if (room === undefined) return;
    this.#trafficOf(room.rule).delivered += this.#countWithout(room, except);
    room.send(body.text, offset, except, volatile);
  }

  #trafficOf(rule: ChannelRule | undefined): RoomTraffic {
    const name = rule?.pattern ?? NO_RULE;
    let traffic = this.#traffic.get(name);
    if (traffic === undefined) this.#traffic.set(name, (traffic = { published: 0, delivered: 0 }));
    return traffic;
  }

  #countWithout(room: Room | undefined, except: readonly string[] | undefined): number {
    if (room === undefined) return 0;
    if (except === undefined) return room.members.length;
    const excepted = [...new Set(except)].filter((sessionId) =>
      this.registry.find({ sessionId }).some((session) => this.memberships.find(session, room.name) !== undefined),
    );
    return room.members.length - excepted.length;
  }

  /** To all members of several rooms, each once. */
  async publishToAll(names: readonly string[], event: string, data: unknown, how: TargetHow): Promise<Published> {
    const head = this.encode(event, data);
    const except = how.except.length === 0 ? undefined : how.except;
    const [only] = names;
    if (names.length === 1 && only !== undefined) return this.publish(only, head, { ...how, except });
    const sent: (Published | Promise<Published>)[] = [];
    const rooms: string[] = [];
    for (const name of new Set(names)) {
      if (this.memberships.ruleOf(name) === undefined) rooms.push(name);
      else sent.push(this.publish(name, head, { ...how, except }));
    }
    const direct = this.sendTo({ rooms, except, volatile: how.volatile }, head);
    const channels = await Promise.all(sent);
    return { ...direct, local: channels.reduce((sum, { local }) => sum + local, direct.local) };
  }

  /** @param head the text of a frame without its last brace */
  sendTo(audience: Audience, head: string): Published {
    const local = this.deliverTo(audience, head);
    // A session has one node, and is no member of a room elsewhere.
    const isHere = 'sessionId' in audience && local > 0;
    if (isHere || ('rooms' in audience && audience.rooms.length === 0)) {
      return { cluster: this.engine.state === 'single' ? 'single' : 'sent', local };
    }
    return { cluster: this.engine.bus.sendTo(audience, { text: head, bytes: Buffer.byteLength(head) }), local };
  }

  /** To sessions of this node. @returns how many it was sent to */
  deliverTo(audience: Audience, head: string): number {
    if ('everyone' in audience) return this.#sendTo(this.registry.all(), head, false, true);
    if (!('rooms' in audience)) return this.#sendTo(this.registry.find(audience), head);
    const sessions = new Set<Session>();
    for (const name of audience.rooms) {
      for (const { session } of this.memberships.room(name)?.members ?? []) sessions.add(session);
    }
    for (const session of sessions) if (audience.except?.includes(session.id) === true) sessions.delete(session);
    return this.#sendTo(sessions, head, audience.volatile);
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
}

/** Where the bus delivers, no member has it yet. */
function published(sent: Sent, members: number, traffic: RoomTraffic): Published {
  if (sent.duplicate === true) return { local: 0, ...sent };
  traffic.published++;
  const isDelivered = sent.cluster === 'single' || sent.position === undefined;
  return { local: isDelivered ? members : 0, ...sent };
}

function demandSize(text: string, event: string, maxBytes: number): void {
  const envelope = '{"event":,"data":}'.length + Buffer.byteLength(JSON.stringify(event));
  if (Buffer.byteLength(text) - envelope <= maxBytes) return;
  const detail = { path: 'data', rule: 'maxBytes', message: `data must be at most ${maxBytes} bytes` };
  throw new GatewayError('VALIDATION_FAILED', { details: [detail] });
}
