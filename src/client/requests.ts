import type { ExceptionData, MessageId } from '../protocol/message.js';
import type { Connection } from './connection.js';
import { ConnectionError, GatewayException } from './errors.js';
import type { Settings } from './settings.js';
import type { Disconnect, Frame } from './types.js';

/** How a request ends, or goes on. */
export interface Answer {
  /** The reply, or a value of a streamed one. */
  value(data: unknown): void;
  /** The end of a stream. */
  done(): void;
  failed(error: unknown): void;
  /** After a lost connection. @returns what to ask instead, undefined where it is not asked again */
  again(): { readonly data: unknown } | undefined;
}

interface Request {
  readonly event: string;
  text: string | undefined;
  readonly answer: Answer;
  /** Undefined until it is sent. */
  id: number | undefined;
  /** Monotonic; a stream's is over when it is sent. */
  readonly deadline: number;
  timer: unknown;
  readonly isStream: boolean;
  unlisten(): void;
}

export interface Ask {
  readonly event: string;
  readonly data: unknown;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  readonly isStream: boolean;
  readonly answer: Answer;
}

/**
 * Requests on their way: first queued, then in flight, then settled, each within its own deadline. Both are bounded, so that a
 * hundred requests at once wait here instead of spending the server's budget. What the server surely did not run is sent again.
 */
export class Requests {
  #queue: Request[] = [];
  #queuedBytes = 0;
  readonly #inFlight = new Map<MessageId, Request>();
  /** Monotonic: the server's budget is spent until then. */
  #heldUntil = 0;
  #holdTimer: unknown;

  constructor(
    private readonly settings: Settings,
    private readonly connection: Connection,
  ) {}

  /** @returns what gives the request up, and cancels it at the server where it is a stream */
  ask({ event, data, timeoutMs, signal, isStream, answer }: Ask): () => void {
    const { clock, queue } = this.settings;
    let text: string | undefined;
    if (signal?.aborted === true) {
      answer.failed(reasonOf(signal));
      return () => undefined;
    }
    try {
      text = JSON.stringify(data) as string | undefined; // because undefined has no text
    } catch (error) {
      answer.failed(error);
      return () => undefined;
    }
    const size = text?.length ?? 0;
    if (this.#queue.length >= queue.maxRequests || this.#queuedBytes + size > queue.maxBytes) {
      answer.failed(new ConnectionError('QUEUE_FULL', false));
      return () => undefined;
    }
    const onAbort = (): void => this.#giveUp(request, signal && reasonOf(signal));
    signal?.addEventListener('abort', onAbort);
    const request: Request = {
      event,
      text,
      answer,
      id: undefined,
      isStream,
      deadline: clock.now() + timeoutMs,
      timer: clock.setTimeout(() => {
        this.#giveUp(request, new ConnectionError('TIMEOUT', request.id !== undefined));
      }, timeoutMs),
      unlisten: () => signal?.removeEventListener('abort', onAbort),
    };
    this.#queue.push(request);
    this.#queuedBytes += size;
    this.pump();
    return () => this.#giveUp(request, new ConnectionError('CLOSED', request.id !== undefined));
  }

  /** Sends what may be sent. */
  pump(): void {
    const { clock, queue } = this.settings;
    const pause = this.#heldUntil - clock.now();
    if (pause > 0) {
      clock.clearTimeout(this.#holdTimer);
      this.#holdTimer = this.#queue.length === 0 ? undefined : clock.setTimeout(() => this.pump(), pause);
      return;
    }
    while (this.connection.isOpen && this.#queue.length > 0 && this.#inFlight.size < queue.maxInFlight) {
      const request = this.#queue.shift() as Request; // because the length was looked at
      this.#queuedBytes -= request.text?.length ?? 0;
      this.#send(request);
    }
  }

  #send(request: Request): void {
    const id = this.connection.nextId();
    const frame = this.#frame(request, id);
    if (frame === undefined) return;
    request.id = id;
    this.#inFlight.set(id, request);
    if (request.isStream) this.settings.clock.clearTimeout(request.timer);
    this.connection.send(frame, () => ({
      event: request.event,
      id,
      ...(request.text !== undefined && { data: JSON.parse(request.text) as unknown }),
    }));
  }

