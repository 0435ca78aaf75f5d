import type { OptionCheck } from '../base/options.js';
import { show } from '../base/options.js';
import { isRange } from './address-list.js';
import { isOriginPattern } from './origins.js';

/** What can be tried out without being enforced. */
export const RULES = ['origins', 'lists', 'connections', 'handshakes', 'budgets', 'bans'] as const;
export type FirewallRule = (typeof RULES)[number];

export interface FirewallOptions {
  /**
   * Origins that may connect, as `https://app.example.com`, `https://*.example.com` (any one or more labels), or of apps and
   * extensions `capacitor://localhost`, `chrome-extension://<id>`; `*` is every one. Unset: an Origin is refused unless it is the
   * server's own host.
   */
  origins?: readonly string[];
  /**
   * True lets pages with the opaque Origin `null` connect: sandboxed frames, local files. Any page can have that Origin, so not
   * where a browser authenticates by itself, with a cookie or a certificate. @default false
   */
  allowNullOrigin?: boolean;
  /**
   * May a request without an Origin connect? Browsers always send one; services and apps send none. One with the cookie that is
   * a source of tokens may not in any case. @default true
   */
  allowMissingOrigin?: boolean;
  /** When not empty, the only addresses that may connect: addresses and CIDR ranges. @default [] */
  allow?: readonly string[];
  /** Addresses and CIDR ranges that may not connect, also when `allow` has them. @default [] */
  deny?: readonly string[];
  /** Addresses and CIDR ranges that are free of bans and budgets. @default [] */
  exempt?: readonly string[];
  /**
   * Whose word is taken for a client's address: nobody's, so many proxies counted from the right, or the proxies in these
   * addresses and CIDR ranges. @default false
   */
  trustProxy?: false | number | readonly string[];
  /**
   * Which header those proxies set. Unset, whichever is there; a request in which the two disagree is refused then.
   */
  proxyHeader?: 'x-forwarded-for' | 'forwarded';
  /** Connections of the process; `Infinity`, or `null`, is off. @default 50_000 */
  maxConnections?: number | null;
  /** Connections of one address; IPv6 is counted by /64. `Infinity`, or `null`, is off. @default 100 */
  maxConnectionsPerAddress?: number | null;
  /**
   * Connections of one IPv6 /56, and of one /48, which is what a provider gives one customer; never fewer than an address may
   * have. `Infinity`, or `null`, is off. @default 500
   */
  maxConnectionsPer56?: number | null;
  /** @default 5_000 */
  maxConnectionsPer48?: number | null;
  /**
   * Sockets of the process that are no session: silent ones, plain HTTP, refused ones. Sessions and these together never take
   * more than seven eighths of the descriptors that the process may have. `Infinity`, or `null`, is off. @default 20_000
   */
  maxSockets?: number | null;
  /**
   * Such sockets of one address, and a quarter of the descriptors at most; never fewer than `maxConnectionsPerAddress`, and IPv6
   * as there. `Infinity`, or `null`, is off. @default 256
   */
  maxSocketsPerAddress?: number | null;
  /** Such sockets of a proxy that is trusted, or of a Unix socket. `Infinity`, or `null`, is off. @default 10_000 */
  maxSocketsPerProxy?: number | null;
  /** Handshakes of one address in a second, in the long run; `Infinity`, or `null`, is off. @default 20 */
  handshakesPerSecondPerAddress?: number | null;
  /** Handshakes of one address at once. @default 40 */
  handshakeBurstPerAddress?: number | null;
  /** Bad tokens of one address in a minute; `Infinity`, or `null`, is off. @default 60 */
  failedAuthenticationsPerMinutePerAddress?: number | null;
  ban?: {
    /** Violations after which an address or a subject is banned; `Infinity`, or `null`, is never. @default 20 */
    violations?: number | null;
    /** The time in which they count, in milliseconds, 1_000 to 86_400_000. @default 60_000 */
    withinMs?: number;
    /** How long the first ban is, the second and so on, in milliseconds; the last for all that follow. @default [60_000, 300_000, 3_600_000] */
    forMs?: readonly number[];
  };
  /** Rules, or with `true` all, that decide, log and count as they would, and let everybody through. @default false */
  dryRun?: boolean | readonly FirewallRule[];
}

