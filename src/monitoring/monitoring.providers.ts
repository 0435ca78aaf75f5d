import type { OnApplicationBootstrap, OnApplicationShutdown, Provider } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { WsClock } from '../base/clock.js';
import { Fingerprints } from '../data-protection/fingerprint.js';
import type { ResolvedOptions } from '../ws-gateway.options.js';
import { AUDITED_KINDS } from './audit/audit-event.js';
import { AuditLog } from './audit/audit-log.js';
import { AuditSink } from './audit/audit-sink.js';
import { WsMonitor } from './ws-monitor.js';
import { WsHealth, WsHealthIndicator } from './health.js';
import { FirewallLog } from './log/firewall-log.js';
import { FailureLog, FailureSink } from './log/failure-log.js';
import { WsMetrics } from './metrics/ws-metrics.js';
import type { MetricsSource } from './metrics/ws-metrics.js';
import { NestSink } from './log/nest-sink.js';
import { subscribeDecorated } from './on-ws-event.js';
import { privacyOf } from './privacy.js';
import type { Privacy } from './privacy.js';
import { Sampler } from './log/sampler.js';
import { loadTracing } from '../connection/tracing.js';

const PRIVACY = Symbol('nestjs-ws-gateway.privacy');

/** Undefined where nobody keeps spans. */
export const TRACING = Symbol('nestjs-ws-gateway.tracing');

/** What starts and ends with the application. */
export class Monitoring implements OnApplicationBootstrap, OnApplicationShutdown {
  #started = false;

  constructor(
    private readonly modules: ModulesContainer,
    private readonly monitor: WsMonitor,
    private readonly metrics: WsMetrics,
    private readonly audit: AuditLog | undefined,
    private readonly unsubscribeAudit: () => void,
    health: WsHealth,
    sinks: readonly (AuditSink | FailureSink | undefined)[],
  ) {
    health.add(() => (this.#started ? undefined : 'starting'));
    for (const sink of sinks) health.addWarning(() => sink?.problem);
  }

  onApplicationBootstrap(): void {
    subscribeDecorated(this.modules, this.monitor);
    this.metrics.start();
    this.#started = true;
  }

  /** The sockets are closed by now: what comes still is not awaited by anybody. */
  async onApplicationShutdown(): Promise<void> {
    this.metrics.stop();
    this.unsubscribeAudit();
    await this.audit?.close();
  }
}

/**
 * Logs, audit, metrics, traces and health, with the monitor that they listen to.
 *
 * @param options token of the resolved options
 * @param source token of what metrics read
 */
export function monitoringProviders(options: symbol, source: symbol): Provider[] {
  return [
    {
      provide: PRIVACY,
      inject: [options, Fingerprints],
      useFactory: ({ privacy }: ResolvedOptions, fingerprints: Fingerprints) => privacyOf(privacy, fingerprints),
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
    {
      provide: TRACING,
      inject: [options],
      useFactory: ({ monitoring }: ResolvedOptions) => (monitoring.traces ? loadTracing() : undefined),
    },
    {
      provide: WsMetrics,
      inject: [options, WsMonitor, source],
      useFactory: ({ monitoring }: ResolvedOptions, monitor: WsMonitor, read: MetricsSource) =>
        WsMetrics.create(monitoring, monitor, read),
    },
    { provide: WsHealth, useFactory: () => new WsHealth() },
    {
      provide: WsHealthIndicator,
      inject: [WsHealth],
      useFactory: (health: WsHealth) => new WsHealthIndicator(health),
    },
    {
      provide: Monitoring,
      inject: [
        ModulesContainer,
        WsMonitor,
        WsMetrics,
        WsHealth,
        PRIVACY,
        WsClock,
        { token: AuditSink, optional: true },
        { token: FailureSink, optional: true },
      ],
      useFactory: (
        modules: ModulesContainer,
        monitor: WsMonitor,
        metrics: WsMetrics,
        health: WsHealth,
        show: Privacy,
        clock: WsClock,
        sink: AuditSink | undefined,
        failures: FailureSink | undefined,
      ) => {
        const audit = sink === undefined ? undefined : new AuditLog(sink, show, clock);
        const unsubscribe = audit === undefined ? () => undefined : monitor.on(AUDITED_KINDS, audit.listener);
        return new Monitoring(modules, monitor, metrics, audit, unsubscribe, health, [sink, failures]);
      },
    },
  ];
}
