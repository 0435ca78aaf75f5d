import { containResult } from '../base/contain.js';
import { isThenable } from '../base/thenable.js';
import { isEventName } from '../protocol/message.js';
import type { DisconnectData, ExceptionData } from '../protocol/message.js';
import type {
  Decoded,
  DecodedMessage,
  Encoded,
  FailedRequest,
  ProtocolOptions,
  Reply,
  UnreadableMessage,
  WireProtocol,
} from '../protocol/wire-protocol.js';
import type { WsSession } from './ws-session.js';

/** A protocol has done what no message can make it do: the request is INTERNAL, not the peer's BAD_FRAME. */
export class ProtocolFault extends Error {
  override readonly name = 'ProtocolFault';
}

/**
 * A protocol of the application's: what it decodes to is copied to plain data, and what it writes is looked at. What it throws is thrown
 * on to those who call protocols, as what the package's own throw is.
 */
export class ForeignProtocol implements WireProtocol<WsSession> {
  readonly subprotocols: readonly string[] | undefined;
  readonly takesBareToken = false;
  readonly takesBinary: boolean;

  constructor(private readonly protocol: WireProtocol<WsSession>) {
    this.subprotocols = protocol.subprotocols === undefined ? undefined : [...protocol.subprotocols];
    this.takesBinary = protocol.takesBinary !== false;
  }

  /** @throws ProtocolFault, or what the protocol throws */
  decode(message: string | Uint8Array, isBinary: boolean, session: WsSession, options: ProtocolOptions): Decoded {
    const decoded: unknown = this.protocol.decode(message, isBinary, session, options);
    if (decoded === undefined || decoded === null) return undefined;
    return Array.isArray(decoded) ? decoded.map(plain) : plain(decoded);
  }

  reply(reply: Reply, session: WsSession): Encoded | undefined {
    return written(this.protocol.reply(reply, session));
  }

  push(event: string, data: unknown): Encoded | undefined {
    return written(this.protocol.push(event, data));
  }

  exception(
    exception: ExceptionData,
    request: FailedRequest,
    session: WsSession,
    options: ProtocolOptions,
  ): Encoded | undefined {
    return written(this.protocol.exception(exception, request, session, options));
  }

  disconnect(reason: DisconnectData, session: WsSession | undefined): Encoded | undefined {
    return written(this.protocol.disconnect(reason, session));
  }
}

function plain(item: unknown): DecodedMessage | UnreadableMessage {
  refusePromise(item);
  if (typeof item !== 'object' || item === null) throw new ProtocolFault('decode() returns objects, or undefined');
  const { event, data, id, meta, context, problem } = item as DecodedMessage & UnreadableMessage; // because each is looked at, or the protocol's own
  if (isEventName(event)) return { event, data, id: id ?? undefined, meta, context };
  const reason = typeof problem === 'string' ? problem : 'An event is a string of 1 to 128 characters';
  return { problem: reason, id: id ?? undefined, context };
}

function written(encoded: unknown): Encoded | undefined {
  if (typeof encoded === 'string' || encoded === undefined || encoded instanceof Uint8Array) return encoded;
  refusePromise(encoded);
  throw new ProtocolFault('A protocol writes a text, bytes or undefined');
}

function refusePromise(value: unknown): void {
  if (!isThenable(value)) return;
  containResult(value, () => undefined); // of what it rejects with; this error is thrown instead
  throw new ProtocolFault('A protocol answers at once, without a promise');
}
