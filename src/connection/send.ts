import { isWsResponse } from '../protocol/codec.js';
import type { MessageId } from '../protocol/message.js';
import type { Encoded } from '../protocol/wire-protocol.js';
import type { Session } from '../session/session.js';

/** What a handler of this package returns where a request has no answer, whatever its `id`. */
export const NO_ANSWER = Symbol('nestjs-ws-gateway.no-answer');

/** What of a request its answer is made from. */
export interface Answered {
  readonly event: string;
  readonly id?: MessageId | undefined;
  readonly context?: unknown;
}

/**
 * Answers a request with what its handler returned (PROTOCOL.md §1).
 *
 * @throws TypeError when the value cannot be serialised; nothing has been sent then
 */
export function reply(session: Session, request: Answered, result: unknown, isStream = false): void {
  session.sendEncoded(encodeReply(session, request, result, isStream));
  if (!isStream && result instanceof Uint8Array) confirm(session, request);
}

/** A binary answer has no place for an `id`: what is correlated comes after it. */
export function confirm(session: Session, request: Answered): void {
  if (request.id !== undefined) session.sendEncoded(encodeReply(session, request, null));
}

/**
 * The answer as it is sent; undefined when nothing is.
 *
 * @throws TypeError when the value cannot be serialised; what a protocol of the application's throws
 */
export function encodeReply(
  session: Session,
  { event, id, context }: Answered,
  result: unknown,
  isStream = false,
): Encoded | undefined {
  if (result === NO_ANSWER) return undefined;
  if (result instanceof Uint8Array) return result;
  const { protocol } = session.server;
  const common = { id, done: false, isStream, isCancelled: false, context };
  if (result === undefined || result === null) {
    return id === undefined ? undefined : protocol.reply({ event, data: null, ...common }, session);
  }
  const isResponse = isWsResponse(result);
  const name = isResponse ? result.event : event;
  const data = isResponse ? result.data : result;
  return protocol.reply({ event: name, data, ...common }, session);
}

/** Ends a streamed reply. */
export function done(session: Session, { event, id, context }: Answered, isCancelled: boolean): void {
  const end = { event, data: undefined, id, done: true, isStream: true, isCancelled, context };
  session.sendEncoded(session.server.protocol.reply(end, session));
}
