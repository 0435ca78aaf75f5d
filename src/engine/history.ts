import { randomBytes } from 'node:crypto';
import { GatewayError } from '../protocol/errors.js';

/** How long it is known what an idempotency key was used for, in milliseconds. */
export const KEY_MS = 300_000;

/** How long a channel without members keeps its epoch behind its last use, in milliseconds. */
export const EPOCH_MS = 86_400_000;

export function freshEpoch(): string {
  return randomBytes(6).toString('base64url');
}

/** An idempotency key was used for another body. */
export function keyConflict(): GatewayError {
  return new GatewayError('CONFLICT', { message: 'The key was used with another body' });
}
