import { randomInt } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { contain, containWithin } from '../base/contain.js';
import { isThenable } from '../base/thenable.js';
import { TokenBucket } from '../base/token-bucket.js';
import { ENGINE } from '../engine/engine.js';
import type { Engine, GapReason, Kept, Position } from '../engine/engine.js';
import { encode } from '../protocol/codec.js';
import { GatewayError } from '../protocol/errors.js';
import { isGatewayError, toFailure } from '../session/failure.js';
import { SessionRegistry } from '../session/registry.js';
import type { Session } from '../session/session.js';
import type { WsSession } from '../session/ws-session.js';
import type { ChannelAuthorizer } from './channel-authorizer.js';
import { mayDo } from './channel-rules.js';
import type { ChannelAct, Rightholder } from './channel-rules.js';
import { batchOf, channelOf, presenceOf, publicationOf, wantedOf } from './channel-requests.js';
import type { PresenceQuery, Publication, Wanted } from './channel-requests.js';
import { CHANNEL_OPTIONS } from './options.js';
import type { ResolvedChannels } from './options.js';
import type { PresentMember } from './presence.js';
import type { Membership, Room } from './room.js';
import { Rooms } from './rooms.js';
import { pushOf, speaksEnvelope } from './translations.js';

/** Token of {@link ChannelClaims}. */
export const CHANNEL_CLAIMS = Symbol('nestjs-ws-gateway.channel-claims');

type Principal = NonNullable<Session['principal']>;

/** The channels that a token names, as its claim has them; undefined without the claim. */
export type ChannelClaims = (principal: Principal, act: 'subscribe' | 'publish') => readonly unknown[] | undefined;

interface ItemError {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
  readonly details?: unknown;
}

/** The answer to one channel of a `subscribe`. */
export type Subscribed =
  | {
      readonly channel: string;
      readonly epoch?: string;
      readonly offset?: number;
      readonly recovered?: boolean;
      readonly replayed?: number;
      readonly reason?: GapReason;
    }
  | { readonly channel?: string; readonly error: ItemError };

/** What a session has of its own here; made with its first request about channels. */
interface Asker {
  readonly subscribes: TokenBucket;
  /** By channel, in the order of their use. */
  readonly publishes: Map<string, TokenBucket>;
  /** Requests that wait for the application, by channel: the next one waits for them. */
  readonly waiting: Map<string, Promise<unknown>>;
}

/** What is to be sent to a session behind an answer. */
interface Replayed {
  readonly channel: string;
  readonly messages: readonly Kept[];
}

/** A session has buckets for so many channels at most; the one that was used longest ago begins anew. */
const MAX_BUCKETS = 100;

/** Subscribes that a session may do at once, in seconds of what it may do in the long run. */
const BURST_SECONDS = 10;

/** The application has so long to say whether a session may, in milliseconds. */
const AUTHORIZER_MS = 5_000;

/** After a gap clients reload what they show: over so many milliseconds, not all at once. */
const RELOAD_MS = 5_000;

/** What clients do with channels, by `channels.rules`: subscribe, unsubscribe, publish, and ask who is there. */
@Injectable()
export class Channels {
  readonly #askers = new WeakMap<Session, Asker>();
  /** The application's, where it has one. */
  authorizer: ChannelAuthorizer | undefined;
  #rules = '';

  constructor(
    @Inject(CHANNEL_OPTIONS) private readonly options: ResolvedChannels,
    @Inject(CHANNEL_CLAIMS) private readonly claims: ChannelClaims,
    @Inject(ENGINE) private readonly engine: Engine,
    private readonly rooms: Rooms,
    registry: SessionRegistry,
    private readonly clock: WsClock,
  ) {
    this.#rules = JSON.stringify(options.rules);
    registry.onRefresh((session) => this.#checkRights(session));
    rooms.onGap((room, position, reason) => tellGap(room, position, reason));
  }

  /** True where there are rules. */
  get isOn(): boolean {
    return this.options.rules !== undefined;
  }

  /** The rules in force may be others: who has lost a right by them is a subscriber no longer. */
  applyRules(): void {
    const rules = JSON.stringify(this.options.rules);
    if (rules === this.#rules) return;
    this.#rules = rules;
    this.rooms.applyRules();
    for (const room of this.rooms.all()) {
      for (const membership of room.members.slice()) this.#checkRule(membership);
    }
  }

  /**
   * Subscribes to one channel, or to up to 100.
   *
   * @param answer sends the answer, before anything of the channels
   * @throws GatewayError, also as a rejection, for a single channel
   */
  subscribe(session: Session, data: unknown, answer: (result: unknown) => void): void | Promise<void> {
    const batch = batchOf(data);
    if (batch === undefined) {
      const wanted = wantedOf(data);
      this.#chargeSubscribe(session);
      return this.#inOrder(session, [wanted.channel], 'subscribe', (allowed) => {
        const [error] = allowed;
        if (error !== undefined) throw error;
        const replays: Replayed[] = [];
        answer(this.#enter(session, wanted, this.#replayBytes(session), replays));
        replay(session, replays);
      });
    }
    const items = batch.map((item) => this.#item(session, item));
    const channels = items.flatMap((item) => (isWanted(item) ? [item.channel] : []));
    return this.#inOrder(session, channels, 'subscribe', (allowed) => {
      const replays: Replayed[] = [];
      let bytes = this.#replayBytes(session);
      let index = 0;
      const answers = items.map((item): Subscribed => {
        if (!isWanted(item)) return item;
        const error = allowed[index++];
        try {
          if (error !== undefined) throw error;
          const before = replays.length;
          const entered = this.#enter(session, item, bytes, replays);
          for (const { messages } of replays.slice(before)) for (const { body } of messages) bytes -= body.bytes;
          return entered;
        } catch (fault) {
          return this.#failed(session, fault, item.channel);
        }
      });
      answer({ channels: answers });
      replay(session, replays);
    });
  }

