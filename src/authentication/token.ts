import { hash } from 'node:crypto';
import { GatewayError } from '../protocol/errors.js';

/** What a token or a ticket is remembered by: both are secrets of full entropy, so a plain SHA-256 will do. */
export function digestOf(token: string): string {
  return hash('sha256', token, 'base64');
}

/** `reason` is for the log and names no claim's value. */
export function invalid(reason: string): GatewayError {
  return new GatewayError('TOKEN_INVALID', { cause: reason });
}
