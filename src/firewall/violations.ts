import type { WsClock } from '../base/clock.js';
import type { GatewayError } from '../protocol/errors.js';
import { BadTokens } from './bad-tokens.js';
import type { BanTable } from './bans.js';
import type { Client, Metered } from './client.js';
import { addressTarget, banEntry, subjectTarget } from './decisions.js';
import type { BanEntry } from './decisions.js';
import type { Enforcement } from './enforcement.js';
import type { FirewallRule, ResolvedFirewall } from './options.js';

const MINUTE_MS = 60_000;

/** Counts bad tokens and violations, and decides when they are worth a ban. */
export class Violations {
  readonly #badTokens = new BadTokens();

  /** @param ban enacts a ban; `spared` is the session that has an end of its own before it */
  constructor(
    private readonly options: ResolvedFirewall,
    private readonly clock: Pick<WsClock, 'now' | 'monotonic'>,
    private readonly bans: Pick<BanTable, 'levelOf'>,
    private readonly enforcement: Enforcement,
    private readonly ban: (entry: BanEntry, spared: Metered | undefined) => void,
  ) {}

  get size(): number {
    return this.#badTokens.size;
  }

  /**
   * Counts a violation: against the subject where there is one, so that others behind the same address are not banned with it, and
   * against the address otherwise.
   *
   * @param isSpared true when the session has an end of its own before it, as one that is over its budget
   */
  count(client: Client, session: Metered | undefined, isSpared = false): void {
    if (client.isExempt) return;
    const { violations, withinMs, forMs } = this.options.ban;
    const now = this.clock.monotonic();
    const subject = session?.subjectUsage;
    if (!(subject ?? client.usage).violations.add(violations, withinMs, now)) return;
    const target = subject === undefined ? addressTarget(client.usage.key) : subjectTarget(subject.key);
    const level = this.bans.levelOf(target.key, now);
    const duration = forMs[Math.min(level, forMs.length - 1)] as number; // because the options refuse an empty list
    const entry = banEntry(target, duration, 'repeated violations', this.clock.now(), this.enforcement.isDry('bans'));
    this.ban(entry, isSpared ? session : undefined);
  }

  /**
   * Refuses what breaks a rule about handshakes. That is a violation of the address, unless the rule is in a dry run.
   *
   * @throws what `refusal` makes, unless the rule is in a dry run
   */
  refuse(rule: FirewallRule, client: Client, refusal: () => GatewayError): void {
    if (!this.enforcement.isDry(rule)) this.count(client, undefined);
    this.enforcement.enforce(rule, client.address, refusal);
  }

  /**
   * Counts a bad token. The same one again within the time is a client that reconnects, and counts no more.
   *
   * @param digest of the token; undefined where it is not known
   */
  failedAuthentication(client: Client, digest: string | undefined, session?: Metered): void {
    if (this.#takeAttempt(client, digest)) this.count(client, session);
  }

  /** Takes an attempt of the address for a token that may be bad; it is no violation. The same token takes one only. */
  doubtfulAuthentication(client: Client, digest: string | undefined): void {
    this.#takeAttempt(client, digest && `doubtful ${digest}`);
  }

  /** True when a token of that address was bad, or may have been, within a minute. */
  hasFailed({ usage, isExempt }: Client): boolean {
    const perMinute = this.options.failedAuthenticationsPerMinutePerAddress;
    return !isExempt && usage.failures.waitFor(perMinute, perMinute / 60, perMinute, this.clock.monotonic()) > 0;
  }

  sweep(now: number): void {
    this.#badTokens.sweep(this.#sameTokenMs, now);
  }

  /** @returns false for a token that has taken an attempt of its address already */
  #takeAttempt({ isExempt, usage }: Client, digest: string | undefined): boolean {
    if (isExempt) return false;
    const now = this.clock.monotonic();
    if (digest !== undefined && !this.#badTokens.isNew(usage.key, digest, this.#sameTokenMs, now)) return false;
    const perMinute = this.options.failedAuthenticationsPerMinutePerAddress;
    usage.failures.take(1, perMinute / 60, perMinute, now);
    return true;
  }

  /** After this time both counts of bad tokens, attempts and violations, have forgotten one. */
  get #sameTokenMs(): number {
    return Math.max(this.options.ban.withinMs, MINUTE_MS);
  }
}
