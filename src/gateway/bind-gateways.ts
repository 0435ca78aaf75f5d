import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Type } from '@nestjs/common';
import { ApplicationConfig, ModuleRef, ModulesContainer } from '@nestjs/core';
import { GATEWAY_METADATA, GATEWAY_OPTIONS, PORT_METADATA } from '@nestjs/websockets/internal';
import { AUTH_OPTIONS } from '../authentication/options.js';
import type { ResolvedAuth } from '../authentication/options.js';
import { WsGatewayAdapter } from '../connection/adapter.js';
import { Place } from '../base/options.js';
import { disagreements, readGatewayOptions } from '../connection/gateway-options.js';
import type { LimitsOfGateway } from '../connection/gateway-options.js';
import type { GatewayServer } from '../connection/server.js';
import { ENVELOPE } from '../protocol/envelope.js';
import { ChannelRoutes } from './channel-routes.js';
import { CONNECTION_GUARDS_METADATA, OWN_METADATA, PROTOCOL_METADATA } from './decorators.js';
import { Handlers } from './handlers.js';
import type { GatewayHost } from './handlers.js';
import { lostHandlersOf } from './lost-handlers.js';
import { Protocols } from './protocols.js';
import type { ProtocolSource } from './protocols.js';
import { bindRaw, rawOptionsOf } from './raw-gateways.js';
import { instanceOf } from './resolve-instance.js';
import { WsExceptionFilter } from './ws-exception.filter.js';
import { WsGateway } from './ws.gateway.js';
import { WsGuard } from './ws.guard.js';
import { WsValidationPipe } from './ws-validation.pipe.js';

/** Puts the handlers, hooks and connection guards of each gateway on the servers that Nest has asked the adapter for. */
@Injectable()
export class GatewayBinder {
  readonly #log = new Logger('WsGatewayModule');
  readonly #protocols = new Protocols();

  constructor(
    private readonly config: ApplicationConfig,
    private readonly modules: ModulesContainer,
    private readonly moduleRef: ModuleRef,
    private readonly adapter: WsGatewayAdapter,
    @Inject(AUTH_OPTIONS) private readonly options: Pick<ResolvedAuth, 'connectionGuards'>,
    private readonly guard: WsGuard,
    private readonly pipe: WsValidationPipe,
    private readonly filter: WsExceptionFilter,
    private readonly channels: ChannelRoutes,
  ) {}

  /**
   * Once, after Nest has bound the gateways and knows its global enhancers.
   *
   * @throws Error for two handlers of one event at one path, an event name that no frame can have, a rule or guard that cannot be made,
   * a gateway without a port in a microservice, an option of a decorator that would open or close a door, or that another gateway of the path has otherwise, a build without the types of its payloads, a handler that
   * another decorator has taken away
   */
  async bind(): Promise<void> {
    const hosts = gatewaysOf(this.modules);
    const applications = hosts.filter(({ own }) => !own);
    this.#readOptions(applications);
    this.#bindRawPaths(applications);
    this.#demandHandlers(applications);
    const handlers = new Handlers(this.config, this.modules, this.moduleRef, this.guard, this.pipe, this.filter);
    this.bindChannels();
    // The package's own gateway comes first: no other gateway may handle `auth`.
    for (const host of hosts.toSorted((a, b) => Number(b.everywhere) - Number(a.everywhere))) {
      const server = this.#serverOf(host);
      if (server === undefined) continue; // an application context without sockets
      if (server.port === 0 && !host.own && !this.adapter.hasApplicationServer) throw new Error(noServer(host));
      await this.#bindProtocol(host, server);
      await this.#bindRoutes(host, server, handlers);
      await this.#bindBinary(host, server, handlers);
      const hooks = handlers.hooksOf(host, server);
      if (hooks !== undefined) server.router.hooks.push(hooks);
      await this.#bindConnectionGuards(host, server);
    }
    handlers.warnOfUnchecked();
  }

