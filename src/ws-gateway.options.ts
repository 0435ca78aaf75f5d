import type { Type } from '@nestjs/common';
import type { ClaimNames } from './authentication/claims.js';
import { SOURCES } from './authentication/credentials.js';
import type { TokenSource } from './authentication/credentials.js';
import { JWT_DEFAULTS, resolveIssuers } from './authentication/jwt-options.js';
import type { JwtOptions, ResolvedIssuer } from './authentication/jwt-options.js';
import type { Principal } from './authentication/principal.js';
import type { ConnectionGuard } from './connection/connection-guard.js';
import { resolveKeyRing } from './data-protection/key-ring.js';
import type { KeyRing } from './data-protection/key-ring.js';
import { EMAIL_DEFAULTS, resolveEmailOptions } from './email/options.js';
import type { EmailOptions, ResolvedEmailOptions } from './email/options.js';
import { MONITORING_DEFAULTS, resolveMonitoring, resolvePrivacy } from './monitoring/options.js';
import type { MonitoringOptions, ResolvedMonitoring } from './monitoring/options.js';
import { PRIVACY_DEFAULTS } from './monitoring/privacy.js';
import type { PrivacyOptions } from './monitoring/privacy.js';
import { OptionCheck } from './option-check.js';

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
  /** True lets a session without a token stay, for public events. @default false */
  anonymous?: boolean;
  /** How long a session may stay unauthenticated, in milliseconds, 1 to 600_000. @default 10_000 */
  timeoutMs?: number;
  /** Name of the cookie that holds the token; needed with the source `cookie`, which also needs `firewall.origins`. */
  cookie?: string;
  /** Where roles and scopes stand in a token. @default { roles: 'roles', scopes: ['scope', 'scopes', 'scp'] } */
  claims?: { roles?: ClaimNames; scopes?: ClaimNames };
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
  /** Asked once about every upgrade, on all paths, when its token has been verified. */
  connectionGuards?: readonly (Type<ConnectionGuard> | ConnectionGuard)[];
  /** How long before expiry `auth.expiring` is pushed, in milliseconds, 0 to 3_600_000. @default 30_000 */
  refreshLeadMs?: number;
}

/** May the principal's session go on? */
export type Revalidate = (principal: Principal) => boolean | Principal | Promise<boolean | Principal>;

export interface FirewallOptions {
  /**
   * Origins that may connect, as `https://app.example.com` or `https://*.example.com` (any one or more labels).
   * Unset: an Origin is refused unless it is the server's own host. Requests without an Origin pass.
   */
  origins?: readonly string[];
  /** Not enforced in this version, so anything but an empty list stops the start. */
  allow?: readonly string[];
  /** Not enforced in this version, so anything but an empty list stops the start. */
  deny?: readonly string[];
  /** This and what follows is not enforced in this version; the start says so of each that is set. */
  exempt?: readonly string[];
  trustProxy?: boolean | number | readonly string[];
  maxConnections?: number | null;
  maxConnectionsPerAddress?: number | null;
  handshakesPerSecondPerAddress?: number | null;
  handshakeBurstPerAddress?: number | null;
  ban?: { violations?: number; withinMs?: number; forMs?: readonly number[] };
  dryRun?: boolean | readonly string[];
}

export interface LimitOptions {
  /** Largest message accepted, in bytes, 1 to 16_777_216; a larger one closes with 1009. @default 65_536 */
  maxMessageBytes?: number;
  /** Most fragments a message may come in, 1 to 16_384; more close with 1009. @default 1_024 */
  maxFragments?: number;
  /** Deepest nesting of a message, its envelope included, 2 to 1_000. @default 32 */
  maxJsonDepth?: number;
  /** Bad frames a session may send before it is closed with 4400, 1 to 1_000_000; refills at as many a minute. @default 10 */
  maxBadFrames?: number;
  /** Messages of one session handled at once, 1 to 10_000; at the limit the socket is not read. @default 16 */
  maxConcurrentMessages?: number;
  /** Streamed replies a session may have open at once, 1 to 100_000; one more is RATE_LIMITED. @default 64 */
  maxStreams?: number;
  /** How long a handler may take to answer, in milliseconds, 1 to 3_600_000. @default 30_000 */
  handlerTimeoutMs?: number;
  /** Most bytes queued for a peer that does not read, 1 to 268_435_456; more close with 4113. @default 1_048_576 */
  maxOutboundBytes?: number;
  /** Not enforced in this version; the start says so when it is set. `Infinity` is off. */
  messagesPerSecond?: number | null;
  /** Not enforced in this version; the start says so when it is set. `Infinity` is off. */
  messageBurst?: number | null;
  /** Not enforced in this version; the start says so when it is set. `Infinity` is off. */
  messagesPerSecondPerSubject?: number | null;
  /** Not enforced in this version; the start says so when it is set. `Infinity` is off. */
  bytesPerSecond?: number | null;
}

