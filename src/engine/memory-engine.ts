import { createHash } from 'node:crypto';
import type { WsClock } from '../base/clock.js';
import type {
  Body,
  Bus,
  Engine,
  EngineStats,
  GapReason,
  IdempotencyKey,
  Kept,
  LocalNode,
  Position,
  PublishHow,
  Replay,
  ReplayLimit,
  Sent,
  Window,
} from './engine.js';
import { EPOCH_MS, freshEpoch, KEY_MS, keyConflict } from './history.js';

const MAX_KEYS = 100_000;

/** Channels that nothing was published in, and that have no members: so many keep the epoch that they were asked for. */
const MAX_FRESH = 10_000;

/** What a channel, and a message, cost beside their text, in bytes. */
const CHANNEL_BYTES = 320;
const MESSAGE_BYTES = 96;

/** Channels that one sweep looks at. */
const SWEPT = 256;

interface History {
  epoch: string;
  offset: number;
  kept: { readonly offset: number; readonly body: Body; readonly at: number }[];
  /** As the last publication had it. */
  ageMs: number;
  bytes: number;
  usedAt: number;
}

interface UsedKey {
  readonly digest: string;
  readonly until: number;
  readonly sent: Sent;
}

/** One node: what is published here is delivered here, and everything is answered at once. */
export class MemoryEngine implements Engine, Bus {
  readonly state = 'single';
  readonly bus = this;
  // In the order of their last use: the front goes first.
  readonly #histories = new Map<string, History>();
  readonly #subscribed = new Set<string>();
  // In the order of their use, and so of their end.
  readonly #keys = new Map<string, UsedKey>();
  /** In the order of their last use; bounded apart, so that a client which asks for channels without messages evicts no history. */
  readonly #fresh = new Set<string>();
  #bytes = 0;
  #messages = 0;
  #local: LocalNode | undefined;
  #round: Iterator<[string, History]> | undefined;

  /** @param limits read when they are needed, since a reload changes them */
  constructor(
    private readonly limits: { readonly maxHistoryBytes: number },
    private readonly clock: Pick<WsClock, 'monotonic'>,
    private readonly maxKeys = MAX_KEYS,
  ) {}

  get stats(): EngineStats {
    return { historyMessages: this.#messages, historyBytes: this.#bytes };
  }

  /** How many entries all tables have. */
  get size(): number {
    return this.#histories.size + this.#subscribed.size + this.#keys.size;
  }

  start(local: LocalNode): void {
    this.#local = local;
  }

  subscribe(channel: string): boolean {
    this.#subscribed.add(channel);
    this.#fresh.delete(channel);
    return true;
  }

  unsubscribe(channel: string): void {
    this.#subscribed.delete(channel);
    this.#keepFresh(channel, this.#histories.get(channel));
  }

  publish(channel: string, body: Body, how: PublishHow): Sent {
    const { history, key, except, volatile } = how;
    const now = this.clock.monotonic();
    const digest = key === undefined ? '' : digestOf(body.text);
    const name = key === undefined ? '' : nameOf(key, channel);
    if (key !== undefined) {
      const used = this.#keys.get(name);
      if (used !== undefined && used.until > now) {
        if (used.digest !== digest) throw keyConflict();
        return { ...used.sent, duplicate: true };
      }
    }
    const position = history === undefined ? undefined : this.#append(channel, body, history, now);
    const sent: Sent = { cluster: 'single', ...(position !== undefined && { position }) };
    if (key !== undefined) this.#remember(name, { digest, until: now + KEY_MS, sent });
    this.#local?.deliver({ channel, body, offset: position?.offset, except, volatile });
    return sent;
  }

  sendTo(): 'single' {
    return 'single';
  }

  read(channel: string, since: Position | undefined, limit: ReplayLimit, window: Window): Replay {
    const now = this.clock.monotonic();
    const history = this.#historyOf(channel, window, now);
    this.#trim(history, window, now);
    this.#makeRoom(channel);
    this.#keepFresh(channel, history);
    const { epoch, offset, kept } = history;
    const position = { epoch, offset };
    const not = (reason: GapReason): Replay => ({ position, recovered: false, reason, messages: [] });
    if (since === undefined) return { position, recovered: true, messages: withinLimit(kept, limit) };
    if (since.epoch !== epoch || since.offset > offset) return not('epoch');
    if (since.offset === offset) return { position, recovered: true, messages: [] };
    const first = kept[0]?.offset ?? Infinity;
    if (since.offset + 1 < first) return not('window');
    const missed = kept.slice(since.offset + 1 - first);
    if (withinLimit(missed, limit).length < missed.length) return not('limit');
    return { position, recovered: true, messages: missed };
  }

  sweep(now: number): void {
    for (const [name, { until }] of this.#keys) {
      if (until > now) break;
      this.#keys.delete(name);
    }
    for (let i = 0; i < SWEPT; i++) {
      this.#round ??= this.#histories.entries();
      const next = this.#round.next();
      if (next.done === true) {
        this.#round = undefined;
        return;
      }
      this.#age(...next.value, now);
    }
  }

  #age(channel: string, history: History, now: number): void {
    this.#trim(history, { count: Infinity, ageMs: history.ageMs }, now);
    if (history.kept.length === 0 && !this.#subscribed.has(channel) && now - history.usedAt >= EPOCH_MS) {
      this.#forget(channel, history);
    }
  }

