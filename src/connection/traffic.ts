/** Upper bounds of the buckets of handler durations, in milliseconds; one more is for all that took longer. */
export const DURATION_BOUNDS_MS = [
  0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000,
] as const;

/**
 * What has happened at one declared event. Plain numbers that the path of a message counts up and metrics read when they
 * are asked for: no label is looked up for a message.
 */
export class EventTraffic {
  received = 0;
  /** True once a handler of it has not answered at once. */
  waits = false;
  /** How many durations are in the buckets, and their sum in milliseconds. */
  timed = 0;
  timedMs = 0;
  /** How many handlers took up to the bound of the same place, and longer than the one before. */
  readonly buckets = new Float64Array(DURATION_BOUNDS_MS.length + 1);

  constructor(readonly event: string) {}

  took(milliseconds: number): void {
    this.timed++;
    this.timedMs += milliseconds;
    let at = 0; // most handlers are quick, so this ends soon
    while (at < DURATION_BOUNDS_MS.length && milliseconds > (DURATION_BOUNDS_MS[at] as number)) at++; // because at is in range
    (this.buckets[at] as number)++;
  }
}

/** What all sessions have sent and been sent. */
export class Traffic {
  readonly #events = new Map<string, EventTraffic>();

  /** Messages at no declared event, or that could not be read. */
  unknown = 0;
  /** Payload of messages received, in bytes. */
  receivedBytes = 0;
  sentMessages = 0;
  /** Frames sent as they are on the wire, before compression. */
  sentBytes = 0;

  /** @param isTimed whether durations are taken: two readings of the clock for each message */
  constructor(readonly isTimed: boolean) {}

  /** That of an event, on whatever path; made when a handler is bound, so there are as many as handlers. */
  of(event: string): EventTraffic {
    let traffic = this.#events.get(event);
    if (traffic === undefined) this.#events.set(event, (traffic = new EventTraffic(event)));
    return traffic;
  }

  get events(): Iterable<EventTraffic> {
    return this.#events.values();
  }
}
