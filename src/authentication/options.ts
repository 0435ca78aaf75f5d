import {
  callable,
  count,
  flag,
  group,
  instances,
  names,
  oneOf,
  show,
  Option,
  Optional,
  text,
  token,
  whole,
} from '../base/options.js';
import type { GivenOf, Place, ResolvedOf } from '../base/options.js';
import { CERTIFICATE_SUBJECTS } from './certificate.js';
import type { ClaimNames } from './claims.js';
import type { ConnectionGuard } from './connection-guard.js';
import { kindOf, readSource, SOURCE_SCHEMA, SOURCES } from './credentials.js';
import type { CredentialSource, TokenSource } from './credentials.js';
import { JWT, NEEDS_KEYS } from './jwt/issuers.js';
import type { JwtOptions, ResolvedIssuer } from './jwt/issuers.js';
import type { Principal } from './principal.js';

/** Token of `options.auth`. */
export const AUTH_OPTIONS = Symbol('nestjs-ws-gateway.auth-options');

/** Decides whether the principal's session may go on. */
export type Revalidate = (principal: Principal) => boolean | Principal | Promise<boolean | Principal>;

const CERTIFICATE = group({
  /**
   * Which name of a client's certificate is the subject: `cn`, or the one alternative name of the kind `dns`, `email` or `uri`. A
   * certificate with no such name, or with several, is TOKEN_INVALID.
   */
  subject: oneOf(CERTIFICATE_SUBJECTS, 'cn'),
});

export const AUTH = group(
  {
    /** How tokens are verified. Needed, unless the application provides an `Authenticator`. */
    jwt: new Optional<JwtOptions, readonly ResolvedIssuer[], { readonly clockToleranceSec: number }>(
      [],
      JWT.fallback,
      JWT.schema,
      (given, place) => JWT.read(given, place),
    ),
    /**
     * Where credentials are looked for. Those that are no bearer tokens need an `Authenticator` of the application's. An empty list, with
     * `anonymous`, is for an application whose clients have none: it needs no keys.
     */
    sources: credentialSources(['header', 'subprotocol', 'message']),
    /**
     * What a bad token at the handshake gets: `close` accepts, sends `disconnect` and closes, which a browser can read;
     * `handshake` answers 401.
     */
    reject: oneOf(['close', 'handshake'], 'close'),
    /** True lets a session without a token, or with a bad cookie or certificate, stay, for public events. */
    anonymous: flag(false),
    /** How long a session may stay unauthenticated, in milliseconds. */
    timeoutMs: whole(1, 600_000, 10_000),
    /** How long before expiry `auth.expiring` is pushed, in milliseconds. */
    refreshLeadMs: whole(0, 3_600_000, 30_000),
    /** Name of the cookie that holds the token; needed with the source `cookie`, which also needs `firewall.origins`. */
    cookie: token(),
    /** How clients' certificates are read, where `certificate` is a source: the HTTP server has to ask for them (`requestCert`). */
    certificate: CERTIFICATE,
    /** Where roles and scopes stand in a token. */
    claims: group({
      /** A claim, or the claims, that hold roles. */
      roles: claimNames('roles'),
      /** A claim, or the claims, that hold scopes. */
      scopes: claimNames(['scope', 'scopes', 'scp']),
      /** The claim, or the path to it, with the channels that a token names: `{ subscribe: [...], publish: [...] }`. */
      channels: text(1, 256, 'channels'),
    }),
    /** Sessions that one subject may have. */
    maxSessionsPerSubject: count(1, 1_000_000, 100),
    /** Which session goes when a subject has one too many: the oldest, with 4409, or the new one, with 4429. */
    onSessionLimit: oneOf(['replace-oldest', 'refuse-new'], 'replace-oldest'),
    /** One-time tickets. */
    tickets: group({
      /** How long a one-time ticket is good for, in milliseconds. */
      ttlMs: whole(1_000, 300_000, 30_000),
    }),
    /**
     * Asked again and again while a session lasts: may it go on? `false` revokes it; a principal with other roles or scopes takes
     * the place of the old one. When it throws, the session goes on and the log says so.
     */
    revalidate: callable<Revalidate>(),
    /** Time between two such questions about a session, in milliseconds. */
    revalidateEveryMs: whole(1_000, 86_400_000, 300_000),
    /** Asked about every upgrade, on all paths, when its token has been verified, and about who signs in after it. */
    connectionGuards: instances<ConnectionGuard>('canConnect'),
  },
  ({ jwt: issuers, connectionGuards = [], ...auth }, place, given) => {
    checkAnySource(place, auth);
    if (auth.sources.includes('cookie') && given.cookie === undefined) {
      place.member('cookie').complain('must name the cookie that holds the token');
    }
    return { ...auth, issuers, connectionGuards };
  },
);

