import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { IntervalHistogram } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import { Inject, Injectable } from '@nestjs/common';
import { OVERLOAD_OPTIONS } from './options.js';

/** When the process counts as overloaded; `Infinity` is never. */
export interface LoadLimits {
  readonly maxEventLoopDelayMs: number;
  readonly maxHeapPercent: number;
}

const SAMPLE_MS = 1_000;
/** A sample that comes this late, in milliseconds, is of a process that was stopped. */
const STOPPED_MS = 1_000;
/** Resolution of the measured delay, in milliseconds, which is also what an idle process measures. */
const RESOLUTION_MS = 20;

/** Watches event loop and heap, once a second. */
@Injectable()
export class LoadGauge {
  #histogram: IntervalHistogram | undefined;
  #sampleAt = 0;
  /** After a stop: 2 until the next sweep has dropped the rest of the stop, then 1 until a sample comes in time. */
  #toLeaveOut: 0 | 1 | 2 = 0;
  #delayMs = 0;
  #heapPercent = 0;

  /** @param limits read when they are needed, since a reload changes them */
  constructor(@Inject(OVERLOAD_OPTIONS) private readonly limits: LoadLimits) {}

  start(): void {
    this.#histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
    this.#histogram.enable();
  }

  stop(): void {
    this.#histogram?.disable();
  }

  /** Mean delay of the event loop over the last sample, in milliseconds. */
  get delayMs(): number {
    return this.#delayMs;
  }

  /** Heap in use, in percent of what V8 may have. */
  get heapPercent(): number {
    return this.#heapPercent;
  }

  /** True while the process is overloaded: it refuses new connections. */
  get isOverloaded(): boolean {
    const { maxEventLoopDelayMs, maxHeapPercent } = this.limits;
    return this.#delayMs > maxEventLoopDelayMs || this.#heapPercent > maxHeapPercent;
  }

  /** True when more of the heap is in use than may be. */
  get isHeapFull(): boolean {
    return this.#heapPercent > this.limits.maxHeapPercent;
  }

  sweep(now: number): void {
    if (this.#histogram === undefined || now < this.#sampleAt) return;
    // One stop is no load, and counting it would end healthy sessions; two in a row are load. The histogram has its own timer, which
    // may fire after this one, so that its values at the next sweep belong to the stop, too.
    const wasStopped = this.#sampleAt > 0 && now - this.#sampleAt > STOPPED_MS;
    const left = this.#toLeaveOut;
    this.#toLeaveOut = left === 0 ? (wasStopped ? 2 : 0) : left === 2 ? 1 : wasStopped ? 1 : 0;
    // The first sample covers the start, when a process is busy or may have been stopped.
    const isLeftOut = this.#sampleAt === 0 || this.#toLeaveOut === 2 || left === 2;
    const mean = isLeftOut ? NaN : this.#histogram.mean / 1e6;
    this.#sampleAt = this.#toLeaveOut === 2 ? now : now + SAMPLE_MS;
    this.#delayMs = Number.isNaN(mean) ? this.#delayMs : Math.max(0, mean - RESOLUTION_MS);
    this.#histogram.reset();
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics();
    this.#heapPercent = (used / limit) * 100;
  }
}
