import { isRange } from './address-list.js';
import type { Ban, BanTarget } from './bans.js';
import { countedAs, normalised } from './client-address.js';
import { MAX_BAN_MS } from './options.js';

export interface BanOptions {
  /** How long the ban lasts, in milliseconds, 1 to 31_536_000_000 (a year). */
  readonly forMs: number;
  /** For the list of bans. @default 'banned by an operator' */
  readonly reason?: string;
  /** Who bans, for the audit. */
  readonly actor?: string;
}

/** Which addresses may connect. */
export interface AddressLists {
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  readonly exempt: readonly string[];
}

/** A ban, as every node applies it. */
export interface BanEntry {
  readonly action: 'ban';
  /** The key of the target in {@link BanTable}. */
  readonly key: string;
  readonly target: BanTarget;
  readonly ban: Ban;
  readonly forMs: number;
  /** True where an operator made it. */
  readonly isManual: boolean;
  readonly actor: string | undefined;
}

/** The end of a ban before its time. */
export interface LiftEntry {
  readonly action: 'lift';
  readonly key: string;
  readonly target: BanTarget;
  readonly actor: string | undefined;
}

/** New lists; one that is left out stays. */
export interface ListsEntry {
  readonly action: 'lists';
  readonly lists: Partial<AddressLists>;
}

/** What one node decides and every node applies. */
export type FirewallEntry = BanEntry | LiftEntry | ListsEntry;

/** A target in its one form, and its key in the table of bans. */
export interface KeyedTarget {
  readonly key: string;
  readonly target: BanTarget;
}

export const addressKey = (counted: string): string => `address ${counted}`;
export const subjectKey = (subject: string): string => `subject ${subject}`;

/** @param counted an IPv4 address, or the /64 of an IPv6 one */
export const addressTarget = (counted: string): KeyedTarget => ({
  key: addressKey(counted),
  target: { address: counted },
});

export const subjectTarget = (subject: string): KeyedTarget => ({ key: subjectKey(subject), target: { subject } });

/**
 * Decides what an operator's ban is.
 *
 * @param now in epoch milliseconds
 * @throws TypeError for a target that is neither an address nor a subject, or a time out of range
 */
export function decideBan(target: BanTarget, options: BanOptions, now: number, isDry: boolean): BanEntry {
  const { forMs, reason = 'banned by an operator', actor } = options;
  if (!Number.isInteger(forMs) || forMs < 1 || forMs > MAX_BAN_MS) throw new TypeError('forMs is 1 to 31536000000');
  return { ...banEntry(canonical(target), forMs, reason, now, isDry), isManual: true, actor };
}

/** A ban that the firewall makes by itself. @param now in epoch milliseconds */
export function banEntry(
  { key, target }: KeyedTarget,
  forMs: number,
  reason: string,
  now: number,
  isDry: boolean,
): BanEntry {
  const ban: Ban = { ...target, until: now + forMs, reason, ...(isDry && { dryRun: true }) };
  return { action: 'ban', key, target, ban, forMs, isManual: false, actor: undefined };
}

/** @throws TypeError for a target that is neither an address nor a subject */
export function decideLift(target: BanTarget, actor: string | undefined): LiftEntry {
  return { action: 'lift', ...canonical(target), actor };
}

/** @throws TypeError naming what is no address and no CIDR range */
export function decideLists(lists: Partial<AddressLists>): ListsEntry {
  for (const range of Object.values(lists).flat()) {
    if (!isRange(range)) throw new TypeError(`Not an address and not a CIDR range: ${JSON.stringify(range)}`);
  }
  return { action: 'lists', lists };
}

/** Takes an address also as it is listed, with its /64. */
function canonical(target: BanTarget): KeyedTarget {
  const { address, subject } = target as { address?: unknown; subject?: unknown }; // because callers without types pass anything
  if (typeof subject === 'string' && subject !== '' && address === undefined) return subjectTarget(subject);
  const normal = typeof address === 'string' ? normalised(address.replace(/\/64$/, '')) : undefined;
  if (normal !== undefined && subject === undefined) return addressTarget(countedAs(normal));
  throw new TypeError('A target is { address } or { subject }');
}
