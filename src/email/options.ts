import { isIP } from 'node:net';
import { flag, group, listOf, whole } from '../base/options.js';
import type { GivenOf, Item, ResolvedOf } from '../base/options.js';
import { asciiDomain } from './address.js';

const MAX_SERVERS = 16;
const DAY_SEC = 86_400;

const server: Item<string> = {
  names: 'DNS servers as "192.0.2.1:53" or "[2001:db8::1]:53"',
  schema: { type: 'string' },
  read: (given) => (typeof given === 'string' ? serverOf(given) : undefined),
};

const domain: Item<string> = {
  names: 'domains as "example.com"',
  schema: { type: 'string' },
  read: (given) => (typeof given === 'string' ? domainOf(given) : undefined),
};

/** How `WsEmail` finds out whether an address can be delivered to. It looks nothing up until it is asked. */
export const EMAIL = group(
  {
    /**
     * DNS servers as `host:port`, asked in this order, 1 to 16: an IP address or `localhost`; IPv6 in brackets, port 53
     * when left out. The system's when unset.
     */
    servers: listOf(server, undefined, { min: 1, max: MAX_SERVERS }),
    /** How long one check may take, in milliseconds; then it is `unknown`. */
    timeoutMs: whole(1, 30_000, 2_000),
    /** Domains whose answer is kept; the one not asked for longest makes room. */
    maxCacheEntries: whole(0, 1_000_000, 10_000),
    /** How long an answer with MX records is kept, in seconds: Node does not tell their TTL. */
    mxTtlSec: whole(0, DAY_SEC, 300),
    /** Least that the TTL of address records counts for, in seconds. */
    minTtlSec: whole(0, DAY_SEC, 30),
    /** Most that it counts for, in seconds. */
    maxTtlSec: whole(0, DAY_SEC, 3_600),
    /** How long "there is none" is kept, in seconds: Node does not tell the SOA's TTL. */
    negativeTtlSec: whole(0, DAY_SEC, 60),
    /** How long a failure to find out is kept, in seconds (RFC 9520 §3.2). */
    failureTtlSec: whole(1, 300, 10),
    /** Look-ups at once; one more is `unknown`. */
    maxConcurrent: whole(1, 1_000, 32),
    /** Look-ups that one session may cause in a minute, and at once. */
    lookupsPerMinutePerSession: whole(1, 1_000_000, 10),
    /** Look-ups of the process in a second, and at once. */
    lookupsPerSecond: whole(1, 1_000_000, 50),
    /** Domains that are `undeliverable` without being asked, with all below them. */
    disposableDomains: listOf(domain, []),
    /** True makes `@IsDeliverableEmail()` refuse also what is `unknown`. */
    refuseUnknown: flag(false),
  },
  (email, place) => {
    if (email.minTtlSec > email.maxTtlSec) place.member('minTtlSec').complain('must not be more than maxTtlSec');
    return email;
  },
);

export interface EmailOptions extends GivenOf<typeof EMAIL> {}
/** The options with every default filled in; domains in lower case and ASCII, servers as addresses with a port. */
export interface ResolvedEmailOptions extends ResolvedOf<typeof EMAIL> {}

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

function domainOf(text: string): string | undefined {
  const ascii = asciiDomain(text.trim());
  return /^[a-z0-9-]+(\.[a-z0-9-]+)*$/.test(ascii) ? ascii : undefined;
}
