import { Injectable } from '@nestjs/common';
import type { Unsubscribable } from 'rxjs';
import type { Swept } from '../base/sweeper.js';
import { isWsResponse } from '../protocol/codec.js';
import { GatewayError } from '../protocol/errors.js';
import type { MessageId } from '../protocol/message.js';
import type { Encoded } from '../protocol/wire-protocol.js';
import type { OpenRequest } from '../session/intake.js';
import type { Session } from '../session/session.js';
import type { PulledStream } from './pulled-stream.js';
import type { Route } from './router.js';
import { isAbortError } from './signals.js';
import type { MessageTrace } from './tracing.js';
import { Traffic } from './traffic.js';

/**
 * The session has as many streams as it may have.
 *
 * @param retryAfterMs only where the handler was not called: the client takes it for a promise that nothing was done
 */
export function tooManyStreams(retryAfterMs?: number): GatewayError {
  const again = retryAfterMs === undefined ? { retryable: false } : { retryAfterMs };
  return new GatewayError('RATE_LIMITED', { message: 'Too many streams', ...again });
}

/**
 * A request whose handler answers later, or through an Observable. One that completes while it is subscribed to is never
 * enlisted: its session and the sweep have nothing to do with it.
 */
export class PendingRequest implements OpenRequest {
  /** True when it has been answered, or no client waits for the answer. */
  settled = false;
  /** True once the reply is a stream; it counts among the session's streams then. */
  isStream = false;
  /** Set while the stream is subscribed to. */
  stream: Unsubscribable | undefined = undefined;
  /** The handler's promise, until it settles or is no longer waited for. */
  promise: object | undefined = undefined;
  /** Of an AsyncIterable that is streamed. */
  pulled: PulledStream | undefined = undefined;
  /** Of the handler's signal, where it asks for one. */
  controller: AbortController | undefined = undefined;
  /** True once the client has cancelled it. */
  isCancelled = false;
  /** True where it is answered and its handler still runs: what it holds is no longer its session's. */
  isAbandoned = false;
  /** The answer, where it waits until the peer has read what was sent before it. */
  answer: Encoded | undefined = undefined;
  /** The last value of an Observable that is no stream: the answer, when it completes. */
  value: unknown = undefined;
  /** What its message holds on the heap, as far as it is charged for; 0 until it is enlisted, and once it is let go. */
  bytes = 0;
  #isEnlisted = false;

  constructor(
    readonly session: Session,
    readonly route: Route,
    readonly id: MessageId | undefined,
    /** What the protocol of the path wants back with the answer. */
    readonly context: unknown,
    /** True for a token without an envelope: there is no request to answer with an exception. */
    readonly bare: boolean,
    /** What its message holds on the heap, in bytes. */
    readonly cost: number,
    /** In monotonic milliseconds; moved by the time for which the process was stopped. */
    public startedAt: number,
    /** See {@link Traffic.startTiming}. */
    readonly measuredFrom: number,
    readonly trace: MessageTrace | undefined,
    private readonly table: RequestQueue,
  ) {}

