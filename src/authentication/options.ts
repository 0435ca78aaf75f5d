import type { Type } from '@nestjs/common';
import type { OptionCheck } from '../base/options.js';
import { CERTIFICATE_DEFAULTS, resolveCertificateOptions } from './certificate.js';
import type { CertificateOptions } from './certificate.js';
import type { ClaimNames } from './claims.js';
import type { ConnectionGuard } from './connection-guard.js';
import { SOURCES } from './credentials.js';
import type { TokenSource } from './credentials.js';
import { JWT_DEFAULTS, resolveIssuers } from './jwt/issuers.js';
import type { JwtOptions, ResolvedIssuer } from './jwt/issuers.js';
import type { Principal } from './principal.js';

/** Token of `options.auth`. */
export const AUTH_OPTIONS = Symbol('nestjs-ws-gateway.auth-options');

export interface AuthOptions {
  /** How tokens are verified. Needed, unless the application provides an `Authenticator`. */
  jwt?: JwtOptions;
  /** @default ['header', 'subprotocol', 'message'] */
  sources?: readonly TokenSource[];
  /**
   * What a bad token at the handshake gets: `close` accepts, sends `disconnect` and closes, which a browser can read;
   * `handshake` answers 401. @default 'close'
   */
  reject?: 'close' | 'handshake';
  /** True lets a session without a token, or with a bad cookie or certificate, stay, for public events. @default false */
  anonymous?: boolean;
  /** How long a session may stay unauthenticated, in milliseconds, 1 to 600_000. @default 10_000 */
  timeoutMs?: number;
  /** Name of the cookie that holds the token; needed with the source `cookie`, which also needs `firewall.origins`. */
  cookie?: string;
  /** How clients' certificates are read, where `certificate` is a source: the HTTP server has to ask for them (`requestCert`). */
  certificate?: CertificateOptions;
  /** Where roles and scopes stand in a token. @default { roles: 'roles', scopes: ['scope', 'scopes', 'scp'] } */
  claims?: {
    roles?: ClaimNames;
    scopes?: ClaimNames;
    /** The claim, or the path to it, with the channels that a token names: `{ subscribe: [...], publish: [...] }`. @default 'channels' */
    channels?: string;
  };
  /** Sessions that one subject may have, 1 to 1_000_000; `Infinity`, or `null`, is off. @default 100 */
  maxSessionsPerSubject?: number | null;
  /** Who goes when there is one too many: the oldest, with 4409, or the new one, with 4429. @default 'replace-oldest' */
  onSessionLimit?: 'replace-oldest' | 'refuse-new';
  tickets?: {
    /** How long a one-time ticket is good for, in milliseconds, 1_000 to 300_000. @default 30_000 */
    ttlMs?: number;
  };
  /**
   * Asked again and again while a session lasts: may it go on? `false` revokes it; a principal with other roles or scopes takes
   * the place of the old one. When it throws, the session goes on and the log says so.
   */
  revalidate?: Revalidate;
  /** Time between two such questions about a session, in milliseconds, 1_000 to 86_400_000. @default 300_000 */
  revalidateEveryMs?: number;
  /** Asked about every upgrade, on all paths, when its token has been verified, and about who signs in after it. */
  connectionGuards?: readonly (Type<ConnectionGuard> | ConnectionGuard)[];
  /** How long before expiry `auth.expiring` is pushed, in milliseconds, 0 to 3_600_000. @default 30_000 */
  refreshLeadMs?: number;
}

/** May the principal's session go on? */
export type Revalidate = (principal: Principal) => boolean | Principal | Promise<boolean | Principal>;

export const AUTH_DEFAULTS = Object.freeze({
  jwt: JWT_DEFAULTS,
  sources: Object.freeze(['header', 'subprotocol', 'message'] as const),
  reject: 'close',
  anonymous: false,
  timeoutMs: 10_000,
  refreshLeadMs: 30_000,
  certificate: CERTIFICATE_DEFAULTS,
  claims: Object.freeze({
    roles: 'roles',
    scopes: Object.freeze(['scope', 'scopes', 'scp'] as const),
    channels: 'channels',
  }),
  maxSessionsPerSubject: 100,
  onSessionLimit: 'replace-oldest',
  tickets: Object.freeze({ ttlMs: 30_000 }),
  revalidateEveryMs: 300_000,
} as const);

