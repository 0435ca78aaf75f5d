import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { parseCookie } from 'cookie';
import { LATE_MS } from '../base/clock.js';
import type { WsClock } from '../base/clock.js';
import type { Emitter } from '../base/emitter.js';
import { GatewayError } from '../protocol/errors.js';
import { AddressList } from './address-list.js';
import { BadTokens } from './bad-tokens.js';
import { BanTable } from './bans.js';
import type { Ban, BanTarget } from './bans.js';
import { worth } from './message-budget.js';
import type { MessageBudget, MessageLimits } from './message-budget.js';
import { addressOf, ClientAddresses, countedAs, rangesOf } from './client-address.js';
import {
  addressKey,
  addressTarget,
  banEntry,
  decideBan,
  decideLift,
  decideLists,
  subjectKey,
  subjectTarget,
} from './decisions.js';
import type { AddressLists, BanOptions, FirewallEntry } from './decisions.js';
import type { FirewallEvent } from './events.js';
import type { FirewallRule, ResolvedFirewall } from './options.js';
import { isOriginAllowed } from './origins.js';
import { AddressPeer, PeerTable, SubjectPeer } from './usage.js';
import { AddressCounts, capsOf, FirewallSockets } from './socket-quota.js';

/** A connection, as the firewall knows it. */
export interface Client {
  readonly address: string;
  readonly peer: AddressPeer;
  /** Free of bans and budgets. */
  readonly isExempt: boolean;
}

/** A session, as the firewall knows it. */
export interface Metered {
  readonly client: Client;
  readonly budget: MessageBudget;
  /** Undefined while it is anonymous. */
  readonly subjectPeer: SubjectPeer | undefined;
}

/** What is refused to whom when the budget of one event is spent. */
export interface EventLimit {
  readonly limit: number;
  readonly perMs: number;
  readonly cost: number;
}

/** The limits of messages that the firewall holds sessions to. */
export interface FirewallLimits extends MessageLimits {
  readonly messagesPerSecondPerSubject: number;
}

/** Where tokens are looked for. */
export interface BrowserCredentials {
  readonly sources: readonly string[];
  /** Name of the cookie that holds one. */
  readonly cookie: string | undefined;
}

/** A ban that has been made. */
export interface BanNotice {
  readonly ban: Ban;
  /** How long it is in force, in milliseconds. */
  readonly forMs: number;
  /** A session that has an end of its own before it. */
  readonly spared: Metered | undefined;
  /** True where an operator made it. */
  readonly isManual: boolean;
}

const SWEEP_MS = 10_000;
const MINUTE_MS = 60_000;

/** Messages that a refused payload is charged for beside itself, and the bytes of heap that are one more. */
const REFUSED_MESSAGES = 4;
const REFUSED_BYTES = 4_096;

/** Time after a stop of the process in which what has come meanwhile is read, in milliseconds. */
const CREDITED_MS = 1_000;

