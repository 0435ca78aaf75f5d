import { ENVELOPE } from './envelope.js';
import type { WireProtocol } from './wire-protocol.js';

/** What this package may write on a path whose messages it does not read. */
export interface RawFrames {
  readonly exceptions: boolean;
  readonly disconnects: boolean;
  readonly subprotocols: readonly string[];
}

const nothing = (): undefined => undefined;

/** The language of a raw path: none, apart from the frames of the envelope that the application lets through. */
export function rawProtocol({ exceptions, disconnects, subprotocols }: RawFrames): WireProtocol<unknown> {
  return {
    isTrusted: true,
    subprotocols,
    decode: nothing,
    reply: nothing,
    push: nothing,
    exception: exceptions ? ENVELOPE.exception.bind(ENVELOPE) : nothing,
    disconnect: disconnects ? ENVELOPE.disconnect.bind(ENVELOPE) : nothing,
  };
}
