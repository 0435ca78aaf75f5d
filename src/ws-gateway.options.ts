import { getHeapStatistics } from 'node:v8';
import type { Type } from '@nestjs/common';
import { CERTIFICATE_DEFAULTS, resolveCertificateOptions } from './authentication/certificate.js';
import type { CertificateOptions } from './authentication/certificate.js';
import type { ClaimNames } from './authentication/claims.js';
import { SOURCES } from './authentication/credentials.js';
import type { TokenSource } from './authentication/credentials.js';
import { JWT_DEFAULTS, resolveIssuers } from './authentication/jwt/issuers.js';
import type { JwtOptions, ResolvedIssuer } from './authentication/jwt/issuers.js';
import type { Revalidate } from './authentication/options.js';
import type { ConnectionGuard } from './authentication/connection-guard.js';
import { resolveKeyRing } from './data-protection/key-ring.js';
import type { KeyRing } from './data-protection/key-ring.js';
import { EMAIL_DEFAULTS, resolveEmailOptions } from './email/options.js';
import type { EmailOptions, ResolvedEmailOptions } from './email/options.js';
import { checkOrigins, FIREWALL_DEFAULTS, resolveFirewall } from './firewall/options.js';
import type { FirewallOptions, ResolvedFirewall } from './firewall/options.js';
import { MONITORING_DEFAULTS, resolveMonitoring, resolvePrivacy } from './monitoring/options.js';
import type { MonitoringOptions, ResolvedMonitoring } from './monitoring/options.js';
import { PRIVACY_DEFAULTS } from './monitoring/privacy.js';
import type { PrivacyOptions } from './monitoring/privacy.js';
import { OptionCheck } from './base/options.js';

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
  /** Asked about every upgrade, on all paths, when its token has been verified, and about who signs in after it. */
  connectionGuards?: readonly (Type<ConnectionGuard> | ConnectionGuard)[];
  /** How long before expiry `auth.expiring` is pushed, in milliseconds, 0 to 3_600_000. @default 30_000 */
  refreshLeadMs?: number;
}

export interface LimitOptions {
  /** Largest message accepted, in bytes, 1 to 16_777_216; a larger one closes with 1009. @default 65_536 */
  maxMessageBytes?: number;
  /** Most fragments a message may come in, 1 to 131_072; more close with 1009. @default 1_024 */
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
  /** Most bytes queued for a peer that does not read, 1 to 268_435_456; and one message more, which it has ten seconds and one for each 65_536 bytes to read; then, or with another, it is closed with 4113. @default 1_048_576 */
  maxOutboundBytes?: number;
  /** Most bytes queued for all peers together, 1_048_576 to 68_719_476_736; over it those with most to read are closed with 4113. @default 268_435_456 */
  maxOutboundBytesTotal?: number;
  /** Most bytes of messages that are begun and not complete, of all peers together, in the same range; over it those with most are closed with 1013. @default 268_435_456 */
  maxReceivingBytesTotal?: number;
  /**
   * Most bytes that messages of all sessions together hold, as they are on the heap, while they wait for their turn or their
   * handler, or have a stream open; in the same range. Near it sessions of an address that has most of it are not read, at
   * it their messages are RATE_LIMITED, and those with most are closed with 1013. @default an eighth of V8's heap
   */
  maxHandlingBytesTotal?: number;
  /** How long a message, or a frame, may take to arrive, in milliseconds, 1 to 3_600_000; a longer one closes with 4108. @default 30_000 */
  messageTimeoutMs?: number;
  /** Messages of a session in a second, in the long run; `Infinity`, or `null`, is off. @default 50 */
  messagesPerSecond?: number | null;
  /** Messages of a session at once; as many more, while the budget is empty, close with 4129. @default 100 */
  messageBurst?: number | null;
  /** Messages of all sessions of a subject in a second; `Infinity`, or `null`, is off. @default 200 */
  messagesPerSecondPerSubject?: number | null;
  /** Bytes of a session's messages in a second; `Infinity`, or `null`, is off. @default 1_048_576 */
  bytesPerSecond?: number | null;
}

