import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import type { EventLoopUtilization, IntervalHistogram } from 'node:perf_hooks';

/** How often the delay is measured, in milliseconds. */
const RESOLUTION_MS = 20;

/** What is said of the time since it was asked for last. */
export interface EventLoopReading {
  /** Seconds by which timers were late. */
  readonly delay: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Share of the time in which the loop was busy, 0 to 1. */
  readonly utilization: number;
}

/** How busy the event loop is: what is slow for everybody. */
export class EventLoopWatch {
  readonly #delay: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #since: EventLoopUtilization = performance.eventLoopUtilization();

  start(): void {
    this.#delay.enable();
  }

  stop(): void {
    this.#delay.disable();
  }

  read(): EventLoopReading {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#since);
    this.#since = now;
    // The histogram holds the time between two timers, so their interval is no delay. Without any it holds zeros.
    const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1e3);
    const { max } = this.#delay;
    const delay = { p50: late(this.#delay.percentile(50)), p99: late(this.#delay.percentile(99)), max: late(max) };
    this.#delay.reset();
    return { delay, utilization: Number.isFinite(utilization) ? utilization : 0 };
  }
}
