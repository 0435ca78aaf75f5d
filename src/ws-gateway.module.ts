import { ConfigurableModuleBuilder, Global, Inject, Module } from '@nestjs/common';
import type {
  BeforeApplicationShutdown,
  DynamicModule,
  FactoryProvider,
  OnApplicationBootstrap,
  OnModuleDestroy,
} from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost, ModuleRef, ModulesContainer } from '@nestjs/core';
import { Authentication } from './authentication/authentication.js';
import { authenticationProviders } from './authentication/authentication.providers.js';
import { Authenticator } from './authentication/authenticator.js';
import { channelsIn } from './authentication/claims.js';
import { JwtAuthenticator } from './authentication/jwt/jwt-authenticator.js';
import { JwtVerifier } from './authentication/jwt/jwt-verifier.js';
import { AUTH_OPTIONS } from './authentication/options.js';
import { Revocations } from './authentication/revocations.js';
import { MemoryTicketStore } from './authentication/ticket-store.js';
import { WsTickets } from './authentication/tickets.js';
import { Verification } from './authentication/verification.js';
import { SystemClock, WsClock } from './base/clock.js';
import { EMITTER } from './base/emitter.js';
import type { Emitter } from './base/emitter.js';
import { packageVersion } from './base/package-version.js';
import type { Swept } from './base/sweeper.js';
import { WsGatewayAdapter } from './connection/adapter.js';
import { allSources } from './connection/path-options.js';
import { connectionProviders } from './connection/connection.providers.js';
import { Doorkeeper } from './connection/doorkeeper.js';
import { Stops } from './connection/stops.js';
import { OptionsByPath } from './connection/options-by-path.js';
import { CONNECTION_OPTIONS, CONTEXT, OVERLOAD_OPTIONS } from './connection/options.js';
import type { ConnectionContext } from './connection/context.js';
import {
  dataProtectionProviders,
  FINGERPRINT_KEYS,
  SEALING_KEYS,
  SEALING_LIMITS,
} from './data-protection/data-protection.providers.js';
import { Fingerprints } from './data-protection/fingerprint.js';
import { WsSeal } from './data-protection/ws-seal.js';
import { nodeNameOf } from './cluster/options.js';
import { CLUSTER, CLUSTER_TIMES, CLUSTER_TIMING, OneNode, SESSION_CLAIMS, SHARED_TICKETS } from './engine/cluster.js';
import type { Cluster, ClusterTimes, LocalNode } from './engine/cluster.js';
import { ENGINE } from './engine/engine.js';
import type { Engine } from './engine/engine.js';
import type { BusEvent } from './engine/events.js';
import { FACTS } from './engine/facts.js';
import type { Facts } from './engine/facts.js';
import { WsCluster } from './engine/ws-cluster.js';
import { EMAIL_OPTIONS, emailProviders } from './email/email.providers.js';
import { WsEmail } from './email/ws-email.js';
import { FIREWALL_LIMITS, FIREWALL_OPTIONS, firewallProviders } from './firewall/firewall.providers.js';
import { Firewall } from './firewall/firewall.js';
import { WsFirewall } from './firewall/ws-firewall.js';
import { AfterInits } from './gateway/after-init.js';
import { GatewayBinder, gatewaysOf } from './gateway/bind-gateways.js';
import { gatewayProviders } from './gateway/gateway.providers.js';
import { WsExceptionFilter } from './gateway/ws-exception.filter.js';
import { WsGuard } from './gateway/ws.guard.js';
import { WsValidationPipe } from './gateway/ws-validation.pipe.js';
import { WsHealth, WsHealthIndicator } from './monitoring/health.js';
import { WsMetrics } from './monitoring/metrics/ws-metrics.js';
import { monitoringProviders, PRIVACY } from './monitoring/monitoring.providers.js';
import { MONITORING_OPTIONS, PRIVACY_OPTIONS } from './monitoring/options.js';
import { Totals } from './monitoring/totals.js';
import { WsMonitor } from './monitoring/ws-monitor.js';
import { UPSTREAM_OPTIONS } from './proxy/options.js';
import { proxyProviders } from './proxy/proxy.providers.js';
import { Upstreams } from './proxy/upstreams.js';
import { LiveOptions } from './reload/live-options.js';
import { issuersOf, listsOf, pathsOf, pseudonymsOf, sealingOf } from './reload/parts.js';
import { WsGatewayReload } from './reload/ws-gateway-reload.js';
import { CHANNEL_OPTIONS, ROOM_OPTIONS } from './rooms/options.js';
import { roomProviders } from './rooms/rooms.providers.js';
import { ChannelAuthorizer } from './rooms/channel-authorizer.js';
import { CHANNEL_CLAIMS, ChannelRights } from './rooms/channel-rights.js';
import type { ChannelClaims } from './rooms/channel-rights.js';
import { LostRights } from './rooms/lost-rights.js';
import { Members } from './rooms/members.js';
import { Memberships } from './rooms/memberships.js';
import { Presence } from './rooms/presence.js';
import { Publications } from './rooms/publications.js';
import { Rooms } from './rooms/rooms.js';
import { Subscriptions } from './rooms/subscriptions.js';
import { WsRooms } from './rooms/ws-rooms.js';
import { BYTE_LIMITS } from './session/byte-budget.js';
import { SessionRegistry } from './session/registry.js';
import { sessionProviders } from './session/session.providers.js';
import { WsSessions } from './session/ws-sessions.js';
import { resolveOptions, WsGatewayOptionsError } from './ws-gateway.options.js';
import type { ResolvedOptions, WsGatewayOptions } from './ws-gateway.options.js';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<WsGatewayOptions>()
  .setClassMethodName('forRoot')
  .build();