  /** All gateways' decorators: Nest shows the adapter no more than those of the first gateway of a path. */
  #readOptions(hosts: readonly GatewayHost[]): void {
    const problems: string[] = [];
    const asked = new Map<GatewayServer, LimitsOfGateway[]>();
    for (const host of hosts) {
      const { metatype, name } = host.wrapper;
      const given = (Reflect.getMetadata(GATEWAY_OPTIONS, metatype as object) ?? {}) as object;
      const unused: string[] = [];
      const limits = readGatewayOptions(
        given,
        new Place(problems, `@WebSocketGateway() of ${String(name)}: options`),
        unused,
      );
      const server = this.#serverOf(host);
      server?.restrict(limits);
      if (server !== undefined) asked.set(server, [...(asked.get(server) ?? []), { name: String(name), limits }]);
      if (unused.length > 0)
        this.#log.warn(`@WebSocketGateway() of ${String(name)} has options without effect: ${unused.join(', ')}`);
    }
    for (const [{ pathname }, gateways] of asked) problems.push(...disagreements(pathname, gateways));
    if (problems.length > 0) throw new Error(problems.join('\n'));
  }

  /** Before all else: the package's own handlers are not for raw paths, and no other gateway is. */
  #bindRawPaths(hosts: readonly GatewayHost[]): void {
    for (const host of hosts) {
      const options = rawOptionsOf(host.wrapper.metatype as object);
      const server = this.#serverOf(host);
      if (options === undefined || server === undefined) continue;
      const other = hosts.find((candidate) => candidate !== host && this.#serverOf(candidate) === server);
      bindRaw({ host, options, server, besides: other?.wrapper.name as string | undefined });
    }
  }

  /** A handler that another decorator has taken away would answer UNKNOWN_EVENT, and the log would not say why. */
  #demandHandlers(hosts: readonly GatewayHost[]): void {
    const heard = hosts.filter((host) => this.#serverOf(host)?.raw === undefined);
    const lost = heard.map(({ wrapper }) => lostHandlersOf(wrapper.metatype as Type));
    const replaced = lost.flatMap((of) => of.replaced);
    const doubtful = lost.flatMap((of) => of.doubtful);
    if (replaced.length > 0) {
      throw new Error(
        `${replaced.join(', ')}: a decorator puts another function in the place of the method, and what is written below it is ` +
          'lost, @SubscribeMessage() too. Write @SubscribeMessage() above that decorator',
      );
    }
    if (doubtful.length > 0) {
      this.#log.warn(
        `No message reaches these methods, which have decorators: ${doubtful.join(', ')}. If one is a handler, ` +
          'write @SubscribeMessage() above the decorator that puts another function in its place',
      );
    }
  }

  /** A reload may bring the first rules for channels. An application's own handler of such an event keeps it. */
  bindChannels(): void {
    for (const server of this.adapter.servers) for (const route of this.channels.of(server)) server.router.add(route);
  }

  #serverOf(host: GatewayHost): GatewayServer | undefined {
    const { port, path } = locationOf(host);
    return this.adapter.find(port, path);
  }

  async #bindRoutes(host: GatewayHost, server: GatewayServer, handlers: Handlers): Promise<void> {
    const isSpoken = ({ raw }: GatewayServer): boolean => raw === undefined || raw.untilToken !== undefined;
    const servers = host.everywhere ? this.adapter.servers.filter(isSpoken) : [server];
    const routes = await handlers.routesOf(host, server);
    for (const { router, port, pathname, raw } of servers) {
      for (const route of routes) {
        if (router.add(raw?.untilToken?.(route) ?? route)) continue;
        const where = port === 0 ? pathname : `${pathname} on port ${port}`;
        const { name } = host.wrapper;
        throw new Error(
          `${name} handles "${route.event}" at ${where}, which another gateway or the module does already`,
        );
      }
    }
  }

  async #bindBinary(host: GatewayHost, server: GatewayServer, handlers: Handlers): Promise<void> {
    for (const route of await handlers.binaryRoutesOf(host, server)) {
      if (server.router.binary !== undefined) {
        throw new Error(
          `${host.wrapper.name} takes binary messages at ${server.pathname}, which another method does already`,
        );
      }
      server.router.binary = route;
    }
  }

  async #bindProtocol({ wrapper, module }: GatewayHost, server: GatewayServer): Promise<void> {
    const { metatype, name } = wrapper;
    const source = Reflect.getMetadata(PROTOCOL_METADATA, metatype as object) as ProtocolSource | undefined;
    if (source === undefined) return;
    const protocol = await this.#protocols.of(source, module, String(name));
    if (server.protocol !== ENVELOPE && server.protocol !== protocol) {
      throw new Error(
        `${name} has another protocol at ${server.pathname} than another gateway there: a path speaks one`,
      );
    }
    server.protocol = protocol;
  }

  async #bindConnectionGuards({ wrapper, module, everywhere }: GatewayHost, server: GatewayServer): Promise<void> {
    const key = CONNECTION_GUARDS_METADATA;
    const guards = (Reflect.getMetadata(key, wrapper.metatype as object) ?? []) as ResolvedAuth['connectionGuards'];
    for (const guard of guards) server.connectionGuards.push(await instanceOf(guard, module));
    if (!everywhere) return;
    for (const guard of this.options.connectionGuards) {
      const instance = await instanceOf(guard, module);
      for (const { connectionGuards } of this.adapter.servers) connectionGuards.push(instance);
    }
  }
}

function noServer({ wrapper: { name } }: GatewayHost): string {
  return `${String(name)} needs a port, since a microservice has no HTTP server: @WebSocketGateway(8080)`;
}

/** Where a gateway says that it is. */
export function locationOf({ wrapper: { metatype } }: GatewayHost): { port: number; path: string | undefined } {
  const { path } = (Reflect.getMetadata(GATEWAY_OPTIONS, metatype as object) ?? {}) as { path?: string };
  return { port: (Reflect.getMetadata(PORT_METADATA, metatype as object) ?? 0) as number, path };
}

/** Every gateway of the application, and the package's own. */
export function gatewaysOf(modules: ModulesContainer): GatewayHost[] {
  return [...modules].flatMap(([moduleKey, module]) =>
    [...module.providers.values()]
      .filter(({ isNotMetatype, metatype }) => !isNotMetatype && metatype !== null)
      .filter(({ metatype }) => Reflect.hasMetadata(GATEWAY_METADATA, metatype as object))
      .map((wrapper) => {
        const everywhere = wrapper.metatype === WsGateway;
        const own = everywhere || Reflect.hasMetadata(OWN_METADATA, wrapper.metatype as object);
        return { wrapper, module, moduleKey, own, everywhere };
      }),
  );
}
