import type { ClaimNames } from './claims.js';
import type { CertificateOptions } from './certificate.js';
import type { Principal } from './principal.js';

/** Token of `options.auth`. */
export const AUTH_OPTIONS = Symbol('nestjs-ws-gateway.auth-options');

/** May the principal's session go on? */
export type Revalidate = (principal: Principal) => boolean | Principal | Promise<boolean | Principal>;

/** What {@link Authentication} reads of `options.auth`. */
export interface CredentialOptions {
  readonly cookie: string | undefined;
  readonly certificate: Readonly<Required<CertificateOptions>>;
  readonly claims: { readonly roles: ClaimNames; readonly scopes: ClaimNames };
}
