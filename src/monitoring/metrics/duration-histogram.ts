/** What is known of the durations of one kind. */
export interface Durations {
  /** Value of the label. */
  readonly of: string;
  /** How many took as long, by the bounds, and at the end those that took longer. */
  readonly counts: ArrayLike<number>;
  readonly seconds: number;
}

/** One line of a metric as a registry of prom-client writes it. */
interface Value {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly metricName: string;
}

/**
 * A histogram that a registry of prom-client takes for one of its own. It is made of plain numbers when metrics are scraped, so
 * that a message costs no look-up of labels.
 */
export class DurationHistogram<Label extends string> {
  readonly type = 'histogram';
  readonly aggregator = 'sum';

  /** @param bounds in seconds, ascending */
  constructor(
    readonly name: string,
    readonly help: string,
    private readonly label: Label,
    private readonly bounds: readonly number[],
    private readonly read: () => Iterable<Durations>,
  ) {}

  async get(): Promise<object> {
    const values = [...this.read()].flatMap((durations) => this.#valuesOf(durations));
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values };
  }

  /** A registry may ask for it; what is counted is not this object's to forget. */
  reset(): void {
    // counters that only grow are what Prometheus expects
  }

  #valuesOf({ of, counts, seconds }: Durations): Value[] {
    const labels = { [this.label]: of };
    let sum = 0;
    const cumulative = [...this.bounds, '+Inf'].map((le, at) => {
      sum += counts[at] as number; // because there are as many counts as bounds, and one more
      return { value: sum, labels: { le, ...labels }, metricName: `${this.name}_bucket` };
    });
    return [
      ...cumulative,
      { value: seconds, labels, metricName: `${this.name}_sum` },
      { value: sum, labels, metricName: `${this.name}_count` },
    ];
  }
}