/** When the process has more to do than it can. */
export interface OverloadOptions {
  /** Mean delay of the event loop over a second, in milliseconds, 10 to 60_000; `Infinity`, or `null`, is off. @default 500 */
  maxEventLoopDelayMs?: number | null;
  /** Heap in use, in percent of what V8 may have, 1 to 100; `Infinity`, or `null`, is off. @default 90 */
  maxHeapPercent?: number | null;
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
  overload?: OverloadOptions;
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
  monitoring?: MonitoringOptions;
  /** How the log and the audit show personal data. */
  privacy?: PrivacyOptions;
  /** How `WsEmail` and `@IsDeliverableEmail()` look domains up. */
  email?: EmailOptions;
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
    certificate: CERTIFICATE_DEFAULTS,
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
    maxOutboundBytesTotal: 268_435_456,
    maxReceivingBytesTotal: 268_435_456,
    maxHandlingBytesTotal: Math.floor(getHeapStatistics().heap_size_limit / 8),
    messageTimeoutMs: 30_000,
    messagesPerSecond: 50,
    messageBurst: 100,
    messagesPerSecondPerSubject: 200,
    bytesPerSecond: 1_048_576,
  }),
  firewall: FIREWALL_DEFAULTS,
  overload: Object.freeze({ maxEventLoopDelayMs: 500, maxHeapPercent: 90 }),
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
    readonly certificate: Readonly<Required<CertificateOptions>>;
    readonly claims: { readonly roles: ClaimNames; readonly scopes: ClaimNames };
    readonly maxSessionsPerSubject: number;
    readonly onSessionLimit: 'replace-oldest' | 'refuse-new';
    readonly tickets: { readonly ttlMs: number };
    readonly revalidate: Revalidate | undefined;
    readonly revalidateEveryMs: number;
    readonly connectionGuards: readonly (Type<ConnectionGuard> | ConnectionGuard)[];
  };
  readonly firewall: ResolvedFirewall;
  readonly limits: Readonly<Record<keyof typeof DEFAULTS.limits, number>>;
  readonly overload: Readonly<Record<keyof OverloadOptions, number>>;
  readonly heartbeat: Readonly<Required<HeartbeatOptions>>;
  readonly compression: Readonly<Required<CompressionOptions>> | false;
  readonly shutdown: { readonly drainMs: number };
  readonly sealing: { readonly keys: KeyRing | undefined };
  readonly fingerprints: { readonly keys: KeyRing | undefined };
  readonly email: ResolvedEmailOptions;
  readonly monitoring: ResolvedMonitoring;
  readonly privacy: PrivacyOptions;
  readonly errors: { readonly event: string };
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
  const firewall = resolveFirewall(check, root.firewall);
  const limits = check.object(root.limits, 'limits', Object.keys(DEFAULTS.limits));
  const overload = check.object(root.overload, 'overload', Object.keys(DEFAULTS.overload));
  const heartbeat = check.object(root.heartbeat, 'heartbeat', Object.keys(DEFAULTS.heartbeat));
  const shutdown = check.object(root.shutdown, 'shutdown', Object.keys(DEFAULTS.shutdown));
  const sealing = check.object(root.sealing, 'sealing', ['keys']);
  const fingerprints = check.object(root.fingerprints, 'fingerprints', ['keys']);
  const errors = check.object(root.errors, 'errors', Object.keys(DEFAULTS.errors));
  const limit = (name: keyof typeof DEFAULTS.limits, min: number, max: number): number =>
    check.integer(limits[name], `limits.${name}`, min, max, DEFAULTS.limits[name]);
  const budget = (name: keyof typeof DEFAULTS.limits, max: number): number =>
    check.count(limits[name], `limits.${name}`, 1, max, DEFAULTS.limits[name]);

  const fingerprintKeys = resolveKeyRing(check, fingerprints.keys, 'fingerprints.keys');

  const resolved: ResolvedOptions = {
    path: check.path(root.path, 'path', DEFAULTS.path),
    auth: resolveAuth(check, root.auth, firewall, needsKeys),
    firewall,
    limits: {
      maxMessageBytes: limit('maxMessageBytes', 1, 16_777_216),
      maxFragments: limit('maxFragments', 1, 131_072),
      maxJsonDepth: limit('maxJsonDepth', 2, 1_000),
      maxBadFrames: limit('maxBadFrames', 1, 1_000_000),
      maxConcurrentMessages: limit('maxConcurrentMessages', 1, 10_000),
      maxStreams: limit('maxStreams', 1, 100_000),
      handlerTimeoutMs: limit('handlerTimeoutMs', 1, 3_600_000),
      maxOutboundBytes: limit('maxOutboundBytes', 1, 268_435_456),
      maxOutboundBytesTotal: limit('maxOutboundBytesTotal', 1_048_576, 68_719_476_736),
      maxReceivingBytesTotal: limit('maxReceivingBytesTotal', 1_048_576, 68_719_476_736),
      maxHandlingBytesTotal: limit('maxHandlingBytesTotal', 1_048_576, 68_719_476_736),
      messageTimeoutMs: limit('messageTimeoutMs', 1, 3_600_000),
      messagesPerSecond: budget('messagesPerSecond', 10_000_000),
      messageBurst: budget('messageBurst', 10_000_000),
      messagesPerSecondPerSubject: budget('messagesPerSecondPerSubject', 10_000_000),
      bytesPerSecond: budget('bytesPerSecond', 68_719_476_736),
    },
    overload: {
      maxEventLoopDelayMs: check.count(
        overload.maxEventLoopDelayMs,
        'overload.maxEventLoopDelayMs',
        10,
        60_000,
        DEFAULTS.overload.maxEventLoopDelayMs,
      ),
      maxHeapPercent: check.count(
        overload.maxHeapPercent,
        'overload.maxHeapPercent',
        1,
        100,
        DEFAULTS.overload.maxHeapPercent,
      ),
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
    sealing: { keys: resolveKeyRing(check, sealing.keys, 'sealing.keys') },
    fingerprints: { keys: fingerprintKeys },
    email: resolveEmailOptions(check, root.email),
    monitoring: resolveMonitoring(check, root.monitoring),
    privacy: resolvePrivacy(check, root.privacy, fingerprintKeys),
    errors: { event: check.text(errors.event, 'errors.event', 1, 128) ?? DEFAULTS.errors.event },
  };
  if (check.problems.length > 0) throw new WsGatewayOptionsError(check.problems);
  return deepFreeze(resolved);
}

function resolveAuth(
  check: OptionCheck,
  value: unknown,
  firewall: ResolvedFirewall,
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
    if (firewall.origins === undefined || firewall.origins.length === 0)
      check.problem('firewall.origins', 'must list the origins that may connect, since auth.sources has "cookie"');
  }
  checkOrigins(check, firewall, sources);
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
