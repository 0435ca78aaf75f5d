import { GatewayError } from '../protocol/errors.js';
import type { Metered } from './client.js';

/** Who is banned. */
export type BanTarget = { readonly address: string } | { readonly subject: string };

/** A ban, as it is listed. */
export type Ban = BanTarget & {
  /** Epoch milliseconds. */
  readonly until: number;
  readonly reason: string;
  /** True for one that `firewall.dryRun` keeps from being enforced. */
  readonly dryRun?: true;
};

/** A ban that this node has applied and enforces. */
export interface BanNotice {
  readonly ban: Ban;
  /** How long it is in force, in milliseconds. */
  readonly forMs: number;
  /** A session that has an end of its own before it. */
  readonly spared: Metered | undefined;
  /** True where an operator made it. */
  readonly isManual: boolean;
}

interface Entry {
  readonly ban: Ban;
  /** In monotonic milliseconds, as all that is enforced: setting the time of day neither lifts a ban nor prolongs it. */
  readonly endsAt: number;
  /** True for an operator's ban, as long as it is in force. */
  isManual: boolean;
  /** True when its end has been reported. */
  isTold: boolean;
  /** How many bans there have been before this one; they make the next one longer. */
  readonly level: number;
  /** In monotonic milliseconds. */
  readonly forgetAt: number;
}

/** Automatic bans held at once, remembered ones that are over included. About 300 bytes each. */
const MAX_AUTOMATIC = 10_000;

/** Bans of operators in force at once. None of them makes room for another: one more is refused. */
const MAX_MANUAL = 10_000;

/** How long after its end a ban still makes the next one longer, in milliseconds. */
const REMEMBERED_MS = 86_400_000;

/** The bans of this node, by target. Times are monotonic milliseconds. */
export class BanTable {
  // In the order in which they were made.
  readonly #entries = new Map<string, Entry>();
  #manual = 0;

  /**
   * @param expired called once with each ban that has run its time
   * @param dropped called with each ban that was in force and made room for another
   */
  constructor(
    private readonly expired: (ban: Ban) => void,
    private readonly dropped: (ban: Ban) => void,
  ) {}

  /** How many are held, remembered ones that are over included. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * @param isManual true for an operator's ban, which is never dropped
   * @returns the ban in force: an operator's that lasts longer stays
   * @throws GatewayError CONFLICT for one ban too many of operators
   */
  add(key: string, ban: Ban, forMs: number, now: number, isManual = false): Ban {
    const existing = this.#entries.get(key);
    this.#tellEnd(existing, now);
    const wasManual = existing?.isManual === true;
    const endsAt = now + forMs;
    if (wasManual && !isManual && existing.endsAt >= endsAt) return existing.ban;
    if (isManual && !wasManual) this.#refuseTooMany(now);
    const level = this.levelOf(key, now) + 1;
    this.#remove(key); // so that it is the youngest again
    const staysManual = isManual || wasManual;
    const forgetAt = endsAt + REMEMBERED_MS;
    this.#entries.set(key, { ban, endsAt, isManual: staysManual, isTold: false, level, forgetAt });
    if (staysManual) this.#manual++;
    else if (this.#entries.size - this.#manual > MAX_AUTOMATIC) this.#dropOne(now);
    return ban;
  }

  /** @returns false when there was none in force */
  delete(key: string, now: number): boolean {
    const isInForce = this.leftMs(key, now) > 0;
    this.#tellEnd(this.#entries.get(key), now);
    this.#remove(key);
    return isInForce;
  }

  /** How long the ban in force still lasts, in milliseconds; 0 when there is none. */
  leftMs(key: string, now: number): number {
    if (this.#entries.size === 0) return 0;
    const entry = this.#entries.get(key);
    return entry === undefined ? 0 : Math.max(0, entry.endsAt - now);
  }

  /** True for one that was made while bans were in a dry run. */
  isDry(key: string): boolean {
    return this.#entries.get(key)?.ban.dryRun === true;
  }

  /** How many bans there were, as far as they are remembered. */
  levelOf(key: string, now: number): number {
    const entry = this.#entries.get(key);
    return entry === undefined || now >= entry.forgetAt ? 0 : entry.level;
  }

  /** Those in force, the oldest first. */
  list(now: number): Ban[] {
    return [...this.#entries.values()].filter(({ endsAt }) => now < endsAt).map(({ ban }) => ban);
  }

  sweep(now: number): void {
    for (const [key, entry] of this.#entries) {
      this.#tellEnd(entry, now);
      if (now >= entry.forgetAt) this.#remove(key);
    }
  }

  /** A ban that is over is remembered as an automatic one, also an operator's. */
  #tellEnd(entry: Entry | undefined, now: number): void {
    if (entry === undefined || entry.isTold || now < entry.endsAt) return;
    entry.isTold = true;
    if (entry.isManual) this.#manual--;
    entry.isManual = false;
    this.expired(entry.ban);
  }

  #remove(key: string): void {
    if (this.#entries.get(key)?.isManual === true) this.#manual--;
    this.#entries.delete(key);
  }

  #refuseTooMany(now: number): void {
    if (this.#manual < MAX_MANUAL) return;
    this.sweep(now); // bans that are over no longer count
    if (this.#manual < MAX_MANUAL) return;
    throw new GatewayError('CONFLICT', {
      message: `Operators have ${MAX_MANUAL} bans in force, and there can be no more: lift some, or deny ranges of addresses`,
    });
  }

  /** Drops one that is over, or else the oldest automatic one: strangers can cause many, which must not push out operators' bans. */
  #dropOne(now: number): void {
    let oldest: string | undefined;
    for (const [key, { isManual, endsAt }] of this.#entries) {
      if (isManual) continue;
      if (now >= endsAt) return this.#drop(key, now);
      oldest ??= key;
    }
    if (oldest !== undefined) this.#drop(oldest, now);
  }

  #drop(key: string, now: number): void {
    const entry = this.#entries.get(key);
    this.#tellEnd(entry, now);
    this.#remove(key);
    if (entry?.isTold === false) this.dropped(entry.ban);
  }
}
