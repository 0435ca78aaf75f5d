import type { IncomingMessage } from 'node:http';
import { Logger } from '@nestjs/common';
import type { CanActivate, PipeTransform, Type } from '@nestjs/common';
import { ContextIdFactory, MetadataScanner } from '@nestjs/core';
import type { ApplicationConfig, ContextId, ModuleRef, ModulesContainer, NestContainer } from '@nestjs/core';
import {
  GuardsContextCreator,
  Injector,
  InterceptorsContextCreator,
  PipesContextCreator,
  REQUEST_CONTEXT_ID,
  STATIC_CONTEXT,
} from '@nestjs/core/internal';
import type { InstanceWrapper, Module } from '@nestjs/core/internal';
import { GATEWAY_SERVER_METADATA, MESSAGE_MAPPING_METADATA, MESSAGE_METADATA } from '@nestjs/websockets/internal';
import { PathPattern } from '../connection/paths.js';
import type { ConnectionHooks, Route, RouteAccess } from '../connection/router.js';
import type { GatewayServer } from '../connection/server.js';
import { EventTraffic } from '../connection/traffic.js';
import type { Session } from '../session/session.js';
import { isThenable } from '../base/thenable.js';
import { isEventName } from '../protocol/message.js';
import type { InboundMessage } from '../protocol/message.js';
import { exampleOf } from '../validation/dto-example.js';
import { accessOf } from './access.js';
import type { Access } from './access.js';
import { stepsOf } from './payload-steps.js';
import { takesUncheckedBody } from './payload-types.js';
import { bindRule, demandSession } from './rules.js';
import { binaryEventOf } from './lost-handlers.js';
import { instanceOf } from './resolve-instance.js';
import { argumentsOf, askRules } from './arguments.js';
import { givenOf, invoke } from './handler.js';
import type { Gateway, Handler, Method } from './handler.js';
import { callThroughNest, FiltersContext } from './nest-enhancers.js';
import { bodiesOf, hookArgumentsOf, parametersOf, pathParamsOf, takesSignal } from './parameters.js';
import type { WsExceptionFilter } from './ws-exception.filter.js';
import { WsGuard } from './ws.guard.js';
import type { WsValidationPipe } from './ws-validation.pipe.js';

/** A gateway as Nest's container holds it. */
export interface GatewayHost {
  readonly wrapper: InstanceWrapper;
  readonly module: Module;
  readonly moduleKey: string;
  /** True for gateways of this package: the application's global guards, pipes and interceptors are not for them. */
  readonly own: boolean;
  /** True for the gateway of the protocol's own events, which is on every path. */
  readonly everywhere: boolean;
}

/** What is known of a handler before its instance is. */
type Around = Pick<Handler, 'guard' | 'access' | 'rules' | 'takesSignal'>;

/** What a method handles. */
interface Handled {
  readonly event: unknown;
  /** True where the type of the payload decides what is let through. */
  readonly isTyped: boolean;
}

/** Events of this package that an application may handle itself; the session relies on the others. */
const REPLACEABLE: ReadonlySet<string> = new Set(['ping', 'session']);

/**
 * Makes the routes of gateways. What stands between frame and method is decided here, once: where that is this package's
 * guard and pipe alone, the method is called directly; where the application added guards, interceptors, pipes, filters,
 * request scope or parameter decorators of its own, `nest-enhancers.ts` runs them, in Nest's order.
 *
 * guard of this package → guards → interceptors → pipes → handler; filters around all but the first
 *
 * Where a handler has rules, they stand before its interceptors, which may answer by themselves: then its arguments are made
 * before the rules, and interceptors and handler get the same ones. They are made once in either case.
 */
export class Handlers {
  readonly #scanner = new MetadataScanner();
  readonly #injector = new Injector();
  readonly #guards: GuardsContextCreator;
  readonly #pipes: PipesContextCreator;
  readonly #interceptors: InterceptorsContextCreator;
  readonly #filters: FiltersContext;
  /** Handlers whose payload nothing checks. */
  readonly #unchecked = new Set<string>();
  /** Global enhancers of request or transient scope. */
  readonly #scoped: readonly InstanceWrapper[];
  readonly #own: WsGuard;
  readonly #theirs: Pick<WsGuard, 'authorize'>;
  /** What a test has put in the place of {@link WsGuard}: asked before all other guards. */
  readonly #first: readonly CanActivate[];

