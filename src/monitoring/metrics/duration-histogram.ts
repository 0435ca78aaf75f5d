import { DURATION_BOUNDS_MS } from '../../connection/traffic.js';
import type { EventTraffic, Traffic } from '../../connection/traffic.js';

/** One line of a metric as a registry of prom-client writes it. */
interface Value {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly metricName: string;
}

/** Bounds in seconds, as Prometheus wants them. */
const BOUNDS = DURATION_BOUNDS_MS.map((milliseconds) => milliseconds / 1_000);

/**
 * A histogram that a registry of prom-client takes for one of its own. It is made of the plain numbers of {@link Traffic}
 * when metrics are scraped, so that a message costs no look-up of labels.
 */
export class DurationHistogram {
  readonly type = 'histogram';
  readonly aggregator = 'sum';

  constructor(
    readonly name: string,
    readonly help: string,
    private readonly traffic: Traffic,
  ) {}

  async get(): Promise<object> {
    const values = [...this.traffic.events].flatMap((event) => this.#valuesOf(event));
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values };
  }

  /** A registry may ask for it; what is counted is not this object's to forget. */
  reset(): void {
    // counters that only grow are what Prometheus expects
  }

  #valuesOf({ event, buckets, timed, timedMs }: EventTraffic): Value[] {
    let sum = 0;
    const cumulative = BOUNDS.map((le, at) => {
      sum += buckets[at] as number; // because there are as many buckets as bounds, and one more
      return { value: sum, labels: { le, event }, metricName: `${this.name}_bucket` };
    });
    return [
      ...cumulative,
      { value: timed, labels: { le: '+Inf', event }, metricName: `${this.name}_bucket` },
      { value: timedMs / 1_000, labels: { event }, metricName: `${this.name}_sum` },
      { value: timed, labels: { event }, metricName: `${this.name}_count` },
    ];
  }
}
