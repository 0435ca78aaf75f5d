import type { WsClock } from '../base/clock.js';
import type { Emitter } from '../base/emitter.js';
import { Admission } from './admission.js';
import { BanTable } from './bans.js';
import type { Ban, BanNotice, BanTarget } from './bans.js';
import type { Metered } from './client.js';
import { ConnectionQuota } from './connection-quota.js';
import { decideBan, decideLift, decideLists } from './decisions.js';
import type { AddressLists, BanOptions, FirewallEntry } from './decisions.js';
import type { Fact, Facts } from '../engine/facts.js';
import { Enforcement } from './enforcement.js';
import type { FirewallEvent } from './events.js';
import { entryOf, factsOf } from './firewall-facts.js';
import type { SubjectLimits } from './message-budget.js';
import { Metering } from './metering.js';
import type { ResolvedFirewall } from './options.js';
import { FirewallSockets } from './socket-quota.js';
import { Violations } from './violations.js';
import { WsFirewall } from './ws-firewall.js';

const SWEEP_MS = 10_000;

/** The working class behind {@link WsFirewall}: holds the tables, and decides, applies and tells changes of bans and lists. */
export class Firewall extends WsFirewall {
  readonly #bans = new BanTable(
    (ban) => this.#ended('expired', ban),
    (ban) => this.#ended('dropped', ban),
  );
  readonly #enforcement: Enforcement;
  #sweepAt = 0;
  #onBan: (notice: BanNotice) => void = () => undefined;

  /** Sockets that are no session. */
  readonly sockets: FirewallSockets;
  /** Connections that were let in. */
  readonly connections: ConnectionQuota;
  readonly violations: Violations;
  readonly admission: Admission;
  readonly metering: Metering;

  /**
   * @param options read when they are needed, as the limits are, since a reload changes them
   * @param clock monotonic for what is enforced, and the time of day for what a list of bans shows
   */
  constructor(
    private readonly options: ResolvedFirewall,
    limits: SubjectLimits,
    private readonly clock: Pick<WsClock, 'now' | 'monotonic'>,
    private readonly emitter: Emitter<FirewallEvent>,
    private readonly facts: Facts,
  ) {
    super();
    facts.listen('firewall', (fact) => this.#hear(fact));
    const enforcement = new Enforcement(options, emitter);
    this.#enforcement = enforcement;
    const ban = (entry: FirewallEntry, spared: Metered | undefined): void => {
      if (this.#enact(entry, spared)) void this.#share(entry)?.catch(() => undefined); // it is kept, and told when it can be
    };
    this.violations = new Violations(options, clock, this.#bans, enforcement, ban);
    this.connections = new ConnectionQuota(options, clock, enforcement, this.violations);
    const { violations, connections } = this;
    this.admission = new Admission(options, clock, emitter, this.#bans, enforcement, violations, connections);
    this.metering = new Metering(limits, clock, emitter, enforcement);
    this.sockets = new FirewallSockets(options, {
      isProxy: (address) => this.admission.isProxy(address),
      connections: () => connections.size,
      enforce: (rule, address, refusal) => enforcement.enforce(rule, address, refusal),
    });
  }

  async ban(target: BanTarget, options: BanOptions): Promise<Ban> {
    const entry = decideBan(target, options, this.clock.now(), this.#enforcement.isDry('bans'));
    this.#enact(entry);
    await this.#share(entry);
    return entry.ban;
  }

  async unban(target: BanTarget, { actor }: { actor?: string } = {}): Promise<boolean> {
    const entry = decideLift(target, actor);
    const wasBanned = this.#enact(entry);
    await this.#share(entry);
    return wasBanned;
  }

  async setLists(lists: Partial<AddressLists>): Promise<void> {
    const entry = decideLists(lists);
    this.#enact(entry);
    await this.#share(entry);
  }

  bans(): Ban[] {
    const bans = this.#bans.list(this.clock.monotonic());
    return this.#enforcement.isDry('bans') ? bans.map((ban) => ({ ...ban, dryRun: true })) : bans;
  }

  get lists(): AddressLists {
    return this.admission.lists;
  }

  /**
   * Applies an entry to this node alone, whichever node decided it. It can be applied twice.
   *
   * @param spared the session that ends by itself for what brought the ban about
   * @returns true when it has changed something; always for lists and for an operator's ban
   * @throws GatewayError CONFLICT for one ban too many of operators
   */
  apply(entry: FirewallEntry, spared?: Metered): boolean {
    switch (entry.action) {
      case 'ban': {
        const { key, ban, forMs, isManual } = entry;
        // An operator's ban that lasts longer stays as it is.
        if (this.#bans.add(key, ban, forMs, this.clock.monotonic(), isManual) !== ban) return false;
        if (ban.dryRun !== true) this.#onBan({ ban, forMs, spared, isManual });
        return true;
      }
      case 'lift':
        return this.#bans.delete(entry.key, this.clock.monotonic());
      case 'lists':
        this.admission.setLists(entry.lists);
        return true;
      default:
        return entry satisfies never;
    }
  }

  /** @param onBan called with each ban that is applied and enforced; it ends the sessions, and must not throw */
  onBan(onBan: (notice: BanNotice) => void): void {
    this.#onBan = onBan;
  }

  /** A budget of so many milliseconds is in use: by coming back within it, a client gets no fresh one. */
  remember(ms: number): void {
    this.metering.remember(ms);
    this.connections.remember(ms);
  }

  /** Entries in all tables. */
  get size(): number {
    return this.connections.addresses + this.metering.size + this.#bans.size + this.violations.size;
  }

  postpone(ms: number): void {
    this.metering.postpone(ms);
  }

  sweep(now: number): void {
    this.metering.noteSweep(now);
    if (now < this.#sweepAt) return;
    this.#sweepAt = now + SWEEP_MS;
    this.connections.sweep(now);
    this.metering.sweep(now);
    this.#bans.sweep(now);
    this.violations.sweep(now);
  }

  /** Applies here what was decided here, then tells it. @returns true when it has changed something */
  #enact(entry: FirewallEntry, spared?: Metered): boolean {
    const hasChanged = this.apply(entry, spared);
    if (hasChanged) this.#tell(entry);
    return hasChanged;
  }

  /** Tells the other nodes. */
  #share(entry: FirewallEntry): Promise<unknown> | undefined {
    return this.facts.record(factsOf(entry, this.options, this.clock.now()));
  }

  /** Another node has decided it. */
  #hear(fact: Fact): number {
    const entry = entryOf(fact, this.options, this.clock.now());
    return entry !== undefined && this.apply(entry) ? 1 : 0;
  }

  /** The one place where an entry that this node decided is told. */
  #tell(entry: FirewallEntry): void {
    if (entry.action === 'lists') return; // lists have no event
    const { target, actor } = entry;
    const by = actor !== undefined && { actor };
    if (entry.action === 'lift') {
      return this.emitter.emit({ kind: 'ban', action: 'lifted', target, enforced: true, ...by });
    }
    const { ban, forMs } = entry;
    const enforced = ban.dryRun !== true;
    this.emitter.emit({ kind: 'ban', action: 'added', target, forMs, reason: ban.reason, enforced, ...by });
  }

  #ended(action: 'expired' | 'dropped', ban: Ban): void {
    const target = 'subject' in ban ? { subject: ban.subject } : { address: ban.address };
    this.emitter.emit({ kind: 'ban', action, target, enforced: ban.dryRun !== true });
  }
}
