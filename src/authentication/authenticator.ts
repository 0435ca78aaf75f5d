import type { IncomingMessage } from 'node:http';
import type { CredentialKind, TokenSource } from './credentials.js';
import type { Principal, PrincipalInit } from './principal.js';

/** Where a credential came from. */
export interface CredentialOrigin {
  readonly source: TokenSource;
  /** The request of the upgrade; undefined for a token in a message. */
  readonly request?: IncomingMessage;
  /** True when the client's address has shown a bad credential within a minute: what is scarce is for others first. */
  readonly isSuspect?: boolean;
}

/** What an {@link Authenticator} hears beside the credential. */
export interface AuthenticationContext extends CredentialOrigin {
  readonly kind: CredentialKind;
  /** Name of the header, parameter or cookie, of the kinds `header`, `query` and `cookie`. */
  readonly name?: string;
}

/**
 * From a credential to a principal. Verifying JWTs is the one that is there; a provider of the application's under this class
 * takes its place: for opaque tokens, API keys, passwords or introspection. It has `auth.timeoutMs` to answer.
 */
export abstract class Authenticator {
  /**
   * The kinds that it judges. Without `bearer`, bearer tokens stay with `auth.jwt`; a source of any other kind that it leaves out stops
   * the start. @default all
   */
  readonly kinds?: readonly CredentialKind[];

  /**
   * @param credential a bearer token as it was sent; `user:password`, decoded, of the kind `basic`, for {@link userAndPassword}; of the
   * other kinds the value of the header, parameter or cookie, which is not empty
   * @throws GatewayError TOKEN_INVALID or TOKEN_EXPIRED, which the client is told; anything else is INTERNAL. An error whose text
   * quotes the credential goes to the log without that text
   */
  abstract authenticate(
    credential: string,
    context: AuthenticationContext,
  ): Principal | PrincipalInit | Promise<Principal | PrincipalInit>;
}
