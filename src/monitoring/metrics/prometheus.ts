import type { Counter, Gauge, Registry } from 'prom-client';
import { loadOptional } from '../../base/missing-package.js';
import type { WsMonitor } from '../ws-monitor.js';
import type { ResolvedMonitoring } from '../options.js';
import { DURATION_BOUNDS_MS } from '../../connection/traffic.js';
import type { Traffic } from '../../connection/traffic.js';
import type { RoomTraffic } from '../../rooms/publications.js';
import type { RoomStats } from '../../rooms/rooms.js';
import { join } from './combined-metric.js';
import type { Life } from './combined-metric.js';
import { DurationHistogram } from './duration-histogram.js';
import { EventLoopWatch } from './event-loop.js';
import { UNKNOWN_EVENT } from '../totals.js';
import type { Totals } from '../totals.js';
import { KnownCodes } from './known-codes.js';
import { inOpenMetrics } from './open-metrics.js';
import { readUpstreams } from './upstream-metrics.js';
import type { MeasuredUpstream } from './upstream-metrics.js';
import { METRICS_PREFIX, WsMetrics } from './ws-metrics.js';
import type { MetricsAnswer } from './ws-metrics.js';

type PromClient = typeof import('prom-client');

/** What is read when metrics are asked for. */
export interface MetricsSource {
  readonly traffic: Traffic;
  readonly totals: Totals;
  /** Sessions by phase. */
  sessions(): Readonly<Record<string, number>>;
  /** Requests whose answer is not complete. */
  inFlight(): number;
  rooms(): RoomStats;
  /** Of the applications behind the gateway, in the order of the options. */
  upstreams(): readonly MeasuredUpstream[];
}

/** The working class behind {@link WsMetrics}. */
export class PrometheusMetrics extends WsMetrics {
  readonly #loop = new EventLoopWatch();
  readonly #client: PromClient | undefined;
  readonly #registry: Registry | undefined;
  readonly #subscriptions: (() => void)[] = [];
  readonly #life: Life = { isOver: false };

  private constructor(client: PromClient | undefined, registry: Registry | undefined) {
    super();
    this.#client = client;
    this.#registry = registry;
  }

