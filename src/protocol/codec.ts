import secureJson from 'secure-json-parse';
import { GatewayError } from './errors.js';
import { isEventName, isJsonObject, isMessageId } from './message.js';
import type { InboundMessage, MessageId } from './message.js';

const REFUSE_POISON = { protoAction: 'error', constructorAction: 'error' } as const;

/** A BAD_FRAME that may know the `id` of the request it refuses. */
export class BadFrame extends GatewayError {
  constructor(
    message: string,
    readonly id?: MessageId,
  ) {
    super('BAD_FRAME', { message });
  }
}

/**
 * Reads one text message.
 *
 * @param maxDepth deepest nesting of objects and arrays; the envelope itself is level 1
 * @throws BadFrame when it is no JSON, no object, too deep, poisoned, or its `event` or `id` is not as PROTOCOL.md §1 says
 */
export function decode(text: string, maxDepth: number): InboundMessage {
  if (isDeeperThan(text, maxDepth)) throw new BadFrame('Nested too deep');
  const value = parseJson(text);
  if (!isJsonObject(value)) throw new BadFrame('A message is a JSON object');
  const { event, data, id, meta } = value;
  if (id !== undefined && !isMessageId(id)) {
    throw new BadFrame('"id" is a string of 1 to 64 characters or an integer from 0 to 2^53-1');
  }
  if (!isEventName(event)) throw new BadFrame('"event" is a string of 1 to 128 characters', id);
  return { event, data, id, meta };
}

/**
 * Any JSON text, as long as no key of it could reach a prototype.
 *
 * @throws BadFrame for what is no JSON, and for a forbidden key
 */
export function parseJson(text: string): unknown {
  try {
    return mayHoldPoison(text) ? secureJson.parse(text, undefined, REFUSE_POISON) : (JSON.parse(text) as unknown);
  } catch (error) {
    // The parser's own message quotes the text, so it is told apart and not passed on.
    throw new BadFrame((error as Error).message.startsWith('Object contains forbidden') ? 'Forbidden key' : 'Not JSON');
  }
}

const BYTE_ORDER_MARK = 0xfeff;

/**
 * Spares nearly every message the regular expressions and the walk. A key begins with its quote unless an escape spells
 * it, and quotes and backslashes are rare: searches this short run at the speed of memchr.
 */
function mayHoldPoison(text: string): boolean {
  if (text.charCodeAt(0) === BYTE_ORDER_MARK) return false; // no JSON; secure-json-parse would take it off
  return text.includes('"__pro') || text.includes('"const') || text.includes('\\u');
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Looks at the text before anything recursive touches the value. A text with no more brackets than `maxDepth` cannot be
 * too deep, and two native searches see that; only the rest is walked.
 */
export function isDeeperThan(text: string, maxDepth: number): boolean {
  if (countUpTo(text, '{', maxDepth) + countUpTo(text, '[', maxDepth) <= maxDepth) return false;
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (inString) {
      if (unit === BACKSLASH) i++;
      else if (unit === QUOTE) inString = false;
    } else if (unit === QUOTE) inString = true;
    else if (unit === 0x7b || unit === 0x5b) {
      if (++depth > maxDepth) return true;
    } else if (unit === 0x7d || unit === 0x5d) depth--;
  }
  return false;
}

function countUpTo(text: string, character: string, limit: number): number {
  let count = 0;
  for (let at = text.indexOf(character); at !== -1 && count <= limit; at = text.indexOf(character, at + 1)) count++;
  return count;
}

/**
 * Writes one frame.
 *
 * @throws TypeError when `data` cannot be serialised (a BigInt, a cycle)
 */
export function encode(event: string, data: unknown, id?: MessageId): string {
  // In one go, where nothing of it can be undefined: no long string is put together from parts and copied once more.
  if (typeof data === 'object' && data !== null && typeof (data as { toJSON?: unknown }).toJSON !== 'function') {
    return JSON.stringify(id === undefined ? { event, data } : { event, data, id });
  }
  // JSON.stringify says undefined for undefined, functions and symbols: JSON has null for those.
  const body = JSON.stringify(data) ?? 'null';
  const head = `{"event":${JSON.stringify(event)},"data":${body}`;
  return id === undefined ? `${head}}` : `${head},"id":${JSON.stringify(id)}}`;
}

/** The frame that ends a streamed reply. */
export function encodeDone(event: string, id: MessageId): string {
  return `{"event":${JSON.stringify(event)},"id":${JSON.stringify(id)},"done":true}`;
}

/** What a handler returned under Nest's WsResponse: an object whose own keys are exactly `event` and `data`. */
export function isWsResponse(value: unknown): value is { event: string; data: unknown } {
  if (typeof value !== 'object' || value === null) return false;
  return (
    Object.hasOwn(value, 'event') && // first, since most values end here
    typeof (value as { event: unknown }).event === 'string' &&
    Object.hasOwn(value, 'data') &&
    Object.keys(value).length === 2
  );
}
