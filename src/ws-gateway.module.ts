import { ConfigurableModuleBuilder, Global, Inject, Module } from '@nestjs/common';
import type {
  BeforeApplicationShutdown,
  DynamicModule,
  FactoryProvider,
  OnApplicationBootstrap,
  OnModuleDestroy,
} from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost, ModuleRef, ModulesContainer } from '@nestjs/core';
import { GATEWAY_METADATA, GATEWAY_OPTIONS, PORT_METADATA } from '@nestjs/websockets/internal';
import { Authentication } from './authentication/authentication.js';
import { authenticationProviders } from './authentication/authentication.providers.js';
import { Authenticator } from './authentication/authenticator.js';
import { JwtAuthenticator } from './authentication/jwt/jwt-authenticator.js';
import { AUTH_OPTIONS } from './authentication/options.js';
import { Revocations } from './authentication/revocations.js';
import { WsTickets } from './authentication/tickets.js';
import { SystemClock, WsClock } from './base/clock.js';
import type { Swept } from './base/sweeper.js';
import { WsGatewayAdapter } from './connection/adapter.js';
import { connectionProviders } from './connection/connection.providers.js';
import { Doorkeeper } from './connection/doorkeeper.js';
import { CONNECTION_OPTIONS, CONTEXT, LIMIT_OPTIONS, OVERLOAD_OPTIONS } from './connection/options.js';
import type { ConnectionContext } from './connection/context.js';
import type { GatewayServer } from './connection/server.js';
import {
  dataProtectionProviders,
  FINGERPRINT_KEYS,
  SEALING_KEYS,
  SEALING_LIMITS,
} from './data-protection/data-protection.providers.js';
import { Fingerprints } from './data-protection/fingerprint.js';
import { WsSeal } from './data-protection/ws-seal.js';
import { EMAIL_OPTIONS, emailProviders } from './email/email.providers.js';
import { WsEmail } from './email/ws-email.js';
import {
  BROWSER_CREDENTIALS,
  FIREWALL_LIMITS,
  FIREWALL_OPTIONS,
  firewallProviders,
} from './firewall/firewall.providers.js';
import { WsFirewall } from './firewall/ws-firewall.js';
import { AfterInits } from './gateway/after-init.js';
import { CONNECTION_GUARDS_METADATA } from './gateway/decorators.js';
import { gatewayProviders } from './gateway/gateway.providers.js';
import { Handlers } from './gateway/handlers.js';
import type { GatewayHost } from './gateway/handlers.js';
import { instanceOf } from './gateway/resolve-instance.js';
import { WsExceptionFilter } from './gateway/ws-exception.filter.js';
import { WsGateway } from './gateway/ws.gateway.js';
import { WsGuard } from './gateway/ws.guard.js';
import { WsValidationPipe } from './gateway/ws-validation.pipe.js';
import { WsHealth, WsHealthIndicator } from './monitoring/health.js';
import { WsMetrics } from './monitoring/metrics/ws-metrics.js';
import { monitoringProviders } from './monitoring/monitoring.providers.js';
import { MONITORING_OPTIONS, PRIVACY_OPTIONS } from './monitoring/options.js';
import { WsMonitor } from './monitoring/ws-monitor.js';
import { LiveOptions } from './reload/live-options.js';
import { WsGatewayReload } from './reload/ws-gateway-reload.js';
import { BYTE_LIMITS } from './session/ledger.js';
import { sessionProviders } from './session/session.providers.js';
import { WsSessions } from './session/ws-sessions.js';
import { resolveOptions } from './ws-gateway.options.js';
import type { ResolvedOptions, WsGatewayOptions } from './ws-gateway.options.js';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<WsGatewayOptions>()
  .setClassMethodName('forRoot')
  .build();

type ConnectionGuards = ResolvedOptions['auth']['connectionGuards'];

const OPTIONS = Symbol('nestjs-ws-gateway.options');

/** What each folder sees of the options. They are groups of the live ones, so what holds one reads what a reload has put in force. */
const slices = [
  slice(AUTH_OPTIONS, ({ auth }) => auth),
  slice(BROWSER_CREDENTIALS, ({ auth }) => auth),
  slice(FIREWALL_OPTIONS, ({ firewall }) => firewall),
  slice(FIREWALL_LIMITS, ({ limits }) => limits),
  slice(BYTE_LIMITS, ({ limits }) => limits),
  slice(LIMIT_OPTIONS, ({ limits }) => limits),
  slice(SEALING_LIMITS, ({ limits }) => limits),
  slice(SEALING_KEYS, ({ sealing }) => sealing.keys),
  slice(FINGERPRINT_KEYS, ({ fingerprints }) => fingerprints.keys),
  slice(EMAIL_OPTIONS, ({ email }) => email),
  slice(OVERLOAD_OPTIONS, ({ overload }) => overload),
  slice(MONITORING_OPTIONS, ({ monitoring }) => monitoring),
  slice(PRIVACY_OPTIONS, ({ privacy }) => privacy),
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
    { provide: OPTIONS, inject: [LiveOptions], useFactory: ({ view }: LiveOptions) => view },
    ...slices,
    { provide: WsClock, useClass: SystemClock },
    ...dataProtectionProviders,
    ...authenticationProviders,
    ...firewallProviders,
    ...emailProviders,
    ...sessionProviders,
    ...connectionProviders,
    ...gatewayProviders,
    ...monitoringProviders,
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
    // The package's own gateway comes first: no other gateway may handle `auth`.
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
