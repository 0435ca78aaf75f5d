import { AUTH, checkAnySource } from '../authentication/options.js';
import type { TokenSource } from '../authentication/credentials.js';
import { membersOf, Option, overrides, show } from '../base/options.js';
import type { GivenOf, Overrides, Place, ResolvedOf } from '../base/options.js';
import { pathnameOf } from '../base/pathname.js';
import { checkOrigins, FIREWALL } from '../firewall/options.js';
import { CONNECTION } from './options.js';
import type { ConnectionOptions } from './options.js';

const LIMIT_NAMES = [
  'maxMessageBytes',
  'maxFragments',
  'maxJsonDepth',
  'maxBadFrames',
  'maxConcurrentMessages',
  'maxStreams',
  'handlerTimeoutMs',
  'maxOutboundBytes',
  'messageTimeoutMs',
  'messagesPerSecond',
  'messageBurst',
  'bytesPerSecond',
] as const;
const HEARTBEAT_NAMES = ['intervalMs', 'timeoutMs'] as const;
const SIGN_IN_NAMES = ['sources', 'reject', 'anonymous', 'timeoutMs'] as const;
const ORIGIN_NAMES = ['origins', 'allowNullOrigin', 'allowMissingOrigin'] as const;

// Types are written down, so that the published declarations refer to those of the options, where the doc comments are.
type Limits = Overrides<typeof CONNECTION.limits, (typeof LIMIT_NAMES)[number]>;
type Heartbeat = Overrides<typeof CONNECTION.heartbeat, (typeof HEARTBEAT_NAMES)[number]>;
type SignIn = Overrides<typeof AUTH, (typeof SIGN_IN_NAMES)[number]>;
type Origins = Overrides<typeof FIREWALL, (typeof ORIGIN_NAMES)[number]>;

/** The groups of which one path may have options of its own, each by its name among the module's options. */
const GROUPS: {
  readonly limits: Limits;
  readonly heartbeat: Heartbeat;
  readonly auth: SignIn;
  readonly firewall: Origins;
} = {
  limits: overrides('limits', CONNECTION.limits, LIMIT_NAMES),
  heartbeat: overrides('heartbeat', CONNECTION.heartbeat, HEARTBEAT_NAMES),
  auth: overrides('auth', AUTH, SIGN_IN_NAMES),
  firewall: overrides('firewall', FIREWALL, ORIGIN_NAMES),
};
type GroupName = keyof typeof GROUPS;
const GROUP_NAMES = Object.keys(GROUPS) as GroupName[]; // because it has these

/** What one path has otherwise than the module. */
export interface PathOptions {
  /** What a session may send, hold and ask for. What all sessions share, in the process or of one subject, is the module's. */
  limits?: GivenOf<Limits>;
  /** Times between pings, and for their answers. */
  heartbeat?: GivenOf<Heartbeat>;
  /** Who connects, and how it is known. */
  auth?: GivenOf<SignIn>;
  /** Whose pages may connect. */
  firewall?: GivenOf<Origins>;
}

/** What one path has otherwise: what is not there is the module's. */
export type PathOverrides = { readonly [K in GroupName]: ResolvedOf<(typeof GROUPS)[K]> };

/** The options of paths, as they are read. */
export type ResolvedPaths = Readonly<Record<string, PathOverrides>>;

/** Options by path. Each key is a path as its gateway writes it. */
export const PATHS = new Option<Record<string, PathOptions>, ResolvedPaths, Readonly<Record<string, never>>>(
  {},
  {
    type: 'object',
    propertyNames: { pattern: '^[^\\s?#]+$' },
    additionalProperties: {
      type: 'object',
      additionalProperties: false,
      properties: Object.fromEntries(GROUP_NAMES.map((name) => [name, GROUPS[name].schema])),
    },
  },
  readPaths,
);