  /** @throws MissingPackageError when prom-client is needed and not installed */
  static async create(
    options: ResolvedMonitoring,
    monitor: WsMonitor,
    source: MetricsSource,
  ): Promise<PrometheusMetrics> {
    if (!options.metrics) return new PrometheusMetrics(undefined, undefined);
    const client = await loadOptional(
      () => import('prom-client'),
      'Metrics need the package prom-client: npm install prom-client@15',
    );
    // because the option is told apart from other objects by its methods
    const registry = (options.registry as unknown as Registry | undefined) ?? new client.Registry();
    const own = options.registry === undefined ? registry : new client.Registry();
    const metrics = new PrometheusMetrics(client, registry);
    metrics.#read(client, own, source);
    metrics.#count(client, own, monitor, source);
    readUpstreams(client, own, source.upstreams);
    if (own !== registry) join(registry, own, metrics.#life);
    return metrics;
  }

  get registry(): Registry | undefined {
    return this.#registry;
  }

  async text(accept = ''): Promise<MetricsAnswer> {
    const [client, registry] = [this.#client, this.#registry];
    if (client === undefined || registry === undefined) throw new Error('Metrics are off: set monitoring.metrics');
    if (accept.includes('application/openmetrics-text')) {
      const body = await inOpenMetrics(registry, client);
      return { contentType: client.Registry.OPENMETRICS_CONTENT_TYPE, body };
    }
    return { contentType: registry.contentType, body: await registry.metrics() };
  }

  start(): void {
    if (this.#registry !== undefined) this.#loop.start();
  }

  stop(): void {
    this.#life.isOver = true;
    this.#loop.stop();
    for (const unsubscribe of this.#subscriptions.splice(0)) unsubscribe();
  }

  /** What is always known and read at each scrape. */
  #read({ Counter, Gauge }: PromClient, registry: Registry, source: MetricsSource): void {
    const { traffic } = source;
    const registers = [registry];
    const total = (name: string, help: string, value: () => number): void => {
      const counter: Counter = new Counter({
        name: `${METRICS_PREFIX}${name}`,
        help,
        registers,
        collect: () => {
          counter.reset();
          counter.inc(value());
        },
      });
    };
    const sessions = new Gauge({
      name: `${METRICS_PREFIX}sessions`,
      help: 'Sessions, by phase of their life',
      labelNames: ['phase'],
      registers,
      collect: () => {
        const { closed: _, ...phases } = source.sessions(); // those are not kept
        for (const [phase, count] of Object.entries(phases)) sessions.set({ phase }, count);
      },
    });
    const inFlight: Gauge = new Gauge({
      name: `${METRICS_PREFIX}messages_in_flight`,
      help: 'Messages whose answer is not complete',
      registers,
      collect: () => void inFlight.set(source.inFlight()),
    });
    const messages = new Counter({
      name: `${METRICS_PREFIX}messages_total`,
      help: 'Messages received, by event; unknown for those at no declared event and those that cannot be read',
      labelNames: ['event'],
      registers,
      collect: () => {
        messages.reset();
        for (const { event, received } of traffic.events) messages.inc({ event }, received);
        messages.inc({ event: UNKNOWN_EVENT }, traffic.unknown);
      },
    });
    const help = 'Time from the guard of a message to its reply, in seconds; streams are not among them';
    const durations = new DurationHistogram(
      `${METRICS_PREFIX}handler_duration_seconds`,
      help,
      'event',
      DURATION_BOUNDS_MS.map((milliseconds) => milliseconds / 1_000),
      () =>
        [...traffic.events].map(({ event, buckets, timedMs }) => ({
          of: event,
          counts: buckets,
          seconds: timedMs / 1_000,
        })),
    );
    registry.registerMetric(durations as never); // because a registry asks for no more than it has
    total('received_bytes_total', 'Payload of messages received, in bytes', () => traffic.receivedBytes);
    total('sent_messages_total', 'Messages sent', () => traffic.sentMessages);
    const gauge = (name: string, says: string, value: () => number): void => {
      const one: Gauge = new Gauge({
        name: `${METRICS_PREFIX}${name}`,
        help: says,
        registers,
        collect: () => void one.set(value()),
      });
    };
    gauge('rooms', 'Rooms with members', () => source.rooms().rooms);
    gauge('room_memberships', 'Memberships of all sessions', () => source.rooms().memberships);
    gauge('history_messages', 'Messages kept as history', () => source.rooms().historyMessages);
    gauge('history_bytes', 'What histories hold, in bytes', () => source.rooms().historyBytes);
    const byRule = (name: string, says: string, of: (traffic: RoomTraffic) => number): void => {
      const counter: Counter<'rule'> = new Counter({
        name: `${METRICS_PREFIX}${name}`,
        help: says,
        labelNames: ['rule'],
        registers,
        collect: () => {
          counter.reset();
          for (const [rule, each] of source.rooms().traffic) counter.inc({ rule }, of(each));
        },
      });
    };
    byRule('room_messages_total', 'Messages published in rooms, by the rule of the room', ({ published }) => published);
    byRule('room_deliveries_total', 'Members that they went to, by the rule of the room', ({ delivered }) => delivered);
    total('sent_bytes_total', 'Frames sent, in bytes, before compression', () => traffic.sentBytes);
    const utilization = new Gauge({
      name: `${METRICS_PREFIX}event_loop_utilization`,
      help: 'Share of the time since the metrics were read last in which the event loop was busy',
      aggregator: 'max',
      registers: [],
    });
    const delay: Gauge<'stat'> = new Gauge({
      name: `${METRICS_PREFIX}event_loop_delay_seconds`,
      help: 'How late timers were since the metrics were read last, in seconds: median, 99th percentile and longest',
      labelNames: ['stat'],
      aggregator: 'max',
      registers,
      collect: () => {
        const reading = this.#loop.read();
        delay.set({ stat: 'p50' }, reading.delay.p50);
        delay.set({ stat: 'p99' }, reading.delay.p99);
        delay.set({ stat: 'max' }, reading.delay.max);
        utilization.set(reading.utilization);
      },
    });
    registry.registerMetric(utilization); // after the one that reads it: a registry asks in this order
  }

  /** What happens, and is counted when it does. None of it is on the path of a message that goes well. */
  #count({ Counter }: PromClient, registry: Registry, monitor: WsMonitor, { traffic, totals }: MetricsSource): void {
    const codes = new KnownCodes();
    const counter = <Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> =>
      new Counter({ name: `${METRICS_PREFIX}${name}`, help, labelNames, registers: [registry] });
    /** A counter of totals that are kept elsewhere. */
    const reads = <Label extends string>(
      name: string,
      help: string,
      labelNames: Label[],
      values: () => Iterable<[labels: Record<Label, string>, value: number]>,
    ): void => {
      const one: Counter<Label> = new Counter({
        name: `${METRICS_PREFIX}${name}`,
        help,
        labelNames,
        registers: [registry],
        collect: () => {
          one.reset();
          // because a literal of them is what prom-client's type wants
          for (const [labels, value] of values()) one.inc(labels as Partial<Record<Label, string>>, value);
        },
      });
    };
    const by = <Label extends string>(label: Label, counts: ReadonlyMap<string, number>) => {
      const labelled = (name: string): Record<Label, string> => ({ [label]: name }) as Record<Label, string>; // because it has that one
      return () => [...counts].map(([name, count]): [Record<Label, string>, number] => [labelled(name), count]);
    };
    reads(
      'upgrades_total',
      'Upgrade requests, by outcome: accepted, or a code',
      ['outcome'],
      by('outcome', totals.upgrades),
    );
    reads(
      'http_refusals_total',
      'Requests over plain HTTP that were refused or failed, by code',
      ['code'],
      by('code', totals.http),
    );
    reads('closes_total', 'Sessions that ended, by code', ['code'], by('code', totals.closes));
    const authentications = counter('authentications_total', 'Tokens looked at, by source and outcome', [
      'source',
      'outcome',
    ]);
    const bans = counter('bans_total', 'Bans added, lifted and expired, by what they are for', ['action', 'target']);
    reads('budget_exceeded_total', 'Budgets that were used up', ['budget', 'enforced'], () =>
      [...totals.budgets].flatMap(([budget, { enforced, dry }]) =>
        [
          { enforced: 'true', count: enforced },
          { enforced: 'false', count: dry },
        ]
          .filter(({ count }) => count > 0)
          .map((each): [{ budget: string; enforced: string }, number] => [
            { budget, enforced: each.enforced },
            each.count,
          ]),
      ),
    );
    reads('dry_run_refusals_total', 'Upgrades that a dry run let pass, by rule', ['rule'], by('rule', totals.dryRuns));
    const revocations = counter('revocations_total', 'Revocations', []);
    const admin = counter('admin_acts_total', 'Acts of administrators', ['act']);
    const bus = counter('bus_events_total', 'What the bus of a cluster did', ['action']);
    const told = new Map<string, number>();
    // Not given its registry: prom-client takes exemplars for a mistake in one that is read in the older format.
    const exceptions: Counter<'code' | 'event' | 'incident_id'> = new Counter({
      name: `${METRICS_PREFIX}exceptions_total`,
      help: 'Requests that failed, by code and event; one that ended its session counts among the closes',
      labelNames: ['code', 'event'],
      enableExemplars: true,
      registers: [],
      collect: () => {
        for (const [event, byCode] of totals.exceptions) {
          for (const [code, { count, incidentId }] of byCode) {
            const value = count - (told.get(`${code} ${event}`) ?? 0); // what is new: a reset would take the exemplars
            if (value === 0) continue;
            told.set(`${code} ${event}`, count);
            const exemplar = incidentId !== undefined && { exemplarLabels: { incident_id: incidentId } };
            exceptions.inc({ labels: { code, event }, value, ...exemplar });
          }
        }
        // A counter that does not exist yet cannot rise: the first fault would go unnoticed.
        for (const { event } of traffic.events) exceptions.inc({ labels: { code: 'INTERNAL', event }, value: 0 });
      },
    });
    registry.registerMetric(exceptions);

    this.#subscriptions.push(
      totals.use(),
      monitor.on('authentication', ({ source, outcome }) =>
        authentications.inc({ source, outcome: outcome === 'accepted' ? outcome : codes.label(outcome) }),
      ),
      monitor.on('ban', ({ action, target }) =>
        bans.inc({ action, target: 'address' in target ? 'address' : 'subject' }),
      ),
      monitor.on('revocation', () => revocations.inc()),
      monitor.on('admin', ({ act }) => admin.inc({ act })),
      monitor.on('bus', ({ action }) => bus.inc({ action })),
    );
  }
}