/** Times are kept by a sweep every 250 ms, so shorter ones are as long as that. */
export interface HeartbeatOptions {
  /** Time between pings, in milliseconds, 1 to 3_600_000. @default 25_000 */
  intervalMs?: number;
  /** How long a pong may take, in milliseconds, 1 to 600_000; a peer without one is closed with 4108. @default 10_000 */
  timeoutMs?: number;
}

export interface CompressionOptions {
  /** Smallest message compressed, in bytes, 0 to 16_777_216. @default 1_024 */
  thresholdBytes?: number;
}

/** The options of `WsGatewayModule.forRoot()`. */
export interface WsGatewayOptions {
  /** Where gateways without a path of their own live. @default '/ws' */
  path?: string;
  auth: AuthOptions;
  firewall?: FirewallOptions;
  limits?: LimitOptions;
  heartbeat?: HeartbeatOptions;
  /** permessage-deflate (RFC 7692), without context takeover; `true` for its defaults. @default false */
  compression?: boolean | CompressionOptions;
  shutdown?: {
    /** How long a drain may take, in milliseconds, 1 to 600_000. @default 10_000 */
    drainMs?: number;
  };
  sealing?: {
    /** Keys for sealed fields, the newest first: `kid:base64url,kid:base64url`, each of 32 bytes. Unset: nothing is sealed. */
    keys?: string;
  };
  fingerprints?: {
    /** Keys for pseudonyms, in the same form; nodes of a cluster need the same. @default a random one for the process */
    keys?: string;
  };
  /** How `WsEmail` and `@IsDeliverableEmail()` look domains up. */
  email?: EmailOptions;
  monitoring?: MonitoringOptions;
  /** How the log and the audit show personal data. */
  privacy?: PrivacyOptions;
  errors?: {
    /** Event name of exception frames, 1 to 128 characters. @default 'exception' */
    event?: string;
  };
}

/** The defaults, written once: documentation and README are tested against this object. */
export const DEFAULTS = Object.freeze({
  path: '/ws',
  auth: Object.freeze({
    jwt: JWT_DEFAULTS,
    sources: Object.freeze(['header', 'subprotocol', 'message'] as const),
    reject: 'close',
    anonymous: false,
    timeoutMs: 10_000,
    refreshLeadMs: 30_000,
    claims: Object.freeze({ roles: 'roles', scopes: Object.freeze(['scope', 'scopes', 'scp'] as const) }),
    maxSessionsPerSubject: 100,
    onSessionLimit: 'replace-oldest',
    tickets: Object.freeze({ ttlMs: 30_000 }),
    revalidateEveryMs: 300_000,
  }),
  limits: Object.freeze({
    maxMessageBytes: 65_536,
    maxFragments: 1_024,
    maxJsonDepth: 32,
    maxBadFrames: 10,
    maxConcurrentMessages: 16,
    maxStreams: 64,
    handlerTimeoutMs: 30_000,
    maxOutboundBytes: 1_048_576,
  }),
  heartbeat: Object.freeze({ intervalMs: 25_000, timeoutMs: 10_000 }),
  compression: Object.freeze({ thresholdBytes: 1_024 }),
  shutdown: Object.freeze({ drainMs: 10_000 }),
  email: EMAIL_DEFAULTS,
  monitoring: MONITORING_DEFAULTS,
  privacy: PRIVACY_DEFAULTS,
  errors: Object.freeze({ event: 'exception' }),
} as const);

