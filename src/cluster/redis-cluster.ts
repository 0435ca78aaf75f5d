import { randomUUID } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { contain, loggerFaults } from '../base/contain.js';
import { visible } from '../base/visible.js';
import type { WsClock } from '../base/clock.js';
import type { Emitter } from '../base/emitter.js';
import type { Cluster, ClusterTimes, LocalNode, SharedTickets } from '../engine/cluster.js';
import type { BusEvent } from '../engine/events.js';
import { WsCluster } from '../engine/ws-cluster.js';
import type { ClusterState, NodeInfo } from '../engine/ws-cluster.js';
import { Asks } from './asks.js';
import { RedisClaims } from './claims.js';
import { cardOf, readCards } from './cards.js';
import { Connector, RedisRefusal } from './links.js';
import type { Link } from './links.js';
import { Names } from './names.js';
import { nodeNameOf } from './options.js';
import type { RedisPlace, ResolvedCluster } from './options.js';
import { pause } from './pause.js';
import { RedisEngine } from './redis-engine.js';
import { readSeen } from './replies.js';
import { BEAT, PUT_TICKET, TAKE_TICKET } from './scripts.js';
import { findingsOf, versionProblem } from './server-checks.js';
import { SharedFacts } from './shared-facts.js';

/** How often a start looks whether it is over, in milliseconds. */
const RETRY_MS = 50;

/** How often the state is looked at, in milliseconds. */
const WATCH_MS = 250;

/** A beat is a quarter of a lease: three may be lost. */
const BEATS_PER_LEASE = 4;

/** How long a start waits to know what the others know, in milliseconds; after it, handshakes are refused until then. */
const START_MS = 5_000;

/** A node that has been blind for so long is not ready, in milliseconds. */
const UNREADY_MS = 2_000;

/** A command that takes so long is worth a warning, in milliseconds. */
const SLOW_MS = 250;

/** The nodes of one Redis. */
export class RedisCluster extends WsCluster implements Cluster {
  readonly nodeId = randomUUID();
  readonly facts: SharedFacts;
  readonly tickets: SharedTickets;
  readonly engine: RedisEngine;
  readonly claims: RedisClaims;
  readonly questions: Asks;
  readonly #log = new Logger('WsCluster');
  readonly names: Names;
  readonly #commands: Link;
  readonly #control: Link;
  readonly #subscriber: Link;
  readonly #startedAt: number;
  readonly #stops: (() => void)[] = [];
  #local: LocalNode | undefined;
  #nodes: readonly NodeInfo[] = [];
  #state: ClusterState = 'starting';
  /** The life of Redis in which this node has announced itself and its sessions. */
  #announcedIn: string | undefined;
  /** Since when it has been blind, or has been starting, in monotonic milliseconds. */
  #since: number;
  #commandMs = 0;
  #isStopped = false;

  private constructor(
    private readonly options: ResolvedCluster,
    connector: Connector,
    private readonly version: string,
    private readonly times: ClusterTimes,
    private readonly clock: WsClock,
    private readonly emitter: Emitter<BusEvent>,
  ) {
    super();
    this.#startedAt = clock.now();
    this.#since = clock.monotonic();
    this.names = new Names(options.name);
    this.#commands = connector.connect('commands');
    this.#control = connector.connect('control');
    this.#subscriber = connector.connect('subscriber');
    this.facts = new SharedFacts(
      this.#commands,
      this.#control,
      this.names,
      {
        id: this.nodeId,
        others: () => this.#others,
        changed: () => void this.#beat(),
      },
      times,
      clock,
      () => options.admission === 'closed',
      () => this.facts.lagMs < times.blindMs,
    );
    this.questions = new Asks(
      this.#commands,
      this.names,
      this.nodeId,
      times.answerMs,
      this.facts,
      () => this.#others,
      clock,
    );
    this.claims = new RedisClaims(
      this.#commands,
      this.names,
      this.nodeId,
      options.leaseMs,
      this.facts,
      () => this.#nodes.map(({ id }) => id),
      () => this.#state === 'live',
    );
    this.engine = new RedisEngine(
      this.nodeId,
      this.#commands,
      this.#subscriber,
      this.names,
      options,
      () => this.#state,
      (text) => this.questions.receive(text),
      clock,
    );
    this.tickets = {
      put: async (digest, ticket, ttlMs) => {
        await this.#commands.run(PUT_TICKET, [this.names.ticket(digest)], [ticket, Math.max(1, Math.floor(ttlMs))]);
      },
      take: async (digest) => {
        const ticket = await this.#commands.run(TAKE_TICKET, [this.names.ticket(digest)], []);
        return typeof ticket === 'string' ? ticket : undefined;
      },
    };
  }