  /** @throws Error where what takes the place of WsGuard is no guard */
  constructor(
    private readonly config: ApplicationConfig,
    modules: ModulesContainer,
    private readonly moduleRef: ModuleRef,
    guard: WsGuard,
    private readonly pipe: WsValidationPipe,
    private readonly filter: WsExceptionFilter,
  ) {
    this.#scoped = [
      ...config.getGlobalRequestGuards(),
      ...config.getGlobalRequestPipes(),
      ...config.getGlobalRequestInterceptors(),
    ];
    this.#own = isReplaced(guard) ? new WsGuard() : guard;
    this.#theirs = isReplaced(guard) ? new ChargeOnly() : guard;
    this.#first = isReplaced(guard) ? [guard] : [];
    // because the container itself is not injectable, and this is all of it that the creators ask for
    const container = { getModules: () => modules } as unknown as NestContainer;
    this.#guards = new GuardsContextCreator(container, config);
    this.#pipes = new PipesContextCreator(container, config);
    this.#interceptors = new InterceptorsContextCreator(container, config);
    this.#filters = new FiltersContext(container);
  }

  /**
   * The routes of a gateway's `@SubscribeMessage()` methods.
   *
   * @throws Error for an event name that no frame can have, or a rule that cannot be made
   */
  routesOf(host: GatewayHost, server: GatewayServer): Promise<Route[]> {
    return this.#routesWith(host, server, (prototype, name) => {
      const method = prototype[name] as object; // because the scanner has named it
      return Reflect.hasMetadata(MESSAGE_MAPPING_METADATA, method)
        ? { event: Reflect.getMetadata(MESSAGE_METADATA, method) as unknown, isTyped: true }
        : undefined;
    });
  }

  /**
   * The routes of a gateway's `@SubscribeBinary()` methods.
   *
   * @throws Error as {@link routesOf} does
   */
  binaryRoutesOf(host: GatewayHost, server: GatewayServer): Promise<Route[]> {
    return this.#routesWith(host, server, (prototype, name) => {
      const event = binaryEventOf(prototype, name);
      return event === undefined ? undefined : { event, isTyped: false }; // its payload is bytes
    });
  }

  /** @param handles what a method handles; undefined for a method that is no handler */
  #routesWith(
    host: GatewayHost,
    server: GatewayServer,
    handles: (prototype: Gateway, name: string) => Handled | undefined,
  ): Promise<Route[]> {
    const prototype = Object.getPrototypeOf(host.wrapper.instance) as Gateway;
    const routes = this.#scanner.getAllMethodNames(prototype).map((name) => {
      const handled = handles(prototype, name);
      return handled && this.#routeOf(host, server, name, prototype[name] as Method, handled);
    });
    return Promise.all(routes.filter((route) => route !== undefined));
  }

  async #routeOf(
    host: GatewayHost,
    server: GatewayServer,
    name: string,
    method: Method,
    { event, isTyped }: Handled,
  ): Promise<Route> {
    if (!isEventName(event)) {
      throw new Error(`${host.wrapper.name}.${name}: an event is a string of 1 to 128 characters`);
    }
    const access = accessOf(host.wrapper.metatype as Type, method);
    if (access.rateLimit !== undefined) server.context.firewall.remember(access.rateLimit.perMs);
    const rules = await Promise.all(
      access.rules.map((rule) => bindRule(rule, (type) => instanceOf(type, host.module))),
    );
    demandPathParams(host, name, server);
    if (!host.own && isTyped) this.#demandTypes(host, name);
    const asksForSignal = takesSignal(host.wrapper.instance as object, name);
    const guard = host.own ? this.#own : this.#theirs;
    const call = this.#callOf(host, name, server, { guard, access, rules, takesSignal: asksForSignal });
    return {
      event,
      serial: host.own && event === 'auth',
      isReplaceable: host.own && REPLACEABLE.has(event),
      takesSignal: asksForSignal,
      isPublic: access.isPublic,
      traffic: host.own && !host.everywhere ? new EventTraffic(event) : server.context.traffic.of(event),
      access: host.own ? undefined : shownAccess(access, host.wrapper.instance as object, name),
      call,
    };
  }

  #demandTypes({ wrapper }: GatewayHost, name: string): void {
    const place = { gateway: wrapper.instance as object, name, type: wrapper.metatype as object };
    const globalPipes = [...this.config.getGlobalPipes(), ...this.config.getGlobalRequestPipes()];
    if (takesUncheckedBody({ ...place, globalPipes })) this.#unchecked.add(`${String(wrapper.name)}.${name}`);
  }

  /** One warning that names the handlers whose payload nothing checks. */
  warnOfUnchecked(): void {
    if (this.#unchecked.size === 0) return;
    new Logger('WsGatewayModule').warn(
      `The payload of these handlers is checked by nothing, since their type (an array, a union, an interface, any or a class ` +
        `without rules) says nothing at run time: ${[...this.#unchecked].join(', ')}. ` +
        'Give them a class with rules, @MessageBody({ schema }) or a pipe',
    );
  }

  /** A gateway's `handleConnection` and `handleDisconnect`; undefined when it has neither. */
  hooksOf(host: GatewayHost, server: GatewayServer): ConnectionHooks | undefined {
    const { wrapper } = host;
    const gateway = wrapper.instance as { handleConnection?: Method; handleDisconnect?: Method };
    if (gateway.handleConnection === undefined && gateway.handleDisconnect === undefined) return undefined;
    for (const name of ['handleConnection', 'handleDisconnect']) demandPathParams(host, name, server);
    const argumentsFor = {
      handleConnection: hookArgumentsOf(wrapper.instance as object, 'handleConnection'),
      handleDisconnect: hookArgumentsOf(wrapper.instance as object, 'handleDisconnect'),
    };
    const call = (session: Session, name: 'handleConnection' | 'handleDisconnect', argument: unknown): unknown => {
      if (gateway[name] === undefined) return undefined;
      const args = argumentsFor[name]([session.socket, argument]);
      if (wrapper.isDependencyTreeStatic()) return gateway[name](...args);
      return this.#inContext(host, server, session).then(({ instance }) => (instance[name] as Method)(...args));
    };
    return {
      connected: (session: Session, request: IncomingMessage) => call(session, 'handleConnection', request),
      disconnected: (session: Session, closeCode: number) => call(session, 'handleDisconnect', closeCode),
    };
  }

  #callOf(host: GatewayHost, name: string, server: GatewayServer, around: Around): Route['call'] {
    const { wrapper } = host;
    const { access, guard } = around;
    const isScoped = !host.own && this.#scoped.length > 0;
    if (isScoped || !wrapper.isDependencyTreeStatic()) {
      return (session, message) => {
        guard.authorize(session, access, message.event);
        return this.#inContext(host, server, session).then(({ instance, contextId }) =>
          callThroughNest(this.#handlerOf(host, instance, name, contextId, around), session, message, this.filter),
        );
      };
    }
    const handler = this.#handlerOf(host, wrapper.instance as Gateway, name, STATIC_CONTEXT, around);
    if (isPlain(handler)) return (session, message) => this.#callDirectly(handler, session, message);
    return (session, message) => {
      guard.authorize(session, access, message.event);
      return callThroughNest(handler, session, message, this.filter);
    };
  }

  #handlerOf(host: GatewayHost, instance: Gateway, name: string, contextId: ContextId, around: Around): Handler {
    const { moduleKey, own, wrapper } = host;
    const method = instance[name] as Method;
    const inquirer = contextId === STATIC_CONTEXT ? undefined : wrapper.id;
    const enhancers = [instance, method as never, moduleKey, contextId, inquirer] as const;
    const pipes = own ? [] : this.#pipes.create(...enhancers);
    this.#pipes.setModuleContext(moduleKey);
    const parameters = parametersOf(
      instance,
      name,
      (metadata, given) => stepsOf(metadata, given, this.pipe),
      (ownPipes) => [...pipes, ...this.#pipes.createConcreteContext<unknown[], PipeTransform[]>(ownPipes)],
    );
    return {
      instance,
      method,
      ...around,
      parameters,
      argumentCount: Math.max(0, ...parameters.map(({ index }) => index + 1)),
      guards: own ? [] : [...this.#first, ...this.#guards.create(...enhancers)],
      interceptors: own ? [] : this.#interceptors.create(...enhancers),
      filters: own ? [] : this.#filters.create(...enhancers),
    };
  }

  #callDirectly(handler: Handler, session: Session, message: InboundMessage): unknown {
    handler.guard.authorize(session, handler.access, message.event);
    const args = argumentsOf(handler, givenOf(handler, session, message));
    if (!(args instanceof Promise)) return this.#callWith(handler, session, message, args);
    return args.then((settled) => {
      demandSession(session);
      return this.#callWith(handler, session, message, settled);
    });
  }

  #callWith(handler: Handler, session: Session, message: InboundMessage, args: unknown[]): unknown {
    if (handler.rules.length === 0) return invoke(handler, args, session, message);
    const asked = askRules(handler, session, message, args);
    if (!isThenable(asked)) return invoke(handler, args, session, message);
    return Promise.resolve(asked).then(() => {
      demandSession(session);
      return invoke(handler, args, session, message);
    });
  }

  /**
   * The instance of a request-scoped gateway: as in Nest, one for each client. So have global enhancers of such a scope, which Nest
   * does not make for gateways; a gateway that has no other reason stays one for all.
   */
  async #inContext(
    { wrapper, module, own }: GatewayHost,
    server: GatewayServer,
    { socket }: Session,
  ): Promise<{ instance: Gateway; contextId: ContextId }> {
    const contextId = ContextIdFactory.getByRequest(socket as never);
    if (!Object.hasOwn(socket, REQUEST_CONTEXT_ID)) {
      Object.defineProperty(socket, REQUEST_CONTEXT_ID, { value: contextId, configurable: true });
      const durable = wrapper.isDependencyTreeDurable();
      this.moduleRef.registerRequestByContextId(
        durable ? contextId.payload : Object.assign(socket, contextId.payload),
        contextId,
      );
    }
    if (!own) {
      // because a provider is of a module
      const load = (each: InstanceWrapper): Promise<void> =>
        this.#injector.loadInjectable(each, each.host as Module, contextId, wrapper);
      await Promise.all(this.#scoped.map(load));
    }
    if (wrapper.isDependencyTreeStatic()) return { instance: wrapper.instance as Gateway, contextId };
    const instance = await this.#injector.loadPerContext(
      wrapper.instance as Gateway,
      module,
      module.providers,
      contextId,
    );
    for (const key in instance) {
      if (Reflect.getMetadata(GATEWAY_SERVER_METADATA, instance, key) !== undefined) Reflect.set(instance, key, server);
    }
    return { instance, contextId };
  }
}

