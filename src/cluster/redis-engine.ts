import type { WsClock } from '../base/clock.js';
import type {
  Audience,
  Body,
  Bus,
  Engine,
  EngineStats,
  GapReason,
  LocalNode,
  Position,
  PublishHow,
  Replay,
  ReplayLimit,
  Sent,
  Window,
} from '../engine/engine.js';
import { freshEpoch, keyConflict } from '../engine/history.js';
import type { ClusterState } from '../engine/ws-cluster.js';
import { isJsonObject } from '../protocol/message.js';
import { unavailable } from '../protocol/unavailable.js';
import { readFrame, readHow, VERSION, writeFrame, writeHow } from './frame.js';
import type { Link } from './links.js';
import { digestOf } from './names.js';
import type { Names } from './names.js';
import { costOf, Outbox } from './outbox.js';
import type { Parcel, QueueLimits } from './outbox.js';
import { pause } from './pause.js';
import { Positions } from './positions.js';
import type { KeptReplay } from './positions.js';
import { PUBLISH, READ } from './scripts.js';
import { Subscriptions } from './subscriptions.js';

/** How often the place of a quiet channel is compared with Redis, in milliseconds, and how many are in one sweep. */
const COMPARE_MS = 5_000;
const SWEEP_MS = 250;
const COMPARED_AT_ONCE = 500;

/** How long a message may be on its way before it is read instead, in milliseconds. */
const LATE_MS = 50;

/** How long a subscriber waits until its channel is heard, in milliseconds. */
const READ_WAIT_MS = 2_000;

/** How much of a hole is read at once. */
const REPAIR: ReplayLimit = { messages: 10_000, bytes: 8_388_608 };

/** A message that is to be published at the end of the turn. */
interface Outgoing {
  readonly body: Body;
  readonly how: PublishHow;
  readonly resolve: (sent: Sent) => void;
  readonly reject: (error: unknown) => void;
}

/** Messages of one channel that a script publishes. */
interface Batch {
  readonly channel: string;
  readonly history: Window | undefined;
  readonly messages: Outgoing[];
}

/**
 * Rooms and channels of many nodes. Without history the members of this node get a message at once, and other nodes by the bus; with history
 * a message is in Redis first, and comes to all nodes in one order.
 */
export class RedisEngine implements Engine, Bus {
  readonly bus = this;
  readonly #subscriptions: Subscriptions;
  readonly #positions: Positions;
  readonly #outbox: Outbox;
  #batches = new Map<string, Batch>();
  #isFlushing = false;
  /** Bytes that Redis has not acknowledged. */
  #unanswered = 0;
  #local: LocalNode | undefined;
  /** Windows of the channels that are read, for repairs. */
  readonly #windows = new Map<string, Window>();
  #round: string[] = [];