  /** @throws MissingPackageError; nothing is connected then */
  static async create(
    options: ResolvedCluster & { readonly redis: RedisPlace },
    version: string,
    times: ClusterTimes,
    clock: WsClock,
    emitter: Emitter<BusEvent>,
  ): Promise<RedisCluster> {
    const { redis, commandTimeoutMs } = options;
    const connector = await Connector.load(redis, commandTimeoutMs, times.readMs, nodeNameOf(options));
    return new RedisCluster(options, connector, version, times, clock, emitter);
  }

  get state(): ClusterState {
    return this.#state;
  }

  nodes(): readonly NodeInfo[] {
    return this.#nodes.length > 0 ? this.#nodes : [this.#self()];
  }

  get problem(): string | undefined {
    if (this.options.admission === 'open' || this.#state === 'live') return undefined;
    if (this.#state === 'starting') return 'cluster: starting';
    return this.#blindMs >= UNREADY_MS ? 'cluster: blind' : undefined;
  }

  get warning(): string | undefined {
    if (this.#state === 'live') return this.#commandMs >= SLOW_MS ? 'cluster: slow' : undefined;
    return this.options.admission === 'open' ? `cluster: ${this.#state}` : undefined;
  }

  /** True while this node knows what the others know, and hears of what comes. */
  get #isInformed(): boolean {
    return this.facts.isOpen && this.facts.lagMs < this.times.blindMs;
  }

  get #others(): readonly string[] {
    return this.#nodes.map(({ id }) => id).filter((id) => id !== this.nodeId);
  }

  get #blindMs(): number {
    return this.#state === 'blind' ? this.clock.monotonic() - this.#since : 0;
  }

