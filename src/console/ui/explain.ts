import { ERRORS } from '../../protocol/errors.js';
import type { ErrorSpec } from '../../protocol/errors.js';
import { span } from './format.js';

/** Why, and what a client should do, in two sentences for each code of the catalogue. */
const WORDS: Readonly<Record<keyof typeof ERRORS, string>> = {
  BAD_FRAME:
    'The message was no JSON object with an event. Send {"event": …, "data": …}; ten of these within a minute end the session.',
  UNKNOWN_EVENT:
    'No handler on this path takes that event. Look at its spelling, and at the path; ten of these within a minute end the session.',
  VALIDATION_FAILED:
    'The payload breaks rules of the handler. The details name each property; correct it and send again.',
  UNAUTHENTICATED: 'The session has shown no token yet. Send {"event":"auth","data":{"token":…}} first.',
  TOKEN_INVALID:
    'The token is not one that this server accepts: another key, issuer, audience, or it is malformed. Get another one; coming back with the same is in vain.',
  TOKEN_EXPIRED: 'The token is over. Get a fresh one and connect again; refresh it at auth.expiring next time.',
  AUTH_TIMEOUT:
    'No token came within the time that a session has for it. Connect again, and send the token as the first message.',
  FORBIDDEN:
    'The principal lacks a role, a scope or a rule of the handler, or a guard said no. Another principal may; asking again is in vain.',
  SESSION_REVOKED:
    'An operator, or the application, has ended the session and its token. Sign in anew; do not come back by itself.',
  SESSION_REPLACED:
    'The subject has opened more sessions than it may, and this was the oldest. Do not come back by itself: two tabs would fight.',
  SESSION_LIMIT: 'The subject has as many sessions as it may. Close another one first.',
  RATE_LIMITED:
    'The budget for messages is used up. Wait for retryAfterMs and send again: the request was not run. Another burst while it is empty ends the session.',
  BANNED:
    'The address or the subject has broken rules too often, or an operator has banned it. Stop until the ban is over.',
  NOT_FOUND: 'There is no such thing, or no gateway at this path.',
  CONFLICT: 'It is there already, or was changed meanwhile. Read it again before you try again.',
  APPLICATION_ERROR: 'The application says no; its message says why.',
  HANDLER_TIMEOUT:
    'The handler took longer than limits.handlerTimeoutMs. It may still have done its work: ask before you send again.',
  INTERNAL: 'The server has a fault. Give the incident id to those who run it; their log has the line.',
  PROTOCOL_VIOLATION:
    'The client broke RFC 6455. Its WebSocket library has a fault, or something between altered the bytes.',
  UNSUPPORTED_DATA: 'The message was binary, and this path takes text. Send JSON as text.',
  INVALID_UTF8: 'The text was not UTF-8.',
  MESSAGE_TOO_BIG: 'The message was larger than limits.maxMessageBytes. Send less at once.',
  SLOW_CONSUMER: 'The client did not read what was sent to it. Connect again; ask for less, or read faster.',
  NO_PONG: 'The client did not answer a ping: it slept, or the network was gone. Connect again.',
  STALLED: 'A message was begun and not finished. Connect again.',
  SHUTTING_DOWN: 'The server is being deployed or stopped. Come back after retryAfterMs.',
  OVERLOADED: 'The server has as much as it can do. Come back after retryAfterMs, and not before.',
  UNAVAILABLE: 'What the answer depends on cannot be asked now. Come back after retryAfterMs.',
  BAD_GATEWAY:
    'The application behind the gateway did not answer, or ended the connection. Connect again; its own log says more.',
  SUBSCRIPTION_LIMIT: 'The session or the process is in as many channels as it may be. Leave one first.',
  BAD_UPGRADE: 'The request was no valid WebSocket handshake. A proxy that leaves Upgrade out is the usual cause.',
  UPGRADE_REQUIRED: 'Plain HTTP came to a WebSocket path. Connect with ws: or wss:.',
  ORIGIN_FORBIDDEN:
    'The page that connects has an origin which firewall.origins does not list. Add it there, or open the page from one that is.',
  IP_FORBIDDEN: 'The address is on firewall.deny, or not on firewall.allow.',
  TOO_MANY_CONNECTIONS: 'The address has too many connections or handshakes. Come back after Retry-After.',
  CLOSED: 'The connection was closed on purpose, without a code of its own.',
  CONNECTION_LOST: 'The connection broke without a close: network, process or device. Connect again.',
};

export interface Advice {
  readonly words: string;
  readonly spec: ErrorSpec | undefined;
}

/** What a code means, and what to do about it. */
export function explain(code: string): Advice {
  if (!Object.hasOwn(ERRORS, code)) {
    return { words: 'A code of the application. Its documentation says what to do.', spec: undefined };
  }
  const known = code as keyof typeof ERRORS; // because it has it
  return { words: WORDS[known], spec: ERRORS[known] };
}

/** What a client does after a close, by the rule that it obeys `reconnect`. */
export function nextStep(reconnect: boolean, retryAfterMs: number | undefined): string {
  if (!reconnect) return 'A client stops here.';
  return retryAfterMs === undefined
    ? 'A client comes back by itself.'
    : `A client comes back by itself in ${span(retryAfterMs)}.`;
}
