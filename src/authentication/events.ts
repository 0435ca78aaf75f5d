import type { ErrorCode } from '../protocol/errors.js';
import type { TokenSource } from './credentials.js';

/** A token was verified or refused, from any source. */
export interface AuthenticationEvent {
  readonly kind: 'authentication';
  readonly source: TokenSource;
  /** `accepted`, or the code of the refusal. */
  readonly outcome: 'accepted' | ErrorCode;
  readonly clientAddress?: string;
  readonly subject?: string;
}