  #append(channel: string, body: Body, window: Window, now: number): Position {
    const history = this.#historyOf(channel, window, now);
    const offset = ++history.offset;
    this.#fresh.delete(channel);
    history.kept.push({ offset, body, at: now });
    this.#count(history, 1, costOf(body));
    this.#trim(history, window, now);
    this.#makeRoom(channel);
    return { epoch: history.epoch, offset };
  }

  /** It is the newest in use from here on. */
  #historyOf(channel: string, { ageMs }: Window, now: number): History {
    let history = this.#histories.get(channel);
    if (history === undefined) {
      history = { epoch: freshEpoch(), offset: 0, kept: [], ageMs, bytes: 0, usedAt: now };
      this.#count(history, 0, CHANNEL_BYTES + channel.length * 2);
    } else this.#histories.delete(channel);
    this.#histories.set(channel, history);
    history.ageMs = ageMs;
    history.usedAt = now;
    return history;
  }

  #trim(history: History, { count, ageMs }: Window, now: number): void {
    const { kept } = history;
    let gone = Math.max(0, kept.length - count);
    while (gone < kept.length && now - (kept[gone]?.at ?? now) >= ageMs) gone++;
    if (gone === 0) return;
    for (const { body } of kept.splice(0, gone)) this.#count(history, -1, -costOf(body));
  }

  /**
   * Channels that were used longest ago lose what they have, until an eighth is free: who is over the bound all the time does not
   * look at all channels each time.
   *
   * @param used the one that is in use now; it comes last, and loses its oldest messages
   */
  #makeRoom(used: string): void {
    const { maxHistoryBytes } = this.limits;
    if (this.#bytes <= maxHistoryBytes) return;
    const most = maxHistoryBytes - maxHistoryBytes / 8;
    for (const [channel, history] of this.#histories) {
      if (this.#bytes <= most) return;
      if (channel === used) return this.#shorten(history, most);
      if (!this.#subscribed.has(channel)) this.#forget(channel, history);
      else if (history.kept.length > 0) {
        this.#forget(channel, history);
        this.#renew(channel, history);
      }
    }
  }

  #shorten(history: History, most: number): void {
    let gone = 0;
    let bytes = this.#bytes;
    for (; bytes > most && gone < history.kept.length - 1; gone++) bytes -= costOf((history.kept[gone] as Kept).body); // because gone is in range
    this.#trim(history, { count: history.kept.length - gone, ageMs: Infinity }, 0);
  }

  /** Its members know the old epoch. */
  #renew(channel: string, { ageMs }: History): void {
    const { epoch, offset } = this.#historyOf(channel, { count: 0, ageMs }, this.clock.monotonic());
    this.#local?.gap(channel, { epoch, offset }, 'epoch');
  }

  #keepFresh(channel: string, history: History | undefined): void {
    if (history === undefined || history.offset > 0 || this.#subscribed.has(channel)) return;
    this.#fresh.delete(channel);
    this.#fresh.add(channel);
    for (const oldest of oldestOf(this.#fresh, MAX_FRESH)) {
      const unused = this.#histories.get(oldest);
      if (unused !== undefined) this.#forget(oldest, unused);
    }
  }

  #forget(channel: string, history: History): void {
    this.#fresh.delete(channel);
    this.#histories.delete(channel);
    this.#count(history, -history.kept.length, -history.bytes);
  }

  #count(history: History, messages: number, bytes: number): void {
    history.bytes += bytes;
    this.#bytes += bytes;
    this.#messages += messages;
  }

  #remember(name: string, used: UsedKey): void {
    this.#keys.delete(name);
    this.#keys.set(name, used);
    for (const oldest of oldestOf(this.#keys, this.maxKeys)) this.#keys.delete(oldest);
  }
}

/**
 * What a table over its bound has to let go of: a 64th at once, since to find the first entry of a Map costs as much as was deleted
 * before it.
 */
function oldestOf(table: ReadonlyMap<string, unknown> | ReadonlySet<string>, most: number): string[] {
  const oldest: string[] = [];
  if (table.size <= most) return oldest;
  const surplus = table.size - most + Math.floor(most / 64);
  for (const name of table.keys()) {
    if (oldest.length === surplus) break;
    oldest.push(name);
  }
  return oldest;
}

function withinLimit(messages: readonly Kept[], { messages: most, bytes }: ReplayLimit): readonly Kept[] {
  let sum = 0;
  let from = messages.length;
  while (from > 0 && messages.length - from < most) {
    sum += messages[from - 1]?.body.bytes ?? 0;
    if (sum > bytes) break;
    from--;
  }
  return from === 0 ? messages : messages.slice(from);
}

// A string of V8 has one or two bytes a character.
function costOf({ text }: Body): number {
  return text.length * 2 + MESSAGE_BYTES;
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}

/** As long for every owner: subjects may be long. */
function nameOf({ owner, value }: IdempotencyKey, channel: string): string {
  return digestOf(JSON.stringify([owner, channel, value]));
}
