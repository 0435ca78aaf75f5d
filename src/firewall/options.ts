import { count, flag, group, listOf, oneOf, Option, someOf, whole, wholes } from '../base/options.js';
import type { GivenOf, Item, Place, ResolvedOf } from '../base/options.js';
import { isRange } from './address-list.js';
import { isCookie, isOriginPattern } from './origins.js';

/** What can be tried out without being enforced. */
export const RULES = ['origins', 'lists', 'connections', 'handshakes', 'budgets', 'bans'] as const;
export type FirewallRule = (typeof RULES)[number];

/** Longest ban, in milliseconds: a year. */
export const MAX_BAN_MS = 31_536_000_000;

const range: Item<string> = {
  names: 'addresses and CIDR ranges',
  schema: { type: 'string' },
  read: (given) => (isRange(given) ? given : undefined),
};

const origin: Item<string> = {
  names:
    'origins as "https://app.example.com", "https://*.example.com" or "capacitor://localhost", or "*" for every one',
  schema: { type: 'string' },
  read: (given) => (isOriginPattern(given) ? given : undefined),
};

export const FIREWALL = group({
  /**
   * Origins that may connect, as `https://app.example.com`, `https://*.example.com` (any one or more labels), or of apps and
   * extensions `capacitor://localhost`, `chrome-extension://<id>`; `*` is every one. Unset: an Origin is refused unless it is the
   * server's own host.
   */
  origins: listOf(origin),
  /**
   * True lets pages with the opaque Origin `null` connect: sandboxed frames, local files. Any page can have that Origin, so not
   * where a browser authenticates by itself, with a cookie or a certificate.
   */
  allowNullOrigin: flag(false),
  /**
   * May a request without an Origin connect? Browsers always send one; services and apps send none. One with the cookie that is
   * a source of tokens may not in any case.
   */
  allowMissingOrigin: flag(true),
  /** When not empty, the only addresses that may connect: addresses and CIDR ranges. */
  allow: listOf(range, []),
  /** Addresses and CIDR ranges that may not connect, also when `allow` has them. */
  deny: listOf(range, []),
  /** Addresses and CIDR ranges that are free of bans and budgets. */
  exempt: listOf(range, []),
  /**
   * Which proxies say what a client's address is: none, so many of them counted from the right, or those in these addresses and
   * CIDR ranges.
   */
  trustProxy: new Option<false | number | readonly string[], false | number | readonly string[], false>(
    false,
    { anyOf: [{ const: false }, { type: 'integer', minimum: 0, maximum: 16 }, listOf(range, [], { min: 1 }).schema] },
    readTrustProxy,
  ),
  /** Which header those proxies set. Unset, the one that a request has; a request in which the two disagree is refused then. */
  proxyHeader: oneOf(['x-forwarded-for', 'forwarded']),
  /** Connections of the process. */
  maxConnections: count(1, 10_000_000, 50_000),
  /** Connections of one address; IPv6 is counted by /64. */
  maxConnectionsPerAddress: count(1, 10_000_000, 100),
  /** Connections of one IPv6 /56, and never fewer than an address may have. A provider gives one customer a /56, or a /48. */
  maxConnectionsPer56: count(1, 10_000_000, 500),
  /** Connections of one IPv6 /48, and never fewer than an address may have. */
  maxConnectionsPer48: count(1, 10_000_000, 5_000),
  /**
   * Sockets of the process that are no session: silent ones, plain HTTP, refused ones. Sessions and these together never take
   * more than seven eighths of the descriptors that the process may have.
   */
  maxSockets: count(1, 10_000_000, 20_000),
  /**
   * Such sockets of one address, and a quarter of the descriptors at most; never fewer than `maxConnectionsPerAddress`, and IPv6
   * as there.
   */
  maxSocketsPerAddress: count(1, 10_000_000, 256),
  /** Such sockets of a proxy that is trusted, or of a Unix socket. */
  maxSocketsPerProxy: count(1, 10_000_000, 10_000),
  /** Handshakes of one address in a second, in the long run. */
  handshakesPerSecondPerAddress: count(1, 10_000_000, 20),
  /** Handshakes of one address at once. */
  handshakeBurstPerAddress: count(1, 10_000_000, 40),
  /** Bad tokens of one address in a minute. */
  failedAuthenticationsPerMinutePerAddress: count(1, 10_000_000, 60),
  /** When an address, or a subject, is shut out for a time. */
  ban: group({
    /** Violations after which an address or a subject is banned; `Infinity` is never. */
    violations: count(1, 1_000_000, 20),
    /** The time in which they count, in milliseconds. */
    withinMs: whole(1_000, 86_400_000, 60_000),
    /** How long the first ban is, the second and so on, in milliseconds; the last for all that follow. */
    forMs: wholes(1_000, MAX_BAN_MS, [60_000, 300_000, 3_600_000]),
  }),
  /** Rules, or with `true` all, that decide, log and count as they would, and let everybody through. */
  dryRun: new Option<boolean | readonly FirewallRule[], readonly FirewallRule[], false>(
    false,
    { anyOf: [{ type: 'boolean' }, { type: 'array', uniqueItems: true, items: { enum: RULES } }] },
    readDryRun,
  ),
});