const OPTIONS = Symbol('nestjs-ws-gateway.options');

/** What each folder sees of the options. They are groups of the live ones, so what holds one reads what a reload has put in force. */
const slices = [
  slice(AUTH_OPTIONS, ({ auth }) => auth),
  slice(FIREWALL_OPTIONS, ({ firewall }) => firewall),
  slice(FIREWALL_LIMITS, ({ limits }) => limits),
  slice(BYTE_LIMITS, ({ limits }) => limits),
  slice(SEALING_LIMITS, ({ limits }) => limits),
  slice(SEALING_KEYS, ({ sealing }) => sealing.keys),
  slice(FINGERPRINT_KEYS, ({ fingerprints }) => fingerprints.keys),
  slice(EMAIL_OPTIONS, ({ email }) => email),
  slice(OVERLOAD_OPTIONS, ({ overload }) => overload),
  slice(MONITORING_OPTIONS, ({ monitoring }) => monitoring),
  slice(PRIVACY_OPTIONS, ({ privacy }) => privacy),
  slice(ROOM_OPTIONS, ({ rooms }) => rooms),
  slice(CHANNEL_OPTIONS, ({ channels }) => channels),
  slice(UPSTREAM_OPTIONS, ({ upstreams }) => upstreams),
  slice(
    CHANNEL_CLAIMS,
    ({ auth }): ChannelClaims =>
      ({ claims }, act) =>
        channelsIn(claims, auth.claims.channels, act),
  ),
  slice(CONNECTION_OPTIONS, (options) => options),
];

function slice(token: symbol, of: (options: ResolvedOptions) => unknown): FactoryProvider {
  return { provide: token, inject: [OPTIONS], useFactory: of };
}

/**
 * Import it once, with `forRoot()` or `forRootAsync()`: every gateway of the application then stands behind the guard,
 * the validation pipe and the exception filter. Bad options stop the start with one message that names them all.
 */
