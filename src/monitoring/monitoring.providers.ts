import { Inject, Injectable, Optional } from '@nestjs/common';
import type { OnApplicationBootstrap, OnApplicationShutdown, Provider } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { WsClock } from '../base/clock.js';
import { EMITTER } from '../base/emitter.js';
import { CONTEXT } from '../connection/options.js';
import { OptionsByPath } from '../connection/options-by-path.js';
import { allSources } from '../connection/path-options.js';
import type { ConnectionContext } from '../connection/context.js';
import { Fingerprints } from '../data-protection/fingerprint.js';
import { AUDITED_KINDS } from './audit/audit-event.js';
import { AuditLog } from './audit/audit-log.js';
import { AuditSink } from './audit/audit-sink.js';
import { WsHealth, WsHealthIndicator } from './health.js';
import { FailureLog, FailureSink } from './log/failure-log.js';
import { FirewallLog } from './log/firewall-log.js';
import { NestSink } from './log/nest-sink.js';
import { Sampler } from './log/sampler.js';
import { Upstreams } from '../proxy/upstreams.js';
import { Rooms } from '../rooms/rooms.js';
import { PrometheusMetrics } from './metrics/prometheus.js';
import { WsMetrics } from './metrics/ws-metrics.js';
import { subscribeDecorated } from './on-ws-event.js';
import { MONITORING_OPTIONS, PRIVACY_OPTIONS } from './options.js';
import type { PrivacyOptions, ResolvedMonitoring } from './options.js';
import { Totals } from './totals.js';
import { privacyOf } from './privacy.js';
import type { Privacy } from './privacy.js';
import { WsMonitor } from './ws-monitor.js';

/** Token of how personal data is shown. */
export const PRIVACY = Symbol('nestjs-ws-gateway.privacy');

/** What starts and ends with the application. */
@Injectable()
export class Monitoring implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #audit: AuditLog | undefined;
  readonly #unsubscribeAudit: () => void;
  #started = false;

  constructor(
    private readonly modules: ModulesContainer,
    private readonly monitor: WsMonitor,
    private readonly metrics: PrometheusMetrics,
    health: WsHealth,
    @Inject(PRIVACY) show: Privacy,
    clock: WsClock,
    @Optional() @Inject(AuditSink) sink: AuditSink | undefined,
    @Optional() @Inject(FailureSink) failures: FailureSink | undefined,
  ) {
    this.#audit = sink === undefined ? undefined : new AuditLog(sink, show, clock);
    this.#unsubscribeAudit =
      this.#audit === undefined ? () => undefined : monitor.on(AUDITED_KINDS, this.#audit.listener);
    health.add(() => (this.#started ? undefined : 'starting'));
    for (const each of [sink, failures]) health.addWarning(() => each?.problem);
  }

  onApplicationBootstrap(): void {
    subscribeDecorated(this.modules, this.monitor);
    this.metrics.start();
    this.#started = true;
  }

  /** The sockets are closed by now; the audit records nothing that comes later. */
  async onApplicationShutdown(): Promise<void> {
    this.metrics.stop();
    this.#unsubscribeAudit();
    await this.#audit?.close();
  }
}

/** Logs, audit, metrics and health, with the monitor that they listen to. */
export const monitoringProviders: Provider[] = [
  {
    provide: PRIVACY,
    inject: [PRIVACY_OPTIONS, Fingerprints, OptionsByPath],
    useFactory: (options: PrivacyOptions, fingerprints: Fingerprints, { shared }: OptionsByPath) =>
      privacyOf(options, fingerprints, [...allSources(shared).keys()]),
  },
  {
    provide: WsMonitor,
    // A FailureSink that a global module of the application exports takes the place of Nest's Logger.
    inject: [PRIVACY, WsClock, { token: FailureSink, optional: true }],
    useFactory: (show: Privacy, clock: WsClock, sink: FailureSink = new NestSink()) => {
      const monitor = new WsMonitor();
      const sampler = new Sampler(clock);
      monitor.subscribe(new FailureLog(sink, show, sampler, clock).listener);
      monitor.on(['ban', 'budget', 'admission', 'proxy'], new FirewallLog(sink, show, sampler).listener);
      return monitor;
    },
  },
  { provide: EMITTER, useExisting: WsMonitor },
  Totals,
  {
    provide: PrometheusMetrics,
    inject: [MONITORING_OPTIONS, WsMonitor, CONTEXT, Rooms, Upstreams, Totals],
    useFactory: (
      options: ResolvedMonitoring,
      monitor: WsMonitor,
      context: ConnectionContext,
      rooms: Rooms,
      upstreams: Upstreams,
      totals: Totals,
    ) => {
      const { traffic, sessions, pending } = context;
      const source = {
        traffic,
        totals,
        sessions: () => sessions.countByPhase(),
        inFlight: () => pending.size,
        rooms: () => rooms.stats,
        upstreams: () => upstreams.all,
      };
      return PrometheusMetrics.create(options, monitor, source);
    },
  },
  { provide: WsMetrics, useExisting: PrometheusMetrics },
  WsHealth,
  WsHealthIndicator,
  Monitoring,
];
