import { createPublicKey, createSecretKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { OptionCheck } from './option-check.js';

/** Signature algorithms a token may have (RFC 7518 §3.1). `none` is not among them and cannot be. */
export const ALGORITHMS = [
  'HS256',
  'HS384',
  'HS512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

/** Where a token is looked for; the order of `auth.sources` decides, and the first present source counts. */
export const SOURCES = ['header', 'subprotocol', 'message'] as const;
export type TokenSource = (typeof SOURCES)[number];

export interface JwtOptions {
  /** HMAC secret, at least 32 bytes (RFC 7518 §3.2). Either this or `publicKey` is needed. */
  secret?: string | Uint8Array;
  /** PEM of an RSA or EC public key, or of a certificate that holds one. */
  publicKey?: string | Uint8Array;
  /** Algorithms accepted; each has to fit the key. @default HS256 for a secret, RS256 or the curve's ES for a public key */
  algorithms?: readonly Algorithm[];
  /** Accepted `iss`; any when unset. */
  issuer?: string | readonly string[];
  /** Accepted `aud`; any when unset. */
  audience?: string | readonly string[];
  /** Tolerance for `exp` and `nbf` at authentication, in seconds, 0 to 300. @default 5 */
  clockToleranceSec?: number;
}

export interface AuthOptions {
  jwt: JwtOptions;
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
  /** Read only when `cookie` is among the sources, which this version does not offer. */
  cookie?: string;
  /** Not enforced in this version; the start says so when it is set. */
  maxSessionsPerSubject?: number | null;
  /** Not enforced in this version; the start says so when it is set. */
  onSessionLimit?: 'replace-oldest' | 'refuse-new';
  /** How long before expiry `auth.expiring` is pushed, in milliseconds, 0 to 3_600_000. @default 30_000 */
  refreshLeadMs?: number;
}

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
  errors?: {
    /** Event name of exception frames, 1 to 128 characters. @default 'exception' */
    event?: string;
  };
}

/** The defaults, written once: documentation and README are tested against this object. */
export const DEFAULTS = Object.freeze({
  path: '/ws',
  auth: Object.freeze({
    jwt: Object.freeze({ clockToleranceSec: 5 }),
    sources: Object.freeze(['header', 'subprotocol', 'message'] as const),
    reject: 'close',
    anonymous: false,
    timeoutMs: 10_000,
    refreshLeadMs: 30_000,
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
  errors: Object.freeze({ event: 'exception' }),
} as const);

/** A verification key and what it may verify. */
export interface ResolvedJwt {
  readonly key: KeyObject;
  readonly algorithms: readonly Algorithm[];
  readonly issuer: readonly string[] | undefined;
  readonly audience: readonly string[] | undefined;
  readonly clockToleranceSec: number;
}

/** The options with every default filled in, checked and frozen. */
export interface ResolvedOptions {
  readonly path: string;
  readonly auth: {
    readonly jwt: ResolvedJwt;
    readonly sources: readonly TokenSource[];
    readonly reject: 'close' | 'handshake';
    readonly anonymous: boolean;
    readonly timeoutMs: number;
    readonly refreshLeadMs: number;
  };
  readonly firewall: { readonly origins: readonly string[] | undefined };
  readonly limits: Readonly<Record<keyof typeof DEFAULTS.limits, number>>;
  readonly heartbeat: Readonly<Required<HeartbeatOptions>>;
  readonly compression: Readonly<Required<CompressionOptions>> | false;
  readonly shutdown: { readonly drainMs: number };
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
 * @throws WsGatewayOptionsError naming every bad option at once
 */
export function resolveOptions(options: unknown): ResolvedOptions {
  const check = new OptionCheck();
  const root = check.object(options, '', [
    'path',
    'auth',
    'firewall',
    'limits',
    'heartbeat',
    'compression',
    'shutdown',
    'errors',
  ]);
  const auth = check.object(root.auth, 'auth', [
    'jwt',
    'sources',
    'cookie',
    'reject',
    'anonymous',
    'timeoutMs',
    'refreshLeadMs',
    ...UNENFORCED.auth,
  ]);
  const firewall = check.object(root.firewall, 'firewall', ['origins', 'allow', 'deny', ...UNENFORCED.firewall]);
  const limits = check.object(root.limits, 'limits', [...Object.keys(DEFAULTS.limits), ...UNENFORCED.limits]);
  const heartbeat = check.object(root.heartbeat, 'heartbeat', Object.keys(DEFAULTS.heartbeat));
  const shutdown = check.object(root.shutdown, 'shutdown', Object.keys(DEFAULTS.shutdown));
  const errors = check.object(root.errors, 'errors', Object.keys(DEFAULTS.errors));
  const limit = (name: keyof typeof DEFAULTS.limits, min: number, max: number): number =>
    check.integer(limits[name], `limits.${name}`, min, max, DEFAULTS.limits[name]);

  const resolved: ResolvedOptions = {
    path: check.path(root.path, 'path', DEFAULTS.path),
    auth: {
      jwt: resolveJwt(check, auth.jwt),
      sources: check.list(auth.sources, 'auth.sources', SOURCES) ?? DEFAULTS.auth.sources,
      reject: check.oneOf(auth.reject, 'auth.reject', ['close', 'handshake'] as const, DEFAULTS.auth.reject),
      anonymous: check.boolean(auth.anonymous, 'auth.anonymous', DEFAULTS.auth.anonymous),
      timeoutMs: check.integer(auth.timeoutMs, 'auth.timeoutMs', 1, 600_000, DEFAULTS.auth.timeoutMs),
      refreshLeadMs: check.integer(auth.refreshLeadMs, 'auth.refreshLeadMs', 0, 3_600_000, DEFAULTS.auth.refreshLeadMs),
    },
    firewall: { origins: check.origins(firewall.origins, 'firewall.origins') },
    limits: {
      maxMessageBytes: limit('maxMessageBytes', 1, 16_777_216),
      maxFragments: limit('maxFragments', 1, 131_072),
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
    errors: { event: check.text(errors.event, 'errors.event', 1, 128) ?? DEFAULTS.errors.event },
    unenforced: unenforcedOf(check, { auth, firewall, limits }),
  };
  if (check.problems.length > 0) throw new WsGatewayOptionsError(check.problems);
  return deepFreeze(resolved);
}

/** Options of the design whose enforcement is still to come. A list that should keep somebody out is no mere wish. */
const UNENFORCED = {
  auth: ['maxSessionsPerSubject', 'onSessionLimit'],
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

function resolveJwt(check: OptionCheck, value: unknown): ResolvedJwt {
  const at = 'auth.jwt';
  const jwt = check.object(value, at, ['secret', 'publicKey', 'algorithms', 'issuer', 'audience', 'clockToleranceSec']);
  const algorithms = check.list(jwt.algorithms, `${at}.algorithms`, ALGORITHMS);
  const key = resolveKey(check, jwt, at);
  if (key !== undefined) {
    for (const algorithm of algorithms ?? []) {
      if (!fits(algorithm, key))
        check.problem(`${at}.algorithms`, `${algorithm} does not fit the key that is configured`);
    }
  }
  const fallback = DEFAULTS.auth.jwt.clockToleranceSec;
  return {
    key: key as KeyObject, // because a missing key is a problem, and a problem throws before this is used
    algorithms: algorithms ?? (key === undefined ? [] : ALGORITHMS.filter((name) => fits(name, key)).slice(0, 1)),
    issuer: check.names(jwt.issuer, `${at}.issuer`),
    audience: check.names(jwt.audience, `${at}.audience`),
    clockToleranceSec: check.integer(jwt.clockToleranceSec, `${at}.clockToleranceSec`, 0, 300, fallback),
  };
}

const MIN_SECRET_BYTES = 32;

function resolveKey(check: OptionCheck, jwt: Record<string, unknown>, at: string): KeyObject | undefined {
  const { secret, publicKey } = jwt;
  if (secret === undefined && publicKey === undefined) {
    check.problem(at, 'needs a secret or a publicKey');
  } else if (secret !== undefined && publicKey !== undefined) {
    check.problem(at, 'takes either a secret or a publicKey, not both');
  } else if (secret !== undefined) {
    const bytes = bytesOf(secret);
    if (bytes === undefined) check.problem(`${at}.secret`, 'must be a string or bytes');
    else if (bytes.length < MIN_SECRET_BYTES) {
      check.problem(`${at}.secret`, `must be at least ${MIN_SECRET_BYTES} bytes, got ${bytes.length}`);
    } else return createSecretKey(bytes);
  } else {
    const pem = bytesOf(publicKey);
    if (pem === undefined) check.problem(`${at}.publicKey`, 'must be a PEM string or bytes');
    else return readPublicKey(check, pem, `${at}.publicKey`);
  }
  return undefined;
}

function readPublicKey(check: OptionCheck, pem: Buffer, at: string): KeyObject | undefined {
  // createPublicKey derives a public key from a private one: a private key in a verifier's configuration is a leak.
  if (pem.includes('PRIVATE KEY')) return void check.problem(at, 'is a private key; give the public one');
  try {
    const key = createPublicKey(pem);
    const bits = key.asymmetricKeyDetails?.modulusLength;
    if (bits !== undefined && bits < 2048) check.problem(at, `must have at least 2048 bits, got ${bits}`);
    if (!ALGORITHMS.some((algorithm) => fits(algorithm, key)))
      check.problem(at, 'must be an RSA or EC P-256, P-384 or P-521 key');
    return key;
  } catch {
    // OpenSSL's own words name neither the option nor the mistake.
    return void check.problem(at, 'is not a PEM public key');
  }
}

const CURVES: Record<string, string> = { ES256: 'prime256v1', ES384: 'secp384r1', ES512: 'secp521r1' };

/** An algorithm is bound to the type of the key (RFC 8725 §3.1): a public key never verifies an HMAC. */
function fits(algorithm: Algorithm, key: KeyObject): boolean {
  if (key.type === 'secret') return algorithm.startsWith('HS');
  if (key.asymmetricKeyType === 'rsa') return algorithm.startsWith('RS') || algorithm.startsWith('PS');
  if (key.asymmetricKeyType === 'rsa-pss') return algorithm.startsWith('PS');
  return key.asymmetricKeyType === 'ec' && CURVES[algorithm] === key.asymmetricKeyDetails?.namedCurve;
}

function bytesOf(value: unknown): Buffer | undefined {
  if (typeof value === 'string') return Buffer.from(value, 'utf8');
  return value instanceof Uint8Array ? Buffer.from(value) : undefined;
}

function deepFreeze<T extends object>(value: T): T {
  for (const member of Object.values(value)) {
    // A KeyObject is immutable and has internal slots; only plain objects and arrays are frozen.
    const plain = Array.isArray(member) || Object.getPrototypeOf(member ?? 0) === Object.prototype;
    if (plain) deepFreeze(member as object);
  }
  return Object.freeze(value);
}