  /** Undefined when the application's `meta` fails, which fails the request. */
  #frame({ event, text, answer }: Request, id: number): string | undefined {
    try {
      const meta = this.settings.meta?.();
      const head = `{"event":${JSON.stringify(event)},"id":${id}`;
      return `${head}${text === undefined ? '' : `,"data":${text}`}${meta === undefined ? '' : `,"meta":${JSON.stringify(meta)}`}}`;
    } catch (error) {
      answer.failed(error);
      return undefined;
    }
  }

  /** @returns true where the frame answers a request */
  receive({ event, data, id, done }: Frame): boolean {
    const request = id === undefined ? undefined : this.#inFlight.get(id);
    if (request === undefined) return id !== undefined; // an answer that is no longer waited for
    if (event === this.settings.exceptionEvent) this.#onException(request, data as ExceptionData);
    else if (done === true) this.#settle(request, () => request.answer.done());
    else if (request.isStream) request.answer.value(data);
    else this.#settle(request, () => request.answer.value(data));
    return true;
  }

  /** A budget that is spent means that nothing was done (PROTOCOL.md §3), so the request is asked again in time. */
  #onException(request: Request, exception: ExceptionData): void {
    const { clock } = this.settings;
    const { code, retryAfterMs } = exception;
    if (code === 'RATE_LIMITED' && retryAfterMs !== undefined && clock.now() + retryAfterMs < request.deadline) {
      this.#heldUntil = Math.max(this.#heldUntil, clock.now() + retryAfterMs);
      this.#requeue([request]);
      return this.pump();
    }
    this.#settle(request, () => request.answer.failed(new GatewayException(exception)));
  }

  #requeue(requests: readonly Request[]): void {
    for (const request of requests) {
      if (request.id !== undefined) this.#inFlight.delete(request.id);
      request.id = undefined;
      this.#queuedBytes += request.text?.length ?? 0;
    }
    this.#queue.unshift(...requests);
  }

  #settle(request: Request, settle: () => void): void {
    this.settings.clock.clearTimeout(request.timer);
    request.unlisten();
    if (request.id !== undefined) this.#inFlight.delete(request.id);
    settle();
    this.pump();
  }

  #giveUp(request: Request, error: unknown): void {
    const index = this.#queue.indexOf(request);
    if (index < 0 && (request.id === undefined || this.#inFlight.get(request.id) !== request)) return; // settled
    if (index >= 0) {
      this.#queue.splice(index, 1);
      this.#queuedBytes -= request.text?.length ?? 0;
    } else if (request.isStream) this.#cancel(request.id as number); // because it is in flight
    this.#settle(request, () => request.answer.failed(error));
  }

  #cancel(id: number): void {
    const frame = { event: 'cancel', data: { id } };
    this.connection.send(JSON.stringify(frame), () => frame);
  }

  /** What was sent may have run: it is asked again only where that does no harm. */
  lost(disconnect: Disconnect, isFinal: boolean): void {
    const sent = [...this.#inFlight.values()];
    const again: Request[] = [];
    for (const request of sent) {
      const next = isFinal ? undefined : request.answer.again();
      if (next === undefined) {
        this.#settle(request, () => request.answer.failed(new ConnectionError('CONNECTION_LOST', true, disconnect)));
      } else {
        request.text = JSON.stringify(next.data) as string | undefined; // because undefined has no text
        again.push(request);
      }
    }
    this.#requeue(again);
    if (!isFinal) return;
    this.settings.clock.clearTimeout(this.#holdTimer);
    this.#heldUntil = 0;
    for (const request of this.#queue.splice(0)) {
      this.#settle(request, () => request.answer.failed(new ConnectionError('CLOSED', false, disconnect)));
    }
    this.#queuedBytes = 0;
  }
}

/** React Native's signals have no reason. */
function reasonOf(signal: AbortSignal): unknown {
  return (signal.reason as unknown) ?? Object.assign(new Error('The request was aborted'), { name: 'AbortError' });
}
