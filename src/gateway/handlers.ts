import type { IncomingMessage } from 'node:http';
import { Logger } from '@nestjs/common';
import type { PipeTransform } from '@nestjs/common';
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
import type { ConnectionHooks, Route } from '../connection/router.js';
import type { GatewayServer } from '../connection/server.js';
import type { Session } from '../session/session.js';
import { containResult } from '../base/contain.js';
import { isThenable } from '../base/thenable.js';
import { isEventName } from '../protocol/message.js';
import type { InboundMessage } from '../protocol/message.js';
import { accessOf } from './access.js';
import { authorize, bindRule, demandSession } from './rules.js';
import { BINARY_METADATA } from './decorators.js';
import { instanceOf } from './resolve-instance.js';
import { emptyArguments, givenOf, invoke } from './handler.js';
import type { Gateway, Handler, Method } from './handler.js';
import { callThroughNest, FiltersContext } from './nest-enhancers.js';
import { hookArgumentsOf, parametersOf, pathParamsOf, takesSignal } from './parameters.js';
import type { WsExceptionFilter } from './ws-exception.filter.js';
import type { WsGuard } from './ws.guard.js';
import type { WsValidationPipe } from './ws-validation.pipe.js';

/** A gateway as Nest's container holds it. */
export interface GatewayHost {
  readonly wrapper: InstanceWrapper;
  readonly module: Module;
  readonly moduleKey: string;
  /** True for gateways of this package: the application's global guards, pipes and interceptors are not for them. */
  readonly own: boolean;
}

/** What is known of a handler before its instance is. */
type Around = Pick<Handler, 'access' | 'rules' | 'takesSignal'>;

/** Events of this package that an application may handle itself; the session relies on the others. */
const REPLACEABLE: ReadonlySet<string> = new Set(['ping', 'session']);

/**
 * Makes the routes of gateways. What stands between frame and method is decided here, once: where that is this package's
 * guard and pipe alone, the method is called directly; where the application added guards, interceptors, pipes, filters,
 * request scope or parameter decorators of its own, `nest-enhancers.ts` runs them, in Nest's order.
 *
 * guard of this package → guards → interceptors → (pipe of this package → pipes) → handler; filters around all but the first
 *
 * Rules are asked about what the pipe has let through, and before the guards all the same, since an interceptor may answer
 * by itself: where a handler has both rules and enhancers, its payload is checked twice.
 */
export class Handlers {
  readonly #scanner = new MetadataScanner();
  readonly #injector = new Injector();
  readonly #guards: GuardsContextCreator;
  readonly #pipes: PipesContextCreator;
  readonly #interceptors: InterceptorsContextCreator;
  readonly #filters: FiltersContext;

