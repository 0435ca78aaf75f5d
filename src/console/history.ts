import { getHeapStatistics } from 'node:v8';
import { Observable } from 'rxjs';
import type { WsClock } from '../base/clock.js';
import type { ConnectionContext } from '../connection/context.js';
import { DURATION_BOUNDS_MS } from '../connection/traffic.js';
import type { EventTraffic } from '../connection/traffic.js';
import { EventLoopWatch } from '../monitoring/metrics/event-loop.js';
import type { Totals } from '../monitoring/totals.js';
import { quantilesOf } from './percentiles.js';
import { Ring } from './ring.js';
import { CODE_KINDS, POINTS, SERIES } from './wire.js';
import type { CodeKind, Live, LiveHistory, LiveTick, SeriesName } from './wire.js';

const SECOND_MS = 1_000;

/** Most series by code, of all kinds together; what is beyond goes to `OTHER` of its kind. */
const MAX_CODES = 64;
const OTHER = 'OTHER';

/** Most events that have a spark line, its points, and the seconds of each. */
const [MAX_SPARKS, SPARK_POINTS, SPARK_SECONDS] = [200, 60, 15];

const BUCKETS = DURATION_BOUNDS_MS.length + 1;

type Values = Record<SeriesName, number>;
type Codes = Record<CodeKind, Record<string, number>>;

/** The numbers of the last 15 minutes, sampled once a second, in a bounded number of rings. */
export class History {
  readonly #series = Object.fromEntries(SERIES.map((name) => [name, new Ring()])) as Record<SeriesName, Ring>; // because those are all
  readonly #codes = new Map<string, Ring>();
  readonly #sparks = new Map<string, { readonly ring: Ring; last: number }>();
  readonly #loop = new EventLoopWatch();
  readonly #listeners = new Set<(tick: LiveTick) => void>();
  readonly #before = new Map<string, number>();
  #buckets = new Float64Array(BUCKETS);
  #seconds = 0;
  #at = 0;
  #stop: (() => void) | undefined;

  constructor(
    private readonly context: Pick<ConnectionContext, 'traffic' | 'sessions' | 'pending'>,
    private readonly totals: Totals,
    private readonly clock: WsClock,
  ) {}

  start(): void {
    this.#sampled(); // what was before is no part of the first second
    this.#stop = this.clock.every(SECOND_MS, () => this.sample());
  }

  stop(): void {
    this.#stop?.();
    this.#loop.stop();
  }