export const FIREWALL_DEFAULTS = Object.freeze({
  allowNullOrigin: false,
  allowMissingOrigin: true,
  allow: Object.freeze([] as string[]),
  deny: Object.freeze([] as string[]),
  exempt: Object.freeze([] as string[]),
  trustProxy: false,
  maxConnections: 50_000,
  maxConnectionsPerAddress: 100,
  maxConnectionsPer56: 500,
  maxConnectionsPer48: 5_000,
  maxSockets: 20_000,
  maxSocketsPerAddress: 256,
  maxSocketsPerProxy: 10_000,
  handshakesPerSecondPerAddress: 20,
  handshakeBurstPerAddress: 40,
  failedAuthenticationsPerMinutePerAddress: 60,
  ban: Object.freeze({ violations: 20, withinMs: 60_000, forMs: Object.freeze([60_000, 300_000, 3_600_000]) }),
  dryRun: false,
} as const);

/** The options of the firewall with every default filled in; a count that is off is `Infinity`. */
export interface ResolvedFirewall {
  readonly origins: readonly string[] | undefined;
  readonly allowNullOrigin: boolean;
  readonly allowMissingOrigin: boolean;
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  readonly exempt: readonly string[];
  readonly trustProxy: false | number | readonly string[];
  readonly proxyHeader: 'x-forwarded-for' | 'forwarded' | undefined;
  readonly maxConnections: number;
  readonly maxConnectionsPerAddress: number;
  readonly maxConnectionsPer56: number;
  readonly maxConnectionsPer48: number;
  readonly maxSockets: number;
  readonly maxSocketsPerAddress: number;
  readonly maxSocketsPerProxy: number;
  readonly handshakesPerSecondPerAddress: number;
  readonly handshakeBurstPerAddress: number;
  readonly failedAuthenticationsPerMinutePerAddress: number;
  readonly ban: { readonly violations: number; readonly withinMs: number; readonly forMs: readonly number[] };
  /** The rules that are not enforced. */
  readonly dryRun: readonly FirewallRule[];
}

/** Longest ban, in milliseconds: a year. */
export const MAX_BAN_MS = 31_536_000_000;

export function resolveFirewall(check: OptionCheck, value: unknown): ResolvedFirewall {
  const at = 'firewall';
  const given = check.object(value, at, ['origins', 'proxyHeader', ...Object.keys(FIREWALL_DEFAULTS)]);
  const banAt = `${at}.ban`;
  const ban = check.object(given.ban, banAt, Object.keys(FIREWALL_DEFAULTS.ban));
  const { ban: banDefaults } = FIREWALL_DEFAULTS;
  const count = (
    name: Extract<keyof ResolvedFirewall, `max${string}` | `handshake${string}` | `failed${string}`>,
  ): number => check.count(given[name], `${at}.${name}`, 1, 10_000_000, FIREWALL_DEFAULTS[name]);
  const flag = (name: 'allowNullOrigin' | 'allowMissingOrigin'): boolean =>
    check.boolean(given[name], `${at}.${name}`, FIREWALL_DEFAULTS[name]);
  const ranges = (name: 'allow' | 'deny' | 'exempt'): readonly string[] =>
    rangesOf(check, given[name], `${at}.${name}`);
  return {
    origins: originsOf(check, given.origins, `${at}.origins`),
    allowNullOrigin: flag('allowNullOrigin'),
    allowMissingOrigin: flag('allowMissingOrigin'),
    allow: ranges('allow'),
    deny: ranges('deny'),
    exempt: ranges('exempt'),
    trustProxy: resolveTrustProxy(check, given.trustProxy, `${at}.trustProxy`),
    proxyHeader: check.oneOf(
      given.proxyHeader,
      `${at}.proxyHeader`,
      ['x-forwarded-for', 'forwarded', undefined] as const,
      undefined,
    ),
    maxConnections: count('maxConnections'),
    maxConnectionsPerAddress: count('maxConnectionsPerAddress'),
    maxConnectionsPer56: count('maxConnectionsPer56'),
    maxConnectionsPer48: count('maxConnectionsPer48'),
    maxSockets: count('maxSockets'),
    maxSocketsPerAddress: count('maxSocketsPerAddress'),
    maxSocketsPerProxy: count('maxSocketsPerProxy'),
    handshakesPerSecondPerAddress: count('handshakesPerSecondPerAddress'),
    handshakeBurstPerAddress: count('handshakeBurstPerAddress'),
    failedAuthenticationsPerMinutePerAddress: count('failedAuthenticationsPerMinutePerAddress'),
    ban: {
      violations: check.count(ban.violations, `${banAt}.violations`, 1, 1_000_000, banDefaults.violations),
      withinMs: check.integer(ban.withinMs, `${banAt}.withinMs`, 1_000, 86_400_000, banDefaults.withinMs),
      forMs: check.integers(ban.forMs, `${banAt}.forMs`, 1_000, MAX_BAN_MS) ?? banDefaults.forMs,
    },
    dryRun: resolveDryRun(check, given.dryRun, `${at}.dryRun`),
  };
}

