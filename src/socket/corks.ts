import type { Writable } from 'node:stream';

// One callback at the end of the tick for all streams.
let corked: Writable[] = [];

/** What is written to the stream from now on leaves in one write, at the end of the tick. */
export function corkSoon(stream: Writable): void {
  if (stream.writableCorked > 0) return;
  stream.cork();
  if (corked.push(stream) === 1) process.nextTick(uncorkAll);
}

function uncorkAll(): void {
  const streams = corked;
  corked = [];
  for (const stream of streams) stream.uncork();
}

/** Calls back once when all has been written; soon where so little is queued that the stream does not say so. */
export function onceDrained(stream: Writable | undefined, callback: () => void): void {
  if (stream?.writableNeedDrain) stream.once('drain', callback);
  else setImmediate(callback);
}
