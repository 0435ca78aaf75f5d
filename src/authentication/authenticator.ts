import type { IncomingMessage } from 'node:http';
import type { TokenSource } from './credentials.js';
import type { Principal, PrincipalInit } from './principal.js';

/** Where a token came from. */
export interface AuthenticationContext {
  readonly source: TokenSource;
  /** The request of the upgrade; undefined for a token in a message. */
  readonly request?: IncomingMessage;
  /** True when the client's address has shown a bad token within a minute: what is scarce is for others first. */
  readonly isSuspect?: boolean;
}

/**
 * From a token to a principal. Verifying JWTs is the one that is there; a provider of the application's under this class
 * takes its place: for opaque tokens, API keys or introspection. It is asked about every token, and has `auth.timeoutMs`.
 */
export abstract class Authenticator {
  /**
   * @throws GatewayError TOKEN_INVALID or TOKEN_EXPIRED, which the client is told; anything else is INTERNAL
   */
  abstract authenticate(
    token: string,
    context: AuthenticationContext,
  ): Principal | PrincipalInit | Promise<Principal | PrincipalInit>;
}
