import type { OpenMetricsContentType, Registry } from 'prom-client';

type PromClient = typeof import('prom-client');

/** What a metric of prom-client says of itself. */
interface Snapshot {
  readonly name: string;
  readonly type: string;
}

/**
 * The metrics of a registry in the OpenMetrics format, which alone has room for exemplars: the `incidentId` beside a count.
 * prom-client renames the counters of a registry that it writes so, hence a registry of its own for each answer.
 */
export async function inOpenMetrics(registry: Registry, { Registry: New }: PromClient): Promise<string> {
  const open: Registry<OpenMetricsContentType> = new New();
  open.setContentType(New.OPENMETRICS_CONTENT_TYPE);
  for (const metric of registry.getMetricsAsArray()) open.registerMetric(renamed(metric as never) as never); // because only name, type and get() are asked for
  return open.metrics();
}

function renamed(metric: Snapshot & { get(): Promise<Snapshot> }): object {
  const { type } = metric;
  const name = type === 'counter' ? metric.name.replace(/_total$/, '') : metric.name;
  return { name, type, get: async () => ({ ...(await metric.get()), name }) };
}
