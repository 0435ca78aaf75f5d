import { Authenticator } from '../authenticator.js';
import type { CredentialOrigin } from '../authenticator.js';
import type { Principal } from '../principal.js';

/** Verifies JWTs by `auth.jwt` (RFC 7519 §7.2, RFC 8725). Injectable into an {@link Authenticator} of the application's. */
export abstract class JwtAuthenticator extends Authenticator {
  /** @throws GatewayError TOKEN_INVALID, TOKEN_EXPIRED; OVERLOADED, also as a rejection, while keys cannot be fetched */
  abstract override authenticate(token: string, context?: CredentialOrigin): Principal | Promise<Principal>;
}
