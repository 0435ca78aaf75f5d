import { createHash, randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { Inject, Injectable } from '@nestjs/common';
import type { OnApplicationBootstrap, OnApplicationShutdown } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { WsGatewayAdapter } from '../connection/adapter.js';
import { CONTEXT } from '../connection/options.js';
import type { ConnectionContext } from '../connection/context.js';
import type { Ban, BanTarget } from '../firewall/bans.js';
import { WsCluster } from '../engine/ws-cluster.js';
import { WsFirewall } from '../firewall/ws-firewall.js';
import { WsHealth } from '../monitoring/health.js';
import { PRIVACY } from '../monitoring/monitoring.providers.js';
import type { Privacy } from '../monitoring/privacy.js';
import { Totals } from '../monitoring/totals.js';
import { WsMonitor } from '../monitoring/ws-monitor.js';
import { ENVELOPE } from '../protocol/envelope.js';
import { Rooms } from '../rooms/rooms.js';
import type { Session } from '../session/session.js';
import type { SessionQuery } from '../session/ws-sessions.js';
import { FailureFeed } from './failures.js';
import { History } from './history.js';
import { CONSOLE_OPTIONS } from './options.js';
import type { ConsoleOptions } from './options.js';
import { quantilesOf } from './percentiles.js';
import type { About, BanRow, EventRow, FirewallReply, RoomsReply, SessionRow, SessionsReply } from './wire.js';

/** Sessions of one page; bans, addresses, events and nodes that are listed. */
const [PAGE, MAX_BANS, TOP_ADDRESSES, MAX_EVENTS, MAX_NODES] = [50, 100, 10, 500, 100];

/** Reads what the gateway knows of itself, as a console shows it: personal data as `privacy` says. */
@Injectable()
export class ConsoleData implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #startedAt: number;
  readonly history: History;
  readonly failures: FailureFeed;
  #release: (() => void) | undefined;

  constructor(
    @Inject(CONTEXT) private readonly context: ConnectionContext,
    @Inject(PRIVACY) private readonly show: Privacy,
    @Inject(CONSOLE_OPTIONS) private readonly options: ConsoleOptions,
    private readonly adapter: WsGatewayAdapter,
    private readonly totals: Totals,
    private readonly monitoredRooms: Rooms,
    private readonly cluster: WsCluster,
    private readonly firewall: WsFirewall,
    private readonly health: WsHealth,
    private readonly clock: WsClock,
    monitor: WsMonitor,
  ) {
    this.#startedAt = clock.now();
    this.history = new History(context, totals, clock);
    this.failures = new FailureFeed(monitor, show, clock);
  }

  onApplicationBootstrap(): void {
    this.context.traffic.time();
    this.#release = this.totals.use();
    this.history.start();
    this.failures.start();
  }

  onApplicationShutdown(): void {
    this.#release?.();
    this.history.stop();
    this.failures.stop();
  }

  about(who: string): About {
    const { limits } = this.context.options;
    const { ready, reasons, warnings } = this.health.readiness();
    const paths = this.adapter.servers
      .filter(
        ({ protocol, raw, pathname }) => protocol === ENVELOPE && raw === undefined && pathname !== this.options.socket,
      )
      .map(({ pathname }) => pathname);
    return {
      title: this.options.title,
      node: hostname(),
      startedAt: this.#startedAt,
      now: this.clock.now(),
      ready,
      reasons,
      warnings,
      who: this.show('subject', who),
      canMint: this.options.mint !== undefined,
      paths: [...new Set(paths)],
      limits: {
        maxMessageBytes: limits.maxMessageBytes,
        messagesPerSecond: finite(limits.messagesPerSecond),
        messageBurst: finite(limits.messageBurst),
      },
    };
  }

  sessions(query: SessionQuery): SessionsReply {
    const { sessions } = this.context;
    const { items, next } = sessions.list({ ...query, limit: PAGE });
    const { cursor: _, ...filter } = query;
    // because the registry has no others
    const rows = items.map((session) => this.#sessionOf(session as Session));
    return { items: rows, total: sessions.count(filter), ...(next !== undefined && { next }) };
  }

  firewallState(): FirewallReply {
    const bans = this.firewall.bans();
    return {
      bans: bans.slice(-MAX_BANS).map((ban) => this.#banOf(ban)),
      banCount: bans.length,
      lists: this.firewall.lists,
      budgets: [...this.totals.budgets].map(([budget, total]) => ({ budget, ...total })),
      dryRuns: [...this.totals.dryRuns].map(([rule, count]) => ({ rule, count })),
      addresses: this.failures.top(TOP_ADDRESSES),
    };
  }

  /** The target of a ban that has been shown. */
  bannedBy(id: string): BanTarget | undefined {
    const ban = this.firewall.bans().find((each) => idOf(each) === id);
    if (ban === undefined) return undefined;
    return 'address' in ban ? { address: ban.address } : { subject: ban.subject };
  }

  events(): EventRow[] {
    const rows = this.adapter.servers.flatMap(({ router, pathname }) =>
      [...router.routes].flatMap((route): EventRow[] => {
        const { event, access, traffic } = route;
        if (access === undefined) return [];
        const { isPublic, roles, scopes, hasRules, rateLimit } = access;
        const failures = [...(this.totals.exceptions.get(event) ?? [])];
        const [p50 = NaN, p95 = NaN, p99 = NaN] = quantilesOf(traffic.buckets, [0.5, 0.95, 0.99]);
        return [
          {
            event,
            path: pathname,
            isPublic,
            roles,
            scopes,
            hasRules,
            limit: rateLimit === undefined ? null : { limit: rateLimit.limit, perMs: rateLimit.perMs },
            example: access.example() ?? null,
            received: traffic.received,
            failed: failures.reduce((sum, [, { count }]) => sum + count, 0),
            lastCode: failures.at(-1)?.[0] ?? null,
            p50: finite(p50),
            p95: finite(p95),
            p99: finite(p99),
            spark: this.history.sparkOf(event),
          },
        ];
      }),
    );
    return rows.slice(0, MAX_EVENTS);
  }

  rooms(): RoomsReply {
    const { traffic, rooms, memberships, historyMessages, historyBytes } = this.monitoredRooms.stats;
    const { nodeId, state } = this.cluster;
    const nodes = this.cluster.nodes().map(({ id, name, version, startedAt, seenAt, sessions, rooms: own }) => {
      return { id, name, version, startedAt, seenAt, sessions, rooms: own, isHere: id === nodeId };
    });
    const stats = { rooms, memberships, historyMessages, historyBytes };
    return {
      ...stats,
      state,
      nodes: nodes.slice(0, MAX_NODES),
      rules: [...traffic].map(([rule, total]) => ({ rule, ...total })),
    };
  }

  #sessionOf({ id, principal, clientAddress, connectedAt, server, intake, socket }: Session): SessionRow {
    return {
      id,
      subject: principal === undefined ? null : this.show('subject', principal.subject),
      clientAddress: this.show('address', clientAddress),
      path: (server as { pathname: string }).pathname, // because every session is of a path
      connectedAt,
      expiresAt: principal?.expiresAt ?? null,
      inFlight: intake.inFlight,
      queuedBytes: socket.bufferedAmount,
    };
  }

  #banOf(ban: Ban): BanRow {
    const [kind, target] = 'address' in ban ? (['address', ban.address] as const) : (['subject', ban.subject] as const);
    return {
      id: idOf(ban),
      kind,
      target: this.show(kind, target),
      until: finite(ban.until),
      reason: ban.reason,
      isDry: ban.dryRun === true,
    };
  }
}

const SALT = randomBytes(16);

/** Stands for the target, which may be shown as a pseudonym: salted, so that no address or subject is found by trying them all. */
function idOf(ban: Ban): string {
  const target = 'address' in ban ? `address ${ban.address}` : `subject ${ban.subject}`;
  return createHash('sha256').update(SALT).update(target).digest('base64url').slice(0, 22);
}

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);