/** The options of authentication with every default filled in. */
export interface ResolvedAuth {
  /** Whose tokens are accepted; empty where an `Authenticator` of the application's says it. */
  readonly issuers: readonly ResolvedIssuer[];
  readonly sources: readonly TokenSource[];
  readonly reject: 'close' | 'handshake';
  readonly anonymous: boolean;
  readonly timeoutMs: number;
  readonly refreshLeadMs: number;
  readonly cookie: string | undefined;
  readonly certificate: Readonly<Required<CertificateOptions>>;
  readonly claims: { readonly roles: ClaimNames; readonly scopes: ClaimNames; readonly channels: string };
  readonly maxSessionsPerSubject: number;
  readonly onSessionLimit: 'replace-oldest' | 'refuse-new';
  readonly tickets: { readonly ttlMs: number };
  readonly revalidate: Revalidate | undefined;
  readonly revalidateEveryMs: number;
  readonly connectionGuards: readonly (Type<ConnectionGuard> | ConnectionGuard)[];
}

/** @param needsKeys false when the application provides an `Authenticator`, which may do without `auth.jwt` */
export function resolveAuth(check: OptionCheck, value: unknown, needsKeys: boolean): ResolvedAuth {
  const { jwt: _, ...defaults } = AUTH_DEFAULTS;
  const at = 'auth';
  const auth = check.object(value, at, ['jwt', 'cookie', 'revalidate', 'connectionGuards', ...Object.keys(defaults)]);
  const claims = check.object(auth.claims, `${at}.claims`, Object.keys(defaults.claims));
  const tickets = check.object(auth.tickets, `${at}.tickets`, Object.keys(defaults.tickets));
  const integer = (name: 'timeoutMs' | 'refreshLeadMs' | 'revalidateEveryMs', min: number, max: number): number =>
    check.integer(auth[name], `${at}.${name}`, min, max, defaults[name]);
  const sources = check.list(auth.sources, `${at}.sources`, SOURCES) ?? defaults.sources;
  const cookie = check.token(auth.cookie, `${at}.cookie`);
  if (sources.includes('cookie') && auth.cookie === undefined) {
    check.problem(`${at}.cookie`, 'must name the cookie that holds the token');
  }
  const needsTokens = needsKeys && sources.some((source) => source !== 'certificate');
  return {
    issuers: needsTokens || auth.jwt !== undefined ? resolveIssuers(check, auth.jwt, `${at}.jwt`) : [],
    sources,
    cookie,
    certificate: resolveCertificateOptions(check, auth.certificate, `${at}.certificate`),
    reject: check.oneOf(auth.reject, `${at}.reject`, ['close', 'handshake'] as const, defaults.reject),
    anonymous: check.boolean(auth.anonymous, `${at}.anonymous`, defaults.anonymous),
    timeoutMs: integer('timeoutMs', 1, 600_000),
    refreshLeadMs: integer('refreshLeadMs', 0, 3_600_000),
    claims: {
      roles: claimNames(check, claims.roles, `${at}.claims.roles`) ?? defaults.claims.roles,
      scopes: claimNames(check, claims.scopes, `${at}.claims.scopes`) ?? defaults.claims.scopes,
      channels: check.text(claims.channels, `${at}.claims.channels`, 1, 256) ?? defaults.claims.channels,
    },
    maxSessionsPerSubject: check.count(
      auth.maxSessionsPerSubject,
      `${at}.maxSessionsPerSubject`,
      1,
      1_000_000,
      defaults.maxSessionsPerSubject,
    ),
    onSessionLimit: check.oneOf(
      auth.onSessionLimit,
      `${at}.onSessionLimit`,
      ['replace-oldest', 'refuse-new'] as const,
      defaults.onSessionLimit,
    ),
    tickets: { ttlMs: check.integer(tickets.ttlMs, `${at}.tickets.ttlMs`, 1_000, 300_000, defaults.tickets.ttlMs) },
    revalidate: check.callable(auth.revalidate, `${at}.revalidate`) as Revalidate | undefined, // because what it returns is looked at each time
    revalidateEveryMs: integer('revalidateEveryMs', 1_000, 86_400_000),
    connectionGuards: check.instances<ConnectionGuard>(auth.connectionGuards, `${at}.connectionGuards`, 'canConnect'),
  };
}

/** Where names stand in a token. */
function claimNames(check: OptionCheck, value: unknown, at: string): ClaimNames | undefined {
  if (typeof value === 'function') return value as ClaimNames; // because what it returns is checked each time
  return typeof value === 'string' && value !== '' ? value : check.names(value, at);
}
