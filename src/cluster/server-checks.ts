import type { Link } from './links.js';

const LEAST_REDIS = 7;
const LEAST_VALKEY = [7, 2] as const;

/** Clocks that differ by more than this are worth a warning, in milliseconds. */
const MAX_SKEW_MS = 1_000;

/** What keeps this Redis from being used; undefined when nothing does. @param info of `INFO server` */
export function versionProblem(info: unknown): string | undefined {
  const text = String(info);
  const of = (name: string): string | undefined => new RegExp(`^${name}:(.+)$`, 'm').exec(text)?.[1]?.trim();
  const valkey = of('valkey_version');
  if (valkey !== undefined) {
    const [major = 0, minor = 0] = valkey.split('.').map(Number);
    const [least, leastMinor] = LEAST_VALKEY;
    return major > least || (major === least && minor >= leastMinor)
      ? undefined
      : `it is Valkey ${valkey}, and has to be 7.2 or newer`;
  }
  const redis = of('redis_version');
  if (redis === undefined || parseInt(redis, 10) >= LEAST_REDIS) return undefined;
  return `it is Redis ${redis}, and has to be 7.0 or newer`;
}

/** Settings by which Redis may lose what the nodes rely on. Managed ones do not show theirs: then nothing is said. */
export async function findingsOf(link: Link, skewMs: number): Promise<string[]> {
  const found: string[] = [];
  const policy = await settingOf(link, 'maxmemory-policy');
  const maxMemory = await settingOf(link, 'maxmemory');
  if (policy?.startsWith('allkeys-') === true && maxMemory !== '0') {
    found.push(
      `Redis has maxmemory-policy ${policy}: it may drop revocations and bans when it is full. Set volatile-ttl or noeviction`,
    );
  }
  if ((await settingOf(link, 'appendonly')) === 'no') {
    found.push(
      'Redis has appendonly no: after a restart it has only what nodes still know, and tickets and history are gone. Set appendonly yes',
    );
  }
  if (Math.abs(skewMs) > MAX_SKEW_MS) {
    found.push(
      `The clock of this node differs from that of Redis by ${Math.round(skewMs)} ms: synchronise both with NTP`,
    );
  }
  return found;
}

async function settingOf(link: Link, name: string): Promise<string | undefined> {
  try {
    const reply = await link.call('CONFIG', 'GET', name);
    return Array.isArray(reply) && typeof reply[1] === 'string' ? reply[1] : undefined;
  } catch {
    return undefined;
  }
}
