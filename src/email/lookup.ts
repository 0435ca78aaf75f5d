import { Resolver } from 'node:dns/promises';

/** What the DNS says of a domain's mail. */
export type LookupReason =
  'mx' | 'address-record' | 'no-such-domain' | 'null-mx' | 'no-mail-host' | 'dns-failure' | 'timeout';

export interface Lookup {
  readonly reason: LookupReason;
  /** The least TTL of the address records; undefined for all other answers, whose TTL Node does not tell. */
  readonly ttlSec?: number;
}

/** Times a server is asked the same question: one lost datagram is not yet a failure. */
const TRIES = 2;

/**
 * Asks for MX records and, where there are none, for A and AAAA records (RFC 5321 §5.1): at most three questions, each
 * put at most twice to each server. The hosts that MX records name are neither looked up nor connected to.
 *
 * Each look-up has a Resolver, so that cancelling it cancels no other, its port is a new one, and a changed
 * `/etc/resolv.conf` counts from the next one on.
 *
 * @param domain in ASCII
 * @param servers as `Resolver.setServers()` takes them; the system's when undefined
 */
export async function lookUp(
  domain: string,
  servers: readonly string[] | undefined,
  timeoutMs: number,
): Promise<Lookup> {
  // The second try waits for twice as long as the first, and both are to fit.
  const resolver = new Resolver({ timeout: Math.max(1, Math.floor(timeoutMs / 4)), tries: TRIES });
  if (servers !== undefined) resolver.setServers(servers);
  const timer = setTimeout(() => resolver.cancel(), timeoutMs);
  try {
    return await ask(resolver, domain);
  } catch (error) {
    return { reason: failureOf(error) };
  } finally {
    clearTimeout(timer);
  }
}

async function ask(resolver: Resolver, domain: string): Promise<Lookup> {
  const mx = await orNone(resolver.resolveMx(domain));
  if (mx === 'no-such-domain') return { reason: mx };
  if (mx.length > 0) {
    // Null MX (RFC 7505 §3): the root as the only host. Node gives it as the empty string.
    return { reason: mx.some(({ exchange }) => exchange !== '' && exchange !== '.') ? 'mx' : 'null-mx' };
  }
  for (const records of [
    () => resolver.resolve4(domain, { ttl: true }),
    () => resolver.resolve6(domain, { ttl: true }),
  ]) {
    const found = await orNone(records());
    if (found === 'no-such-domain') return { reason: found };
    if (found.length > 0) return { reason: 'address-record', ttlSec: Math.min(...found.map(({ ttl }) => ttl)) };
  }
  return { reason: 'no-mail-host' };
}

/** @throws what is no answer: a failure of a server must not look like a domain without mail */
async function orNone<T>(answer: Promise<T[]>): Promise<T[] | 'no-such-domain'> {
  try {
    return await answer;
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENODATA') return [];
    if (code === 'ENOTFOUND') return 'no-such-domain';
    throw error;
  }
}

/** @throws the error itself when it is none of the DNS */
function failureOf(error: unknown): 'timeout' | 'dns-failure' {
  const code = codeOf(error);
  if (code === undefined) throw error;
  return code === 'ECANCELLED' || code === 'ETIMEOUT' ? 'timeout' : 'dns-failure';
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('syscall' in error) || !('code' in error)) return undefined;
  return String(error.syscall).startsWith('query') ? String(error.code) : undefined;
}
