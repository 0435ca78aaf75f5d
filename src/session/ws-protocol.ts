import type { DisconnectData, ExceptionData } from '../protocol/message.js';
import type {
  Decoded,
  Encoded,
  FailedRequest,
  ProtocolOptions,
  Reply,
  WireProtocol,
} from '../protocol/wire-protocol.js';
import type { WsSession } from './ws-session.js';

/**
 * The language of a path, for `@UseProtocol()`: how a message is read, and how an answer, a push, an exception and an end are written.
 * Undefined is silence. All of it answers at once.
 *
 * What {@link decode} throws is BAD_FRAME, as {@link exception} writes it; GatewayError UNSUPPORTED_DATA ends the session with 1003. What
 * {@link reply} throws is INTERNAL for the request. Where {@link exception} or {@link disconnect} throws, nothing is written, and the log has it.
 */
export abstract class WsProtocol implements WireProtocol<WsSession> {
  /** Subprotocols that it can be asked for by; of those that a client offers, its first is selected. Unset: none is. */
  readonly subprotocols?: readonly string[];
  /** False where a binary message ends the session with 1003, unless a `@SubscribeBinary()` takes it. @default true */
  readonly takesBinary?: boolean;

  /**
   * @param message a text, or the bytes of a binary message; those of a path with a `@SubscribeBinary()` do not come here
   * @returns a request, several of them, or undefined where there is nothing to do
   */
  abstract decode(message: string | Buffer, isBinary: boolean, session: WsSession, options: ProtocolOptions): Decoded;

  abstract reply(reply: Reply, session: WsSession): Encoded | undefined;

  /** Written once for all who get it. */
  abstract push(event: string, data: unknown): Encoded | undefined;

  /** @param request what is known of it: an unreadable message has no event, and an `id` only where {@link decode} has found one */
  abstract exception(
    exception: ExceptionData,
    request: FailedRequest,
    session: WsSession,
    options: ProtocolOptions,
  ): Encoded | undefined;

  /** @param session undefined where the peer is refused before it has one */
  abstract disconnect(reason: DisconnectData, session: WsSession | undefined): Encoded | undefined;
}
