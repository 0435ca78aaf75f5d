import type { IncomingMessage } from 'node:http';
import { Logger } from '@nestjs/common';
import type { CanActivate, ExceptionFilter, NestInterceptor, PipeTransform } from '@nestjs/common';
import { EXCEPTION_FILTERS_METADATA, selectExceptionFilterMetadata } from '@nestjs/common/internal';
import { ContextIdFactory, MetadataScanner } from '@nestjs/core';
import type { ApplicationConfig, ContextId, ModuleRef, ModulesContainer, NestContainer } from '@nestjs/core';
import {
  BaseExceptionFilterContext,
  ExecutionContextHost,
  GuardsConsumer,
  GuardsContextCreator,
  Injector,
  InterceptorsConsumer,
  InterceptorsContextCreator,
  PipesConsumer,
  PipesContextCreator,
  REQUEST_CONTEXT_ID,
  STATIC_CONTEXT,
} from '@nestjs/core/internal';
import type { InstanceWrapper, Module } from '@nestjs/core/internal';
import { BaseWsExceptionFilter } from '@nestjs/websockets';
import { GATEWAY_SERVER_METADATA, MESSAGE_MAPPING_METADATA, MESSAGE_METADATA } from '@nestjs/websockets/internal';
import { catchError, from, isObservable } from 'rxjs';
import { FilteredError } from '../session/failure.js';
import { InterceptedReply } from '../connection/router.js';
import type { ConnectionHooks, Route } from '../connection/router.js';
import { serverOf } from '../connection/context.js';
import type { GatewayServer } from '../connection/server.js';
import type { WsSession } from '../session/session.js';
import { containResult } from '../base/contain.js';
import { isThenable } from '../base/thenable.js';
import { GatewayError } from '../protocol/errors.js';
import { isEventName } from '../protocol/message.js';
import type { InboundMessage } from '../protocol/message.js';
import { authorize, bindRule, demandSession } from './rules.js';
import type { BoundRule } from './rules.js';
import { instanceOf } from './resolve-instance.js';
import { hookArgumentsOf, parametersOf } from './parameters.js';
import type { Parameter } from './parameters.js';
import type { WsExceptionFilter } from './ws-exception.filter.js';
import { accessOf } from './ws.guard.js';
import type { Access, WsGuard } from './ws.guard.js';
import type { WsValidationPipe } from './ws-validation.pipe.js';

type Method = (...args: unknown[]) => unknown;
type Gateway = Record<string, unknown>;

/** A gateway as Nest's container holds it. */
export interface GatewayHost {
  readonly wrapper: InstanceWrapper;
  readonly module: Module;
  readonly moduleKey: string;
  /** True for gateways of this package: the application's global guards, pipes and interceptors are not for them. */
  readonly own: boolean;
}

/** One handler with all that stands around it. */
interface Handler {
  readonly instance: Gateway;
  readonly method: Method;
  readonly access: Access;
  readonly rules: readonly BoundRule[];
  readonly parameters: readonly Parameter[];
  readonly argumentCount: number;
  readonly guards: CanActivate[];
  readonly interceptors: NestInterceptor[];
  readonly filters: FilterMetadata[];
}

type FilterMetadata = Parameters<typeof selectExceptionFilterMetadata>[0][number];

/**
 * Makes the routes of gateways. What stands between frame and method is decided here, once: where that is this package's
 * guard and pipe alone, the method is called directly; where the application added guards, interceptors, pipes, filters,
 * request scope or parameter decorators of its own, Nest's own consumers run them, in Nest's order.
 *
 * guard of this package → guards → interceptors → (pipe of this package → pipes) → handler; filters around all but the first
 *
 * Rules are asked about what the pipe has let through, and before the guards all the same, since an interceptor may answer
 * by itself: where a handler has both rules and enhancers, its payload is checked twice.
 */