/** Bans, lists and budgets. Injectable anywhere in the application. */
export class WsFirewall {
  readonly #addresses: PeerTable<AddressPeer>;
  readonly #subjects: PeerTable<SubjectPeer>;
  readonly #bans = new BanTable(
    (ban) => this.#ended('expired', ban),
    (ban) => this.#ended('dropped', ban),
  );
  readonly #badTokens = new BadTokens();
  #clients: ClientAddresses;
  #lists: Readonly<Record<keyof AddressLists, AddressList>>;
  #connections = 0;
  /** Connections of IPv6 by /64, /56 and /48. */
  readonly #ranges = new AddressCounts();
  /** @internal Sockets that are no session. */
  readonly sockets: FirewallSockets;
  #sweepAt = 0;
  #sweptAt: number;
  #creditMs = 0;
  #creditUntil = 0;
  #hasWarnedOfProxy = false;
  #acceptsHost: (host: string | undefined, isProbe: boolean) => boolean = () => true;
  #onBan: (notice: BanNotice) => void = () => undefined;

  /**
   * @param options read when they are needed, as the limits are, since a reload changes them
   * @param clock monotonic for what is enforced, and the time of day for what a list of bans shows
   */
  constructor(
    private readonly options: ResolvedFirewall,
    private readonly limits: FirewallLimits,
    private readonly credentials: BrowserCredentials,
    private readonly clock: Pick<WsClock, 'now' | 'monotonic'>,
    private readonly emitter: Emitter<FirewallEvent>,
  ) {
    this.#addresses = new PeerTable((key) => new AddressPeer(key, options, clock.monotonic()));
    this.#subjects = new PeerTable((key) => new SubjectPeer(key, subjectBurst(limits), clock.monotonic()));
    this.#clients = this.#makeClients();
    this.#lists = listsOf(options);
    this.#sweptAt = clock.monotonic();
    this.sockets = new FirewallSockets(options, {
      isProxy: (address) => this.#clients.trusts(address),
      connections: () => this.#connections,
      enforce: (rule, address, error) => this.#enforce(rule, { address }, error),
    });
  }

  /**
   * Bans an address (IPv6: its /64) or a subject. Its sessions end with BANNED, and its handshakes are refused.
   *
   * @throws as rejections: TypeError for a target that is neither, or a time that cannot be; GatewayError CONFLICT when there are
   * 10,000 bans of operators in force, since none of them is ever dropped to make room
   */
  async ban(target: BanTarget, options: BanOptions): Promise<Ban> {
    const entry = decideBan(target, options, this.clock.now(), this.#isDry('bans'));
    this.#enact(entry);
    return entry.ban;
  }

  /**
   * Lifts a ban, and forgets that there was one.
   *
   * @param options `actor`: who lifts it, for the audit
   * @returns false when there was none
   * @throws TypeError, as a rejection, for a target that is neither an address nor a subject
   */
  async unban(target: BanTarget, { actor }: { actor?: string } = {}): Promise<boolean> {
    return this.#enact(decideLift(target, actor));
  }

  /** The bans in force, the oldest first. */
  bans(): Ban[] {
    const isDry = this.options.dryRun.includes('bans');
    const bans = this.#bans.list(this.clock.monotonic());
    return isDry ? bans.map((ban) => ({ ...ban, dryRun: true })) : bans;
  }

  /** The lists in force. */
  get lists(): AddressLists {
    const { allow, deny, exempt } = this.#lists;
    return { allow: allow.ranges, deny: deny.ranges, exempt: exempt.ranges };
  }

  /**
   * Changes lists from now on; one that is left out stays. Connected sessions stay: `ban()` ends them.
   *
   * @throws TypeError, as a rejection, naming what is no address and no CIDR range; nothing has been changed then
   */
  async setLists(lists: Partial<AddressLists>): Promise<void> {
    this.#enact(decideLists(lists));
  }

  /**
   * @internal Applies an entry to this node alone, whichever node decided it. It can be applied twice.
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
        this.#lists = listsOf({ ...this.lists, ...entry.lists });
        return true;
      default:
        return entry satisfies never;
    }
  }

  /** What has been decided here is applied here, then told. @returns true when it has changed something */
  #enact(entry: FirewallEntry, spared?: Metered): boolean {
    const hasChanged = this.apply(entry, spared);
    if (hasChanged) this.#tell(entry);
    return hasChanged;
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

  #isDry(rule: FirewallRule): boolean {
    return this.options.dryRun.includes(rule);
  }

  /** @internal Other proxies are trusted from now on. */
  applyProxies(): void {
    this.#clients = this.#makeClients();
  }

  #makeClients(): ClientAddresses {
    return new ClientAddresses(this.options, (clientAddress) => {
      if (this.#hasWarnedOfProxy) return;
      this.#hasWarnedOfProxy = true;
      this.emitter.emit({ kind: 'proxy', clientAddress });
    });
  }

  /** @internal How many entries the firewall has in all its tables. */
  get size(): number {
    return this.#addresses.size + this.#subjects.size + this.#bans.size + this.#badTokens.size;
  }

  /** @internal Connections of the process. */
  get connections(): number {
    return this.#connections;
  }

  /** @internal */
  onBan(onBan: (notice: BanNotice) => void): void {
    this.#onBan = onBan;
  }

  /** @internal @throws GatewayError OVERLOADED */
  checkCapacity(): void {
    if (this.#connections < this.options.maxConnections) return;
    this.#enforce('connections', undefined, () => new GatewayError('OVERLOADED', { retryAfterMs: 5_000 }));
  }

  /** @internal The client's address, for logs and records: of one whose headers disagree, the peer's. */
  addressOf(request: IncomingMessage): string {
    try {
      return this.#clients.of(request, request.socket);
    } catch {
      return addressOf(request.socket);
    }
  }

  /** @internal @throws GatewayError BAD_UPGRADE when headers of proxies disagree */
  clientOf(request: IncomingMessage, socket: Duplex): Client {
    const address = this.#clients.of(request, socket);
    const peer = this.#addresses.of(countedAs(address), this.clock.monotonic());
    return { address, peer, isExempt: this.#lists.exempt.has(address) };
  }

  /** @internal @throws GatewayError IP_FORBIDDEN, BANNED */
  checkLists(client: Client): void {
    const { allow, deny } = this.#lists;
    if (deny.has(client.address) || (!allow.isEmpty && !allow.has(client.address))) {
      this.#violated('lists', client, () => new GatewayError('IP_FORBIDDEN'));
    }
    if (client.isExempt) return;
    // No violation: whoever tries again would never get out.
    this.#refuseBanned(addressKey(client.peer.key), client);
  }

  /** @internal @throws GatewayError TOO_MANY_CONNECTIONS */
  checkRates(client: Client): void {
    if (client.peer.users >= this.options.maxConnectionsPerAddress || this.#isRangeFull(client.address)) {
      this.#violated('connections', client, () => new GatewayError('TOO_MANY_CONNECTIONS', { retryAfterMs: 5_000 }));
    }
    this.checkHandshakes(client);
  }

  /** @internal Charges the address for one more handshake, or for one request over HTTP. @throws GatewayError TOO_MANY_CONNECTIONS */
  checkHandshakes(client: Client): void {
    if (client.isExempt) return;
    const { peer } = client;
    const { options } = this;
    const now = this.clock.monotonic();
    const { handshakesPerSecondPerAddress: rate, handshakeBurstPerAddress: burst } = options;
    const perMinute = options.failedAuthenticationsPerMinutePerAddress;
    const wait = peer.handshakes.take(1, rate, burst, now) || peer.failures.waitFor(1, perMinute / 60, perMinute, now);
    if (wait === 0) return;
    this.#violated('handshakes', client, () => new GatewayError('TOO_MANY_CONNECTIONS', { retryAfterMs: wait }));
  }

  /**
   * @internal Charges the address for a probe, from a budget as large as that of handshakes and apart from it: a flood of handshakes
   * must not make a process look dead, nor its probes keep clients out.
   *
   * @throws GatewayError TOO_MANY_CONNECTIONS
   */
  checkProbes(client: Client): void {
    if (client.isExempt) return;
    const { handshakesPerSecondPerAddress: rate, handshakeBurstPerAddress: burst } = this.options;
    const wait = client.peer.probe(rate, burst, this.clock.monotonic());
    // No violation: what watches a server has no other address to watch it from.
    if (wait > 0)
      this.#enforce('handshakes', client, () => new GatewayError('TOO_MANY_CONNECTIONS', { retryAfterMs: wait }));
  }

  /** @internal From now on requests are answered only with a Host that this says yes to. */
  restrictHosts(accepts: (host: string | undefined, isProbe: boolean) => boolean): void {
    this.#acceptsHost = accepts;
  }

  /** @internal @throws GatewayError ORIGIN_FORBIDDEN */
  checkHost({ headers }: IncomingMessage, isProbe = false): void {
    if (this.#acceptsHost(headers.host, isProbe)) return;
    // No violation: the page comes from the browser of somebody who may well connect.
    const cause = `${encounterOf(headers)}, which is not in ALLOWED_HOSTS`;
    throw new GatewayError('ORIGIN_FORBIDDEN', { message: 'Host not allowed', cause });
  }

  /** @internal @throws GatewayError ORIGIN_FORBIDDEN */
  checkOrigin(client: Client, { headers }: IncomingMessage): void {
    if (this.#allowsOrigin(headers)) return;
    this.#violated('origins', client, () => new GatewayError('ORIGIN_FORBIDDEN', { cause: encounterOf(headers) }));
  }

  #allowsOrigin({ origin, host, cookie }: IncomingMessage['headers']): boolean {
    const { origins, allowMissingOrigin, allowNullOrigin } = this.options;
    if (origin === undefined) return allowMissingOrigin && !this.#hasTokenIn(cookie);
    return (origin === 'null' && allowNullOrigin) || isOriginAllowed(origin, host ?? '', origins);
  }

  /** A browser sends the cookie for whichever page asks, so who asks has to be known (RFC 6455 §10.2). */
  #hasTokenIn(header: string | undefined): boolean {
    const { sources, cookie = '' } = this.credentials;
    return header !== undefined && sources.includes('cookie') && parseCookie(header)[cookie] !== undefined;
  }

  /** One customer has 65,536 of what is counted as an address. */
  #isRangeFull(address: string): boolean {
    if (!address.includes(':')) return false;
    return this.#ranges.isFull(rangesOf(address), capsOf(this.options.maxConnectionsPerAddress, this.options));
  }

  /** @internal The connection counts from now on. */
  enter({ address, peer }: Client): void {
    this.#connections++;
    if (address.includes(':')) this.#ranges.enter(rangesOf(address));
    this.#addresses.hold(peer);
  }

  /** @internal */
  leave({ address, peer }: Client): void {
    this.#connections--;
    if (address.includes(':')) this.#ranges.leave(rangesOf(address));
    this.#addresses.release(peer, this.clock.monotonic());
  }

  /**
   * @internal
   *
   * @param isFirst false where the same question is asked again, of which a dry run does not tell twice
   * @throws GatewayError BANNED
   */
  checkSubject(client: Client, subject: string, isFirst = true): void {
    if (client.isExempt || (!isFirst && this.options.dryRun.includes('bans'))) return;
    this.#refuseBanned(subjectKey(subject), client, subject);
  }

  /** One that was made in a dry run is enforced neither then nor later. */
  #refuseBanned(key: string, client: Client, subject?: string): void {
    const leftMs = this.#bans.leftMs(key, this.clock.monotonic());
    if (leftMs === 0 || (this.#bans.isDry(key) && !this.options.dryRun.includes('bans'))) return;
    this.#enforce('bans', client, () => banned(leftMs), subject);
  }

  /** @internal A session of the subject begins. */
  join(subject: string): SubjectPeer {
    const peer = this.#subjects.of(subject, this.clock.monotonic());
    this.#subjects.hold(peer);
    return peer;
  }

  /** @internal A session of the subject has ended. */
  part(peer: SubjectPeer): void {
    this.#subjects.release(peer, this.clock.monotonic());
  }

  /** @internal A budget of this length of time is in use: who comes back within it has what was left. */
  remember(ms: number): void {
    this.#subjects.remember(ms);
    this.#addresses.remember(ms);
  }

  /** @internal Charges a session for a message. @returns 0, or the milliseconds after which it would be within the budgets */
  charge(session: Metered, size: number): number {
    const { client, subjectPeer } = session;
    if (client.isExempt) return 0;
    const { limits } = this;
    const now = this.clock.monotonic();
    const creditMs = this.#creditMsAt(now);
    let wait = session.budget.take(size, limits, now, creditMs);
    if (wait > 0) return this.#spent('messages', session) ? wait : 0;
    const perSubject = limits.messagesPerSecondPerSubject;
    if (subjectPeer !== undefined) {
      wait = subjectPeer.messages.take(1, perSubject, subjectBurst(limits) + worth(perSubject, creditMs), now);
    }
    return wait > 0 && this.#spent('subject', session) ? wait : 0;
  }

  /**
   * @internal Charges a session, and its subject, for a payload that was refused: class-validator takes longer to say why not than
   * a handler to answer. Those who go on are over their budgets, and that is a violation.
   *
   * @param heapBytes what the payload is on the heap
   */
  chargeRefused({ client, budget, subjectPeer }: Metered, heapBytes: number): void {
    if (client.isExempt || this.options.dryRun.includes('budgets')) return;
    const messages = REFUSED_MESSAGES + heapBytes / REFUSED_BYTES;
    budget.charge(messages, this.limits);
    subjectPeer?.messages.charge(messages, subjectBurst(this.limits));
  }

  /** @internal Charges the subject of a session, or its address while there is none, for one event. */
  chargeEvent(session: Metered, event: string, { limit, perMs, cost }: EventLimit): number {
    const { client, subjectPeer } = session;
    if (client.isExempt) return 0;
    const now = this.clock.monotonic();
    const bucket = (subjectPeer ?? client.peer).event(event, limit, now);
    const wait = bucket.take(cost, (limit * 1_000) / perMs, limit, now);
    return wait > 0 && this.#spent('event', session) ? wait : 0;
  }

  /** @internal A message was over a budget. @returns true with the one that is a `messageBurst` too many */
  refuse({ budget }: Metered): boolean {
    return budget.refuse(this.limits, this.clock.monotonic());
  }

  /** @internal True when a token of that address was bad, or may have been, within a minute. */
  hasFailed({ peer, isExempt }: Client): boolean {
    const perMinute = this.options.failedAuthenticationsPerMinutePerAddress;
    return !isExempt && peer.failures.waitFor(perMinute, perMinute / 60, perMinute, this.clock.monotonic()) > 0;
  }

  /**
   * @internal A token was bad. The same one again within the time is a client that reconnects, and counts no more.
   *
   * @param digest of the token; undefined where it is not known
   */
  failedAuthentication(client: Client, digest: string | undefined, session?: Metered): void {
    if (this.#hasLostAttempt(client, digest)) this.violation(client, session);
  }

  /** @internal A token may have been bad: the address has one attempt less, and it is no violation. The same one counts once, too. */
  doubtfulAuthentication(client: Client, digest: string | undefined): void {
    this.#hasLostAttempt(client, digest && `doubtful ${digest}`);
  }

  /** @returns false for a token that its address has lost an attempt for already */
  #hasLostAttempt({ isExempt, peer }: Client, digest: string | undefined): boolean {
    if (isExempt) return false;
    const now = this.clock.monotonic();
    if (digest !== undefined && !this.#badTokens.isNew(peer.key, digest, this.#sameTokenMs, now)) return false;
    const perMinute = this.options.failedAuthenticationsPerMinutePerAddress;
    peer.failures.take(1, perMinute / 60, perMinute, now);
    return true;
  }

  /** Both counts of bad tokens have forgotten one by then. */
  get #sameTokenMs(): number {
    return Math.max(this.options.ban.withinMs, MINUTE_MS);
  }

  /**
   * @internal Counts a violation: against the subject where there is one, so that others behind the same address have nothing to
   * do with it, and against the address otherwise.
   *
   * @param isSpared true when the session has an end of its own before it, as one that is over its budget
   */
  violation(client: Client, session: Metered | undefined, isSpared = false): void {
    if (client.isExempt) return;
    const { violations, withinMs, forMs } = this.options.ban;
    const now = this.clock.monotonic();
    const subject = session?.subjectPeer;
    if (!(subject ?? client.peer).violations.add(violations, withinMs, now)) return;
    const target = subject === undefined ? addressTarget(client.peer.key) : subjectTarget(subject.key);
    const level = this.#bans.levelOf(target.key, now);
    const duration = forMs[Math.min(level, forMs.length - 1)] as number; // because the options refuse an empty list
    const entry = banEntry(target, duration, 'repeated violations', this.clock.now(), this.#isDry('bans'));
    this.#enact(entry, isSpared ? session : undefined);
  }

  /** @internal */
  postpone(ms: number): void {
    this.#creditMs = ms;
    this.#creditUntil = this.clock.monotonic() + CREDITED_MS;
  }

  /** After a stop of the process: who keeps to a rate has sent meanwhile what it allows, and all of it comes at once. */
  #creditMsAt(now: number): number {
    const unsweptMs = now - this.#sweptAt; // what has come is often read before the timers have their turn
    if (unsweptMs > LATE_MS) return unsweptMs;
    return now < this.#creditUntil ? this.#creditMs : 0;
  }

  /** @internal */
  sweep(now: number): void {
    this.#sweptAt = now;
    if (now < this.#sweepAt) return;
    this.#sweepAt = now + SWEEP_MS;
    this.#addresses.sweep(now);
    this.#subjects.sweep(now);
    this.#bans.sweep(now);
    this.#badTokens.sweep(this.#sameTokenMs, now);
  }

  #ended(action: 'expired' | 'dropped', ban: Ban): void {
    const target = 'subject' in ban ? { subject: ban.subject } : { address: ban.address };
    this.emitter.emit({ kind: 'ban', action, target, enforced: ban.dryRun !== true });
  }

  /** A rule about handshakes is broken: what is refused for it is a violation, what a dry run lets in is none. */
  #violated(rule: FirewallRule, client: Client, refusal: () => GatewayError): void {
    if (!this.options.dryRun.includes(rule)) this.violation(client, undefined);
    this.#enforce(rule, client, refusal);
  }

  /** @throws what `refusal` makes, unless the rule is in a dry run */
  #enforce(
    rule: FirewallRule,
    client: Pick<Client, 'address'> | undefined,
    refusal: () => GatewayError,
    subject?: string,
  ): void {
    const error = refusal();
    if (!this.options.dryRun.includes(rule)) throw error;
    const { code, cause } = error;
    this.emitter.emit({
      kind: 'admission',
      rule,
      code,
      enforced: false,
      ...(client !== undefined && { clientAddress: client.address }),
      ...(subject !== undefined && { subject }),
      ...(typeof cause === 'string' && { reason: cause }),
    });
  }

  /** @returns whether that has consequences */
  #spent(budget: 'messages' | 'subject' | 'event', { client, subjectPeer }: Metered): boolean {
    const enforced = !this.options.dryRun.includes('budgets');
    const subject = subjectPeer !== undefined && { subject: subjectPeer.key };
    this.emitter.emit({ kind: 'budget', budget, enforced, clientAddress: client.address, ...subject });
    return enforced;
  }
}

/** Longest header that is quoted in the log, in characters. */
const MAX_QUOTED = 120;

/** For the log: which Origin met which Host. */
function encounterOf({ origin, host }: IncomingMessage['headers']): string {
  return `${origin === undefined ? 'no Origin' : `Origin ${quoted(origin)}`} met Host ${quoted(host ?? '')}`;
}

/** What a stranger wrote, in printable ASCII and cut. */
function quoted(header: string): string {
  const text = header.slice(0, MAX_QUOTED).replace(/[^!#-~]/g, '?');
  return `"${text}${header.length > MAX_QUOTED ? '…' : ''}"`;
}

function banned(forMs: number): GatewayError {
  return new GatewayError('BANNED', { retryAfterMs: Math.ceil(forMs) });
}

function listsOf({ allow, deny, exempt }: AddressLists): Readonly<Record<keyof AddressLists, AddressList>> {
  return { allow: new AddressList(allow), deny: new AddressList(deny), exempt: new AddressList(exempt) };
}

/** As a session may send two seconds' worth at once, so may a subject. */
function subjectBurst({ messagesPerSecondPerSubject }: FirewallLimits): number {
  return 2 * messagesPerSecondPerSubject;
}
