import { GatewayError } from './errors.js';

/** Clients come back spread over this time, in milliseconds: a store that is back must not meet all of them at once. */
const [RETRY_MIN_MS, RETRY_MAX_MS] = [500, 5_000];

/** What the answer depends on cannot be asked now. @param cause for the log */
export function unavailable(cause: unknown): GatewayError {
  const retryAfterMs = Math.round(RETRY_MIN_MS + Math.random() * (RETRY_MAX_MS - RETRY_MIN_MS));
  return new GatewayError('UNAVAILABLE', { retryAfterMs, cause });
}
