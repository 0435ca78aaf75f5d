import { hostname } from 'node:os';
import { count, group, oneOf, Option, text, whole } from '../base/options.js';
import type { GivenOf, Place, ResolvedOf } from '../base/options.js';

/** A URL, options of ioredis, or a function that makes a client of ioredis: it is called once for each connection. */
export type RedisSource = string | Readonly<Record<string, unknown>> | (() => object);

/** Where Redis is. A class, so that options which the application has given are neither frozen nor copied. */
export class RedisPlace {
  constructor(readonly source: RedisSource) {}
}

const SCHEMES = ['redis', 'rediss', 'redis+sentinel', 'rediss+sentinel', 'redis+cluster', 'rediss+cluster'];

export const CLUSTER_GROUP = group({
  /**
   * Redis 7.0 or newer, or Valkey 7.2 or newer: a URL (`redis://`, `rediss://`, `redis+sentinel://h1,h2/mymaster`,
   * `redis+cluster://h1,h2`), options of ioredis, or a function that makes its client, called for each connection. Unset: one node.
   */
  redis: new Option<RedisSource, RedisPlace | undefined>(undefined, { type: 'string' }, readRedis),
  /** Which nodes belong together on one Redis: the beginning of all keys. */
  name: new Option<string, string, 'wsg'>('wsg', { type: 'string', pattern: '^[\\w-]{1,32}$' }, readName),
  /** The node's name in lists and logs. @default the host name */
  node: text(1, 64),
  /** What a client meets while Redis cannot be seen: `closed` refuses those that are new, `open` lets revoked ones in as well. */
  admission: oneOf(['closed', 'open'], 'closed'),
  /** A node that has been blind for so long ends its sessions, in milliseconds; `Infinity` is never. */
  endBlindAfterMs: count(5_000, 86_400_000, Infinity),
  /** A node that has not been heard of for so long is dead, in milliseconds. */
  leaseMs: whole(3_000, 60_000, 8_000),
  /** What this node has published and Redis has not taken yet, in bytes; over it messages without history are dropped, the oldest first. */
  maxQueuedBytes: whole(65_536, 268_435_456, 8_388_608),
  /** How long such a message may wait, in milliseconds. */
  maxQueuedMs: whole(0, 60_000, 5_000),
  /** How long a command may take, in milliseconds. */
  commandTimeoutMs: whole(100, 10_000, 1_000),
});

export interface ClusterOptions extends GivenOf<typeof CLUSTER_GROUP> {}
export interface ResolvedCluster extends ResolvedOf<typeof CLUSTER_GROUP> {}

/** Its complaints show nothing of what was given: a URL may hold a password. */
function readRedis(given: unknown, place: Place): RedisPlace | undefined {
  const isSource =
    (typeof given === 'string' && isUrl(given)) ||
    typeof given === 'function' ||
    (typeof given === 'object' && given !== null && !Array.isArray(given));
  if (isSource) return new RedisPlace(given as RedisSource); // because it is one of the three
  return place.complain(
    `must be a URL that begins with ${SCHEMES.map((scheme) => `${scheme}://`).join(', ')}, options of ioredis, or a function that makes a client`,
  );
}

function isUrl(given: string): boolean {
  return SCHEMES.some((scheme) => given.startsWith(`${scheme}://`) && given.length > scheme.length + 3);
}

function readName(given: unknown, place: Place): string | undefined {
  if (typeof given === 'string' && /^[\w-]{1,32}$/.test(given)) return given;
  return place.complain('must be 1 to 32 letters, digits, hyphens and underscores');
}

export function nodeNameOf({ node }: Pick<ResolvedCluster, 'node'>): string {
  return node ?? hostname().slice(0, 64);
}
