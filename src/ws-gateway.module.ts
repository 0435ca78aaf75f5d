import { ConfigurableModuleBuilder, Global, Inject, Module } from '@nestjs/common';
import type { BeforeApplicationShutdown, DynamicModule, OnApplicationBootstrap, OnModuleDestroy } from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost, ModuleRef, ModulesContainer } from '@nestjs/core';
import { JwtService } from '@nestjs/jwt';
import { GATEWAY_METADATA, GATEWAY_OPTIONS, PORT_METADATA } from '@nestjs/websockets/internal';
import { WsGatewayAdapter } from './connection/adapter.js';
import { Authentication } from './authentication/authentication.js';
import { Authenticator } from './authentication/authenticator.js';
import { Deadlines } from './authentication/deadlines.js';
import { JwtAuthenticator } from './authentication/jwt/jwt-authenticator.js';
import { Revocations } from './authentication/revocations.js';
import { WsTickets } from './authentication/tickets.js';
import { SystemClock, WsClock } from './base/clock.js';
import { Doorkeeper } from './connection/doorkeeper.js';
import { endBanned } from './connection/banned.js';
import { Disconnects } from './connection/disconnects.js';
import { LoadGauge } from './connection/load-gauge.js';
import { WsFirewall } from './firewall/ws-firewall.js';
import type { BanNotice } from './firewall/ws-firewall.js';
import type { Swept } from './base/sweeper.js';
import { Ledger } from './session/ledger.js';
import { PendingRequests } from './connection/request.js';
import { Revalidation } from './session/revalidation.js';
import type { ConnectionContext } from './connection/context.js';
import type { GatewayServer } from './connection/server.js';
import { WsSessions } from './session/ws-sessions.js';
import { AfterInits } from './gateway/after-init.js';
import { CONNECTION_GUARDS_METADATA } from './gateway/decorators.js';
import { Fingerprints } from './data-protection/fingerprint.js';
import { WsSeal } from './data-protection/ws-seal.js';
import { WsEmail } from './email/ws-email.js';
import { Handlers } from './gateway/handlers.js';
import type { GatewayHost } from './gateway/handlers.js';
import { instanceOf } from './gateway/resolve-instance.js';
import { WsExceptionFilter } from './gateway/ws-exception.filter.js';
import { WsGateway } from './gateway/ws.gateway.js';
import { WsGuard } from './gateway/ws.guard.js';
import { WsValidationPipe } from './gateway/ws-validation.pipe.js';
import { WsMonitor } from './monitoring/ws-monitor.js';
import { WsHealth, WsHealthIndicator } from './monitoring/health.js';
import { WsMetrics } from './monitoring/metrics/ws-metrics.js';
import type { MetricsSource } from './monitoring/metrics/ws-metrics.js';
import { monitoringProviders, TRACING } from './monitoring/monitoring.providers.js';
import type { Tracing } from './connection/tracing.js';
import { Traffic } from './connection/traffic.js';
import { LiveOptions } from './reload/live-options.js';
import { WsGatewayReload } from './reload/ws-gateway-reload.js';
import { resolveOptions } from './ws-gateway.options.js';
import type { ResolvedOptions, WsGatewayOptions } from './ws-gateway.options.js';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<WsGatewayOptions>()
  .setClassMethodName('forRoot')
  .build();

type ConnectionGuards = ResolvedOptions['auth']['connectionGuards'];

