import { decode, encode, encodeDone } from './codec.js';
import { GatewayError } from './errors.js';
import { SUBPROTOCOL } from './message.js';
import type { DisconnectData, ExceptionData, InboundMessage } from './message.js';
import type { Decoded, FailedRequest, ProtocolOptions, Reply, WireProtocol } from './wire-protocol.js';

/** The envelope of PROTOCOL.md: what a path speaks that says nothing else. */
export class Envelope implements WireProtocol<unknown> {
  readonly subprotocols: readonly string[] | undefined = [SUBPROTOCOL];
  readonly isTrusted: boolean = true;
  readonly takesBareToken: boolean = true;
  readonly takesBinary: boolean = false;

  decode(message: string | Uint8Array, _isBinary: boolean, _session: unknown, { limits }: ProtocolOptions): Decoded {
    return decodeEnvelope(message, limits.maxJsonDepth);
  }

  reply({ event, data, id, done }: Reply): string | undefined {
    if (!done) return encode(event, data, id);
    return id === undefined ? undefined : encodeDone(event, id);
  }

  push(event: string, data: unknown): string {
    return encode(event, data);
  }

  exception(exception: ExceptionData, { id }: FailedRequest, _session: unknown, { errors }: ProtocolOptions): string {
    return encode(errors.event, exception, id);
  }

  disconnect(reason: DisconnectData): string {
    return encode('disconnect', reason);
  }
}

function decodeEnvelope(message: string | Uint8Array, maxDepth: number): InboundMessage {
  if (typeof message !== 'string') throw new GatewayError('UNSUPPORTED_DATA');
  return decode(message, maxDepth);
}

/** It has no state, so one will do. */
export const ENVELOPE = new Envelope();
