/** Why a connection to an application was not made, or has ended, as metrics call it. */
export const UPSTREAM_FAILURES = ['refused', 'unreachable', 'broken'] as const;
export type UpstreamFailure = (typeof UPSTREAM_FAILURES)[number];

interface Direction {
  messages: number;
  bytes: number;
}

/** Upper bounds of the buckets of connecting times, in seconds. */
export const CONNECT_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

/** What has happened between a path and the application behind it; numbers alone, read when metrics are asked for. */
export class UpstreamTraffic {
  /** Sessions that are connected to the application. */
  connections = 0;
  /** From clients. */
  readonly up: Direction = { messages: 0, bytes: 0 };
  /** To clients. */
  readonly down: Direction = { messages: 0, bytes: 0 };
  readonly failures: Record<UpstreamFailure, number> = { refused: 0, unreachable: 0, broken: 0 };
  /** How many connections took as long, by {@link CONNECT_BUCKETS}; the last one has all that took longer. */
  readonly connectCounts: number[] = Array<number>(CONNECT_BUCKETS.length + 1).fill(0);
  connectSeconds = 0;

  failed(why: UpstreamFailure): void {
    this.failures[why]++;
  }

  /** A connection was made. @param ms from the first attempt to the application's answer */
  connected(ms: number): void {
    const seconds = ms / 1_000;
    const index = CONNECT_BUCKETS.findIndex((bound) => seconds <= bound);
    const at = index === -1 ? CONNECT_BUCKETS.length : index;
    this.connectCounts[at] = (this.connectCounts[at] ?? 0) + 1;
    this.connectSeconds += seconds;
  }
}