const OPTIONS = Symbol('nestjs-ws-gateway.options');
const CONTEXT = Symbol('nestjs-ws-gateway.context');
const METRICS_SOURCE = Symbol('nestjs-ws-gateway.metrics-source');

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
    // What is in force now, whoever reads it when: the groups are live, a value copied out of them is not.
    { provide: OPTIONS, inject: [LiveOptions], useFactory: ({ view }: LiveOptions) => view },
    { provide: WsClock, useClass: SystemClock },
    ...monitoringProviders(OPTIONS, METRICS_SOURCE),
    Revocations,
    {
      provide: Ledger,
      inject: [OPTIONS],
      useFactory: ({ limits }: ResolvedOptions) => new Ledger(limits),
    },
    {
      provide: WsSessions,
      inject: [OPTIONS, Revocations, WsClock, WsMonitor, Ledger],
      useFactory: (
        { auth }: ResolvedOptions,
        revocations: Revocations,
        clock: WsClock,
        monitor: WsMonitor,
        ledger: Ledger,
      ) => new WsSessions(auth, revocations, () => clock.now(), monitor, ledger),
    },
    {
      provide: WsTickets,
      inject: [OPTIONS, WsClock],
      useFactory: ({ auth }: ResolvedOptions, clock: WsClock) => new WsTickets(auth, clock),
    },
    {
      provide: Deadlines,
      inject: [OPTIONS, WsClock],
      useFactory: ({ auth }: ResolvedOptions, clock: WsClock) => new Deadlines(auth, () => clock.monotonic()),
    },
    {
      provide: JwtAuthenticator,
      inject: [OPTIONS, WsClock],
      // A service of our own: one that the application configured for its HTTP routes has other keys and defaults.
      useFactory: ({ auth }: ResolvedOptions, clock: WsClock) =>
        new JwtAuthenticator(auth.issuers, auth.claims, clock, new JwtService({})),
    },
    {
      provide: Authentication,
      inject: [OPTIONS, JwtAuthenticator, WsTickets, Revocations, Deadlines, WsClock, WsMonitor],
      useFactory: (
        { auth }: ResolvedOptions,
        jwt: JwtAuthenticator,
        tickets: WsTickets,
        revocations: Revocations,
        deadlines: Deadlines,
        clock: WsClock,
        monitor: WsMonitor,
      ) => new Authentication(auth, jwt, tickets, revocations, deadlines, () => clock.now(), monitor),
    },
    {
      provide: WsSeal,
      inject: [OPTIONS],
      useFactory: ({ sealing, limits }: ResolvedOptions) => WsSeal.create(sealing.keys, limits),
    },
    {
      provide: Fingerprints,
      inject: [OPTIONS],
      useFactory: ({ fingerprints: { keys } }: ResolvedOptions) =>
        keys === undefined ? Fingerprints.ofProcess() : new Fingerprints(keys),
    },
    {
      provide: WsEmail,
      inject: [OPTIONS, WsClock],
      useFactory: ({ email }: ResolvedOptions, clock: WsClock) => new WsEmail(email, clock),
    },
    {
      provide: WsGatewayReload,
      inject: [MODULE_OPTIONS_TOKEN, LiveOptions, ModulesContainer, JwtAuthenticator, WsSeal, Fingerprints, WsFirewall],
      useFactory: (
        options: WsGatewayOptions,
        live: LiveOptions,
        modules: ModulesContainer,
        jwt: JwtAuthenticator,
        seal: WsSeal,
        fingerprints: Fingerprints,
        firewall: WsFirewall,
      ) => new WsGatewayReload(options, live, !provides(modules, Authenticator), { jwt, seal, fingerprints, firewall }),
    },
    WsGuard,
    WsValidationPipe,
    WsExceptionFilter,
    WsGateway,
    {
      provide: WsFirewall,
      inject: [OPTIONS, WsClock, WsSessions, WsMonitor],
      useFactory: (
        { auth, firewall, limits }: ResolvedOptions,
        clock: WsClock,
        sessions: WsSessions,
        monitor: WsMonitor,
      ) => {
        const made = new WsFirewall(firewall, limits, auth, clock);
        const endSessions = (notice: BanNotice): void => endBanned(sessions, notice);
        made.subscribe((event) => monitor.emit(event), endSessions);
        return made;
      },
    },
    {
      provide: Doorkeeper,
      inject: [WsFirewall, Authentication, WsMonitor],
      useFactory: (firewall: WsFirewall, authentication: Authentication, monitor: WsMonitor) =>
        new Doorkeeper(firewall, authentication, monitor),
    },
    {
      provide: LoadGauge,
      inject: [OPTIONS],
      useFactory: ({ overload }: ResolvedOptions) => new LoadGauge(() => overload),
    },
    {
      provide: CONTEXT,
      inject: [
        OPTIONS,
        WsClock,
        WsMonitor,
        WsSessions,
        Authentication,
        Deadlines,
        WsFirewall,
        LoadGauge,
        Ledger,
        TRACING,
      ],
      useFactory: (
        options: ResolvedOptions,
        clock: WsClock,
        monitor: WsMonitor,
        sessions: WsSessions,
        authentication: Authentication,
        deadlines: Deadlines,
        firewall: WsFirewall,
        load: LoadGauge,
        ledger: Ledger,
        tracing: Tracing | undefined,
      ): ConnectionContext => {
        const { revalidate, revalidateEveryMs } = options.auth;
        const revalidation = new Revalidation(revalidate, revalidateEveryMs, () => clock.monotonic());
        const traffic = new Traffic(options.monitoring.metrics, monitor);
        const pending = new PendingRequests(options.limits, traffic);
        const disconnects = new Disconnects(options.limits, () => clock.monotonic());
        const shared = { options, clock, monitor, sessions, authentication, deadlines, firewall };
        return { ...shared, load, ledger, revalidation, pending, disconnects, traffic, tracing };
      },
    },
    {
      provide: METRICS_SOURCE,
      inject: [CONTEXT],
      useFactory: ({ traffic, sessions, pending }: ConnectionContext): MetricsSource => ({
        traffic,
        sessions: () => sessions.countByPhase(),
        inFlight: () => pending.size,
      }),
    },
    { provide: AfterInits, inject: [WsClock], useFactory: (clock: WsClock) => new AfterInits(clock) },
    {
      provide: WsGatewayAdapter,
      inject: [
        ApplicationConfig,
        HttpAdapterHost,
        CONTEXT,
        LiveOptions,
        AfterInits,
        ModulesContainer,
        WsTickets,
        Revocations,
      ],
      useFactory: installAdapter,
    },
  ],
  exports: [
    WsSessions,
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
    @Inject(OPTIONS) private readonly options: ResolvedOptions,
    private readonly authentication: Authentication,
    private readonly guard: WsGuard,
    private readonly pipe: WsValidationPipe,
    private readonly filter: WsExceptionFilter,
    private readonly afterInits: AfterInits,
    health: WsHealth,
  ) {
    super();
    health.add(() => adapter.problem);
    health.add(() => authentication.problem);
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
      this.authentication.replaceAuthenticator(this.moduleRef.get(Authenticator, { strict: false }));
    }
    await this.afterInits.settled();
    await this.#bindGateways();
    await this.adapter.start();
  }

  onModuleDestroy(): void {
    this.adapter.refuseUpgrades();
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.adapter.drain();
  }

  async #bindGateways(): Promise<void> {
    const handlers = new Handlers(this.config, this.modules, this.moduleRef, this.guard, this.pipe, this.filter);
    // The package's own gateway comes first: nobody else is to have `auth`.
    for (const host of gatewaysOf(this.modules).toSorted((a, b) => Number(b.own) - Number(a.own))) {
      const { metatype, name } = host.wrapper;
      const options = (Reflect.getMetadata(GATEWAY_OPTIONS, metatype as object) ?? {}) as { path?: string };
      const port = (Reflect.getMetadata(PORT_METADATA, metatype as object) ?? 0) as number;
      const server = this.adapter.find(port, options.path);
      if (server === undefined) continue; // an application context without sockets
      for (const { router, port: at, pathname } of host.own ? this.adapter.servers : [server]) {
        for (const route of await handlers.routesOf(host, server)) {
          if (router.add(route)) continue;
          const where = at === 0 ? pathname : `${pathname} on port ${at}`;
          throw new Error(
            `${name} handles "${route.event}" at ${where}, which another gateway or the module does already`,
          );
        }
      }
      const hooks = handlers.hooksOf(host, server);
      if (hooks !== undefined) server.router.hooks.push(hooks);
      await this.#bindConnectionGuards(host, server);
    }
  }

  async #bindConnectionGuards({ wrapper, module, own }: GatewayHost, server: GatewayServer): Promise<void> {
    const key = CONNECTION_GUARDS_METADATA;
    const guards = (Reflect.getMetadata(key, wrapper.metatype as object) ?? []) as ConnectionGuards;
    for (const guard of guards) server.connectionGuards.push(await instanceOf(guard, module));
    if (!own) return;
    for (const guard of this.options.auth.connectionGuards) {
      const instance = await instanceOf(guard, module);
      for (const { connectionGuards } of this.adapter.servers) connectionGuards.push(instance);
    }
  }
}

/** Every gateway of the application, and the package's own. */
function gatewaysOf(modules: ModulesContainer): GatewayHost[] {
  return [...modules].flatMap(([moduleKey, module]) =>
    [...module.providers.values()]
      .filter(({ isNotMetatype, metatype }) => !isNotMetatype && metatype !== null)
      .filter(({ metatype }) => Reflect.hasMetadata(GATEWAY_METADATA, metatype as object))
      .map((wrapper) => ({ wrapper, module, moduleKey, own: wrapper.metatype === WsGateway })),
  );
}

/** True when the application has a provider of that class; its modules are known before any of them is made. */
function provides(modules: ModulesContainer, type: typeof Authenticator): boolean {
  return [...modules.values()].some(({ providers }) => providers.has(type));
}

/** Nest binds gateways before any lifecycle hook runs, so the adapter is put in its place while providers are made. */
function installAdapter(
  config: ApplicationConfig,
  host: HttpAdapterHost,
  context: ConnectionContext,
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
  const adapter = new WsGatewayAdapter(context, host, tables, fence);
  live.onChange(() => adapter.applyLimits());
  config.setIoAdapter(adapter);
  return adapter;
}
