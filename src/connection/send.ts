import { encode, encodeDone, isWsResponse } from '../protocol/codec.js';
import type { MessageId } from '../protocol/message.js';
import type { Session } from '../session/session.js';

/** What a handler of this package returns where a request has no answer, whatever its `id`. */
export const NO_ANSWER = Symbol('nestjs-ws-gateway.no-answer');

/**
 * Answers a request with what its handler returned (PROTOCOL.md §1).
 *
 * @throws TypeError when the value cannot be serialised; nothing has been sent then
 */
export function reply(session: Session, event: string, id: MessageId | undefined, result: unknown): void {
  const text = encodeReply(event, id, result);
  if (text !== undefined) session.sendText(text);
}

/**
 * The answer as it is sent; undefined when nothing is.
 *
 * @throws TypeError when the value cannot be serialised
 */
export function encodeReply(event: string, id: MessageId | undefined, result: unknown): string | undefined {
  if (result === NO_ANSWER) return undefined;
  if (result === undefined || result === null) return id === undefined ? undefined : encode(event, null, id);
  return isWsResponse(result) ? encode(result.event, result.data, id) : encode(event, result, id);
}

/** Ends a streamed reply. */
export function done(session: Session, event: string, id: MessageId): void {
  session.sendText(encodeDone(event, id));
}
