import { AUTH, checkKeys } from './authentication/options.js';
import type { AuthOptions } from './authentication/options.js';
import { group, Place } from './base/options.js';
import type { GivenOf, Resolved, ResolvedOf } from './base/options.js';
import { CLUSTER_GROUP } from './cluster/options.js';
import { CONNECTION } from './connection/options.js';
import { allSources, checkPaths, PATHS } from './connection/path-options.js';
import { FINGERPRINTS, SEALING } from './data-protection/options.js';
import { EMAIL } from './email/options.js';
import { checkOrigins, FIREWALL } from './firewall/options.js';
import { checkPrivacy, MONITORING, PRIVACY } from './monitoring/options.js';
import { UPSTREAMS } from './proxy/options.js';
import { CHANNELS, ROOMS } from './rooms/options.js';

// Written down as a type, so that the published declarations refer to those of the folders, where the doc comments are.
type Groups = typeof CONNECTION & {
  /** Who connects, and how it is known. */
  readonly auth: typeof AUTH;
  /** Who may connect, and how often. */
  readonly firewall: typeof FIREWALL;
  /** What a path has otherwise, by the path as its gateway writes it: `{ '/media': { limits: { maxMessageBytes: 1_048_576 } } }`. */
  readonly paths: typeof PATHS;
  /** Fields that travel sealed. */
  readonly sealing: typeof SEALING;
  /** Pseudonyms. */
  readonly fingerprints: typeof FINGERPRINTS;
  /** How `WsEmail` and `@IsDeliverableEmail()` look domains up. */
  readonly email: typeof EMAIL;
  /** Metrics and traces. */
  readonly monitoring: typeof MONITORING;
  /** How the log and the audit show personal data. */
  readonly privacy: typeof PRIVACY;
  /** Bounds of rooms. */
  readonly rooms: typeof ROOMS;
  /** Rooms that clients subscribe to by themselves, and their history. */
  readonly channels: typeof CHANNELS;
  /** Many nodes. */
  readonly cluster: typeof CLUSTER_GROUP;
  /** Applications that the gateway stands in front of, by path: `{ '/chat': { urls: ['ws://127.0.0.1:9000'] } }`. */
  readonly upstreams: typeof UPSTREAMS;
};

/** The options of the module: each is declared once, in the folder that reads it. */
export const WS_GATEWAY = group<Groups, Resolved<Groups>>(
  {
    auth: AUTH,
    ...CONNECTION,
    firewall: FIREWALL,
    paths: PATHS,
    sealing: SEALING,
    fingerprints: FINGERPRINTS,
    email: EMAIL,
    monitoring: MONITORING,
    privacy: PRIVACY,
    rooms: ROOMS,
    channels: CHANNELS,
    cluster: CLUSTER_GROUP,
    upstreams: UPSTREAMS,
  },
  (options, place) => {
    const { auth, cluster, fingerprints, firewall, privacy } = options;
    checkOrigins(place.member('firewall'), firewall, { option: 'auth.sources', names: auth.sources });
    checkPaths(options, place);
    checkPrivacy(place.member('privacy'), privacy, fingerprints.keys !== undefined);
    if (cluster.redis !== undefined && fingerprints.keys === undefined) {
      place
        .member('fingerprints')
        .member('keys')
        .complain('is needed with cluster.redis: nodes would make different pseudonyms');
    }
    return options;
  },
);

/** The options of `WsGatewayModule.forRoot()`. */
export interface WsGatewayOptions extends GivenOf<typeof WS_GATEWAY> {
  /** Who connects, and how it is known. */
  auth: AuthOptions;
}

/** The defaults: documentation and README are tested against this object. */
export const DEFAULTS = deepFreeze(WS_GATEWAY.fallback);

/** The options with every default filled in, checked and frozen. */
export interface ResolvedOptions extends ResolvedOf<typeof WS_GATEWAY> {}

/** Bad options stop the start; the message names every one of them. */
export class WsGatewayOptionsError extends Error {
  override readonly name = 'WsGatewayOptionsError';

  constructor(readonly problems: readonly string[]) {
    super(`WsGatewayModule options:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
  }
}

/**
 * Checks the options as a whole and fills in the defaults.
 *
 * @param needsKeys false when the application provides an `Authenticator`, which may do without `auth.jwt`
 * @throws WsGatewayOptionsError naming every bad option at once
 */
export function resolveOptions(options: unknown, needsKeys = true): ResolvedOptions {
  const place = new Place();
  const resolved = WS_GATEWAY.read(options ?? null, place);
  if (needsKeys) checkKeys(place, resolved.auth, allSources(resolved));
  if (place.problems.length > 0) throw new WsGatewayOptionsError(place.problems);
  return deepFreeze(resolved);
}

function deepFreeze<T extends object>(value: T): T {
  for (const member of Object.values(value)) {
    // A KeyObject is immutable and has internal slots; only plain objects and arrays are frozen.
    const plain = Array.isArray(member) || Object.getPrototypeOf(member ?? 0) === Object.prototype;
    if (plain) deepFreeze(member as object);
  }
  return Object.freeze(value);
}