export interface FirewallOptions extends GivenOf<typeof FIREWALL> {}
/** The options of the firewall with every default filled in; a count that is off is `Infinity`, `dryRun` the rules that are not enforced. */
export interface ResolvedFirewall extends ResolvedOf<typeof FIREWALL> {}

function readTrustProxy(given: unknown, place: Place): false | number | readonly string[] | undefined {
  if (given === false || given === 0) return false;
  if (Number.isInteger(given) && (given as number) >= 1 && (given as number) <= 16) return given as number;
  if (Array.isArray(given) && given.length > 0 && given.every(isRange)) return [...(given as string[])];
  return place.complain('must be false, a number of proxies from 0 to 16, or a list of addresses and CIDR ranges');
}

function readDryRun(given: unknown, place: Place): readonly FirewallRule[] | undefined {
  if (typeof given === 'boolean') return given ? RULES : [];
  return Array.isArray(given) && given.length === 0 ? [] : someOf(RULES).read(given, place);
}

/** A credential that a browser brings by itself, whichever page asks: it remembers those of Basic, too. */
const isBroughtByBrowsers = (source: string): boolean =>
  isCookie(source) || source === 'certificate' || source === 'basic';

/** Where tokens are looked for, and the option that says so. */
interface CredentialSources {
  readonly option: string;
  readonly names: readonly string[];
}

/**
 * With a token that a browser brings by itself, the Origin alone says that it is not another page that acts as the user.
 *
 * @param firewall where the rules for Origins stand
 * @param shared where the options for all paths stand
 */
export function checkOrigins(
  firewall: Place,
  { origins, allowNullOrigin, dryRun }: ResolvedFirewall,
  { option, names }: CredentialSources,
  shared = firewall,
): void {
  // A browser sends the cookie for any page that asks, so the pages that may have to be known.
  const cookie = names.find(isCookie);
  if (cookie !== undefined && (origins === undefined || origins.length === 0)) {
    firewall.member('origins').complain(`must list the origins that may connect, since ${option} has "${cookie}"`);
  }
  const source = cookie ?? names.find(isBroughtByBrowsers);
  if (source === undefined) return;
  const why = `since ${option} has "${source}", which a browser sends for any page`;
  if (allowNullOrigin)
    firewall.member('allowNullOrigin').complain(`must be false, ${why}: any page can have that Origin`);
  if (dryRun.includes('origins')) {
    shared.member('dryRun').complain(`must not have "origins", as true has, ${why}: list the other rules`);
  }
  if (origins?.includes('*')) firewall.member('origins').complain(`must not have "*", ${why}: list your own`);
}
