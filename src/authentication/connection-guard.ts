import type { IncomingMessage } from 'node:http';
import type { PathParams } from '../base/path-params.js';
import { originOf, principalOf } from './principal.js';
import type { Principal, PrincipalInit } from './principal.js';
import { isJsonObject } from '../protocol/message.js';
import { GatewayError } from '../protocol/errors.js';

/** A client that asks for a session: by an upgrade that is not accepted yet, or by an `auth` in an open session. */
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
   * @returns true to let the client in; with `guard` in `auth.sources` also the principal, where the client has none yet, or the same
   * subject with other roles, scopes or claims. Anything else is FORBIDDEN
   * @throws GatewayError with a code of one's own, which the client is told; anything else is INTERNAL
   */
  canConnect(attempt: ConnectionAttempt): boolean | PrincipalInit | Promise<boolean | PrincipalInit>;
}

/**
 * Asks one guard after the other.
 *
 * @param mayName true where a guard may name the principal
 * @returns the principal of the attempt, or what a guard makes of it
 * @throws GatewayError FORBIDDEN, or what a guard throws; TypeError when one names what is no principal
 */
export async function checkConnection(
  guards: readonly ConnectionGuard[],
  attempt: ConnectionAttempt,
  mayName: boolean,
): Promise<Principal | undefined> {
  let { principal } = attempt;
  for (const guard of guards) {
    const answer: unknown = await guard.canConnect({ ...attempt, principal });
    if (answer === true) continue;
    const named = mayName && isJsonObject(answer) ? nameBy(answer, principal) : undefined;
    if (named === undefined)
      throw new GatewayError('FORBIDDEN', { cause: `connection guard ${guard.constructor.name}` });
    principal = named;
  }
  return principal;
}

/** It is revoked with the token that the client has shown, so it stays that token's subject. @returns undefined for another subject */
function nameBy(answer: object, principal: Principal | undefined): Principal | undefined {
  const from = principal === undefined ? { digest: undefined, toleranceMs: 0 } : originOf(principal);
  const named = principalOf(answer as PrincipalInit, from); // because it checks every member
  return (principal?.subject ?? named.subject) === named.subject ? named : undefined;
}
