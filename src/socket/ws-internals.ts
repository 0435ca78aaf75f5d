import type { Duplex, Writable } from 'node:stream';
import type { WebSocket } from 'ws';

/**
 * The private state of `ws` that this package reads, since nothing public has it: its receiver has given the peer up, the peer's close
 * frame has come, or fragments wait for more. Without it, the socket would report a violation as a close by the application, answer a
 * close twice, let fragments hold more memory than they are long, and end no session as STALLED.
 */
export interface Internals {
  readonly _socket?: Duplex;
  readonly _closeFrameReceived?: boolean;
  readonly _receiver?: Writable & {
    readonly _fragments?: Buffer[];
    readonly _bufferedBytes?: number;
    readonly _totalPayloadLength?: number;
    readonly _fragmented?: number;
    readonly _state?: number;
    _maxPayload: number;
    _maxFragments: number;
  };
  readonly _extensions?: { readonly 'permessage-deflate'?: { _maxPayload: number } };
}

/** The state of `ws`'s receiver between two frames. */
const BETWEEN_FRAMES = 0;

export function internalsOf(socket: WebSocket): Internals {
  return socket as unknown as Internals; // because each of them may be absent
}

/** Bytes received of an unfinished message or frame, at least 1; 0 between two messages. */
export function receivingOf(socket: WebSocket): number {
  const receiver = internalsOf(socket)._receiver;
  if (receiver === undefined) return 0;
  const { _bufferedBytes: buffered = 0, _totalPayloadLength: kept = 0, _fragmented = 0, _state } = receiver;
  if (buffered + _fragmented === 0 && (_state === undefined || _state === BETWEEN_FRAMES)) return 0;
  return Math.max(1, buffered + kept);
}
