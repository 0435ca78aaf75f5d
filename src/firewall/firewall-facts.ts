import { createHash } from 'node:crypto';
import type { Fact } from '../engine/facts.js';
import type { AddressLists, FirewallEntry, ListsEntry } from './decisions.js';

/** How long it is remembered that a ban was lifted, for a node that has not heard of it, in milliseconds. */
const LIFTED_MS = 86_400_000;

/** How long lists that were set at runtime hold, in milliseconds: a year. */
const LISTS_MS = 31_536_000_000;

/** One list, as it was set at runtime. */
export interface ListTold {
  readonly action: 'list';
  readonly list: keyof AddressLists;
  readonly ranges: readonly string[];
  /** The digest of the configured list whose place it takes: a node with another configuration goes by that. */
  readonly over: string;
}

export type FirewallTold = Exclude<FirewallEntry, ListsEntry> | ListTold;

/**
 * What this node tells the others when it has decided.
 *
 * @param configured the lists of the options
 * @param now in epoch milliseconds
 */
export function factsOf(entry: FirewallEntry, configured: AddressLists, now: number): Fact[] {
  switch (entry.action) {
    case 'ban': {
      if (entry.ban.dryRun === true) return []; // each node tries out its own
      const data: FirewallTold = entry;
      return [
        { topic: 'firewall', key: `ban ${entry.key}`, until: entry.ban.until, data, isAutomatic: !entry.isManual },
      ];
    }
    case 'lift': {
      const data: FirewallTold = entry;
      return [{ topic: 'firewall', key: `ban ${entry.key}`, until: now + LIFTED_MS, data }];
    }
    case 'lists':
      return (Object.keys(entry.lists) as (keyof AddressLists)[]).flatMap((list) => {
        const ranges = entry.lists[list];
        if (ranges === undefined) return [];
        const data: FirewallTold = { action: 'list', list, ranges, over: digestOf(configured[list]) };
        return [{ topic: 'firewall' as const, key: `list ${list}`, until: now + LISTS_MS, data }];
      });
    default:
      return entry satisfies never;
  }
}

/**
 * What another node has decided, as this one applies it.
 *
 * @returns undefined for what is over, or is about another configuration
 */
export function entryOf({ data, until }: Fact, configured: AddressLists, now: number): FirewallEntry | undefined {
  const told = data as FirewallTold; // because a node of this cluster has recorded it
  switch (told.action) {
    case 'ban': {
      const forMs = Math.round(until - now);
      return forMs < 1 ? undefined : { ...told, forMs, ban: { ...told.ban, until } };
    }
    case 'lift':
      return told;
    case 'list':
      if (told.over !== digestOf(configured[told.list])) return undefined;
      return { action: 'lists', lists: { [told.list]: told.ranges } };
    default:
      return told satisfies never;
  }
}

function digestOf(list: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(list)).digest('base64url');
}