  /** It goes on after the call of its handler: it counts as one of its session, and the sweep looks at it. */
  enlist(): void {
    if (this.#isEnlisted || this.settled) return;
    this.#isEnlisted = true;
    this.bytes = this.cost;
    this.route.traffic.waits = true;
    this.table.add(this);
    this.session.intake.began(this);
  }

  /** False when its stream is no longer to be read. */
  get isWanted(): boolean {
    return !this.settled && this.session.isLive;
  }

  /**
   * Its answer is a stream, which counts among the session's from now on. Never throws: over their number the request fails.
   */
  streams(): void {
    const { session } = this;
    if (this.settled) return;
    if (!session.isLive) return this.settle(); // no client is left to read it
    if (this.isCancelled) return this.finish();
    this.enlist();
    this.route.traffic.streams = true;
    if (!session.intake.streaming()) return this.fail(tooManyStreams());
    this.isStream = true;
    this.answers();
  }

  get event(): string {
    return this.route.event;
  }

  /** UTF-16 units, or bytes, of the answer that waits. */
  get size(): number {
    return this.answer?.length ?? 0;
  }

  /** The answer has room now. */
  proceed(): void {
    this.session.sendEncoded(this.answer);
    this.answered(this.answer);
  }

  /** Its one answer has been sent. */
  answered(answer: Encoded | undefined): void {
    try {
      if (answer instanceof Uint8Array) confirm(this.session, this);
    } catch (error) {
      this.session.onFault(error, this.event); // a protocol of the application's threw
    }
    this.settle();
  }

  /** Its handler has answered in time, or begun to: the sweep looks at it no longer. */
  answers(): void {
    if (this.#isEnlisted) this.table.delete(this);
  }

  /** Ends a stream with `done`, which a request without an `id` does not have. */
  finish(): void {
    if (this.settled) return;
    try {
      if (this.id !== undefined) done(this.session, this, this.isCancelled);
    } catch (error) {
      this.session.onFault(error, this.event); // a protocol of the application's threw
    }
    this.settle();
  }

  /** The client wants no more of it. A handler that has yet to return may still answer with one value, and with no stream. */
  cancel(): void {
    this.isCancelled = true;
    this.abort();
    if (this.isStream) this.finish();
  }

  /** Aborts the handler's signal, where it asks for one. */
  abort(reason?: unknown): void {
    this.controller?.abort(reason);
  }

  /** The time for its answer is over. */
  expire(): void {
    const error = new GatewayError('HANDLER_TIMEOUT');
    this.fail(error);
    this.abort(error);
  }

  /** Ends it with an error: what its handler threw, or HANDLER_TIMEOUT. */
  fail(error: unknown): void {
    if (this.settled) return;
    if (this.controller?.signal.aborted && isAbortError(error)) return this.finish();
    const { session, id, context, cost: heapBytes, trace, route } = this;
    const durationMs = Math.round(session.clock.monotonic() - this.startedAt);
    const request = this.bare ? undefined : { id, context, event: route.event, durationMs, heapBytes, trace };
    this.settle(() => session.fail(error, request));
  }

  /** Answers first and counts it as answered after, since the next held message may run at once. */
  settle(answer?: () => void): void {
    const { session, route, measuredFrom, isStream, trace } = this;
    this.settled = true;
    answer?.();
    this.table.traffic.handled(session, route.traffic, measuredFrom, answer === undefined, isStream);
    trace?.end();
    this.answers();
    this.unsubscribe();
    if (!this.#isEnlisted) return;
    this.#letGo();
    session.intake.ended(this);
  }

  /** What still runs of its handler holds the message, and is charged for it until it has come to its end. */
  #letGo(): void {
    const { session, pulled } = this;
    if (this.promise !== undefined) return session.intake.abandon(this, this.promise);
    const running = pulled?.running;
    if (running === undefined) return session.intake.letGo(this);
    session.intake.abandon(this, running);
    void running.then(() => session.intake.letGo(this));
  }

  /** Ends its stream. What an application does when it is unsubscribed from may throw. */
  unsubscribe(): void {
    try {
      this.stream?.unsubscribe();
    } catch (error) {
      this.session.onFault(error, this.route.event);
    }
  }
}

/**
 * The requests of one path that wait for their handler, oldest first. All have the same time to answer, so the sweep looks only at
 * the front, and no request needs a timer of its own.
 */
export class RequestQueue implements Swept {
  // A Set keeps the order of insertion.
  readonly #requests = new Set<PendingRequest>();

  /** @param limits read by each sweep, since a reload changes them */
  constructor(
    private readonly limits: { readonly handlerTimeoutMs: number },
    readonly traffic: Traffic,
  ) {}

  get size(): number {
    return this.#requests.size;
  }

  add(request: PendingRequest): void {
    this.#requests.add(request);
  }

  /** It has answered, or begun to. */
  delete(request: PendingRequest): void {
    this.#requests.delete(request);
  }

  /** Stays in order: all are moved alike, and what begins later began later. */
  postpone(ms: number): void {
    for (const request of this.#requests) request.startedAt += ms;
  }

  sweep(now: number): void {
    const startedBy = now - this.limits.handlerTimeoutMs;
    for (const request of this.#requests) {
      if (request.startedAt > startedBy) return;
      this.#requests.delete(request);
      request.expire();
    }
  }
}

/** The requests of all paths that wait for their handler. */
@Injectable()
export class PendingRequests implements Swept {
  readonly #queues: RequestQueue[] = [];

  constructor(private readonly traffic: Traffic) {}

  /** Those of one more path. */
  queue(limits: { readonly handlerTimeoutMs: number }): RequestQueue {
    const queue = new RequestQueue(limits, this.traffic);
    this.#queues.push(queue);
    return queue;
  }

  get size(): number {
    return this.#queues.reduce((size, queue) => size + queue.size, 0);
  }

  postpone(ms: number): void {
    for (const queue of this.#queues) queue.postpone(ms);
  }

  sweep(now: number): void {
    for (const queue of this.#queues) queue.sweep(now);
  }
}

/** What a handler of this package returns where a request has no answer, whatever its `id`. */
export const NO_ANSWER = Symbol('nestjs-ws-gateway.no-answer');

/** What of a request its answer is made from. */
export interface Answered {
  readonly event: string;
  readonly id?: MessageId | undefined;
  readonly context?: unknown;
}

/**
 * Answers a request with what its handler returned (PROTOCOL.md §1).
 *
 * @throws TypeError when the value cannot be serialised; nothing has been sent then
 */
export function reply(session: Session, request: Answered, result: unknown, isStream = false): void {
  session.sendEncoded(encodeReply(session, request, result, isStream));
  if (!isStream && result instanceof Uint8Array) confirm(session, request);
}

/** A binary answer has no place for an `id`: what is correlated comes after it. */
export function confirm(session: Session, request: Answered): void {
  if (request.id !== undefined) session.sendEncoded(encodeReply(session, request, null));
}

/**
 * The answer as it is sent; undefined when nothing is.
 *
 * @throws TypeError when the value cannot be serialised; what a protocol of the application's throws
 */
export function encodeReply(
  session: Session,
  { event, id, context }: Answered,
  result: unknown,
  isStream = false,
): Encoded | undefined {
  if (result === NO_ANSWER) return undefined;
  if (result instanceof Uint8Array) return result;
  const isNothing = result === undefined || result === null;
  if (isNothing && id === undefined) return undefined;
  const isResponse = isWsResponse(result);
  const name = isResponse ? result.event : event;
  const data = isResponse ? result.data : isNothing ? null : result;
  // One literal: a copy of what all answers have in common would cost as much as encoding a short one.
  return session.server.protocol.reply(
    { event: name, data, id, done: false, isStream, isCancelled: false, context },
    session,
  );
}

/** Ends a streamed reply. */
export function done(session: Session, { event, id, context }: Answered, isCancelled: boolean): void {
  const end = { event, data: undefined, id, done: true, isStream: true, isCancelled, context };
  session.sendEncoded(session.server.protocol.reply(end, session));
}
