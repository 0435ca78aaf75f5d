import type { DisconnectData, ExceptionData, MessageId } from './message.js';

/** What is sent as one message: a text, or bytes for a binary one. */
export type Encoded = string | Uint8Array;

/** A request, as it is read from a message. */
export interface DecodedMessage {
  /** 1 to 128 UTF-16 units: what `@SubscribeMessage()` names. */
  readonly event: string;
  readonly data?: unknown;
  /** What the answer is correlated by, and what `cancel` names; without one the request is not waited for. */
  readonly id?: MessageId | undefined;
  /** What is about the message and not for its handler: a `traceparent`, for one. */
  readonly meta?: unknown;
  /** What the protocol wants back with the answer. */
  readonly context?: unknown;
}

/** A part of a message that is no request: it is answered with BAD_FRAME. */
export interface UnreadableMessage {
  /** The message of the exception. Never put in it what the client sent. */
  readonly problem: string;
  readonly id?: MessageId | undefined;
  readonly context?: unknown;
}

/** A request, or a part of a message that is none. */
export type Part = DecodedMessage | UnreadableMessage;

/** What a message holds: a request, several of them, or undefined where there is nothing to do. */
export type Decoded = Part | readonly Part[] | undefined;

/** An answer, as a protocol writes it. */
export interface Reply {
  /** That of the request, or of the WsResponse that the handler has returned. */
  readonly event: string;
  /** What the handler has returned; undefined with `done`. */
  readonly data: unknown;
  readonly id?: MessageId | undefined;
  /** True for the end of a stream. */
  readonly done: boolean;
  /** True for a value of a stream, and for its end. */
  readonly isStream: boolean;
  /** True for the end of a stream that the client has cancelled. */
  readonly isCancelled: boolean;
  /** As it was decoded. */
  readonly context: unknown;
}

/** The request that an exception answers, as far as it could be read. */
export interface FailedRequest {
  /** A declared event. */
  readonly event?: string | undefined;
  readonly id?: MessageId | undefined;
  readonly context?: unknown;
}

/** The options that a protocol keeps to; read each time, since a reload changes them. */
export interface ProtocolOptions {
  readonly limits: { readonly maxJsonDepth: number };
  readonly errors: { readonly event: string };
}

/**
 * The language of a path: how a message is read, and how an answer, a push, an exception and an end are written. Undefined is
 * silence. All of it answers at once, and may throw.
 *
 * @typeParam Session what a session is
 */
export interface WireProtocol<Session> {
  /** True for one of this package that calls nothing of the application's. */
  readonly isTrusted?: boolean;
  /** Subprotocols that it can be asked for by; of those that a client offers, its first is selected. Unset: none is. */
  readonly subprotocols?: readonly string[] | undefined;
  /** True where a JWT and nothing else, as a text message of an anonymous session, is its `auth`. */
  readonly takesBareToken?: boolean;
  /** False where a binary message ends the session with 1003, unless a `@SubscribeBinary()` takes it. @default true */
  readonly takesBinary?: boolean;
  /**
   * @param message a text, or the bytes of a binary message
   * @throws GatewayError UNSUPPORTED_DATA, which ends the session; anything else is BAD_FRAME
   */
  decode(message: string | Uint8Array, isBinary: boolean, session: Session, options: ProtocolOptions): Decoded;
  reply(reply: Reply, session: Session): Encoded | undefined;
  /** Written once for all who get it. */
  push(event: string, data: unknown): Encoded | undefined;
  exception(
    exception: ExceptionData,
    request: FailedRequest,
    session: Session,
    options: ProtocolOptions,
  ): Encoded | undefined;
  /** @param session undefined where the peer is refused before it has one */
  disconnect(reason: DisconnectData, session: Session | undefined): Encoded | undefined;
}
