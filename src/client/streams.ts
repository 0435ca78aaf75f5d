import type { Requests } from './requests.js';
import type { StreamOptions } from './types.js';
import { readable } from './values.js';

/** The values of a streamed reply. It is asked for with the first `next()`; `break`, an abort and `return()` cancel it. */
export function stream<Data, Value>(
  requests: Requests,
  event: string,
  data: Data,
  { resume, ...options }: StreamOptions<Data, Value> = {},
): AsyncIterableIterator<Value> {
  return readable((sink) => {
    let last: Value | undefined;
    return requests.ask(event, data, {
      ...options,
      ...sink,
      isStream: true,
      value: (value) => sink.value((last = value as Value)), // because that is the event's type
      again: resume && (() => resume(last)),
    });
  });
}
