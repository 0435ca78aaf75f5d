import type { Registry } from 'prom-client';
import { CONNECT_BUCKETS } from '../../proxy/traffic.js';
import type { UpstreamTraffic } from '../../proxy/traffic.js';
import { DurationHistogram } from './duration-histogram.js';
import { METRICS_PREFIX } from './ws-metrics.js';

type PromClient = typeof import('prom-client');

/** The application behind one path, as far as metrics read it. */
export interface MeasuredUpstream {
  /** As the options have it, so that there are no more values of the label than options. */
  readonly pathname: string;
  /** Why no client can be served now. */
  readonly problem: string | undefined;
  readonly traffic: UpstreamTraffic;
}

type Read<Label extends string> = (upstream: MeasuredUpstream) => readonly (readonly [value: number, label?: Label])[];

/** What is between the gateway and the applications behind it, read at each scrape. */
export function readUpstreams(
  { Counter, Gauge }: PromClient,
  registry: Registry,
  upstreams: () => readonly MeasuredUpstream[],
): void {
  const metric = <Label extends string>(
    Metric: typeof Counter | typeof Gauge,
    name: string,
    help: string,
    read: Read<Label>,
    label?: string,
  ): void => {
    const one = new Metric({
      name: `${METRICS_PREFIX}upstream_${name}`,
      help,
      labelNames: label === undefined ? ['upstream'] : ['upstream', label],
      registers: [registry],
      collect: () => {
        one.reset();
        for (const upstream of upstreams()) {
          for (const [value, is] of read(upstream)) {
            one.inc({ upstream: upstream.pathname, ...(label !== undefined && { [label]: is }) }, value);
          }
        }
      },
    });
  };
  metric(Gauge, 'up', '1 while one URL at least was not seen to fail, by path', ({ problem }) => [
    [problem === undefined ? 1 : 0],
  ]);
  metric(Gauge, 'connections', 'Sessions that are connected to the application behind their path', ({ traffic }) => [
    [traffic.connections],
  ]);
  const failures: Read<string> = ({ traffic }) =>
    Object.entries(traffic.failures).map(([reason, count]) => [count, reason] as const);
  const failuresHelp = 'Connections that were refused, could not be made, or broke, by path';
  metric(Counter, 'failures_total', failuresHelp, failures, 'reason');
  const messages: Read<string> = ({ traffic: { up, down } }) => [
    [up.messages, 'up'],
    [down.messages, 'down'],
  ];
  metric(Counter, 'messages_total', 'Messages relayed: up to the application, down to clients', messages, 'direction');
  const bytes: Read<string> = ({ traffic: { up, down } }) => [
    [up.bytes, 'up'],
    [down.bytes, 'down'],
  ];
  metric(Counter, 'bytes_total', 'Payload relayed, in bytes', bytes, 'direction');
  const connecting = new DurationHistogram(
    `${METRICS_PREFIX}upstream_connect_seconds`,
    'Time from the first attempt to the answer of the application that accepted, in seconds',
    'upstream',
    CONNECT_BUCKETS,
    () =>
      upstreams().map(({ pathname, traffic: { connectCounts, connectSeconds } }) => ({
        of: pathname,
        counts: connectCounts,
        seconds: connectSeconds,
      })),
  );
  registry.registerMetric(connecting as never); // because a registry asks for no more than it has
}
