import type { CredentialOrigin } from './authenticator.js';
import type { Principal } from './principal.js';

/** From a credential to a principal. Injectable, for tokens that come by another way than a socket. */
export abstract class Authentication {
  /**
   * Verifies a credential. The answer is a promise only where keys are fetched, or an {@link Authenticator} of the application's or a shared
   * store is asked: await it.
   *
   * @param clientAddress the address that the token came from, for tickets that are bound to one
   * @throws GatewayError TOKEN_INVALID, TOKEN_EXPIRED, SESSION_REVOKED; OVERLOADED or UNAVAILABLE when it cannot be verified now
   */
  abstract authenticate(
    token: string,
    context?: CredentialOrigin,
    clientAddress?: string,
  ): Principal | Promise<Principal>;
}