/** The options with every default filled in, checked and frozen. */
export interface ResolvedOptions {
  readonly path: string;
  readonly auth: {
    /** Whose tokens are accepted; empty where an `Authenticator` of the application's says it. */
    readonly issuers: readonly ResolvedIssuer[];
    readonly sources: readonly TokenSource[];
    readonly reject: 'close' | 'handshake';
    readonly anonymous: boolean;
    readonly timeoutMs: number;
    readonly refreshLeadMs: number;
    readonly cookie: string | undefined;
    readonly claims: { readonly roles: ClaimNames; readonly scopes: ClaimNames };
    readonly maxSessionsPerSubject: number;
    readonly onSessionLimit: 'replace-oldest' | 'refuse-new';
    readonly tickets: { readonly ttlMs: number };
    readonly revalidate: Revalidate | undefined;
    readonly revalidateEveryMs: number;
    readonly connectionGuards: readonly (Type<ConnectionGuard> | ConnectionGuard)[];
  };
  readonly firewall: { readonly origins: readonly string[] | undefined };
  readonly limits: Readonly<Record<keyof typeof DEFAULTS.limits, number>>;
  readonly heartbeat: Readonly<Required<HeartbeatOptions>>;
  readonly compression: Readonly<Required<CompressionOptions>> | false;
  readonly shutdown: { readonly drainMs: number };
  readonly sealing: { readonly keys: KeyRing | undefined };
  readonly fingerprints: { readonly keys: KeyRing | undefined };
  readonly email: ResolvedEmailOptions;
  readonly monitoring: ResolvedMonitoring;
  readonly privacy: PrivacyOptions;
  readonly errors: { readonly event: string };
  /** Names of options that are set and have no effect in this version. */
  readonly unenforced: readonly string[];
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
  const root = check.object(options, '', [
    'path',
    'auth',
    'firewall',
    'limits',
    'heartbeat',
    'compression',
    'shutdown',
    'sealing',
    'fingerprints',
    'email',
    'monitoring',
    'privacy',
    'errors',
  ]);
  const firewall = check.object(root.firewall, 'firewall', ['origins', 'allow', 'deny', ...UNENFORCED.firewall]);
  const limits = check.object(root.limits, 'limits', [...Object.keys(DEFAULTS.limits), ...UNENFORCED.limits]);
  const heartbeat = check.object(root.heartbeat, 'heartbeat', Object.keys(DEFAULTS.heartbeat));
  const shutdown = check.object(root.shutdown, 'shutdown', Object.keys(DEFAULTS.shutdown));
  const sealing = check.object(root.sealing, 'sealing', ['keys']);
  const fingerprints = check.object(root.fingerprints, 'fingerprints', ['keys']);
  const sealingKeys = resolveKeyRing(check, sealing.keys, 'sealing.keys');
  const fingerprintKeys = resolveKeyRing(check, fingerprints.keys, 'fingerprints.keys');
  const errors = check.object(root.errors, 'errors', Object.keys(DEFAULTS.errors));
  const limit = (name: keyof typeof DEFAULTS.limits, min: number, max: number): number =>
    check.integer(limits[name], `limits.${name}`, min, max, DEFAULTS.limits[name]);

  const resolved: ResolvedOptions = {
    path: check.path(root.path, 'path', DEFAULTS.path),
    auth: resolveAuth(check, root.auth, firewall.origins, needsKeys),
    firewall: { origins: check.origins(firewall.origins, 'firewall.origins') },
    limits: {
      maxMessageBytes: limit('maxMessageBytes', 1, 16_777_216),
      maxFragments: limit('maxFragments', 1, 16_384),
      maxJsonDepth: limit('maxJsonDepth', 2, 1_000),
      maxBadFrames: limit('maxBadFrames', 1, 1_000_000),
      maxConcurrentMessages: limit('maxConcurrentMessages', 1, 10_000),
      maxStreams: limit('maxStreams', 1, 100_000),
      handlerTimeoutMs: limit('handlerTimeoutMs', 1, 3_600_000),
      maxOutboundBytes: limit('maxOutboundBytes', 1, 268_435_456),
    },
    heartbeat: {
      intervalMs: check.integer(
        heartbeat.intervalMs,
        'heartbeat.intervalMs',
        1,
        3_600_000,
        DEFAULTS.heartbeat.intervalMs,
      ),
      timeoutMs: check.integer(heartbeat.timeoutMs, 'heartbeat.timeoutMs', 1, 600_000, DEFAULTS.heartbeat.timeoutMs),
    },
    compression: resolveCompression(check, root.compression),
    shutdown: { drainMs: check.integer(shutdown.drainMs, 'shutdown.drainMs', 1, 600_000, DEFAULTS.shutdown.drainMs) },
    sealing: { keys: sealingKeys },
    fingerprints: { keys: fingerprintKeys },
    email: resolveEmailOptions(check, root.email),
    monitoring: resolveMonitoring(check, root.monitoring),
    privacy: resolvePrivacy(check, root.privacy, fingerprintKeys),
    errors: { event: check.text(errors.event, 'errors.event', 1, 128) ?? DEFAULTS.errors.event },
    unenforced: unenforcedOf(check, { firewall, limits }),
  };
  if (check.problems.length > 0) throw new WsGatewayOptionsError(check.problems);
  return deepFreeze(resolved);
}