/** Sources of tokens that a browser brings by itself, whichever page asks. */
const BROUGHT_BY_BROWSERS = ['cookie', 'certificate'] as const;

/** With a token that a browser brings by itself, the Origin alone says that it is not another page that acts as the user. */
export function checkOrigins(
  check: OptionCheck,
  { origins, allowNullOrigin, dryRun }: ResolvedFirewall,
  sources: readonly string[],
): void {
  // A browser sends the cookie for any page that asks, so the pages that may have to be known.
  if (sources.includes('cookie') && (origins === undefined || origins.length === 0)) {
    check.problem('firewall.origins', 'must list the origins that may connect, since auth.sources has "cookie"');
  }
  const source = BROUGHT_BY_BROWSERS.find((name) => sources.includes(name));
  if (source === undefined) return;
  const why = `since auth.sources has "${source}", which a browser sends for any page`;
  if (allowNullOrigin)
    check.problem('firewall.allowNullOrigin', `must be false, ${why}: any page can have that Origin`);
  if (dryRun.includes('origins')) {
    check.problem('firewall.dryRun', `must not have "origins", as true has, ${why}: list the other rules`);
  }
  if (origins?.includes('*')) check.problem('firewall.origins', `must not have "*", ${why}: list your own`);
}

function resolveTrustProxy(check: OptionCheck, value: unknown, at: string): false | number | readonly string[] {
  if (value === undefined || value === false) return false;
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 16) {
    return value === 0 ? false : (value as number);
  }
  if (Array.isArray(value) && value.length > 0 && value.every(isRange)) return value as string[];
  check.problem(at, 'must be false, a number of proxies from 0 to 16, or a list of addresses and CIDR ranges');
  return false;
}

function resolveDryRun(check: OptionCheck, value: unknown, at: string): readonly FirewallRule[] {
  if (value === undefined || typeof value === 'boolean') return value === true ? RULES : [];
  return Array.isArray(value) && value.length === 0 ? [] : (check.list(value, at, RULES) ?? []);
}

function rangesOf(check: OptionCheck, value: unknown, at: string): readonly string[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every(isRange)) return [...(value as string[])];
  const wrong: unknown = Array.isArray(value) ? (value as unknown[]).find((item) => !isRange(item)) : value;
  check.problem(at, `must hold addresses and CIDR ranges, got ${show(wrong)}`);
  return [];
}

function originsOf(check: OptionCheck, value: unknown, at: string): readonly string[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) {
    check.problem(at, `must be a list of origins, got ${show(value)}`);
    return undefined;
  }
  for (const origin of value as unknown[]) {
    if (isOriginPattern(origin)) continue;
    check.problem(
      at,
      `must hold origins as "https://app.example.com", "https://*.example.com" or "capacitor://localhost", or "*" for every one, got ${show(origin)}`,
    );
  }
  return value as string[];
}