function readPaths(value: unknown, place: Place): ResolvedPaths {
  const paths = new Map<string, PathOverrides>();
  for (const [key, given] of Object.entries(membersOf(value, place))) {
    const at = place.item(key);
    const pathname = pathnameOf(key);
    if (!/^[^\s?#]+$/.test(key)) at.complain(`must be the path of a gateway, without space, "?" or "#"`);
    if (paths.has(pathname)) at.complain(`is ${show(pathname)} once more: give the options of a path together`);
    paths.set(pathname, readPath(given, at));
  }
  return Object.fromEntries(paths);
}

function readPath(value: unknown, place: Place): PathOverrides {
  const given = membersOf(value, place, GROUP_NAMES);
  const read = GROUP_NAMES.map((name) => [name, GROUPS[name].read(given[name] ?? {}, place.member(name))]);
  return Object.fromEntries(read) as PathOverrides; // because each group has read its own
}

/** The options of the module, of which some are another for a path. */
type Overridable = { readonly [K in GroupName]: ConnectionOptions[K] };

/** The module's options with what the path has otherwise in their place. */
export function overriddenBy<O extends Overridable>(options: O, path: PathOverrides | undefined): O {
  const { limits, heartbeat, auth, firewall } = options;
  return {
    ...options,
    limits: { ...limits, ...path?.limits },
    heartbeat: { ...heartbeat, ...path?.heartbeat },
    auth: { ...auth, ...path?.auth },
    firewall: { ...firewall, ...path?.firewall },
  };
}

/** The sources of credentials of all paths, each with the option that names it. */
export function allSources({
  auth,
  paths,
}: Pick<Overridable, 'auth'> & { readonly paths: ResolvedPaths }): ReadonlyMap<TokenSource, string> {
  const named = new Map<TokenSource, string>();
  for (const source of auth.sources) named.set(source, 'auth.sources');
  for (const [pathname, { auth: own }] of Object.entries(paths)) {
    for (const source of own.sources ?? [])
      if (!named.has(source)) named.set(source, `${placeOf(pathname)}.auth.sources`);
  }
  return named;
}

/** How a complaint names the options of a path. */
export function placeOf(pathname: string): string {
  return `paths[${JSON.stringify(pathname)}]`;
}

/**
 * Looks at how the options of each path fit the module's.
 *
 * @param place where the module's options stand
 */
export function checkPaths<O extends Overridable & { readonly paths: ResolvedPaths }>(options: O, place: Place): void {
  for (const [pathname, path] of Object.entries(options.paths)) {
    const at = place.member('paths').item(pathname);
    const { auth, firewall } = overriddenBy<Overridable>(options, path);
    if (Object.keys(path.auth).length > 0) checkAnySource(at.member('auth'), auth);
    const hasSources = path.auth.sources !== undefined;
    if (hasSources && auth.sources.includes('cookie') && auth.cookie === undefined) {
      at.member('auth')
        .member('sources')
        .complain('has cookie, so auth.cookie must name the cookie that holds the token');
    }
    if (hasSources || Object.keys(path.firewall).length > 0) {
      const sources = { option: hasSources ? at.member('auth.sources').name : 'auth.sources', names: auth.sources };
      checkOrigins(at.member('firewall'), firewall, sources, place.member('firewall'));
    }
    checkTotals(at.member('limits'), path.limits, options.limits);
  }
}

/** One session of the path could not have what the path lets it have. */
function checkTotals(
  place: Place,
  own: PathOverrides['limits'],
  { maxOutboundBytesTotal, maxReceivingBytesTotal }: Overridable['limits'],
): void {
  const check = (name: 'maxOutboundBytes' | 'maxMessageBytes', total: string, most: number): void => {
    const given = own[name];
    if (given !== undefined && given > most)
      place.member(name).complain(`must be at most limits.${total}, ${most}, got ${given}`);
  };
  check('maxOutboundBytes', 'maxOutboundBytesTotal', maxOutboundBytesTotal);
  check('maxMessageBytes', 'maxReceivingBytesTotal', maxReceivingBytesTotal);
}