  /** A channel of a batch, or what is wrong with it. */
  #item(session: Session, item: Record<string, unknown>): Wanted | Subscribed {
    let channel: string | undefined;
    try {
      channel = channelOf(item);
      const wanted = wantedOf(item);
      this.#chargeSubscribe(session);
      return wanted;
    } catch (error) {
      return this.#failed(session, error, channel);
    }
  }

  #failed(session: Session, thrown: unknown, channel?: string): Subscribed {
    const { code, message, retryable, retryAfterMs, details } = toFailure(thrown);
    if (code === 'INTERNAL') session.onFault(thrown, 'subscribe');
    const rest = { ...(retryAfterMs !== undefined && { retryAfterMs }), ...(details !== undefined && { details }) };
    return { ...(channel !== undefined && { channel }), error: { code, message, retryable, ...rest } };
  }

  unsubscribe(session: Session, data: unknown): object | Promise<object> {
    const channel = channelOf(data);
    return this.#behind(session, [channel], () => {
      const membership = this.rooms.find(session, channel);
      if (membership?.isByRule === true) this.rooms.remove(membership);
      return { channel };
    });
  }

  publish(session: Session, data: unknown): object | Promise<object> {
    const { options } = session.server.context;
    const publication = publicationOf(data, options.errors.event);
    return this.#inOrder(session, [publication.channel], 'publish', ([error]) => {
      if (error !== undefined) throw error;
      return this.#publish(session, publication);
    });
  }

  #publish(session: Session, { channel, event, data, key, echo }: Publication): object | Promise<object> {
    this.#chargePublish(session, channel);
    const owner = session.principal?.subject ?? `session ${session.id}`;
    const sent = this.rooms.publishNow(channel, this.rooms.encode(event, data), {
      ...(!echo && { except: [session.id] }),
      ...(key !== undefined && { key: { owner, value: key } }),
    });
    const answer = ({ position, duplicate }: Awaited<typeof sent>): object => ({
      channel,
      ...position,
      ...(duplicate === true && { duplicate }),
    });
    return isThenable(sent) ? sent.then(answer) : answer(sent);
  }

  presenceOf(session: Session, data: unknown): object | Promise<object> {
    const query = presenceOf(data);
    return this.#inOrder(session, [query.channel], 'presence', ([error]) => {
      if (error !== undefined) throw error;
      return this.#present(query);
    });
  }

  #present({ channel, limit, cursor }: PresenceQuery): object {
    const room = this.rooms.room(channel);
    const { items, next } = this.rooms.membersNow(room, { limit, ...(cursor !== undefined && { cursor }) });
    const members = items.map(({ sessionId, subject, since }): PresentMember => ({ sessionId, subject, since }));
    return { channel, count: this.rooms.countNow(room), members, ...(next !== undefined && { next }) };
  }

  /** Becomes a member, and reads what it has missed. */
  #enter(session: Session, { channel, since }: Wanted, bytes: number, replays: Replayed[]): Subscribed {
    if (!session.isLive) throw new GatewayError('UNAUTHENTICATED');
    const membership = this.rooms.find(session, channel) ?? this.rooms.add(session, channel, true);
    membership.room.flush(); // the answer's offset is the top of what it has been sent
    const window = membership.room.rule?.history;
    if (window === undefined)
      return since === undefined ? { channel } : { channel, recovered: false, reason: 'window' };
    const { messages: most } = this.options.maxReplay;
    const limit = since === undefined ? { messages: 0, bytes: 0 } : { messages: most, bytes };
    const { position, recovered, reason, messages } = this.engine.bus.read(channel, since, limit, window);
    if (since === undefined) return { channel, ...position };
    if (!recovered) return { channel, ...position, recovered, ...(reason !== undefined && { reason }) };
    if (messages.length > 0) replays.push({ channel, messages });
    return { channel, ...position, recovered, replayed: messages.length };
  }

  /** Bytes that may be replayed now: never so many that the session would end as one that reads too slowly. */
  #replayBytes({ maxOutboundBytes, socket }: Session): number {
    return Math.max(
      0,
      Math.min(this.options.maxReplay.bytes, Math.floor(maxOutboundBytes / 2) - socket.bufferedAmount),
    );
  }

  /**
   * Does what is allowed behind earlier requests for the same channels that the application has yet to answer.
   *
   * @param act gets what is wrong with each of the channels, undefined where nothing is
   */
  #inOrder<T>(
    session: Session,
    channels: readonly string[],
    act: ChannelAct,
    then: (refusals: readonly (GatewayError | undefined)[]) => T | Promise<T>,
  ): T | Promise<T> {
    return this.#behind(session, channels, () => {
      const asked = channels.map((channel) => this.#refusal(session, channel, act));
      if (!asked.some(isThenable)) return then(asked as (GatewayError | undefined)[]); // because none is a promise
      return Promise.all(asked).then((refusals) => {
        // Time has passed: the rights may be others.
        const now = channels.map((channel, index) => refusals[index] ?? this.#refusalByRule(session, channel, act));
        return then(now);
      });
    });
  }

  #behind<T>(session: Session, channels: readonly string[], act: () => T | Promise<T>): T | Promise<T> {
    const { waiting } = this.#askerOf(session);
    const earlier = channels.flatMap((channel) => waiting.get(channel) ?? []);
    const done = earlier.length === 0 ? act() : Promise.all(earlier).then(act);
    if (!isThenable(done)) return done;
    const settled = contain(
      () => done,
      () => undefined, // the request itself is told
    );
    for (const channel of channels) {
      if (settled === undefined) break;
      waiting.set(channel, settled);
      void settled.then(() => waiting.get(channel) === settled && waiting.delete(channel));
    }
    return done;
  }

  /** Why the session may not, undefined where it may; a promise where the application is asked. */
  #refusal(
    session: Session,
    channel: string,
    act: ChannelAct,
  ): GatewayError | undefined | Promise<GatewayError | undefined> {
    const refusal = this.#refusalByRule(session, channel, act);
    if (refusal !== undefined || this.authorizer === undefined) return refusal;
    return this.#ask(this.authorizer, session, channel, act);
  }

  #ask(
    authorizer: ChannelAuthorizer,
    session: Session,
    channel: string,
    act: ChannelAct,
  ): GatewayError | undefined | Promise<GatewayError | undefined> {
    try {
      const answer: unknown = authorizer.authorize(session, channel, act);
      return isThenable(answer) ? this.#wait(answer, session) : refusalOf(answer);
    } catch (error) {
      return authorizerFailed(session, error);
    }
  }

  /** So long that it answers before the request that waits for it is out of time. */
  async #wait(answer: PromiseLike<unknown>, session: Session): Promise<GatewayError | undefined> {
    const { handlerTimeoutMs } = session.server.context.options.limits;
    let refusal: GatewayError | undefined = new GatewayError('FORBIDDEN');
    const waited = async (): Promise<void> => {
      refusal = refusalOf(await answer);
    };
    await containWithin(waited, Math.min(AUTHORIZER_MS, handlerTimeoutMs / 2), this.clock, (error) => {
      refusal = authorizerFailed(session, error);
    });
    return refusal;
  }

  #refusalByRule(session: Session, channel: string, act: ChannelAct): GatewayError | undefined {
    return this.#mayDo(session, channel, act)
      ? undefined
      : new GatewayError(session.principal === undefined ? 'UNAUTHENTICATED' : 'FORBIDDEN');
  }

  #mayDo(session: Session, channel: string, act: ChannelAct): boolean {
    const { rules } = this.options;
    if (rules === undefined) return false;
    const { principal } = session;
    const who = principal === undefined ? undefined : rightholderOf(principal, this.claims);
    if (act !== 'presence') return mayDo(rules, channel, act, who);
    const rule = this.rooms.ruleOf(channel);
    if (rule === undefined || rule.presence === false) return false;
    return this.rooms.find(session, channel) !== undefined || mayDo(rules, channel, 'subscribe', who);
  }

  /** The session's principal is another. */
  #checkRights(session: Session): void {
    for (const membership of this.rooms.membershipsOf(session).slice()) {
      if (!this.#checkRule(membership) || !membership.isByRule || this.authorizer === undefined) continue;
      const asked = this.#refusal(session, membership.room.name, 'subscribe');
      if (isThenable(asked)) void asked.then((refusal) => refusal !== undefined && this.#drop(membership, refusal));
    }
  }

  /** @returns false when the membership is over */
  #checkRule(membership: Membership): boolean {
    const { session, room, isByRule } = membership;
    if (!isByRule) return true;
    const refusal = this.#refusalByRule(session, room.name, 'subscribe');
    if (refusal !== undefined) this.#drop(membership, new GatewayError('FORBIDDEN'));
    return refusal === undefined;
  }

  /** Takes a subscriber out, and says so. */
  #drop(membership: Membership, { code, message, retryable }: GatewayError): void {
    const { session, room } = membership;
    if (this.rooms.find(session, room.name) !== membership) return;
    this.rooms.remove(membership);
    sendIn(session, 'unsubscribed', { code, message, resubscribe: retryable }, room.name);
  }

  /** Takes sessions out of a channel, as a backend wants it. @returns how many were in it */
  expel(sessions: readonly WsSession[], channel: string): number {
    let count = 0;
    for (const session of sessions) {
      const membership = this.rooms.find(session, channel);
      if (membership === undefined) continue;
      this.#drop(membership, new GatewayError('FORBIDDEN', { message: 'Unsubscribed by the server' }));
      count++;
    }
    return count;
  }

  #askerOf(session: Session): Asker {
    let asker = this.#askers.get(session);
    if (asker === undefined) {
      const burst = this.options.subscribesPerSecondPerSession * BURST_SECONDS;
      const subscribes = new TokenBucket(burst, this.clock.monotonic());
      asker = { subscribes, publishes: new Map(), waiting: new Map() };
      this.#askers.set(session, asker);
    }
    return asker;
  }

  #chargeSubscribe(session: Session): void {
    const { subscribesPerSecondPerSession: rate } = this.options;
    const { subscribes } = this.#askerOf(session);
    demandBudget(subscribes.take(1, rate, rate * BURST_SECONDS, this.clock.monotonic()));
  }

  #chargePublish(session: Session, channel: string): void {
    const rate = this.rooms.ruleOf(channel)?.publishesPerSecond;
    if (rate === undefined) return;
    const { publishes } = this.#askerOf(session);
    const now = this.clock.monotonic();
    const bucket = publishes.get(channel) ?? new TokenBucket(rate, now);
    publishes.delete(channel);
    publishes.set(channel, bucket);
    const [oldest] = publishes.keys();
    if (publishes.size > MAX_BUCKETS && oldest !== undefined) publishes.delete(oldest);
    demandBudget(bucket.take(1, rate, rate, now));
  }
}

