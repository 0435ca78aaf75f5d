import { definedOf } from '../../base/defined.js';
import { visible } from '../../base/visible.js';
import { isErrorCode, specOf } from '../../protocol/errors.js';
import type { CatalogueCode } from '../../protocol/errors.js';
import { isJsonObject } from '../../protocol/message.js';

/** What a frame, or the answer to a handshake, says of a failure. A gateway of any version may have written it. */
export interface FailureData {
  readonly code: string;
  readonly message?: unknown;
  readonly retryable?: unknown;
  readonly reconnect?: unknown;
  readonly retryAfterMs?: unknown;
  readonly details?: unknown;
  readonly incidentId?: unknown;
}

/** What helps with a code more than its columns in the catalogue say. */
const ADVICE: Partial<Record<CatalogueCode, string>> = {
  UNKNOWN_EVENT: 'send an event that a gateway at this path handles; names are exact',
  VALIDATION_FAILED: 'mend what the details name before you send it again',
  UNAUTHENTICATED: 'send a token with --token; ws-gateway token signs one for development',
  AUTH_TIMEOUT: 'send a token with --token; ws-gateway token signs one for development',
  TOKEN_INVALID: 'send a token that fits the key, the issuer and the audience of the gateway; its log has the reason',
  TOKEN_EXPIRED: 'get a new token and connect again',
  FORBIDDEN: 'send a token with the roles and scopes that this needs',
  SESSION_REVOKED: 'sign in again for a new token; this one is refused from now on',
  UPGRADE_REQUIRED: 'connect with ws:// or wss://',
  INTERNAL: 'the fault is on the server, whose log has the reason',
};

/** The same for what ends a connection or refuses a handshake, where that differs. */
const ADVICE_ON_END: Partial<Record<CatalogueCode, string>> = {
  ...ADVICE,
  NOT_FOUND: 'check the path of the URL; a gateway without a path of its own is at /ws',
};

/** Undefined for what is no failure with a code. */
export function asFailure(data: unknown): FailureData | undefined {
  // because the code is checked and every other member is unknown
  return isJsonObject(data) && isErrorCode(data.code) ? (data as unknown as FailureData) : undefined;
}

/** Why a request failed, and what a client does about it, in a sentence. */
export function adviseOnException(failure: FailureData): string {
  const { retryable, cause } = { ...specOf(failure.code), ...definedOf({ retryable: failure.retryable }) };
  if (retryable === true)
    return sentence(failure, `the same request may succeed later: send it again ${when(failure)}`);
  const byCause =
    cause === 'server'
      ? 'the fault is on the server, whose log has the reason'
      : 'the same request fails again, so change it first';
  return sentence(failure, adviceFor(failure.code, ADVICE) ?? byCause);
}

/** Why a connection ended or a handshake was refused, and what a client does about it, in a sentence. */
export function adviseOnEnd(failure: FailureData): string {
  const { reconnect } = { ...specOf(failure.code), ...definedOf({ reconnect: failure.reconnect }) };
  const byReconnect =
    reconnect === true || failure.retryAfterMs !== undefined
      ? `connect again ${when(failure)}`
      : 'do not connect again before the cause is mended';
  return sentence(failure, adviceFor(failure.code, ADVICE_ON_END) ?? byReconnect);
}

function adviceFor(code: string, advice: Partial<Record<string, string>>): string | undefined {
  return Object.hasOwn(advice, code) ? advice[code] : undefined;
}

function sentence(failure: FailureData, advice: string): string {
  const { code, message, incidentId } = failure;
  const what = typeof message === 'string' ? message : specOf(code).message;
  const incident = typeof incidentId === 'string' ? ` as incident ${incidentId}` : '';
  return visible(`${code}: ${what}${detailsOf(failure)}; ${advice}${incident}.`); // the peer wrote parts of it
}

/** The broken rules of a payload, as far as they are written as the protocol has them. */
function detailsOf({ details }: FailureData): string {
  const rules = (Array.isArray(details) ? details : []).filter(isJsonObject).flatMap(({ path, message }) => {
    return typeof path === 'string' && typeof message === 'string' ? [`${path || 'the payload'}: ${message}`] : [];
  });
  return rules.length === 0 ? '' : ` (${rules.join(', ')})`;
}

function when({ retryAfterMs }: FailureData): string {
  return typeof retryAfterMs === 'number' ? `after ${retryAfterMs} ms` : 'after a pause that grows each time';
}
