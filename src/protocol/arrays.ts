import { isEventName } from './message.js';
import type { DisconnectData, ExceptionData, MessageId } from './message.js';
import { readJson } from './read-json.js';
import type { Decoded, FailedRequest, Part, ProtocolOptions, Reply, WireProtocol } from './wire-protocol.js';

export interface ArraysOptions {
  /**
   * `ocpp`: OCPP-J's calls `[2, id, action, payload]` with their results and errors. `nostr`: NIP-01 with AUTH and COUNT, and the ids of
   * notes and subscriptions.
   *
   * @default `["event", …]` both ways, without ids
   */
  readonly like?: 'ocpp' | 'nostr';
  /** @default those of OCPP where it is like that, and otherwise none is selected */
  readonly subprotocols?: readonly string[];
}

/** What of a session is read here. */
interface Peer {
  readonly socket: { readonly protocol: string };
}

const NO_ARRAY = 'A message is a JSON array that begins with an event';

/** `["event", …]`, both ways. */
class Arrays implements WireProtocol<Peer> {
  readonly isTrusted = true;
  readonly takesBinary = false;

  constructor(readonly subprotocols: readonly string[] | undefined) {}

  decode(message: string | Uint8Array, _isBinary: boolean, _session: Peer, options: ProtocolOptions): Decoded {
    const value = readJson(message, options);
    return Array.isArray(value) ? this.decodeArray(value) : { problem: NO_ARRAY };
  }

  protected decodeArray([event, ...rest]: readonly unknown[]): Decoded {
    return isEventName(event) ? { event, data: dataOf(rest) } : { problem: NO_ARRAY };
  }

  reply({ event, data, done }: Reply, _session: Peer): string | undefined {
    return done ? undefined : encodeArray(event, data);
  }

  push(event: string, data: unknown): string | undefined {
    return encodeArray(event, data);
  }

  exception(
    exception: ExceptionData,
    _request: FailedRequest,
    _session: Peer,
    { errors }: ProtocolOptions,
  ): string | undefined {
    return encodeArray(errors.event, exception);
  }

  disconnect(reason: DisconnectData): string | undefined {
    return encodeArray('disconnect', reason);
  }
}

/** What follows the event: nothing, one value, or an array of more. */
function dataOf(rest: readonly unknown[]): unknown {
  return rest.length > 1 ? rest : rest[0];
}

/** An array is what follows the event; anything else is one value. */
function encodeArray(event: string, data: unknown): string {
  return JSON.stringify(
    Array.isArray(data) ? [event, ...(data as unknown[])] : data === undefined ? [event] : [event, data],
  );
}

const CALL = 2;
const CALL_RESULT = 3;
const CALL_ERROR = 4;
/** Of 2.1 (part 4, §4.2.3 and §4.2.4). */
const CALL_RESULT_ERROR = 5;
const SEND = 6;
const NO_CALL = 'Not an OCPP-J message';

/** Error codes of OCPP-J 1.6 §4.2.3; what has none there is a GenericError. */
const OCPP_CODES: Readonly<Record<string, string>> = {
  BAD_FRAME: 'ProtocolError',
  UNKNOWN_EVENT: 'NotImplemented',
  UNAUTHENTICATED: 'SecurityError',
  FORBIDDEN: 'SecurityError',
  INTERNAL: 'InternalError',
};

/** Longest id of a call, and longest description of an error. */
const MAX_CALL_ID = 36;
const MAX_DESCRIPTION = 255;

/** What is no call is never answered, also where it cannot be read: two peers could answer each other for ever. */
const UNANSWERED = { problem: NO_CALL, context: 'no call' } as const;

function isCallId(id: unknown): id is string {
  return typeof id === 'string' && id.length > 0 && id.length <= MAX_CALL_ID;
}

function callOf(id: unknown, action: unknown, payload: unknown): Part {
  if (!isCallId(id)) return { problem: NO_CALL };
  return isEventName(action) ? { event: action, data: payload ?? {}, id } : { problem: NO_CALL, id };
}

class Ocpp extends Arrays {
  protected override decodeArray([type, id, ...rest]: readonly unknown[]): Decoded {
    const [first, second, third] = rest;
    if (type === CALL) return callOf(id, first, second);
    if (!isCallId(id)) return UNANSWERED;
    if (type === SEND) return isEventName(first) ? { event: first, data: second ?? {} } : UNANSWERED;
    // Of an answer of the station's the id is data: it is no request that is answered.
    if (type === CALL_RESULT) return { event: 'CallResult', data: { id, payload: first } };
    if (type !== CALL_ERROR && type !== CALL_RESULT_ERROR) return UNANSWERED;
    const event = type === CALL_ERROR ? 'CallError' : 'CallResultError';
    return { event, data: { id, code: first, description: second, details: third } };
  }

  override reply({ data, id, done }: Reply): string | undefined {
    return id === undefined || done ? undefined : JSON.stringify([CALL_RESULT, id, data ?? {}]);
  }

  override push(event: string, data: unknown): string {
    return JSON.stringify([CALL, crypto.randomUUID(), event, data ?? {}]);
  }