function resolveAuth(
  check: OptionCheck,
  value: unknown,
  origins: unknown,
  needsKeys: boolean,
): ResolvedOptions['auth'] {
  const { jwt: _, ...defaults } = DEFAULTS.auth;
  const at = 'auth';
  const auth = check.object(value, at, ['jwt', 'cookie', 'revalidate', 'connectionGuards', ...Object.keys(defaults)]);
  const claims = check.object(auth.claims, `${at}.claims`, Object.keys(defaults.claims));
  const tickets = check.object(auth.tickets, `${at}.tickets`, Object.keys(defaults.tickets));
  const integer = (name: 'timeoutMs' | 'refreshLeadMs' | 'revalidateEveryMs', min: number, max: number): number =>
    check.integer(auth[name], `${at}.${name}`, min, max, defaults[name]);
  const sources = check.list(auth.sources, `${at}.sources`, SOURCES) ?? defaults.sources;
  const cookie = check.token(auth.cookie, `${at}.cookie`);
  if (sources.includes('cookie')) {
    if (auth.cookie === undefined) check.problem(`${at}.cookie`, 'must name the cookie that holds the token');
    // A browser sends the cookie for any page that asks, so which pages may has to be known.
    if (!Array.isArray(origins) || origins.length === 0)
      check.problem('firewall.origins', 'must list the origins that may connect, since auth.sources has "cookie"');
  }
  return {
    issuers: needsKeys || auth.jwt !== undefined ? resolveIssuers(check, auth.jwt, `${at}.jwt`) : [],
    sources,
    cookie,
    reject: check.oneOf(auth.reject, `${at}.reject`, ['close', 'handshake'] as const, defaults.reject),
    anonymous: check.boolean(auth.anonymous, `${at}.anonymous`, defaults.anonymous),
    timeoutMs: integer('timeoutMs', 1, 600_000),
    refreshLeadMs: integer('refreshLeadMs', 0, 3_600_000),
    claims: {
      roles: check.claims(claims.roles, `${at}.claims.roles`) ?? defaults.claims.roles,
      scopes: check.claims(claims.scopes, `${at}.claims.scopes`) ?? defaults.claims.scopes,
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

/** Options of the design whose enforcement is still to come. A list that should keep somebody out is no mere wish. */
const UNENFORCED = {
  firewall: [
    'exempt',
    'trustProxy',
    'maxConnections',
    'maxConnectionsPerAddress',
    'handshakesPerSecondPerAddress',
    'handshakeBurstPerAddress',
    'ban',
    'dryRun',
  ],
  limits: ['messagesPerSecond', 'messageBurst', 'messagesPerSecondPerSubject', 'bytesPerSecond'],
} as const;

function unenforcedOf(check: OptionCheck, given: Record<keyof typeof UNENFORCED, Record<string, unknown>>): string[] {
  for (const list of ['allow', 'deny']) {
    const value = given.firewall[list];
    const isEmpty = value === undefined || (Array.isArray(value) && value.length === 0);
    if (!isEmpty) check.problem(`firewall.${list}`, 'is not enforced in this version: keep addresses out elsewhere');
  }
  const off: readonly unknown[] = [undefined, null, false, Infinity];
  return Object.entries(UNENFORCED).flatMap(([group, names]) =>
    names
      .filter((name) => !off.includes(given[group as keyof typeof UNENFORCED][name]))
      .map((name) => `${group}.${name}`),
  );
}

function resolveCompression(check: OptionCheck, value: unknown): Required<CompressionOptions> | false {
  if (value === undefined || typeof value === 'boolean') return value === true ? { ...DEFAULTS.compression } : false;
  const given = check.object(value, 'compression', Object.keys(DEFAULTS.compression));
  const fallback = DEFAULTS.compression.thresholdBytes;
  return { thresholdBytes: check.integer(given.thresholdBytes, 'compression.thresholdBytes', 0, 16_777_216, fallback) };
}

function deepFreeze<T extends object>(value: T): T {
  for (const member of Object.values(value)) {
    // A KeyObject is immutable and has internal slots; only plain objects and arrays are frozen.
    const plain = Array.isArray(member) || Object.getPrototypeOf(member ?? 0) === Object.prototype;
    if (plain) deepFreeze(member as object);
  }
  return Object.freeze(value);
}
