import { encode, encodeDone, isWsResponse } from '../protocol/codec.js';
import type { MessageId } from '../protocol/message.js';
import type { WsSession } from './session.js';

/**
 * Answers a request with what its handler returned (PROTOCOL.md §1).
 *
 * @throws TypeError when the value cannot be serialised; nothing has been sent then
 */
export function reply(session: WsSession, event: string, id: MessageId | undefined, result: unknown): void {
  if (result === undefined || result === null) {
    if (id !== undefined) session.sendText(encode(event, null, id));
  } else if (isWsResponse(result)) session.sendText(encode(result.event, result.data, id));
  else session.sendText(encode(event, result, id));
}

/** Ends a streamed reply. */
export function done(session: WsSession, event: string, id: MessageId): void {
  session.sendText(encodeDone(event, id));
}
