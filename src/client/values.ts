import { ConnectionError } from './errors.js';
import { nothing } from './guards.js';

/** Values that wait to be read; one more ends them. */
const MAX_UNREAD = 1_000;

/** Where values go to. */
export interface Sink<Value> {
  value(value: Value): void;
  done(): void;
  failed(error: unknown): void;
}

/**
 * Values for `for await`. They begin with the first `next()`, and end at the source when they are left, or read too slowly.
 *
 * @param begin @returns what ends them at the source
 */
export function readable<Value>(begin: (sink: Sink<Value>) => () => void): AsyncIterableIterator<Value> {
  const unread: Value[] = [];
  let end: (() => void) | undefined;
  let wake: (() => void) | undefined;
  let stop: (() => void) | undefined;

  const finish = (how: () => void): void => {
    end ??= how;
    wake?.();
  };
  const sink: Sink<Value> = {
    value(value) {
      if (end) return;
      if (unread.push(value) <= MAX_UNREAD) return wake?.();
      sink.failed(new ConnectionError('TOO_SLOW', true));
      stop?.();
    },
    done: () => finish(nothing),
    failed: (error) =>
      finish(() => {
        throw error;
      }),
  };

  const values = (async function* () {
    stop = begin(sink);
    for (;;) {
      while (unread.length > 0) yield unread.shift() as Value; // because there is one
      if (end) return end();
      await new Promise<void>((resolve) => (wake = resolve));
    }
  })();
  const leave = values.return.bind(values);
  values.return = (value) => {
    unread.length = 0;
    sink.done(); // a read that waits ends too
    stop?.();
    return leave(value);
  };
  return values;
}