export class Handlers {
  readonly #scanner = new MetadataScanner();
  readonly #injector = new Injector();
  readonly #guardsConsumer = new GuardsConsumer();
  readonly #pipesConsumer = new PipesConsumer();
  readonly #interceptorsConsumer = new InterceptorsConsumer();
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
    return Promise.all(names.map((name) => this.#routeOf(host, server, name, prototype[name] as Method)));
  }

  async #routeOf(host: GatewayHost, server: GatewayServer, name: string, method: Method): Promise<Route> {
    const event: unknown = Reflect.getMetadata(MESSAGE_METADATA, method);
    if (!isEventName(event)) {
      throw new Error(`${host.wrapper.name}.${name}: an event is a string of 1 to 128 characters`);
    }
    const access = accessOf(host.wrapper.metatype as object, method);
    if (access.rateLimit !== undefined) server.context.firewall.remember(access.rateLimit.perMs);
    const rules = await Promise.all(
      access.rules.map((rule) => bindRule(rule, (type) => instanceOf(type, host.module))),
    );
    const call = this.#callOf(host, name, server, access, rules);
    return { event, serial: host.own && event === 'auth', traffic: server.context.traffic.of(event), call };
  }

  /** A gateway's `handleConnection` and `handleDisconnect`; undefined when it has neither. */
  hooksOf(host: GatewayHost, server: GatewayServer): ConnectionHooks | undefined {
    const { wrapper } = host;
    const gateway = wrapper.instance as { handleConnection?: Method; handleDisconnect?: Method };
    if (gateway.handleConnection === undefined && gateway.handleDisconnect === undefined) return undefined;
    const argumentsOf = {
      handleConnection: hookArgumentsOf(wrapper.instance as object, 'handleConnection'),
      handleDisconnect: hookArgumentsOf(wrapper.instance as object, 'handleDisconnect'),
    };
    const call = (session: WsSession, name: 'handleConnection' | 'handleDisconnect', argument: unknown): unknown => {
      if (gateway[name] === undefined) return undefined;
      const args = argumentsOf[name]([session.socket, argument]);
      if (wrapper.isDependencyTreeStatic()) return gateway[name](...args);
      return this.#inContext(host, server, session).then(({ instance }) => (instance[name] as Method)(...args));
    };
    return {
      connected: (session: WsSession, request: IncomingMessage) => call(session, 'handleConnection', request),
      disconnected: (session: WsSession, closeCode: number) => call(session, 'handleDisconnect', closeCode),
    };
  }

