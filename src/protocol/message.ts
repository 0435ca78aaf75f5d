/** The frames of the wire contract (PROTOCOL.md §1, §3). */

/** A string of 1 to 64 UTF-16 units or an integer from 0 to 2^53 − 1. */
export type MessageId = string | number;

const MAX_EVENT_LENGTH = 128;
const MAX_ID_LENGTH = 64;

/** The subprotocol of this contract. It is optional for a client. */
export const SUBPROTOCOL = 'ws-gateway.v1';

/** Prefix of the subprotocol entry that carries a token. */
export const BEARER_SUBPROTOCOL = 'bearer.';

/** A request of a client, decoded. */
export interface InboundMessage {
  readonly event: string;
  readonly data?: unknown;
  readonly id?: MessageId | undefined;
  /** What is about the message and not for its handler: a `traceparent`, for one. Not validated. */
  readonly meta?: unknown;
  /** What the protocol of the path wants back with the answer. */
  readonly context?: unknown;
}

/** `data` of an `exception` frame. */
export interface ExceptionData {
  readonly status: 'error';
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
  readonly details?: unknown;
  readonly incidentId?: string;
}

/** `data` of a `disconnect` frame. */
export interface DisconnectData {
  readonly code: string;
  readonly message: string;
  readonly closeCode: number;
  readonly reconnect: boolean;
  readonly retryAfterMs?: number;
}

/** True for a JSON object: no array, no null. */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isEventName(value: unknown): value is string {
  return typeof value === 'string' && value.length >= 1 && value.length <= MAX_EVENT_LENGTH;
}

export function isMessageId(value: unknown): value is MessageId {
  if (typeof value === 'string') return value.length >= 1 && value.length <= MAX_ID_LENGTH;
  return Number.isSafeInteger(value) && (value as number) >= 0; // isSafeInteger says no to all that is no number
}

const BARE_TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** True for a text message that is a JWT and nothing else: three base64url parts joined by dots (RFC 7515 §7.1). */
export function isBareToken(text: string): boolean {
  return text.charCodeAt(0) !== 0x7b /* { */ && BARE_TOKEN.test(text);
}
