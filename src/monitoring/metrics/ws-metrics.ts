import type { Registry } from 'prom-client';

/** What all metrics of this package begin with. */
export const METRICS_PREFIX = 'ws_gateway_';

/** Metrics as they are sent. */
export interface MetricsAnswer {
  readonly contentType: string;
  readonly body: string;
}

/**
 * The metrics of the module, for Prometheus. Injectable anywhere in the application; {@link registry} is undefined unless
 * `monitoring.metrics` is true or a registry was given.
 */
export abstract class WsMetrics {
  /** What the metrics are in, a `Registry` of prom-client: to add others, or to serve it with others. */
  abstract readonly registry: Registry | undefined;

  /**
   * The metrics as text.
   *
   * @param accept the `Accept` header of the request: OpenMetrics, which has exemplars, where it is asked for
   * @throws Error, as a rejection, when metrics are off
   */
  abstract text(accept?: string): Promise<MetricsAnswer>;
}