  override exception(
    { code, message, ...more }: ExceptionData,
    { id, event, context }: FailedRequest,
    { socket }: Peer,
  ): string | undefined {
    const isUnnamed = id === undefined;
    // Only version 2 has an id for what may be a call, and has none that can be read (part 4, §4.2.3).
    const isTold = code === 'BAD_FRAME' && event === undefined && context === undefined;
    if (isUnnamed && !(isTold && socket.protocol.startsWith('ocpp2'))) return undefined;
    const { status: _, retryable: __, ...rest } = more;
    const broken = socket.protocol === 'ocpp1.6' ? 'FormationViolation' : 'FormatViolation';
    const known = code === 'VALIDATION_FAILED' ? broken : (OCPP_CODES[code] ?? 'GenericError');
    const name = isUnnamed ? 'RpcFrameworkError' : known;
    return JSON.stringify([CALL_ERROR, id ?? '-1', name, message.slice(0, MAX_DESCRIPTION), { code, ...rest }]);
  }

  override disconnect(): undefined {
    return undefined; // the close code says it
  }
}

/** Prefixes of NIP-01 and NIP-42; what has none there is an error. */
const NOSTR_PREFIXES: Readonly<Record<string, string>> = {
  BAD_FRAME: 'invalid',
  VALIDATION_FAILED: 'invalid',
  RATE_LIMITED: 'rate-limited',
  BANNED: 'blocked',
  FORBIDDEN: 'restricted',
  UNAUTHENTICATED: 'auth-required',
};

const NO_CLIENT_MESSAGE = 'Not a message of NIP-01';

class Nostr extends Arrays {
  protected override decodeArray([event, first, ...rest]: readonly unknown[]): Decoded {
    if (!isEventName(event)) return { problem: NO_CLIENT_MESSAGE };
    const id = idOf(event, first);
    if (event === 'CLOSE') return { event: 'cancel', data: { id } };
    // A second REQ of the same id takes the place of the first.
    if (event === 'REQ') return [cancelOf(id), withFilters(event, id, rest)];
    if (event === 'COUNT') return withFilters(event, id, rest);
    if (isOfNote(event)) return { event, data: first, id, context: event };
    return { event, data: dataOf(id === undefined ? [first, ...rest] : rest), id, context: event };
  }

  override reply({ event, data, id, done, isCancelled, context }: Reply): string | undefined {
    if (isOfNote(context) && event === context) return done ? undefined : okOf(id, data);
    if (done) return isCancelled || id === undefined ? undefined : JSON.stringify(['EOSE', id]);
    if (id === undefined) return encodeArray(event, data);
    return JSON.stringify([event === 'REQ' ? 'EVENT' : event, id, ...(data === undefined ? [] : [data])]);
  }

  override exception({ code, message }: ExceptionData, { id, context }: FailedRequest): string {
    const text = `${NOSTR_PREFIXES[code] ?? 'error'}: ${message}`;
    if (isOfNote(context) && id !== undefined) return JSON.stringify(['OK', id, false, text]);
    return JSON.stringify(context === 'REQ' || context === 'COUNT' ? ['CLOSED', id, text] : ['NOTICE', text]);
  }

  override disconnect({ message }: DisconnectData): string {
    return JSON.stringify(['NOTICE', message]);
  }
}

const UNNAMED = { problem: 'A subscription has an id' } as const;

function withFilters(event: string, id: MessageId | undefined, filters: readonly unknown[]): Part {
  return id === undefined ? UNNAMED : { event, data: filters, id, context: event };
}

/** True for what carries a note, and is answered by OK with its id. */
function isOfNote(event: unknown): boolean {
  return event === 'EVENT' || event === 'AUTH';
}

function cancelOf(id: MessageId | undefined): { readonly event: 'cancel'; readonly data: object } {
  return { event: 'cancel', data: { id } };
}

/** The id of a subscription, or of a note: both 1 to 64 characters. */
function idOf(event: string, first: unknown): MessageId | undefined {
  const id: unknown = isOfNote(event) ? (first as { id?: unknown } | null | undefined)?.id : first;
  return typeof id === 'string' && id.length > 0 && id.length <= 64 ? id : undefined;
}

/** A handler says that it has not taken an event by `false`, or why by a text; else it has. */
function okOf(id: MessageId | undefined, data: unknown): string {
  const isTaken = data !== false && typeof data !== 'string';
  return JSON.stringify(['OK', id ?? '', isTaken, typeof data === 'string' ? data : '']);
}

const OCPP_SUBPROTOCOLS = ['ocpp1.6', 'ocpp2.0.1', 'ocpp2.1'];

/**
 * Messages that are JSON arrays: `["event", data]`, or `["event", …]` where the data are an array of more than one; a handler that returns an
 * array answers with its elements. Or like OCPP-J, or like nostr, whose ids `cancel` and exceptions know.
 */
export function arrays({ like, subprotocols }: ArraysOptions = {}): WireProtocol<Peer> {
  if (like === 'ocpp') return new Ocpp(subprotocols ?? OCPP_SUBPROTOCOLS);
  return like === 'nostr' ? new Nostr(subprotocols) : new Arrays(subprotocols);
}