  constructor(
    private readonly nodeId: string,
    private readonly commands: Link,
    subscriber: Link,
    private readonly names: Names,
    private readonly limits: QueueLimits,
    private readonly stateOf: () => ClusterState,
    /** Called with what other nodes write to this one. */
    receive: (text: string) => void,
    clock: WsClock,
  ) {
    const mailbox = names.mailbox(nodeId);
    this.#positions = new Positions(
      () => this.#local,
      (channel, since) =>
        this.#read(channel, since, REPAIR, this.#windows.get(channel) ?? { count: Infinity, ageMs: 0 }),
    );
    this.#outbox = new Outbox(
      (parcel) => this.#send(parcel),
      () => this.#isReachable,
      limits,
      clock,
    );
    this.#subscriptions = new Subscriptions(
      subscriber,
      mailbox,
      async () => Number(await this.commands.call('PUBLISH', mailbox, '')),
      (topic, frame) => this.#hear(topic, frame),
      receive,
      () => this.#compareAll(),
      clock,
    );
  }

  get state(): ClusterState {
    return this.stateOf();
  }

  /** What Redis holds is not of this process. */
  get stats(): EngineStats {
    return { historyMessages: 0, historyBytes: 0 };
  }

  get numbers(): {
    readonly repaired: number;
    readonly gaps: number;
    readonly dropped: number;
    readonly queuedBytes: number;
  } {
    const { repaired, gaps } = this.#positions;
    const { dropped, queuedBytes } = this.#outbox;
    return { repaired, gaps, dropped, queuedBytes };
  }

  start(local: LocalNode): void {
    this.#local = local;
    void this.#subscriptions.subscribe(this.names.direct);
  }

  subscribe(channel: string): boolean | Promise<boolean> {
    return this.#subscriptions.subscribe(this.names.topic(channel));
  }

  unsubscribe(channel: string): void {
    this.#subscriptions.leave(this.names.topic(channel));
  }

  publish(channel: string, body: Body, how: PublishHow): Sent | Promise<Sent> {
    const { history, key, except, volatile } = how;
    if (history !== undefined || key !== undefined) return this.#publishByScript(channel, body, how);
    this.#local?.deliver({ channel, body, offset: undefined, except, volatile });
    return { cluster: this.#post(this.names.topic(channel), writeHow(how), body) };
  }

  sendTo(audience: Audience, body: Body): Sent['cluster'] {
    return this.#post(this.names.direct, JSON.stringify(audience), body);
  }

  /** It leaves at the end of the turn. */
  #post(topic: string, how: string, body: Body): 'sent' | 'queued' {
    this.#outbox.add(topic, how, body);
    this.#flushSoon();
    return this.#isReachable ? 'sent' : 'queued';
  }

  async read(channel: string, since: Position | undefined, limit: ReplayLimit, window: Window): Promise<Replay> {
    const topic = this.names.topic(channel);
    const subscribed = this.#subscriptions.has(topic) ? undefined : this.#subscriptions.subscribed(topic);
    if (subscribed !== undefined) {
      await Promise.race([subscribed, pause(READ_WAIT_MS)]);
      if (!this.#subscriptions.has(topic)) throw unavailable('the channel is not heard');
    }
    let replay: Replay;
    try {
      replay = await this.#read(channel, since, limit, window);
    } catch (error) {
      throw unavailable(error);
    }
    if (this.#subscriptions.has(topic)) {
      this.#windows.set(channel, window);
      const reached = this.#positions.reach(channel, replay.position);
      if (reached !== undefined) {
        // Most are a moment late; what does not come is read.
        await Promise.race([reached, pause(LATE_MS)]);
        this.#positions.compare(channel, replay.position);
        let isLate = false;
        await Promise.race([reached, pause(READ_WAIT_MS).then(() => (isLate = true))]);
        if (isLate) throw unavailable('what was published before has not come');
      }
    }
    return replay;
  }

  sweep(now: number): void {
    this.#subscriptions.sweep(now, (topic) => {
      const channel = this.names.channelOf(topic);
      this.#positions.forget(channel);
      this.#windows.delete(channel);
    });
    this.#outbox.sweep(now);
    this.#compareSome();
  }

  /** True while it makes sense to write to Redis: else what is written piles up in the socket. */
  get #isReachable(): boolean {
    return this.commands.isReady && this.stateOf() !== 'blind' && this.#unanswered < this.limits.maxQueuedBytes;
  }

  #hear(topic: string, frame: string): void {
    if (topic === this.names.direct) return this.#hearDirect(frame);
    const carrier = readFrame(frame);
    // Members of this node have what has no history already.
    if (carrier === undefined || (carrier.epoch === undefined && carrier.origin === this.nodeId)) return;
    this.#positions.take(this.names.channelOf(topic), carrier);
  }

  #hearDirect(frame: string): void {
    const [version, origin, , ...lines] = frame.split('\n');
    if (version !== VERSION || origin === this.nodeId) return;
    for (let i = 0; i + 2 < lines.length; i += 3) {
      const audience = audienceIn(lines[i + 1] ?? '');
      if (audience !== undefined) this.#local?.deliverTo(audience, lines[i + 2] ?? '');
    }
  }

  #publishByScript(channel: string, body: Body, how: PublishHow): Promise<Sent> {
    if (!this.#isReachable) return Promise.reject(unavailable('the bus cannot take it now'));
    return new Promise((resolve, reject) => {
      const { history } = how;
      const name = `${history === undefined ? '-' : '+'}${channel}`;
      let batch = this.#batches.get(name);
      if (batch === undefined) this.#batches.set(name, (batch = { channel, history, messages: [] }));
      batch.messages.push({ body, how, resolve, reject });
      this.#flushSoon();
    });
  }

  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    setImmediate(() => this.#flush());
  }

  /** The end of a turn: one message of the bus for each channel. */
  #flush(): void {
    this.#isFlushing = false;
    this.#outbox.flush();
    const batches = this.#batches;
    this.#batches = new Map();
    for (const batch of batches.values()) void this.#sendBatch(batch);
  }

  async #send({ topic, messages, bytes }: Parcel): Promise<void> {
    this.#unanswered += bytes;
    try {
      const heard = await this.commands.call('PUBLISH', topic, writeFrame(this.nodeId, messages));
      if (heard === 0 && this.#subscriptions.has(topic)) this.#subscriptions.reconnect();
    } finally {
      this.#unanswered -= bytes;
    }
  }

  async #sendBatch({ channel, history, messages }: Batch): Promise<void> {
    const topic = this.names.topic(channel);
    const { history: kept, place } = this.names.kept(channel);
    const bytes = messages.reduce((sum, { body }) => sum + costOf(body), 0);
    this.#unanswered += bytes;
    try {
      const keys = messages.map(({ how: { key } }) =>
        key === undefined ? place : this.names.used(channel, key.owner, key.value),
      );
      const texts = messages.flatMap(({ how, body }) => [
        writeHow(how),
        body.text,
        how.key === undefined ? '' : digestOf(body.text),
      ]);
      const { count = 1, ageMs = 1 } = history ?? {};
      const reply = await this.commands.run(
        PUBLISH,
        [place, kept, topic, ...keys],
        [history === undefined ? 0 : 1, count, ageMs, freshEpoch(), this.nodeId, ...texts],
      );
      const [heard, ...outcomes] = reply as [number, ...[number, string, number][]]; // because the script returns that
      if (heard === 0 && this.#subscriptions.has(topic) && outcomes.some(([outcome]) => outcome === 0)) {
        this.#subscriptions.reconnect();
      }
      for (const [index, message] of messages.entries()) this.#settle(channel, message, outcomes[index]);
    } catch (error) {
      for (const { reject } of messages) reject(unavailable(error));
    } finally {
      this.#unanswered -= bytes;
    }
  }

  #settle(
    channel: string,
    { body, how, resolve, reject }: Outgoing,
    outcome: [number, string, number] | undefined,
  ): void {
    const [became, epoch = '', offset = 0] = outcome ?? [];
    const position = epoch !== '' && { position: { epoch, offset } };
    if (became === 2) reject(keyConflict());
    else if (became === 1) resolve({ cluster: 'sent', ...position, duplicate: true });
    else {
      // What has a key and no history; the own node leaves out what the bus brings of it.
      const { except, volatile } = how;
      if (epoch === '') this.#local?.deliver({ channel, body, offset: undefined, except, volatile });
      resolve({ cluster: 'sent', ...position });
    }
  }

  async #read(channel: string, since: Position | undefined, limit: ReplayLimit, window: Window): Promise<KeptReplay> {
    const { place, history } = this.names.kept(channel);
    const { count, ageMs } = window;
    const reply = await this.commands.run(
      READ,
      [place, history],
      [
        freshEpoch(),
        since?.epoch ?? '',
        since?.offset ?? 0,
        limit.messages,
        limit.bytes,
        Math.min(count, Number.MAX_SAFE_INTEGER),
        ageMs,
      ],
    );
    const [epoch, offset, reason, ...rest] = reply as [string, number, string, ...(number | string)[]]; // because the script returns that
    const position = { epoch, offset };
    if (reason !== '') return { position, recovered: false, reason: reason as GapReason, messages: [] };
    const messages: KeptReplay['messages'][number][] = [];
    for (let i = 0; i + 2 < rest.length; i += 3) {
      const [number, text, line] = rest.slice(i, i + 3) as [number, string, string]; // because they come by threes
      const how = readHow(line) ?? { except: undefined, volatile: false };
      messages.push({ offset: number, body: { text, bytes: Buffer.byteLength(text) }, ...how });
    }
    return { position, recovered: true, messages };
  }

  /** After a connection was lost: what was published meanwhile is missing. */
  #compareAll(): void {
    this.#round = [];
    for (const channel of this.#positions.channels()) void this.#compare(channel);
  }

  /** Some channels each sweep, so that each has its turn within five seconds, or later where there are very many. */
  #compareSome(): void {
    if (!this.#isReachable || !this.#subscriptions.isUp) return;
    if (this.#round.length === 0) this.#round = [...this.#positions.channels()];
    const share = Math.ceil((this.#positions.size * SWEEP_MS) / COMPARE_MS);
    for (const channel of this.#round.splice(0, Math.min(share, COMPARED_AT_ONCE))) void this.#compare(channel);
  }

  async #compare(channel: string): Promise<void> {
    const window = this.#windows.get(channel) ?? { count: 0, ageMs: 0 };
    try {
      const { position } = await this.#read(channel, undefined, { messages: 0, bytes: 0 }, window);
      this.#positions.compare(channel, position);
    } catch {
      return; // the next comparison asks again
    }
  }
}

/** @returns undefined for what no node has written */
function audienceIn(json: string): Audience | undefined {
  try {
    const audience: unknown = JSON.parse(json);
    return isJsonObject(audience) ? (audience as Audience) : undefined; // because a node writes nothing else
  } catch {
    return undefined;
  }
}
