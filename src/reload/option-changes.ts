import { isDeepStrictEqual } from 'node:util';
import { pathnameOf } from '../base/pathname.js';
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

/** An option as it was written. */
interface Written {
  /** The path that has it by itself; undefined for one of the module. */
  readonly path: string | undefined;
  /** `group.name`, or its name where it stands in no group. */
  readonly option: string;
  readonly value: unknown;
}

/** Options as they were written, by their name; one of a path is `paths["/media"].limits.maxMessageBytes`. */
export type FlatOptions = ReadonlyMap<string, Written>;

/** A copy of what was written: the application may change its own object later. */
export function flatten(options: unknown): FlatOptions {
  const flat = new Map<string, Written>();
  const { paths, ...shared } = options as Record<string, unknown>; // because it has been read before
  flattenInto(flat, undefined, shared);
  if (!isGroup(paths)) return flat;
  for (const [path, own] of Object.entries(paths)) flattenInto(flat, pathnameOf(path), own as object); // because it has been read, too
  return flat;
}

function flattenInto(flat: Map<string, Written>, path: string | undefined, options: object): void {
  const put = (option: string, value: unknown): void => {
    const name = path === undefined ? option : `paths[${JSON.stringify(path)}].${option}`;
    flat.set(name, { path, option, value: copy(value) });
  };
  for (const [group, value] of Object.entries(options)) {
    if (!isGroup(value) || AS_A_WHOLE.has(group)) put(group, value);
    else for (const [name, member] of Object.entries(value)) put(`${group}.${name}`, member);
  }
}

/** Which options differ, as names in their order; one that is not set is as good as its default. */
export function changesOf(before: FlatOptions, after: FlatOptions): { atRuntime: string[]; withRestart: string[] } {
  const all = new Map([...before, ...after]);
  const isChanged = ([, { path, option }]: [string, Written]): boolean =>
    !isDeepStrictEqual(valueOf(before, path, option), valueOf(after, path, option));
  const changed = [...all].filter(isChanged).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const namesOf = (some: [string, Written][]): string[] => some.map(([name]) => name);
  return {
    atRuntime: namesOf(changed.filter(([, { option }]) => mayChange(option))),
    withRestart: namesOf(changed.filter(([, { option }]) => !mayChange(option))),
  };
}

/** The options to put in force: those of `after`, with what takes a restart as it is in `before`. */
export function withoutRestart(before: FlatOptions, after: FlatOptions): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  for (const [name, { path, option }] of new Map([...before, ...after])) {
    const value = (mayChange(option) ? after : before).get(name)?.value;
    const owner = path === undefined ? options : groupIn(groupIn(options, 'paths'), path);
    const [group = '', member] = option.split('.', 2);
    if (member === undefined) {
      if (value !== undefined) owner[group] = value;
      continue;
    }
    const members = groupIn(owner, group);
    if (value !== undefined) members[member] = value;
  }
  return options;
}

function groupIn(owner: Record<string, unknown>, name: string): Record<string, unknown> {
  const group = (owner[name] ??= {});
  return isGroup(group) ? group : {}; // what is no group has no members to be set
}

function mayChange(option: string): boolean {
  return AT_RUNTIME.has(option) || AT_RUNTIME.has(option.split('.', 1)[0] as string); // because split never returns nothing
}

function valueOf(options: FlatOptions, path: string | undefined, option: string): unknown {
  const own = path === undefined ? undefined : options.get(`paths[${JSON.stringify(path)}].${option}`)?.value;
  const value = own ?? options.get(option)?.value;
  if (value !== undefined) return value;
  const [group = '', member = ''] = option.split('.', 2);
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
