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

interface Entry {
  readonly ban: Ban;
  /** In monotonic milliseconds, as all that is enforced: a ban lasts as long as it was made for, whatever the time of day is set to. */
  readonly endsAt: number;
  /** How many bans there have been before this one; they make the next one longer. */
  readonly level: number;
  /** In monotonic milliseconds. */
  readonly forgetAt: number;
}

/** Bans held at once; the oldest goes first. */
const MAX_BANS = 10_000;

/** How long after its end a ban still makes the next one longer, in milliseconds. */
const REMEMBERED_MS = 86_400_000;

/** Times are monotonic milliseconds. */
export class BanTable {
  // In the order in which they were made.
  readonly #entries = new Map<string, Entry>();

  /** How many are held, those included that are over and remembered. */
  get size(): number {
    return this.#entries.size;
  }

  add(key: string, ban: Ban, forMs: number, now: number): void {
    const level = this.levelOf(key, now) + 1;
    this.#entries.delete(key); // so that it is the youngest again
    this.#entries.set(key, { ban, endsAt: now + forMs, level, forgetAt: now + forMs + REMEMBERED_MS });
    if (this.#entries.size > MAX_BANS)
      for (const oldest of this.#entries.keys()) return void this.#entries.delete(oldest);
  }

  /** @returns false when there was none in force */
  delete(key: string, now: number): boolean {
    const isInForce = this.leftMs(key, now) > 0;
    this.#entries.delete(key);
    return isInForce;
  }

  /** How long the ban in force still lasts, in milliseconds; 0 when there is none. */
  leftMs(key: string, now: number): number {
    if (this.#entries.size === 0) return 0;
    const entry = this.#entries.get(key);
    return entry === undefined ? 0 : Math.max(0, entry.endsAt - now);
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
    for (const [key, { forgetAt }] of this.#entries) if (now >= forgetAt) this.#entries.delete(key);
  }
}