  #callOf(
    host: GatewayHost,
    name: string,
    server: GatewayServer,
    access: Access,
    rules: readonly BoundRule[],
  ): Route['call'] {
    const { wrapper } = host;
    const around = { access, rules };
    if (!wrapper.isDependencyTreeStatic()) {
      return (session, message) => {
        this.guard.authorize(session, access, message.event);
        return this.#inContext(host, server, session).then(({ instance, contextId }) =>
          this.#callThroughNest(this.#handlerOf(host, instance, name, contextId, around), session, message),
        );
      };
    }
    const handler = this.#handlerOf(host, wrapper.instance as Gateway, name, STATIC_CONTEXT, around);
    if (isPlain(handler)) return (session, message) => this.#callDirectly(handler, session, message);
    return (session, message) => {
      this.guard.authorize(session, access, message.event);
      return this.#callThroughNest(handler, session, message);
    };
  }

  #handlerOf(
    host: GatewayHost,
    instance: Gateway,
    name: string,
    contextId: ContextId,
    around: Pick<Handler, 'access' | 'rules'>,
  ): Handler {
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

  #callDirectly(handler: Handler, session: WsSession, message: InboundMessage): unknown {
    this.guard.authorize(session, handler.access, message.event);
    const { parameters } = handler;
    const given = [session.socket, message.data, message.event];
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
    session: WsSession,
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

  async #callThroughNest(handler: Handler, session: WsSession, message: InboundMessage): Promise<unknown> {
    const { instance, method, guards, interceptors } = handler;
    const given = [session.socket, message.data, message.event];
    const callback = method as never; // because Nest's consumers take a controller's method and only reflect on it
    try {
      if (handler.rules.length > 0) await this.#authorizeFirst(handler, session, given);
      if (!(await this.#guardsConsumer.tryActivate(guards, given, instance as never, callback, 'ws'))) {
        throw new GatewayError('FORBIDDEN');
      }
      const reply = new InterceptedReply();
      const next = async (): Promise<unknown> => {
        const args = await this.#argumentsOf(handler, given);
        demandSession(session);
        const result = await invoke(handler, args, session, message);
        if (isObservable(result)) reply.streams();
        return result;
      };
      const outcome = await this.#interceptorsConsumer.intercept(
        interceptors,
        given,
        instance as never,
        callback,
        next,
        'ws',
      );
      if (!isObservable(outcome)) return outcome;
      const values = outcome.pipe(catchError((error: unknown) => from(this.#filtered(handler, given, error))));
      return interceptors.length === 0 ? values : Object.assign(reply, { values });
    } catch (error) {
      return this.#filtered(handler, given, error);
    }
  }

  async #authorizeFirst({ parameters, rules }: Handler, session: WsSession, given: readonly unknown[]): Promise<void> {
    const body = parameters.find(({ isBody }) => isBody);
    const value = body?.read(given) ?? given[1];
    await authorize(rules, session, body?.check === undefined ? value : await body.check(value, given));
  }

  async #argumentsOf(handler: Handler, given: readonly unknown[]): Promise<unknown[]> {
    const args = emptyArguments(handler);
    await Promise.all(
      handler.parameters.map(async ({ index, read, check, metadata, pipes }) => {
        const value = await read(given);
        const checked = check === undefined ? value : await check(value, given);
        args[index] = await this.#pipesConsumer.applyPipes(checked, metadata, [...pipes]);
      }),
    );
    return args;
  }

  /** The application's filter that takes an error has it; otherwise ours, which throws it on. */
  async #filtered(handler: Handler, given: unknown[], error: unknown): Promise<never> {
    const chosen = selectExceptionFilterMetadata(handler.filters, error);
    if (chosen === undefined) return this.filter.catch(error);
    const host = new ExecutionContextHost(given, handler.instance.constructor as never, handler.method as never);
    host.setType('ws');
    await (chosen.func as ExceptionFilter['catch'])(error, host);
    throw new FilteredError(error);
  }

  /** The instance of a request-scoped gateway: as in Nest, one for each client. */
  async #inContext(
    { wrapper, module }: GatewayHost,
    server: GatewayServer,
    { socket }: WsSession,
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

/** The handler itself, in a span where somebody keeps those. */
function invoke({ instance, method }: Handler, args: unknown[], session: WsSession, message: InboundMessage): unknown {
  const { tracing } = serverOf(session).context;
  if (tracing === undefined) return method.apply(instance, args);
  return tracing.handler(message, () => method.apply(instance, args));
}

function emptyArguments({ argumentCount }: Handler): unknown[] {
  const args: unknown[] = [];
  for (let index = 0; index < argumentCount; index++) args.push(undefined);
  return args;
}

function isPlain({ guards, interceptors, filters, parameters }: Handler): boolean {
  return guards.length + interceptors.length + filters.length === 0 && parameters.every(({ plain }) => plain);
}

/** Filters of gateway and method, the innermost first. Nest has no global ones for gateways. */
class FiltersContext extends BaseExceptionFilterContext {
  create(
    instance: object,
    method: never,
    moduleKey: string,
    contextId: ContextId,
    inquirerId?: string,
  ): FilterMetadata[] {
    this.moduleContext = moduleKey;
    return this.createContext(
      instance as never,
      method,
      EXCEPTION_FILTERS_METADATA,
      contextId,
      inquirerId,
    ).toReversed() as never;
  }

  /**
   * Nest's own filter knows neither codes nor details and sends the payload back as the cause. Where it is put on a gateway
   * as it is, ours does what it is there for.
   */
  override getFilterInstance(
    ...args: Parameters<BaseExceptionFilterContext['getFilterInstance']>
  ): ExceptionFilter | null {
    const filter = super.getFilterInstance(...args);
    return filter?.catch === BaseWsExceptionFilter.prototype.catch ? null : filter;
  }

  override getGlobalMetadata<T extends unknown[]>(): T {
    return [] as unknown as T;
  }
}