  constructor(
    config: ApplicationConfig,
    modules: ModulesContainer,
    private readonly moduleRef: ModuleRef,
    private readonly guard: WsGuard,
    private readonly pipe: WsValidationPipe,
    private readonly filter: WsExceptionFilter,
  ) {
    const scoped = [
      ...config.getGlobalRequestGuards(),
      ...config.getGlobalRequestPipes(),
      ...config.getGlobalRequestInterceptors(),
    ];
    if (scoped.length > 0) {
      const names = scoped.map(({ name }) => String(name)).join(', ');
      new Logger('WsGatewayModule').warn(`Nest does not call global enhancers of request scope for gateways: ${names}`);
    }
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
  async routesOf(host: GatewayHost, server: GatewayServer): Promise<Route[]> {
    const prototype = Object.getPrototypeOf(host.wrapper.instance) as Gateway;
    const names = this.#scanner
      .getAllMethodNames(prototype)
      .filter((name) => Reflect.hasMetadata(MESSAGE_MAPPING_METADATA, prototype[name] as object));
    return Promise.all(
      names.map((name) => this.#routeOf(host, server, name, prototype[name] as Method, MESSAGE_METADATA)),
    );
  }

  /**
   * The routes of a gateway's `@SubscribeBinary()` methods.
   *
   * @throws Error as {@link routesOf} does
   */
  async binaryRoutesOf(host: GatewayHost, server: GatewayServer): Promise<Route[]> {
    const prototype = Object.getPrototypeOf(host.wrapper.instance) as Gateway;
    const names = this.#scanner
      .getAllMethodNames(prototype)
      .filter((name) => Reflect.hasMetadata(BINARY_METADATA, prototype[name] as object));
    return Promise.all(
      names.map((name) => this.#routeOf(host, server, name, prototype[name] as Method, BINARY_METADATA)),
    );
  }

  /** @param key of the metadata that has the event */
  async #routeOf(host: GatewayHost, server: GatewayServer, name: string, method: Method, key: string): Promise<Route> {
    const event: unknown = Reflect.getMetadata(key, method);
    if (!isEventName(event)) {
      throw new Error(`${host.wrapper.name}.${name}: an event is a string of 1 to 128 characters`);
    }
    const access = accessOf(host.wrapper.metatype as object, method);
    if (access.rateLimit !== undefined) server.context.firewall.remember(access.rateLimit.perMs);
    const rules = await Promise.all(
      access.rules.map((rule) => bindRule(rule, (type) => instanceOf(type, host.module))),
    );
    demandPathParams(host, name, server);
    const asksForSignal = takesSignal(host.wrapper.instance as object, name);
    const call = this.#callOf(host, name, server, { access, rules, takesSignal: asksForSignal });
    return {
      event,
      serial: host.own && event === 'auth',
      isReplaceable: host.own && REPLACEABLE.has(event),
      takesSignal: asksForSignal,
      traffic: server.context.traffic.of(event),
      call,
    };
  }

  /** A gateway's `handleConnection` and `handleDisconnect`; undefined when it has neither. */
  hooksOf(host: GatewayHost, server: GatewayServer): ConnectionHooks | undefined {
    const { wrapper } = host;
    const gateway = wrapper.instance as { handleConnection?: Method; handleDisconnect?: Method };
    if (gateway.handleConnection === undefined && gateway.handleDisconnect === undefined) return undefined;
    for (const name of ['handleConnection', 'handleDisconnect']) demandPathParams(host, name, server);
    const argumentsOf = {
      handleConnection: hookArgumentsOf(wrapper.instance as object, 'handleConnection'),
      handleDisconnect: hookArgumentsOf(wrapper.instance as object, 'handleDisconnect'),
    };
    const call = (session: Session, name: 'handleConnection' | 'handleDisconnect', argument: unknown): unknown => {
      if (gateway[name] === undefined) return undefined;
      const args = argumentsOf[name]([session.socket, argument]);
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
    const { access } = around;
    if (!wrapper.isDependencyTreeStatic()) {
      return (session, message) => {
        this.guard.authorize(session, access, message.event);
        return this.#inContext(host, server, session).then(({ instance, contextId }) =>
          callThroughNest(this.#handlerOf(host, instance, name, contextId, around), session, message, this.filter),
        );
      };
    }
    const handler = this.#handlerOf(host, wrapper.instance as Gateway, name, STATIC_CONTEXT, around);
    if (isPlain(handler)) return (session, message) => this.#callDirectly(handler, session, message);
    return (session, message) => {
      this.guard.authorize(session, access, message.event);
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
      (metadata) => this.pipe.checkOf(metadata),
      (ownPipes) => [...pipes, ...this.#pipes.createConcreteContext<unknown[], PipeTransform[]>(ownPipes)],
    );
    return {
      instance,
      method,
      ...around,
      parameters,
      argumentCount: Math.max(0, ...parameters.map(({ index }) => index + 1)),
      guards: own ? [] : this.#guards.create(...enhancers),
      interceptors: own ? [] : this.#interceptors.create(...enhancers),
      filters: own ? [] : this.#filters.create(...enhancers),
    };
  }

  #callDirectly(handler: Handler, session: Session, message: InboundMessage): unknown {
    this.guard.authorize(session, handler.access, message.event);
    const { parameters } = handler;
    const given = givenOf(handler, session, message);
    const args = emptyArguments(handler);
    let waiting: PromiseLike<unknown>[] | undefined;
    try {
      for (const { index, read, check } of parameters) {
        const value = read(given);
        const checked = check === undefined ? value : check(value, given);
        if (check !== undefined && isThenable(checked)) {
          (waiting ??= []).push(checked.then((result) => (args[index] = result)));
        } else args[index] = checked;
      }
    } catch (error) {
      for (const checked of waiting ?? []) containResult(checked, () => undefined); // the other parameter's error is the answer
      throw error;
    }
    if (waiting === undefined && handler.rules.length === 0) return invoke(handler, args, session, message);
    return this.#callWithRules(handler, session, message, args, waiting);
  }

  #callWithRules(
    handler: Handler,
    session: Session,
    message: InboundMessage,
    args: unknown[],
    waiting: PromiseLike<unknown>[] | undefined,
  ): unknown {
    const { parameters, rules } = handler;
    const ask = (): void | Promise<void> => {
      const body = parameters.find(({ isBody }) => isBody);
      return authorize(rules, session, body === undefined ? message.data : args[body.index]);
    };
    const asked = waiting === undefined ? ask() : Promise.all(waiting).then(ask);
    if (!isThenable(asked)) return invoke(handler, args, session, message);
    return Promise.resolve(asked).then(() => {
      demandSession(session);
      return invoke(handler, args, session, message);
    });
  }

  /** The instance of a request-scoped gateway: as in Nest, one for each client. */
  async #inContext(
    { wrapper, module }: GatewayHost,
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

/** @throws Error for a parameter that the gateway's path does not have */
function demandPathParams({ wrapper }: GatewayHost, method: string, { pathname }: GatewayServer): void {
  const { names } = new PathPattern(pathname);
  const unknown = pathParamsOf(wrapper.instance as object, method).find((param) => !names.includes(param));
  if (unknown === undefined) return;
  throw new Error(`${wrapper.name}.${method}: the path ${pathname} has no parameter "${unknown}"`);
}

function isPlain({ guards, interceptors, filters, parameters }: Handler): boolean {
  return guards.length + interceptors.length + filters.length === 0 && parameters.every(({ plain }) => plain);
}