@Global()
@Module({
  providers: [
    {
      provide: LiveOptions,
      inject: [MODULE_OPTIONS_TOKEN, ModulesContainer],
      useFactory: (options: unknown, modules: ModulesContainer) =>
        new LiveOptions(resolveOptions(options, !provides(modules, Authenticator))),
    },
    // The groups show what is in force after each reload; a value copied out of them does not.
    { provide: OPTIONS, inject: [LiveOptions], useFactory: ({ current }: LiveOptions) => current },
    ...slices,
    { provide: WsClock, useClass: SystemClock },
    { provide: CLUSTER_TIMES, useValue: CLUSTER_TIMING },
    { provide: CLUSTER, inject: [OPTIONS, CLUSTER_TIMES, WsClock, EMITTER], useFactory: joinCluster },
    { provide: WsCluster, useExisting: CLUSTER },
    { provide: FACTS, inject: [CLUSTER], useFactory: ({ facts }: Cluster) => facts },
    { provide: SESSION_CLAIMS, inject: [CLUSTER], useFactory: ({ claims }: Cluster) => claims },
    { provide: SHARED_TICKETS, inject: [CLUSTER], useFactory: ({ tickets }: Cluster) => tickets },
    ...dataProtectionProviders,
    ...authenticationProviders,
    ...firewallProviders,
    ...emailProviders,
    ...sessionProviders,
    ...roomProviders,
    ...connectionProviders,
    ...gatewayProviders,
    ...proxyProviders,
    ...monitoringProviders,
    {
      provide: WsGatewayReload,
      inject: [MODULE_OPTIONS_TOKEN, LiveOptions, ModulesContainer, JwtVerifier, WsSeal, Fingerprints, Firewall],
      useFactory: (
        options: WsGatewayOptions,
        live: LiveOptions,
        modules: ModulesContainer,
        jwt: JwtVerifier,
        seal: WsSeal,
        fingerprints: Fingerprints,
        firewall: Firewall,
      ) => {
        live.add(issuersOf(jwt), sealingOf(seal), pseudonymsOf(fingerprints), listsOf(firewall));
        return new WsGatewayReload(options, live, !provides(modules, Authenticator));
      },
    },
    {
      provide: Stops,
      inject: [FACTS, SessionRegistry, WsClock, Firewall],
      useFactory: (facts: Facts, sessions: SessionRegistry, clock: WsClock, { metering }: Firewall) => {
        const stops = new Stops(facts, sessions, clock);
        metering.onLate((ms) => stops.late(ms));
        return stops;
      },
    },
    {
      provide: WsGatewayAdapter,
      inject: [
        ApplicationConfig,
        HttpAdapterHost,
        CONTEXT,
        OptionsByPath,
        LiveOptions,
        AfterInits,
        ModulesContainer,
        MemoryTicketStore,
        Revocations,
        ENGINE,
        Presence,
        Upstreams,
        Stops,
      ],
      useFactory: installAdapter,
    },
  ],
  exports: [
    WsCluster,
    CLUSTER,
    // For the console.
    CONTEXT,
    OptionsByPath,
    PRIVACY,
    Totals,
    WsGatewayAdapter,
    WsSessions,
    WsRooms,
    Rooms,
    Members,
    Memberships,
    Publications,
    Subscriptions,
    CHANNEL_CLAIMS,
    WsTickets,
    WsFirewall,
    Doorkeeper,
    WsGuard,
    WsValidationPipe,
    WsExceptionFilter,
    WsMonitor,
    WsMetrics,
    WsHealth,
    WsHealthIndicator,
    WsClock,
    Authentication,
    JwtAuthenticator,
    WsSeal,
    WsEmail,
    Fingerprints,
    WsGatewayReload,
  ],
})
export class WsGatewayModule
  extends ConfigurableModuleClass
  implements OnApplicationBootstrap, OnModuleDestroy, BeforeApplicationShutdown
{
  constructor(
    private readonly config: ApplicationConfig,
    private readonly modules: ModulesContainer,
    private readonly moduleRef: ModuleRef,
    private readonly adapter: WsGatewayAdapter,
    private readonly authentication: Verification,
    private readonly afterInits: AfterInits,
    private readonly gateways: GatewayBinder,
    @Inject(ENGINE) private readonly engine: Engine,
    private readonly rooms: Rooms,
    private readonly sessions: SessionRegistry,
    private readonly revocations: Revocations,
    @Inject(CLUSTER) private readonly cluster: Cluster,
    private readonly rights: ChannelRights,
    lostRights: LostRights,
    private readonly upstreams: Upstreams,
    private readonly live: LiveOptions,
    health: WsHealth,
  ) {
    super();
    live.add({
      prepare: () => () => {
        gateways.bindChannels();
        lostRights.applyRules();
      },
    });
    health.add(() => adapter.problem);
    health.add(() => authentication.problem);
    health.add(() => cluster.problem);
    health.addWarning(() => cluster.warning);
    health.add(() => upstreams.problem);
    health.addWarning(() => upstreams.warning);
  }

  // The base class's, with the type that a reader of the declaration looks for.
  static override forRoot(options: WsGatewayOptions): DynamicModule {
    return super.forRoot(options);
  }

  /** Global enhancers are known by now, so this is when handlers can be bound. */
  async onApplicationBootstrap(): Promise<void> {
    if (this.config.getIoAdapter() !== this.adapter) {
      throw new Error(
        'WsGatewayModule installs the WebSocket adapter itself: take app.useWebSocketAdapter() out, or the module',
      );
    }
    if (provides(this.modules, Authenticator)) {
      const authenticator = this.moduleRef.get(Authenticator, { strict: false });
      this.authentication.replaceAuthenticator(authenticator, allSources(this.live.current));
    }
    if (provides(this.modules, ChannelAuthorizer)) {
      this.rights.authorizer = this.moduleRef.get(ChannelAuthorizer, { strict: false });
    }
    await this.afterInits.settled();
    this.upstreams.serve(this.adapter);
    await this.gateways.bind();
    const problems = this.adapter.problemsOf(this.live.current.paths);
    if (problems.length > 0) throw new WsGatewayOptionsError(problems);
    await this.engine.start(this.rooms);
    await this.cluster.start(localNode(this.sessions, this.rooms, this.revocations));
    await this.adapter.start();
  }

  onModuleDestroy(): void {
    this.adapter.refuseUpgrades();
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.adapter.drain();
    this.upstreams.close();
    await this.cluster.stop();
  }
}

