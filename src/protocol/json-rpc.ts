import { isEventName, isJsonObject } from './message.js';
import type { DisconnectData, ExceptionData, MessageId } from './message.js';
import { readJson } from './read-json.js';
import type { Decoded, FailedRequest, Part, ProtocolOptions, Reply, WireProtocol } from './wire-protocol.js';

export interface JsonRpcOptions {
  /** Most requests of a batch, 1 to 1_000; a larger one is BAD_FRAME as a whole. @default 20 */
  readonly maxBatch?: number;
  /** @default none is selected */
  readonly subprotocols?: readonly string[];
}

/** Error codes of JSON-RPC 2.0 §5.1; what has none there is a server error. */
const CODES: Readonly<Record<string, number>> = {
  BAD_FRAME: -32600,
  UNKNOWN_EVENT: -32601,
  VALIDATION_FAILED: -32602,
  INTERNAL: -32603,
};
const PARSE_ERROR = -32700;
const SERVER_ERROR = -32000;

const INVALID = 'Not a JSON-RPC 2.0 request';

/** UTF-16 units of answers that a batch holds back until it is complete; then those that are there are sent. */
const MAX_HELD = 65_536;

/** Context of a request without an `id`, which is never answered, not even with an error (§4.1). */
const NOTIFICATION = Symbol('notification');

/** The answers of a batch, which are sent as one array when all are there (§6). */
class Batch {
  #answers: string[] = [];
  #held = 0;

  constructor(private remaining: number) {}

  /** @returns what is to be sent now */
  add(answer: string): string | undefined {
    this.#answers.push(answer);
    this.#held += answer.length;
    if (--this.remaining > 0 && this.#held <= MAX_HELD) return undefined;
    const text = `[${this.#answers.join(',')}]`;
    this.#answers = [];
    this.#held = 0;
    return text;
  }
}

class JsonRpc implements WireProtocol<unknown> {
  readonly isTrusted = true;
  readonly takesBinary = false;

  constructor(
    private readonly maxBatch: number,
    readonly subprotocols: readonly string[] | undefined,
  ) {}

  decode(message: string | Uint8Array, _isBinary: boolean, _session: unknown, options: ProtocolOptions): Decoded {
    const value = readJson(message, options);
    if (!Array.isArray(value)) return decodeOne(value, undefined);
    if (value.length === 0) return { problem: INVALID };
    if (value.length > this.maxBatch) return { problem: `A batch has at most ${this.maxBatch} requests` };
    return decodeBatch(value);
  }

  reply({ event, data, id, done, isStream, context }: Reply): string | undefined {
    if (isStream && !done) {
      return encodeNotification(event, id === undefined ? { result: data } : { subscription: id, result: data });
    }
    if (id === undefined) return undefined;
    return within(context, `{"jsonrpc":"2.0","result":${JSON.stringify(data) ?? 'null'},"id":${JSON.stringify(id)}}`);
  }

  push(event: string, data: unknown): string {
    return encodeNotification(event, data);
  }

  exception(exception: ExceptionData, { id, context }: FailedRequest): string | undefined {
    if (context === NOTIFICATION) return undefined;
    const { status: _, message, ...data } = exception;
    const code = message === 'Not JSON' ? PARSE_ERROR : (CODES[exception.code] ?? SERVER_ERROR);
    return within(context, JSON.stringify({ jsonrpc: '2.0', error: { code, message, data }, id: id ?? null }));
  }

  disconnect(reason: DisconnectData): string {
    return encodeNotification('disconnect', reason);
  }
}

function within(context: unknown, answer: string): string | undefined {
  return context instanceof Batch ? context.add(answer) : answer;
}

function encodeNotification(method: string, data: unknown): string {
  if (data === undefined) return JSON.stringify({ jsonrpc: '2.0', method });
  // `params` is an object or an array (§4.2).
  const params = typeof data === 'object' && data !== null ? data : [data];
  return JSON.stringify({ jsonrpc: '2.0', method, params });
}

function decodeOne(value: unknown, batch: Batch | undefined): Part | undefined {
  if (!isJsonObject(value)) return { problem: INVALID, context: batch };
  const { jsonrpc, method, params } = value;
  // An answer to nothing that was asked: were it answered, two peers might do so for ever.
  if (method === undefined && ('result' in value || 'error' in value)) return undefined;
  const id = idOf(value.id);
  const isRequest = jsonrpc === '2.0' && isEventName(method) && (params === undefined || typeof params === 'object');
  if (!isRequest || params === null || id === false) {
    return { problem: INVALID, id: id === false ? undefined : id, context: batch };
  }
  return { event: method, data: params, id, context: id === undefined ? NOTIFICATION : batch };
}

/** @returns undefined for a notification, false for what no id can be */
function idOf(id: unknown): MessageId | undefined | false {
  if (id === undefined || typeof id === 'string' || typeof id === 'number') return id;
  return id === null ? Number.NaN : false; // JSON has null for it, and no other id is equal to it
}

function decodeBatch(values: readonly unknown[]): Decoded {
  const batch = new Batch(values.filter(isAnswered).length);
  return values.map((value) => decodeOne(value, batch)).filter((message) => message !== undefined);
}

function isAnswered(value: unknown): boolean {
  const message = decodeOne(value, undefined);
  if (message === undefined) return false;
  // `cancel` has no answer (PROTOCOL.md §1).
  return 'problem' in message || (message.context !== NOTIFICATION && message.event !== 'cancel');
}

/**
 * JSON-RPC 2.0: a method is an event, its `params` are the data. An error has the number of §5.1 and in its `data` the code of the
 * catalogue. The values of a stream are notifications `{"method", "params": {"subscription": id, "result"}}`, and its end is the answer.
 *
 * @throws TypeError for a `maxBatch` that cannot be
 */
export function jsonRpc({ maxBatch = 20, subprotocols }: JsonRpcOptions = {}): WireProtocol<unknown> {
  if (!Number.isInteger(maxBatch) || maxBatch < 1 || maxBatch > 1_000) throw new TypeError('maxBatch is 1 to 1000');
  return new JsonRpc(maxBatch, subprotocols);
}
