import type { IncomingMessage } from 'node:http';
import type { Principal } from '../authentication/principal.js';
import { GatewayError } from '../protocol/errors.js';

/** An upgrade that has been admitted and authenticated, and is not accepted yet. */
export interface ConnectionAttempt {
  readonly request: IncomingMessage;
  /** Path of the gateway. */
  readonly path: string;
  readonly clientAddress: string;
  /** Undefined for a client without a token, which may still authenticate with a message. */
  readonly principal: Principal | undefined;
}

/** Runs once for each upgrade, on the gateway's path or, given in `auth.connectionGuards`, on all. */
export interface ConnectionGuard {
  /**
   * @returns true to let the client in; anything else is FORBIDDEN
   * @throws GatewayError with a code of one's own, which the client is told; anything else is INTERNAL
   */
  canConnect(attempt: ConnectionAttempt): boolean | Promise<boolean>;
}

/**
 * Asks one guard after the other.
 *
 * @throws GatewayError FORBIDDEN, or what a guard throws
 */
export async function checkConnection(guards: readonly ConnectionGuard[], attempt: ConnectionAttempt): Promise<void> {
  for (const guard of guards) {
    if ((await guard.canConnect(attempt)) === true) continue;
    throw new GatewayError('FORBIDDEN', { cause: `connection guard ${guard.constructor.name}` });
  }
}
