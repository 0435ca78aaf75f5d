import type { WebSocket } from 'ws';

export type BinaryType = WebSocket['binaryType'];

export const BINARY_TYPES: ReadonlySet<unknown> = new Set(['nodebuffer', 'arraybuffer', 'fragments', 'blob']);

/** A binary message as a listener has asked for it by `socket.binaryType`. */
export function inType(bytes: Buffer, type: BinaryType): unknown {
  if (type === 'nodebuffer') return bytes;
  if (type === 'fragments') return [bytes];
  const own = new Uint8Array(bytes); // the chunk that it was read in holds other messages, too
  return (type as string) === 'blob' ? new Blob([own]) : own.buffer;
}
