import { isDeepStrictEqual } from 'node:util';
import { isJsonObject } from '../protocol/message.js';
import { DEFAULTS } from '../ws-gateway.options.js';

/** What may change while the module runs: whole groups, and single options. Anything else takes a restart. */
const AT_RUNTIME: ReadonlySet<string> = new Set([
  'auth.jwt',
  'auth.claims',
  'auth.reject',
  'auth.timeoutMs',
  'auth.refreshLeadMs',
  'auth.maxSessionsPerSubject',
  'auth.onSessionLimit',
  'auth.tickets',
  'firewall',
  'limits',
  'heartbeat',
  'overload',
  'shutdown',
  'sealing',
  'fingerprints',
  'rooms',
  'channels',
]);

/** Its members have the names of paths. */
const AS_A_WHOLE: ReadonlySet<string> = new Set(['upstreams']);

/** Options as they were written, by `group.name`, or by their name where they stand in no group. */
export type FlatOptions = ReadonlyMap<string, unknown>;

/** A copy of what was written: the application may change its own object later. */
export function flatten(options: unknown): FlatOptions {
  const flat = new Map<string, unknown>();
  for (const [group, value] of Object.entries(options as object)) {
    if (!isGroup(value) || AS_A_WHOLE.has(group)) flat.set(group, copy(value));
    else for (const [name, member] of Object.entries(value)) flat.set(`${group}.${name}`, copy(member));
  }
  return flat;
}

/** Which options differ, as names in their order; one that is not set is as good as its default. */
export function changesOf(before: FlatOptions, after: FlatOptions): { atRuntime: string[]; withRestart: string[] } {
  const names = [...new Set([...before.keys(), ...after.keys()])].toSorted();
  const changed = names.filter((name) => !isDeepStrictEqual(valueOf(before, name), valueOf(after, name)));
  return {
    atRuntime: changed.filter(mayChange),
    withRestart: changed.filter((name) => !mayChange(name)),
  };
}

/** The options to put in force: those of `after`, with what takes a restart as it is in `before`. */
export function withoutRestart(before: FlatOptions, after: FlatOptions): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const value = (mayChange(name) ? after : before).get(name);
    const [group = '', member] = name.split('.', 2);
    if (member === undefined) {
      if (value !== undefined) options[group] = value;
      continue;
    }
    const members = (options[group] ??= {}) as Record<string, unknown>; // because a group is an object
    if (value !== undefined && isJsonObject(members)) members[member] = value;
  }
  return options;
}

function mayChange(name: string): boolean {
  return AT_RUNTIME.has(name) || AT_RUNTIME.has(name.split('.', 1)[0] as string); // because split never returns nothing
}

function valueOf(options: FlatOptions, name: string): unknown {
  const value = options.get(name);
  if (value !== undefined) return value;
  const [group = '', member = ''] = name.split('.', 2);
  const fallback = (DEFAULTS as Record<string, unknown>)[group];
  return member === '' || !isGroup(fallback) ? fallback : fallback[member];
}

function isGroup(value: unknown): value is Record<string, unknown> {
  return isJsonObject(value) && Object.getPrototypeOf(value) === Object.prototype;
}

function copy(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copy);
  if (value instanceof Uint8Array) return Uint8Array.from(value);
  if (!isGroup(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, copy(member)]));
}
