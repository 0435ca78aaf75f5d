import { ConfigurableModuleBuilder, Global, Inject, Logger, Module } from '@nestjs/common';
import type { BeforeApplicationShutdown, DynamicModule, OnApplicationBootstrap, OnModuleDestroy } from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost, ModuleRef, ModulesContainer } from '@nestjs/core';
import { JwtService } from '@nestjs/jwt';
import { GATEWAY_METADATA, GATEWAY_OPTIONS, PORT_METADATA } from '@nestjs/websockets/internal';
import { WsGatewayAdapter } from './connection/adapter.js';
import { Authentication } from './connection/authentication.js';
import { SystemClock, WsClock } from './connection/clock.js';
import { PendingRequests } from './connection/pending.js';
import { WsSessions } from './connection/sessions.js';
import { WsEmail } from './email/ws-email.js';
import { Handlers } from './gateway/handlers.js';
import type { GatewayHost } from './gateway/handlers.js';
import { WsExceptionFilter } from './gateway/ws-exception.filter.js';
import { WsGateway } from './gateway/ws.gateway.js';
import { WsGuard } from './gateway/ws.guard.js';
import { WsValidationPipe } from './gateway/ws-validation.pipe.js';
import { WsMonitor } from './monitoring/events.js';
import { FailureLog, FailureSink } from './monitoring/log.js';
import { NestSink } from './monitoring/nest-sink.js';
import { resolveOptions } from './ws-gateway.options.js';
import type { ResolvedOptions, WsGatewayOptions } from './ws-gateway.options.js';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<WsGatewayOptions>()
  .setClassMethodName('forRoot')
  .build();

const OPTIONS = Symbol('nestjs-ws-gateway.options');

/**
 * Import it once, with `forRoot()` or `forRootAsync()`: every gateway of the application then stands behind the guard,
 * the validation pipe and the exception filter. Bad options stop the start with one message that names them all.
 */
@Global()
@Module({
  providers: [
    { provide: OPTIONS, inject: [MODULE_OPTIONS_TOKEN], useFactory: resolveOptions },
    { provide: WsClock, useClass: SystemClock },
    {
      provide: WsMonitor,
      // A FailureSink that a global module of the application exports takes the place of Nest's Logger.
      inject: [WsClock, { token: FailureSink, optional: true }],
      useFactory: (clock: WsClock, sink: FailureSink = new NestSink()) => {
        const monitor = new WsMonitor();
        monitor.subscribe(new FailureLog(sink, clock).listener);
        return monitor;
      },
    },
    WsSessions,
    {
      provide: Authentication,
      inject: [OPTIONS, WsClock],
      // A service of our own: one that the application configured for its HTTP routes has other keys and defaults.
      useFactory: ({ auth }: ResolvedOptions, clock: WsClock) => new Authentication(auth, clock, new JwtService({})),
    },
    {
      provide: WsEmail,
      inject: [OPTIONS, WsClock],
      useFactory: ({ email }: ResolvedOptions, clock: WsClock) => new WsEmail(email, clock),
    },
    WsGuard,
    WsValidationPipe,
    WsExceptionFilter,
    WsGateway,
    {
      provide: WsGatewayAdapter,
      inject: [ApplicationConfig, HttpAdapterHost, OPTIONS, WsClock, WsMonitor, WsSessions, Authentication],
      useFactory: installAdapter,
    },
  ],
  exports: [WsSessions, WsEmail, WsGuard, WsValidationPipe, WsExceptionFilter, WsMonitor, WsClock, Authentication],
})
export class WsGatewayModule
  extends ConfigurableModuleClass
  implements OnApplicationBootstrap, OnModuleDestroy, BeforeApplicationShutdown
{
  readonly #log = new Logger(WsGatewayModule.name);

  constructor(
    private readonly config: ApplicationConfig,
    private readonly modules: ModulesContainer,
    private readonly moduleRef: ModuleRef,
    private readonly adapter: WsGatewayAdapter,
    @Inject(OPTIONS) private readonly options: ResolvedOptions,
    private readonly guard: WsGuard,
    private readonly pipe: WsValidationPipe,
    private readonly filter: WsExceptionFilter,
  ) {
    super();
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
    const { unenforced } = this.options;
    if (unenforced.length > 0) this.#log.warn(`Not enforced in this version: ${unenforced.join(', ')}`);
    this.#bindGateways();
    await this.adapter.start();
  }

  onModuleDestroy(): void {
    this.adapter.refuseUpgrades();
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.adapter.drain();
  }

  #bindGateways(): void {
    const handlers = new Handlers(this.config, this.modules, this.moduleRef, this.guard, this.pipe, this.filter);
    // The package's own gateway comes first: nobody else is to have `auth`.
    for (const host of this.#gateways().toSorted((a, b) => Number(b.own) - Number(a.own))) {
      const { metatype, name } = host.wrapper;
      const options = (Reflect.getMetadata(GATEWAY_OPTIONS, metatype as object) ?? {}) as { path?: string };
      const port = (Reflect.getMetadata(PORT_METADATA, metatype as object) ?? 0) as number;
      const server = this.adapter.find(port, options.path);
      if (server === undefined) continue; // an application context without sockets
      for (const { router, port: at, pathname } of host.own ? this.adapter.servers : [server]) {
        for (const route of handlers.routesOf(host, server)) {
          if (router.add(route)) continue;
          const where = at === 0 ? pathname : `${pathname} on port ${at}`;
          throw new Error(
            `${name} handles "${route.event}" at ${where}, which another gateway or the module does already`,
          );
        }
      }
      const hooks = handlers.hooksOf(host, server);
      if (hooks !== undefined) server.router.hooks.push(hooks);
    }
  }

  #gateways(): GatewayHost[] {
    return [...this.modules].flatMap(([moduleKey, module]) =>
      [...module.providers.values()]
        .filter(({ isNotMetatype, metatype }) => !isNotMetatype && metatype !== null)
        .filter(({ metatype }) => Reflect.hasMetadata(GATEWAY_METADATA, metatype as object))
        .map((wrapper) => ({ wrapper, module, moduleKey, own: wrapper.metatype === WsGateway })),
    );
  }
}

/** Nest binds gateways before any lifecycle hook runs, so the adapter is put in its place while providers are made. */
function installAdapter(
  config: ApplicationConfig,
  host: HttpAdapterHost,
  options: ResolvedOptions,
  clock: WsClock,
  monitor: WsMonitor,
  sessions: WsSessions,
  authentication: Authentication,
): WsGatewayAdapter {
  if ((config.getIoAdapter() as unknown) instanceof WsGatewayAdapter) {
    throw new Error('WsGatewayModule is imported with forRoot() more than once');
  }
  const context = { options, clock, monitor, sessions, authentication, pending: new PendingRequests() };
  const adapter = new WsGatewayAdapter(context, host);
  config.setIoAdapter(adapter);
  return adapter;
}
