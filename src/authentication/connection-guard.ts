import type { IncomingMessage } from 'node:http';
import type { PathParams } from '../base/path-params.js';
import type { Principal } from './principal.js';
import { GatewayError } from '../protocol/errors.js';

/** Who is to have a session: an upgrade that is not accepted yet, or a principal that comes into a session that is there. */
export interface ConnectionAttempt {
  /** The upgrade. */
  readonly request: IncomingMessage;
  /** Path of the gateway, as it is declared. */
  readonly path: string;
  /** The parameters of that path. */
  readonly params: PathParams;
  readonly clientAddress: string;
  /** Undefined for a client without a token, which may still authenticate with a message: the guard is asked again then. */
  readonly principal: Principal | undefined;
}

/**
 * Asked about each upgrade on the gateway's path or, given in `auth.connectionGuards`, on all; about who authenticates by a message
 * after it; and about a refresh with other claims than before, of which `iat`, `nbf`, `exp` and `jti` are none.
 */
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
