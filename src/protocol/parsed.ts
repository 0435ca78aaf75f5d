import { Envelope } from './envelope.js';
import { isJsonObject, isMessageId } from './message.js';
import type { Decoded, WireProtocol } from './wire-protocol.js';

/** What Nest's `WsAdapter({ messageParser })` takes. */
export type MessageParser = (message: string | Buffer) => { event: unknown; data?: unknown; id?: unknown } | void;

class Parsed extends Envelope {
  override readonly subprotocols: readonly string[] | undefined;
  override readonly isTrusted = false;
  override readonly takesBareToken = false;
  override readonly takesBinary = true;

  constructor(
    private readonly parse: MessageParser,
    subprotocols: readonly string[] | undefined,
  ) {
    super();
    this.subprotocols = subprotocols;
  }

  override decode(message: string | Uint8Array): Decoded {
    const value: unknown = this.parse(message as string | Buffer); // because what comes from `ws` is a Buffer
    if (value === undefined || value === null || value === false) return undefined;
    if (!isJsonObject(value)) return { problem: 'A message is an object with an event' };
    if (typeof value.then === 'function') return value as never; // a promise, which is refused where it is looked at
    const { event, data, id } = value;
    const known = isMessageId(id) ? id : undefined;
    if (typeof event !== 'string') return { problem: 'A message has an event', id: known };
    return { event, data, id: known };
  }
}

/**
 * Messages that a function of the application's reads, as Nest's `WsAdapter({ messageParser })` has it, and answers as `{event, data}`.
 *
 * @param parse is given the text of a text message and the bytes of a binary one. It returns `{ event, data, id? }`, or nothing where there
 * is nothing to do; what it throws is BAD_FRAME
 */
export function parsed(
  parse: MessageParser,
  { subprotocols }: { readonly subprotocols?: readonly string[] } = {},
): WireProtocol<unknown> {
  return new Parsed(parse, subprotocols);
}