  async start(local: LocalNode): Promise<void> {
    this.#local = local;
    for (const link of [this.#commands, this.#control, this.#subscriber]) link.open();
    this.#stops.push(this.clock.every(WATCH_MS, () => this.#watch()));
    this.#stops.push(this.clock.every(this.options.leaseMs / BEATS_PER_LEASE, () => void this.#beat()));
    void this.facts.run();
    const until = this.clock.monotonic() + START_MS;
    while (!this.#isInformed && this.clock.monotonic() < until) {
      await this.#check();
      await pause(RETRY_MS);
    }
    this.#watch();
    if (this.#state === 'live') {
      return this.#warn();
    }
    this.#say(`Redis cannot be asked yet (${this.#why()}): no client is let in until it can`);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const stop of this.#stops.splice(0)) stop();
    this.facts.stop();
    const { nodes, cards } = this.names;
    // The lease ends by itself where Redis does not hear of it.
    await Promise.all([
      this.#commands.call('ZREM', nodes, this.nodeId),
      this.#commands.call('HDEL', cards, this.nodeId),
      this.facts.announce(),
    ]).catch(() => undefined);
    this.#commands.close();
    this.#control.close();
    this.#subscriber.close();
  }

  /** @throws Error for what does not pass by itself */
  async #check(): Promise<void> {
    try {
      const problem = versionProblem(await this.#commands.call('INFO', 'server'));
      if (problem !== undefined) throw new RedisRefusal(problem);
    } catch (error) {
      if (!(error instanceof RedisRefusal)) return;
      await this.stop();
      throw new Error(`cluster.redis: ${error.message}`, { cause: error });
    }
  }

  async #warn(): Promise<void> {
    const findings = await findingsOf(this.#commands, this.facts.skewMs);
    for (const finding of findings) this.#say(finding);
  }

  async #beat(): Promise<void> {
    const { state, top, nodes, cards, log } = this.names;
    const kept = [...this.names.facts('revocation'), ...this.names.facts('firewall')];
    const { position } = this.facts;
    const sentAt = this.clock.monotonic();
    const card = cardOf(this.#self(), this.#local?.latestExpiry() ?? 0);
    try {
      const reply = await this.#commands.run(
        BEAT,
        [state, top, nodes, cards, log, ...kept],
        [this.times.settleMs, this.nodeId, card, this.options.leaseMs],
      );
      this.#commandMs = this.clock.monotonic() - sentAt;
      const isWhole = this.facts.note(readSeen(reply), position);
      const { living, latestExpiry } = readCards(reply, this.clock.now());
      this.#local?.noteLatestExpiry(latestExpiry);
      // A Redis that has lost its data does not know who lived.
      if (isWhole) this.#nodes = living;
    } catch {
      this.#commandMs = this.clock.monotonic() - sentAt; // the state shows that Redis does not answer
    }
  }

  #self(): NodeInfo {
    return {
      id: this.nodeId,
      name: nodeNameOf(this.options),
      version: this.version,
      startedAt: this.#startedAt,
      sessions: this.#local?.sessions() ?? 0,
      rooms: this.#local?.rooms() ?? 0,
      seenAt: this.clock.now(),
    };
  }

  #watch(): void {
    const isLive = this.#isInformed;
    // Redis may lose all and be told the facts again between two looks.
    const { life } = this.facts;
    if (isLive && this.#state === 'live' && life !== undefined && life !== this.#announcedIn) return this.#announce();
    if (isLive === (this.#state === 'live')) return this.#endIfBlind();
    if (!isLive && this.#state !== 'live') return;
    const wasStarting = this.#state === 'starting';
    const lostMs = Math.round(this.clock.monotonic() - this.#since);
    this.#state = isLive ? 'live' : 'blind';
    this.#since = this.clock.monotonic();
    if (this.#isStopped) return;
    this.emitter.emit({ kind: 'bus', action: isLive ? 'connected' : 'disconnected' });
    if (isLive) {
      this.#announce();
      this.#say(
        wasStarting ? 'Redis is there: nodes know of each other' : `Redis is there again after ${lostMs} ms`,
        'log',
      );
    } else this.#say(`Redis is out of sight (${this.#why()}): ${this.#consequence()}`);
  }

  /** The others wait for this node from now on, when they revoke, and Redis knows its sessions. */
  #announce(): void {
    const { life } = this.facts;
    this.#announcedIn = life;
    void this.#beat().then(() => this.facts.announce().catch(() => undefined));
    this.claims.releaseLate();
    this.#local?.announce().catch(() => {
      if (this.#announcedIn === life) this.#announcedIn = undefined; // the next look announces again
    });
  }

  #endIfBlind(): void {
    if (this.#blindMs >= this.options.endBlindAfterMs) this.#local?.endAll();
  }

  #consequence(): string {
    return this.options.admission === 'open'
      ? 'clients are let in although they may have been revoked elsewhere'
      : 'sessions stay, and new clients are refused';
  }

  #why(): string {
    const error = this.#control.lastError ?? this.#commands.lastError;
    return error?.message ?? 'it does not answer';
  }

  #say(what: string, level: 'log' | 'warn' = 'warn'): void {
    contain(() => this.#log[level](visible(what)), loggerFaults.tell); // Redis writes texts of its own
  }
}
