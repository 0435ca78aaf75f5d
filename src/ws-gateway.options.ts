import { AUTH_DEFAULTS, resolveAuth } from './authentication/options.js';
import type { AuthOptions, ResolvedAuth } from './authentication/options.js';
import { CONNECTION_DEFAULTS, resolveConnection } from './connection/options.js';
import type { ConnectionOptions, ResolvedConnection } from './connection/options.js';
import { resolveKeyRing } from './data-protection/key-ring.js';
import type { KeyRing } from './data-protection/key-ring.js';
import { EMAIL_DEFAULTS, resolveEmailOptions } from './email/options.js';
import type { EmailOptions, ResolvedEmailOptions } from './email/options.js';
import { checkOrigins, FIREWALL } from './firewall/options.js';
import type { FirewallOptions, ResolvedFirewall } from './firewall/options.js';
import { MONITORING_DEFAULTS, resolveMonitoring, resolvePrivacy } from './monitoring/options.js';
import type { MonitoringOptions, ResolvedMonitoring } from './monitoring/options.js';
import { PRIVACY_DEFAULTS } from './monitoring/privacy.js';
import type { PrivacyOptions } from './monitoring/privacy.js';
import { CHANNELS, ROOMS } from './rooms/options.js';
import type { ChannelOptions, ResolvedChannels, ResolvedRooms, RoomOptions } from './rooms/options.js';
import { OptionCheck, Place } from './base/options.js';

/** The options of `WsGatewayModule.forRoot()`. */
export interface WsGatewayOptions extends ConnectionOptions {
  auth: AuthOptions;
  firewall?: FirewallOptions;
  sealing?: {
    /** Keys for sealed fields, the newest first: `kid:base64url,kid:base64url`, each of 32 bytes. Unset: nothing is sealed. */
    keys?: string;
  };
  fingerprints?: {
    /** Keys for pseudonyms, in the same form; nodes of a cluster need the same. @default a random one for the process */
    keys?: string;
  };
  monitoring?: MonitoringOptions;
  /** How the log and the audit show personal data. */
  privacy?: PrivacyOptions;
  /** How `WsEmail` and `@IsDeliverableEmail()` look domains up. */
  email?: EmailOptions;
  /** Bounds of rooms. */
  rooms?: RoomOptions;
  /** Rooms that clients subscribe to by themselves, and their history. */
  channels?: ChannelOptions;
}

/** The defaults, written once: documentation and README are tested against this object. */
export const DEFAULTS = deepFreeze({
  auth: AUTH_DEFAULTS,
  ...CONNECTION_DEFAULTS,
  firewall: FIREWALL.fallback,
  email: EMAIL_DEFAULTS,
  monitoring: MONITORING_DEFAULTS,
  privacy: PRIVACY_DEFAULTS,
  rooms: ROOMS.fallback,
  channels: CHANNELS.fallback,
} as const);

/** The options with every default filled in, checked and frozen. */
export interface ResolvedOptions extends ResolvedConnection {
  readonly auth: ResolvedAuth;
  readonly firewall: ResolvedFirewall;
  readonly sealing: { readonly keys: KeyRing | undefined };
  readonly fingerprints: { readonly keys: KeyRing | undefined };
  readonly email: ResolvedEmailOptions;
  readonly monitoring: ResolvedMonitoring;
  readonly privacy: PrivacyOptions;
  readonly rooms: ResolvedRooms;
  readonly channels: ResolvedChannels;
}

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
  const check = new OptionCheck();
  const root = check.object(options, '', ['sealing', 'fingerprints', ...Object.keys(DEFAULTS)]);
  const place = new Place(check.problems);
  const firewall = FIREWALL.read(root.firewall, place.member('firewall'));
  const auth = resolveAuth(check, root.auth, needsKeys);
  checkOrigins(place.member('firewall'), firewall, auth.sources);
  const sealing = check.object(root.sealing, 'sealing', ['keys']);
  const fingerprints = check.object(root.fingerprints, 'fingerprints', ['keys']);
  const fingerprintKeys = resolveKeyRing(check, fingerprints.keys, 'fingerprints.keys');
  const resolved: ResolvedOptions = {
    ...resolveConnection(check, root),
    auth,
    firewall,
    sealing: { keys: resolveKeyRing(check, sealing.keys, 'sealing.keys') },
    fingerprints: { keys: fingerprintKeys },
    email: resolveEmailOptions(check, root.email),
    monitoring: resolveMonitoring(check, root.monitoring),
    privacy: resolvePrivacy(check, root.privacy, fingerprintKeys),
    rooms: ROOMS.read(root.rooms, place.member('rooms')),
    channels: CHANNELS.read(root.channels, place.member('channels')),
  };
  if (check.problems.length > 0) throw new WsGatewayOptionsError(check.problems);
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