  /** What it holds, in bytes. */
  get bytes(): number {
    const rings = [...Object.values(this.#series), ...this.#codes.values()];
    const sparks = [...this.#sparks.values()].map(({ ring }) => ring);
    return [...rings, ...sparks].reduce((sum, ring) => sum + ring.bytes, 0);
  }

  /** What there is, then a tick a second. */
  live(): Observable<Live> {
    return new Observable((subscriber) => {
      subscriber.next(this.#history());
      const listener = (tick: LiveTick): void => subscriber.next(tick);
      // Its timer of 20 ms costs more than all else here, and no page shows what it was before.
      if (this.#listeners.size === 0) this.#loop.start();
      this.#listeners.add(listener);
      return () => {
        this.#listeners.delete(listener);
        if (this.#listeners.size === 0) this.#loop.stop();
      };
    });
  }

  /** Messages of an event in the last quarter of an hour. */
  sparkOf(event: string): readonly number[] {
    return this.#sparks.get(event)?.ring.values() ?? [];
  }

  sample(): void {
    const { values, codes } = this.#sampled();
    this.#at = this.clock.now();
    for (const name of SERIES) this.#series[name].push(values[name]);
    this.#keepCodes(codes);
    if (++this.#seconds % SPARK_SECONDS === 0) this.#keepSparks();
    if (this.#listeners.size === 0) return;
    const tick: LiveTick = { kind: 'tick', at: this.#at, values: shown(values), codes };
    for (const listener of this.#listeners) listener(tick);
  }

  #sampled(): { values: Values; codes: Codes } {
    const { traffic, pending } = this.context;
    const [received, buckets] = sumOf(traffic.events);
    const [p50 = NaN, p95 = NaN, p99 = NaN] = quantilesOf(
      buckets.map((count, at) => count - (this.#buckets[at] as number)), // because there are as many
      [0.5, 0.95, 0.99],
    );
    this.#buckets = buckets;
    const { utilization, delay } = this.#loop.read();
    const values = {
      ...this.#sessions(),
      messagesIn: this.#since('in', received + traffic.unknown),
      messagesOut: this.#since('out', traffic.sentMessages),
      bytesIn: this.#since('bytesIn', traffic.receivedBytes),
      bytesOut: this.#since('bytesOut', traffic.sentBytes),
      inFlight: pending.size,
      p50,
      p95,
      p99,
      loop: utilization,
      loopDelay: this.#listeners.size === 0 ? NaN : delay.p99 * SECOND_MS,
      heap: getHeapStatistics().used_heap_size,
    };
    return { values, codes: this.#newCodes() };
  }

  #sessions(): Pick<Values, 'open' | 'opening' | 'anonymous'> {
    const counts = { open: 0, opening: 0, anonymous: 0 };
    for (const { phase, principal } of this.context.sessions.all()) {
      if (phase === 'opening') counts.opening++;
      else if (phase === 'open') {
        counts.open++;
        if (principal === undefined) counts.anonymous++;
      }
    }
    return counts;
  }

  /** By how much a total has grown since it was asked for last. */
  #since(name: string, total: number): number {
    const grown = total - (this.#before.get(name) ?? 0);
    this.#before.set(name, total);
    return grown;
  }

  #newCodes(): Codes {
    const codes: Codes = { refusals: {}, exceptions: {}, closes: {} };
    const count = (kind: CodeKind, code: string, total: number): void => {
      const grown = this.#since(`${kind} ${code}`, total);
      if (grown > 0) codes[kind][code] = grown;
    };
    for (const [outcome, total] of this.totals.upgrades) if (outcome !== 'accepted') count('refusals', outcome, total);
    for (const [code, total] of this.totals.closes) count('closes', code, total);
    const exceptions = new Map<string, number>();
    for (const byCode of this.totals.exceptions.values()) {
      for (const [code, { count: total }] of byCode) exceptions.set(code, (exceptions.get(code) ?? 0) + total);
    }
    for (const [code, total] of exceptions) count('exceptions', code, total);
    return codes;
  }

  #keepCodes(codes: Codes): void {
    const now = new Map<string, number>();
    for (const kind of CODE_KINDS) {
      for (const [code, count] of Object.entries(codes[kind])) {
        const key = this.#keyOf(kind, code);
        now.set(key, (now.get(key) ?? 0) + count);
      }
    }
    for (const [key, ring] of this.#codes) ring.push(now.get(key) ?? 0);
  }

  #keyOf(kind: CodeKind, code: string): string {
    const key = `${kind} ${code}`;
    if (this.#codes.has(key)) return key;
    const kept = this.#codes.size < MAX_CODES - CODE_KINDS.length ? key : `${kind} ${OTHER}`;
    if (!this.#codes.has(kept)) {
      const ring = new Ring();
      for (let at = Math.min(this.#seconds, POINTS); at > 0; at--) ring.push(0);
      this.#codes.set(kept, ring);
    }
    return kept;
  }

  #keepSparks(): void {
    for (const { event, received } of this.context.traffic.events) {
      let spark = this.#sparks.get(event);
      if (spark === undefined) {
        if (this.#sparks.size >= MAX_SPARKS) continue;
        this.#sparks.set(event, (spark = { ring: new Ring(SPARK_POINTS), last: 0 }));
      }
      spark.ring.push(received - spark.last);
      spark.last = received;
    }
  }

  #history(): LiveHistory {
    const series = Object.fromEntries(SERIES.map((name) => [name, this.#series[name].values().map(round)])) as Record<
      SeriesName,
      (number | null)[]
    >; // because those are all
    const codes: Record<CodeKind, Record<string, number[]>> = { refusals: {}, exceptions: {}, closes: {} };
    for (const [key, ring] of this.#codes) {
      const [kind, code] = key.split(' ') as [CodeKind, string]; // because #keyOf() has joined them
      codes[kind][code] = ring.values();
    }
    return { kind: 'history', at: this.#at, series, codes };
  }
}

function sumOf(events: Iterable<EventTraffic>): [received: number, buckets: Float64Array<ArrayBuffer>] {
  const sums = new Float64Array(BUCKETS);
  let total = 0;
  for (const { received, buckets } of events) {
    total += received;
    for (let at = 0; at < BUCKETS; at++) (sums[at] as number) += buckets[at] as number; // because both have as many
  }
  return [total, sums];
}

/** Four digits are more than a plot shows. */
function round(value: number): number | null {
  return Number.isFinite(value) ? Number(value.toPrecision(4)) : null;
}

function shown(values: Values): LiveTick['values'] {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, round(value)])) as LiveTick['values']; // because it has the same names
}