/** What an administrator is shown of what a handler asks for. */
function shownAccess(access: Access, instance: object, name: string): RouteAccess {
  const { isPublic, roles, scopes, rules, rateLimit } = access;
  const example = (): object | undefined => exampleOf(bodiesOf(instance, name)[0]?.metatype);
  return { isPublic, roles, scopes, hasRules: rules.length > 0, rateLimit, example };
}

/** @throws Error for a parameter that the gateway's path does not have */
function demandPathParams({ wrapper }: GatewayHost, method: string, { pathname }: GatewayServer): void {
  const { names } = new PathPattern(pathname);
  const unknown = pathParamsOf(wrapper.instance as object, method).find((param) => !names.includes(param));
  if (unknown === undefined) return;
  throw new Error(`${wrapper.name}.${method}: the path ${pathname} has no parameter "${unknown}"`);
}

/**
 * True where the application has put another guard in the place of ours, as `overrideProvider(WsGuard)` does in a test.
 *
 * @throws Error for what is no guard
 */
function isReplaced(guard: Partial<WsGuard>): boolean {
  if (typeof guard.canActivate !== 'function') {
    throw new Error('What takes the place of WsGuard has no canActivate()');
  }
  return typeof guard.authorize !== 'function' || guard.canActivate !== WsGuard.prototype.canActivate;
}

/** Stands where WsGuard is replaced: the event's own budget is charged all the same. */
class ChargeOnly implements Pick<WsGuard, 'authorize'> {
  authorize(session: Session, { rateLimit }: Access, event?: string): void {
    if (event !== undefined && rateLimit !== undefined) session.chargeEvent(event, rateLimit);
  }
}

function isPlain({ guards, interceptors, filters, parameters }: Handler): boolean {
  return guards.length + interceptors.length + filters.length === 0 && parameters.every(({ plain }) => plain);
}
