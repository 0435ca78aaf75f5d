import { pathnameOf } from '../base/pathname.js';
import { flag, group, listOf, membersOf, Option, show, text, token, whole } from '../base/options.js';
import type { GivenOf, Place, ResolvedOf } from '../base/options.js';
import { PathPattern } from '../connection/paths.js';
import { UrlTemplate } from './forwarded.js';

/** Token of `options.upstreams`. */
export const UPSTREAM_OPTIONS = Symbol('nestjs-ws-gateway.upstream-options');

const URL_SCHEMA = { type: 'string', pattern: '^wss?://[^/?#]' };

const URLS = {
  names: 'URLs as ws://127.0.0.1:9000 or wss://app.internal/chat, without a fragment',
  schema: URL_SCHEMA,
  read: readUrl,
};

function readUrl(given: unknown): string | undefined {
  if (typeof given !== 'string' || !/^wss?:\/\/[^/?#]/.test(given) || given.includes('#')) return undefined;
  return URL.canParse(given.replaceAll(/[{}]/g, '')) ? given : undefined;
}

const NAMES = {
  names: 'non-empty strings',
  schema: { type: 'string', minLength: 1 },
  read: (given: unknown) => (typeof given === 'string' && given !== '' ? given : undefined),
};

const HEADERS = group({
  /** The subject of the token. @default X-Auth-Subject */
  subject: token(),
  /** Its roles, with commas between. @default X-Auth-Roles */
  roles: token(),
  /** Its scopes, with commas between. @default X-Auth-Scopes */
  scopes: token(),
  /** The id of the session, as the log has it. @default X-Auth-Session */
  session: token(),
});

export const IDENTITY_ALGORITHMS = ['HS256', 'HS384', 'HS512', 'RS256', 'ES256'] as const;

const MIN_SECRET = 32;

const IDENTITY_TOKEN = group(
  {
    /** The secret that it is signed with, for HS256, HS384 and HS512. */
    secret: text(MIN_SECRET, 4_096),
    /** The private key in PEM, for RS256 and ES256. */
    privateKey: text(1, 16_384),
    /** How it is signed. @default HS256 with a secret, RS256 with a private key */
    algorithm: new Option<IdentityAlgorithm, IdentityAlgorithm | undefined>(
      undefined,
      { enum: IDENTITY_ALGORITHMS },
      (given, place) =>
        IDENTITY_ALGORITHMS.find((one) => one === given) ??
        place.complain(`must be one of ${IDENTITY_ALGORITHMS.join(', ')}, got ${show(given)}`),
    ),
    /** Its `iss`. */
    issuer: text(1, 512),
    /** Its `aud`. */
    audience: text(1, 512),
    /** How long it is valid, in seconds, and never longer than the client's own. @default 60 */
    ttlSec: whole(1, 3_600),
    /** The header that it stands in; Authorization has `Bearer` before it. @default Authorization */
    header: token(),
  },
  (read, place) => {
    const { secret, privateKey, algorithm = privateKey === undefined ? 'HS256' : 'RS256' } = read;
    if ((secret === undefined) === (privateKey === undefined)) place.complain('must have a secret, or a privateKey');
    else if (algorithm.startsWith('HS') !== (secret !== undefined)) {
      place.member('algorithm').complain(`must fit the key, got ${show(algorithm)}`);
    }
    return { ...read, algorithm };
  },
);

const IDENTITY = group(
  {
    /** Names of the headers that say who the client is. */
    headers: new Option<GivenOf<typeof HEADERS>, ResolvedOf<typeof HEADERS>>(
      undefined,
      HEADERS.schema,
      (given, place) => HEADERS.read(given, place),
    ),
    /** A token in place of these headers, which the gateway signs for each connection. */
    jwt: new Option<GivenOf<typeof IDENTITY_TOKEN>, ResolvedOf<typeof IDENTITY_TOKEN> | undefined>(
      undefined,
      IDENTITY_TOKEN.schema,
      (given, place) => IDENTITY_TOKEN.read(given, place),
    ),
  },
  (read, place, given) => {
    if (given.headers !== undefined && given.jwt !== undefined) place.complain('has headers or jwt, not both');
    return read;
  },
);

const UPSTREAM = group(
  {
    /**
     * Where the application listens. The next one is tried where the one before cannot be reached. A URL without a path gets that of the
     * client; in one with a path, `:name` and `*name` stand for the parameters. The client's query goes on in any case.
     */
    urls: listOf(URLS, undefined, { min: 1, max: 16 }),
    /** How long one URL may take to accept a connection, in milliseconds. @default 5_000 */
    connectTimeoutMs: whole(1, 60_000, 5_000),
    /** How long a URL that could not be reached is tried last, in milliseconds. @default 5_000 */
    restMs: whole(0, 3_600_000, 5_000),
    /** Largest message of the application's, in bytes. @default limits.maxMessageBytes of the path */
    maxMessageBytes: whole(1, 16_777_216),
    /** True: texts of clients have to be JSON without forbidden keys, no deeper than `limits.maxJsonDepth`. @default false */
    json: flag(false),
    /** True: what the client has authenticated with goes on to the application. @default false */
    keepCredentials: flag(false),
    /** How the application is told who the client is. */
    identity: IDENTITY,
    /** The client needs one of these roles. */
    roles: listOf(NAMES, undefined, { min: 1 }),
    /** The client needs all of these scopes. */
    scopes: listOf(NAMES, undefined, { min: 1 }),
    /** True: a message that is refused gets an `exception`. Otherwise it ends the session. @default false */
    exceptions: flag(false),
    /** True: a `disconnect` comes before a close of the gateway's. Otherwise close code and reason alone say why. @default false */
    disconnects: flag(false),
    /** Certificates of authorities in PEM, for `wss:`. @default those of Node */
    ca: text(1, 1_048_576),
  },
  ({ urls = [], ...read }, place, given) => {
    if (given.urls === undefined) place.member('urls').complain('is needed');
    return { ...read, urls };
  },
);

type IdentityAlgorithm = (typeof IDENTITY_ALGORITHMS)[number];
export interface UpstreamOptions extends GivenOf<typeof UPSTREAM> {}
export interface ResolvedUpstream extends ResolvedOf<typeof UPSTREAM> {}
export interface ResolvedIdentity extends ResolvedOf<typeof IDENTITY> {}
export interface ResolvedIdentityToken extends ResolvedOf<typeof IDENTITY_TOKEN> {}

/** Paths with an application behind them, and what is said of each. */
export type ResolvedUpstreams = Readonly<Record<string, ResolvedUpstream>>;

const MAX_UPSTREAMS = 256;

/** Applications that the gateway stands in front of, by path. */
export const UPSTREAMS = new Option<Readonly<Record<string, UpstreamOptions>>, ResolvedUpstreams | undefined>(
  undefined,
  {
    type: 'object',
    maxProperties: MAX_UPSTREAMS,
    propertyNames: { pattern: '^/[^\\s?#]*$' },
    additionalProperties: UPSTREAM.schema,
  },
  readUpstreams,
);

function readUpstreams(given: unknown, place: Place): ResolvedUpstreams {
  const entries = Object.entries(membersOf(given, place));
  if (entries.length > MAX_UPSTREAMS) place.complain(`must have at most ${MAX_UPSTREAMS} paths`);
  const read = entries.map(([path, options]) => {
    const at = place.item(path);
    const before = at.problems.length;
    if (!/^\/[^\s?#]*$/.test(path))
      at.complain('must be a path, which begins with a slash and holds no space, "?" or "#"');
    const upstream = UPSTREAM.read(options, at);
    if (at.problems.length === before) checkReadable(path, upstream, at);
    return [path, upstream];
  });
  return Object.fromEntries(read) as ResolvedUpstreams; // because each is read as one
}

/** Complains of what the pattern of a schema does not tell: parameters of the path, and of its URLs. */
function checkReadable(path: string, { urls }: ResolvedUpstream, place: Place): void {
  try {
    templatesOf(path, urls);
  } catch (error) {
    place.complain(`cannot be read: ${(error as Error).message}`);
  }
}

/** @throws Error for a path or a URL that cannot be read */
function templatesOf(path: string, urls: readonly string[]): UrlTemplate[] {
  const { names } = new PathPattern(pathnameOf(path));
  return urls.map((url) => new UrlTemplate(url, names));
}
