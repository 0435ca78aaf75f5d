import { isIP } from 'node:net';
import { OptionCheck } from '../base/options.js';
import { asciiDomain } from './address.js';

/** How `WsEmail` finds out whether an address can be delivered to. Nothing is looked up until it is asked. */
export interface EmailOptions {
  /**
   * DNS servers as `host:port`, asked in this order, 1 to 16: an IP address or `localhost`; IPv6 in brackets, port 53
   * when left out. The system's when unset.
   */
  servers?: readonly string[];
  /** How long one check may take, in milliseconds, 1 to 30_000; then it is `unknown`. @default 2_000 */
  timeoutMs?: number;
  /** Domains whose answer is kept, 0 to 1_000_000; the one not asked for longest makes room. @default 10_000 */
  maxCacheEntries?: number;
  /** How long an answer with MX records is kept, in seconds, 0 to 86_400: Node does not tell their TTL. @default 300 */
  mxTtlSec?: number;
  /** Least that the TTL of address records counts for, in seconds, 0 to 86_400. @default 30 */
  minTtlSec?: number;
  /** Most that it counts for, in seconds, 0 to 86_400. @default 3_600 */
  maxTtlSec?: number;
  /** How long "there is none" is kept, in seconds, 0 to 86_400: Node does not tell the SOA's TTL. @default 60 */
  negativeTtlSec?: number;
  /** How long a failure to find out is kept, in seconds, 1 to 300 (RFC 9520 §3.2). @default 10 */
  failureTtlSec?: number;
  /** Look-ups at once, 1 to 1_000; one more is `unknown`. @default 32 */
  maxConcurrent?: number;
  /** Look-ups that one session may cause in a minute, 1 to 1_000_000, and at once. @default 10 */
  lookupsPerMinutePerSession?: number;
  /** Look-ups of the process in a second, 1 to 1_000_000, and at once. @default 50 */
  lookupsPerSecond?: number;
  /** Domains that are `undeliverable` without being asked, with all below them. @default [] */
  disposableDomains?: readonly string[];
  /** True makes `@IsDeliverableEmail()` refuse also what is `unknown`. @default false */
  refuseUnknown?: boolean;
}

/** The defaults, written once. */
export const EMAIL_DEFAULTS = Object.freeze({
  timeoutMs: 2_000,
  maxCacheEntries: 10_000,
  mxTtlSec: 300,
  minTtlSec: 30,
  maxTtlSec: 3_600,
  negativeTtlSec: 60,
  failureTtlSec: 10,
  maxConcurrent: 32,
  lookupsPerMinutePerSession: 10,
  lookupsPerSecond: 50,
  disposableDomains: Object.freeze([] as const),
  refuseUnknown: false,
} as const);

type WholeNumber = Exclude<keyof typeof EMAIL_DEFAULTS, 'disposableDomains' | 'refuseUnknown'>;

/** The options with every default filled in. */
export interface ResolvedEmailOptions extends Readonly<Required<Omit<EmailOptions, 'servers' | 'disposableDomains'>>> {
  /** As {@link EmailOptions.servers}, each an address with its port. */
  readonly servers: readonly string[] | undefined;
  /** In lower case and ASCII. */
  readonly disposableDomains: readonly string[];
}

const MAX_SERVERS = 16;
const DAY_SEC = 86_400;

/** @param at where the options stand, for the complaints */
export function resolveEmailOptions(check: OptionCheck, value: unknown, at = 'email'): ResolvedEmailOptions {
  const given = check.object(value, at, ['servers', ...Object.keys(EMAIL_DEFAULTS)]);
  const integer = (name: WholeNumber, min: number, max: number): number =>
    check.integer(given[name], `${at}.${name}`, min, max, EMAIL_DEFAULTS[name]);
  const resolved = {
    servers: serversOf(check, given.servers, `${at}.servers`),
    timeoutMs: integer('timeoutMs', 1, 30_000),
    maxCacheEntries: integer('maxCacheEntries', 0, 1_000_000),
    mxTtlSec: integer('mxTtlSec', 0, DAY_SEC),
    minTtlSec: integer('minTtlSec', 0, DAY_SEC),
    maxTtlSec: integer('maxTtlSec', 0, DAY_SEC),
    negativeTtlSec: integer('negativeTtlSec', 0, DAY_SEC),
    failureTtlSec: integer('failureTtlSec', 1, 300),
    maxConcurrent: integer('maxConcurrent', 1, 1_000),
    lookupsPerMinutePerSession: integer('lookupsPerMinutePerSession', 1, 1_000_000),
    lookupsPerSecond: integer('lookupsPerSecond', 1, 1_000_000),
    disposableDomains: domainsOf(check, given.disposableDomains, `${at}.disposableDomains`),
    refuseUnknown: check.boolean(given.refuseUnknown, `${at}.refuseUnknown`, EMAIL_DEFAULTS.refuseUnknown),
  };
  if (resolved.minTtlSec > resolved.maxTtlSec) check.problem(`${at}.minTtlSec`, 'must not be more than maxTtlSec');
  return resolved;
}

function serversOf(check: OptionCheck, value: unknown, at: string): readonly string[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_SERVERS) {
    return void check.problem(at, `must be a list of 1 to ${MAX_SERVERS} DNS servers`);
  }
  return value.map((item: unknown) => {
    const server = typeof item === 'string' ? serverOf(item) : undefined;
    if (server !== undefined) return server;
    check.problem(at, `must hold DNS servers as "192.0.2.1:53" or "[2001:db8::1]:53", got ${JSON.stringify(item)}`);
    return '';
  });
}

/** Resolver.setServers() takes addresses only; localhost is the one name that means one without being asked for. */
function serverOf(text: string): string | undefined {
  const [, bracketed, plain, port = '53'] = /^(?:\[([^\]]*)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = isIP(text) === 6 ? text : (bracketed ?? plain);
  const number = isIP(text) === 6 ? 53 : Number(port);
  if (host === undefined || number < 1 || number > 65_535) return undefined;
  if (host === 'localhost' && bracketed === undefined) return `127.0.0.1:${number}`;
  if (isIP(host) === 6 && plain === undefined) return `[${host}]:${number}`;
  return isIP(host) === 4 && bracketed === undefined ? `${host}:${number}` : undefined;
}

function domainsOf(check: OptionCheck, value: unknown, at: string): readonly string[] {
  if (value === undefined) return EMAIL_DEFAULTS.disposableDomains;
  if (!Array.isArray(value)) {
    check.problem(at, 'must be a list of domains');
    return [];
  }
  return value.map((item: unknown) => {
    const domain = typeof item === 'string' ? asciiDomain(item.trim()) : '';
    // One bad line of a list of thousands: which one is what the operator needs.
    if (!/^[a-z0-9-]+(\.[a-z0-9-]+)*$/.test(domain)) {
      check.problem(at, `must hold domains as "example.com", got ${JSON.stringify(item)?.slice(0, 64)}`);
    }
    return domain;
  });
}
