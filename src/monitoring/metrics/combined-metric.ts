import type { Registry } from 'prom-client';

/** One line of a metric. */
interface Value {
  readonly value: number;
  readonly labels: object;
  readonly metricName?: string;
}

interface Snapshot {
  readonly values: readonly Value[];
}

/** What is needed of a metric of prom-client. */
interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly aggregator: string;
  get(): Promise<Snapshot>;
  reset(): void;
}

/** Of one application: over once its module has stopped. */
export interface Life {
  isOver: boolean;
}

/**
 * A metric of several applications of the process in one registry, which takes each name once: their values are added up, of the
 * event loop, which they share, it is the largest. An application that has stopped is counted until another one begins.
 */
export class CombinedMetric {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly aggregator: string;
  #parts: { readonly metric: Metric; readonly life: Life }[] = [];

  constructor({ name, help, type, aggregator }: Metric) {
    this.name = name;
    this.help = help;
    this.type = type;
    this.aggregator = aggregator;
  }

  add(metric: Metric, life: Life): void {
    this.#parts = this.#parts.filter((part) => !part.life.isOver);
    this.#parts.push({ metric, life });
  }

  async get(): Promise<Snapshot> {
    const snapshots = await Promise.all(this.#parts.map(({ metric }) => metric.get()));
    const [first, ...others] = snapshots as [Snapshot, ...Snapshot[]]; // because it is made for one
    if (others.length === 0) return first;
    const values = new Map<string, Value>();
    for (const value of snapshots.flatMap((snapshot) => snapshot.values)) {
      const key = JSON.stringify([value.metricName, value.labels]);
      const known = values.get(key);
      values.set(key, known === undefined ? value : { ...known, ...value, value: this.#combine(known, value) });
    }
    return { ...first, values: [...values.values()] };
  }

  /** A registry asks for it. */
  reset(): void {
    for (const { metric } of this.#parts) metric.reset();
  }

  #combine(one: Value, other: Value): number {
    return this.aggregator === 'max' ? Math.max(one.value, other.value) : one.value + other.value;
  }
}

/**
 * Puts the metrics of one application into a registry of the application's.
 *
 * @throws Error for a name under which another package has registered a metric
 */
export function join(registry: Registry, own: Registry, life: Life): void {
  for (const metric of own.getMetricsAsArray() as unknown as Metric[]) {
    // because they all have these members
    const known: unknown = registry.getSingleMetric(metric.name);
    if (known instanceof CombinedMetric) known.add(metric, life);
    else {
      const combined = new CombinedMetric(metric);
      combined.add(metric, life);
      registry.registerMetric(combined as never); // because a registry asks for no more than it has
    }
  }
}
