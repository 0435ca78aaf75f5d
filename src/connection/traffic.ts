import { performance } from 'node:perf_hooks';
import type { Emitter } from '../base/emitter.js';
import type { Session } from '../session/session.js';
import type { WsMessageEvent } from './events.js';

/** Upper bounds of the buckets of handler durations, in milliseconds; one more is for all that took longer. */
export const DURATION_BOUNDS_MS = [
  0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000,
] as const;

/**
 * Counts of one declared event. The path of a message increments plain numbers, and metrics read them at a scrape: no message looks
 * up a label.
 */
export class EventTraffic {
  received = 0;
  /** True once a handler of the event has answered later than at once. */
  waits = false;
  /** True once a handler of the event has answered with a stream. */
  streams = false;
  /** The sum of the durations in the buckets, in milliseconds. */
  timedMs = 0;
  /** Number of durations up to the bound of the same index, and above the bound before it. */
  readonly buckets = new Float64Array(DURATION_BOUNDS_MS.length + 1);

  constructor(readonly event: string) {}

  took(milliseconds: number): void {
    this.timedMs += milliseconds;
    let at = 0; // most handlers are quick, so this ends soon
    while (at < DURATION_BOUNDS_MS.length && milliseconds > (DURATION_BOUNDS_MS[at] as number)) at++; // because at is in range
    (this.buckets[at] as number)++;
  }
}

/** Messages and bytes of all sessions, both ways. */
export class Traffic {
  readonly #events = new Map<string, EventTraffic>();

  /** Messages for no declared event, or that could not be decoded. */
  unknown = 0;
  /** Payload of messages received, in bytes. */
  receivedBytes = 0;
  sentMessages = 0;
  /** Frames sent as they are on the wire, before compression. */
  sentBytes = 0;

  /** @param isTimed whether durations are taken: two readings of the clock for each message */
  constructor(
    private isTimed: boolean,
    private readonly monitor: Emitter<WsMessageEvent>,
  ) {}

  /** From now on durations are taken: a console shows them. */
  time(): void {
    this.isTimed = true;
  }

  /** When a message begins, in milliseconds; 0 while neither metrics, a console nor a listener want its duration. */
  startTiming(): number {
    return this.isTimed || this.monitor.has('message') ? performance.now() : 0;
  }

  /**
   * The message has been handled.
   *
   * @param startedAt as {@link startTiming} has returned it
   * @param ok true when it was answered without an exception
   */
  handled(session: Session, event: EventTraffic, startedAt: number, ok: boolean, isStream = false): void {
    if (startedAt === 0) return;
    const durationMs = performance.now() - startedAt;
    // A stream may last for hours, which says nothing of latency.
    if (!isStream) event.took(durationMs);
    if (!this.monitor.has('message')) return;
    const { id: sessionId, clientAddress, principal } = session;
    const subject = principal !== undefined && { subject: principal.subject };
    this.monitor.emit({ kind: 'message', event: event.event, sessionId, clientAddress, ok, durationMs, ...subject });
  }

  /** The counts of an event on all paths; made when a handler is bound, so there are at most as many as handlers. */
  of(event: string): EventTraffic {
    let traffic = this.#events.get(event);
    if (traffic === undefined) this.#events.set(event, (traffic = new EventTraffic(event)));
    return traffic;
  }

  get events(): Iterable<EventTraffic> {
    return this.#events.values();
  }
}
