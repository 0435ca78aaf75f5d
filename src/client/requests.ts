import type { Connection } from './connection.js';
import { ConnectionError, isConnectionError, isException } from './errors.js';
import type { ConnectionErrorCode } from './errors.js';
import { nothing, trying } from './guards.js';
import type { Answer } from './link.js';
import type { Settings } from './settings.js';
import type { Disconnect } from './types.js';

export interface Ask extends Answer {
  /** For waiting and answer together, in milliseconds; for a stream, until it is sent. @default the client's */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** After a lost connection it is asked again: the same, or with the data that this gives. */
  readonly again?: boolean | (() => unknown) | undefined;
}

export interface Requests {
  /** @returns what gives the request up, and cancels it at the server where it is a stream */
  ask(event: string, data: unknown, ask: Ask): () => void;
  /** Sends what may be sent. */
  pump(): void;
  /** What waits is not sent any more. */
  close(disconnect: Disconnect): void;
}

interface Request {
  /** Of the calls: what comes back into the queue has its old place. */
  readonly order: number;
  text(): string;
  send(): void;
  fail(code: ConnectionErrorCode, disconnect?: Disconnect): void;
}

/** After so long without another RATE_LIMITED the pace is free again, in milliseconds. */
const PACED_MS = 10_000;

/**
 * Requests on their way: first queued, then in flight, then settled, each within its own deadline. Both are bounded, so that a
 * hundred requests at once wait here instead of spending the server's budget. What the server surely did not run is sent again.
 */
export function createRequests(settings: Settings, connection: Connection): Requests {
  const { clock, after, meta } = settings;
  const { maxRequests, maxBytes, maxInFlight } = settings.queue;
  let queue: Request[] = [];
  const inFlight = new Set<Request>();
  let calls = 0;
  /** Monotonic: nothing is sent before. Until `pacedUntil` it is one message in every `pace`. */
  let notBefore = 0;
  let pace = 0;
  let pacedUntil = 0;
  let stopHold: () => void = nothing;

  const pump = (): void => {
    stopHold();
    while (queue.length > 0 && inFlight.size < maxInFlight && connection.link) {
      const now = clock.now();
      if (now < notBefore) {
        stopHold = after(notBefore - now, pump);
        return;
      }
      if (now < pacedUntil) notBefore = now + pace;
      queue.shift()?.send();
    }
  };

  /** A budget that is spent means that nothing was done (PROTOCOL.md §3). @returns true where it may be asked again in time */
  const isHeld = (error: unknown, deadline: number): boolean => {
    const until = clock.now() + (isException(error, 'RATE_LIMITED') ? (error.retryAfterMs ?? Infinity) : Infinity);
    if (until >= deadline) return false;
    pace = until - clock.now();
    notBefore = Math.max(notBefore, until);
    pacedUntil = notBefore + PACED_MS;
    return true;
  };

  const ask: Requests['ask'] = (event, data, { signal, timeoutMs = settings.timeoutMs, again, ...answer }) => {
    const { isStream } = answer;
    let text = '';
    let deadline = 0;
    let stopTimer: () => void = nothing;
    /** Gives up an answer that has not come; there while it is in flight. */
    let forget: (() => void) | undefined;
    let maybeExecuted = false;
    let isOver = false;

    const land = (): void => {
      forget?.();
      forget = undefined;
      inFlight.delete(request);
    };
    const settle = (act: () => void): void => {
      if (isOver) return;
      isOver = true;
      queue = queue.filter((other) => other !== request);
      land();
      stopTimer();
      signal?.removeEventListener('abort', onAbort);
      act();
      pump();
    };
    const failed = (error: unknown): void => settle(() => answer.failed(error));
    const fail: Request['fail'] = (code, disconnect) =>
      failed(new ConnectionError(code, maybeExecuted || forget !== undefined, disconnect));
    const onAbort = (): void => failed(reasonOf(signal as AbortSignal)); // because it is the signal's listener
    const arm = (ms: number): void => {
      stopTimer();
      stopTimer = after(ms, () => fail('TIMEOUT'));
      deadline = clock.now() + ms;
    };
    const requeue = (ms: number): void => {
      if (isStream) arm(ms);
      queue.push(request);
      queue.sort((a, b) => a.order - b.order);
      pump();
    };
    const request: Request = {
      order: calls++,
      text: () => text,
      fail,
      send: () =>
        trying(() => {
          const about = meta?.();
          if (!connection.link) return requeue(timeoutMs); // meta() is the application's
          if (isStream) stopTimer();
          inFlight.add(request);
          forget = connection.link.ask(event, text, link, about);
          if (isOver) land(); // onFrame() is, too
        }, failed),
    };
    const link: Answer = {
      isStream,
      value: (value) => (isStream ? answer.value(value) : settle(() => answer.value(value))),
      done: () => settle(() => answer.done?.()),
      failed(error) {
        land();
        if (isHeld(error, deadline)) requeue(deadline - clock.now());
        else if (again && isConnectionError(error, 'CONNECTION_LOST')) {
          maybeExecuted = true;
          trying(() => {
            if (typeof again === 'function') text = jsonOf(again());
            requeue(timeoutMs);
          }, failed);
        } else failed(error);
      },
    };

    trying(() => {
      if (signal?.aborted === true) throw reasonOf(signal);
      text = jsonOf(data);
      const waiting = queue.reduce((sum, other) => sum + other.text().length, text.length);
      if (queue.length >= maxRequests || waiting > maxBytes) throw new ConnectionError('QUEUE_FULL', false);
      signal?.addEventListener('abort', onAbort);
      arm(timeoutMs);
      queue.push(request);
      pump();
    }, failed);
    return () => fail('CLOSED');
  };

  return {
    ask,
    pump,
    close(disconnect) {
      for (const request of queue) request.fail('CLOSED', disconnect);
      notBefore = pacedUntil = 0;
    },
  };
}

/** React Native's signals have no reason. */
function reasonOf(signal: AbortSignal): Error {
  return (signal.reason as Error) ?? new Error('AbortError');
}

/** Undefined has no text. */
const jsonOf = (data: unknown): string => (JSON.stringify(data) as string | undefined) ?? '';