function refusalOf(answer: unknown): GatewayError | undefined {
  return answer === true ? undefined : new GatewayError('FORBIDDEN');
}

function authorizerFailed(session: Session, error: unknown): GatewayError {
  if (isGatewayError(error) && error.code !== 'INTERNAL') return error;
  session.onFault(error, 'ChannelAuthorizer.authorize');
  return new GatewayError('UNAVAILABLE', { retryAfterMs: randomInt(500, RELOAD_MS) });
}

function demandBudget(retryAfterMs: number): void {
  if (retryAfterMs > 0) throw new GatewayError('RATE_LIMITED', { retryAfterMs });
}

function isWanted(item: Wanted | Subscribed): item is Wanted {
  return 'since' in item;
}

function rightholderOf(principal: Principal, claims: ChannelClaims): Rightholder {
  const { subject, roles, scopes } = principal;
  return { subject, roles, scopes, channelsFor: (act) => claims(principal, act) ?? [] };
}

function replay(session: Session, replays: readonly Replayed[]): void {
  for (const { messages } of replays) {
    for (const { offset, body } of messages) sendText(session, `${body.text},"offset":${offset}}`);
  }
}

function sendIn(session: Session, event: string, data: object, channel: string): void {
  sendText(session, `${encode(event, data).slice(0, -1)},"channel":${JSON.stringify(channel)}}`);
}

function sendText(session: Session, text: string): void {
  if (speaksEnvelope(session)) session.sendText(text);
  else session.sendEncoded(pushOf(session, text));
}

function tellGap(room: Room, position: Position, reason: GapReason): void {
  room.flush();
  for (const { session } of room.members.slice()) {
    sendIn(session, 'gap', { ...position, reason, reloadAfterMs: randomInt(RELOAD_MS + 1) }, room.name);
  }
}