export interface AuthOptions extends GivenOf<typeof AUTH> {}
export interface CertificateOptions extends GivenOf<typeof CERTIFICATE> {}
/** The options of authentication with every default filled in; `issuers` may be empty where the application has an `Authenticator`. */
export interface ResolvedAuth extends ResolvedOf<typeof AUTH> {}

/** Where none may be anonymous, there has to be a way in. @param place where the sources stand */
export function checkAnySource(
  place: Place,
  { sources, anonymous }: Pick<ResolvedAuth, 'sources' | 'anonymous'>,
): void {
  if (sources.length > 0 || anonymous) return;
  const problem = 'must name one or more where auth.anonymous is false: no client could ever authenticate';
  place.member('sources').complain(problem);
}

/**
 * Without an `Authenticator` of the application's, bearer tokens need keys, and no other credentials can be judged.
 *
 * @param sources those of all paths, each with the option that names it
 */
export function checkKeys(
  options: Place,
  { issuers }: Pick<ResolvedAuth, 'issuers'>,
  sources: ReadonlyMap<TokenSource, string>,
): void {
  const jwt = options.member('auth.jwt');
  const isKnown = options.problems.some((problem) => problem.startsWith(jwt.name));
  const isBearer = (source: TokenSource): boolean => kindOf(source).kind === 'bearer';
  const needsTokens = [...sources.keys()].some((source) => isBearer(source) && !NEED_NO_KEYS.has(source));
  if (needsTokens && issuers.length === 0 && !isKnown) jwt.complain(NEEDS_KEYS);
  const why = 'which is no bearer token: provide an Authenticator that judges it';
  for (const [source, option] of sources) {
    if (!isBearer(source)) options.member(option).complain(`has ${source}, ${why}`);
  }
}

const NEED_NO_KEYS: ReadonlySet<TokenSource> = new Set(['certificate', 'guard']);

/** Sources of credentials, as text. */
function credentialSources<const D extends readonly CredentialSource[]>(
  fallback: D,
): Option<readonly CredentialSource[], readonly TokenSource[], D> {
  const schema = { type: 'array', uniqueItems: true, items: SOURCE_SCHEMA };
  const must = `must be a list of ${SOURCES.join(', ')}, { header }, { query } and { cookie } with a name, each once`;
  return new Option(fallback, schema, (given, place) => {
    const read = Array.isArray(given) ? given.map(readSource) : [];
    const known = read.filter((source) => source !== undefined);
    const isGood = Array.isArray(given) && known.length === read.length && new Set(known).size === known.length;
    return isGood ? known : place.complain(`${must}, got ${show(given)}`);
  });
}

/** Where names stand in a token: what a function returns is checked each time. */
function claimNames<const D extends ClaimNames>(fallback: D): Option<ClaimNames, ClaimNames, D> {
  const some = names();
  return new Option(fallback, some.schema, (given, place) =>
    typeof given === 'function' || (typeof given === 'string' && given !== '')
      ? (given as ClaimNames) // because what it returns is checked each time
      : some.read(given, place),
  );
}
