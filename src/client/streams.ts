import { ConnectionError } from './errors.js';
import type { Requests } from './requests.js';
import type { StreamOptions } from './types.js';

/** Values that wait to be read; one more ends the stream. */
const MAX_UNREAD = 1_000;

/** The values of a streamed reply. It is asked for with the first `next()`; `break`, an abort and `return()` cancel it. */
export function stream<Data, Value>(
  requests: Requests,
  event: string,
  data: Data,
  { signal, timeoutMs, resume }: StreamOptions<Data, Value> & { timeoutMs: number },
): AsyncIterableIterator<Value> {
  const unread: Value[] = [];
  let last: Value | undefined;
  let isBegun = false;
  let isOver = false;
  let error: unknown;
  let hasFailed = false;
  let waiting: { resolve(result: IteratorResult<Value>): void; reject(error: unknown): void } | undefined;
  let giveUp = (): void => undefined;

  const end = (failure?: { error: unknown }): void => {
    if (isOver) return;
    isOver = true;
    hasFailed = failure !== undefined;
    error = failure?.error;
    const waiter = waiting;
    waiting = undefined;
    if (waiter === undefined) return;
    if (hasFailed) waiter.reject(error);
    else waiter.resolve({ done: true, value: undefined });
  };

  const begin = (): void => {
    isBegun = true;
    giveUp = requests.ask({
      event,
      data,
      timeoutMs,
      signal,
      isStream: true,
      answer: {
        value(value) {
          last = value as Value; // because that is the event's type
          if (waiting !== undefined) {
            const { resolve } = waiting;
            waiting = undefined;
            resolve({ done: false, value: last });
          } else if (unread.push(last) > MAX_UNREAD) {
            end({ error: new ConnectionError('TOO_SLOW', true) });
            giveUp();
          }
        },
        done: () => end(),
        failed: (failure) => end({ error: failure }),
        again: () => (resume === undefined ? undefined : { data: resume(last) }),
      },
    });
  };

  return {
    next() {
      if (!isBegun) begin();
      if (unread.length > 0) return Promise.resolve({ done: false, value: unread.shift() as Value }); // because there is one
      if (!isOver) return new Promise((resolve, reject) => (waiting = { resolve, reject }));
      if (!hasFailed) return Promise.resolve({ done: true, value: undefined });
      hasFailed = false; // an iterator throws once
      return Promise.reject(error);
    },
    return() {
      isBegun = true;
      unread.length = 0;
      end();
      giveUp();
      return Promise.resolve({ done: true, value: undefined });
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