/** Redis is loaded only where it is configured. */
async function joinCluster(
  { cluster }: ResolvedOptions,
  times: ClusterTimes,
  clock: WsClock,
  emitter: Emitter<BusEvent>,
): Promise<Cluster> {
  const { redis } = cluster;
  if (redis === undefined) return new OneNode(nodeNameOf(cluster), packageVersion(), clock);
  const { RedisCluster } = await import('./cluster/redis-cluster.js');
  return RedisCluster.create({ ...cluster, redis }, packageVersion(), times, clock, emitter);
}

function localNode(sessions: SessionRegistry, rooms: Rooms, revocations: Revocations): LocalNode {
  return {
    sessions: () => sessions.count(),
    rooms: () => rooms.stats.rooms,
    latestExpiry: () => revocations.latestExpiry,
    noteLatestExpiry: (until) => (revocations.latestExpiry = Math.max(revocations.latestExpiry, until)),
    announce: () => sessions.announce(),
    endAll: () => sessions.endUninformed(),
  };
}

/** True when the application has a provider of that class; its modules are known before any of them is made. */
function provides(modules: ModulesContainer, type: typeof Authenticator | typeof ChannelAuthorizer): boolean {
  return [...modules.values()].some(({ providers }) => providers.has(type));
}

/** Nest binds gateways before any lifecycle hook runs, so the adapter is put in its place while providers are made. */
function installAdapter(
  config: ApplicationConfig,
  host: HttpAdapterHost,
  context: ConnectionContext,
  options: OptionsByPath,
  live: LiveOptions,
  afterInits: AfterInits,
  modules: ModulesContainer,
  ...tables: Swept[]
): WsGatewayAdapter {
  if ((config.getIoAdapter() as unknown) instanceof WsGatewayAdapter) {
    throw new Error('WsGatewayModule is imported with forRoot() more than once');
  }
  const fence = (): void =>
    afterInits.fence(gatewaysOf(modules).map(({ wrapper: { name, instance } }) => ({ name: String(name), instance })));
  const adapter = new WsGatewayAdapter(context, options, host, tables, fence);
  live.add(
    pathsOf((paths) => adapter.problemsOf(paths)),
    { prepare: () => () => adapter.applyOptions() },
  );
  config.setIoAdapter(adapter);
  return adapter;
}
