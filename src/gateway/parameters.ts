import type { ArgumentMetadata, PipeTransform } from '@nestjs/common';
import { CUSTOM_ROUTE_ARGS_METADATA } from '@nestjs/common/internal';
import { ContextUtils } from '@nestjs/core/internal';
import { PARAM_ARGS_METADATA } from '@nestjs/websockets/internal';
import { abortSignal, currentPrincipal, currentSession, pathParam } from './decorators.js';
import type { Step } from './payload-steps.js';
import { WsValidationPipe } from './ws-validation.pipe.js';

/** One parameter of a handler. */
export interface Parameter {
  readonly index: number;
  readonly read: (args: readonly unknown[]) => unknown;
  /** What converts and checks it, in this order. */
  readonly steps: readonly Step[];
  /** True when it needs nothing of Nest's context: neither pipes nor decorators of the application's stand before it. */
  readonly plain: boolean;
  /** True where it may be a promise that has to be waited for. */
  readonly mayWait: boolean;
  /** True for the whole payload: what rules are asked about. */
  readonly isBody: boolean;
}

// Values of Nest's WsParamtype.
const SOCKET = 0;
const PAYLOAD = 3;

/** How Nest stores a decorated parameter. */
interface Declared {
  readonly index: number;
  readonly data?: string;
  readonly pipes?: unknown[];
  readonly schema?: ArgumentMetadata['schema'];
  readonly factory?: (data: unknown, context: unknown) => unknown;
}

type Type = ArgumentMetadata['metatype'];
type StepsOf = (metadata: ArgumentMetadata, pipes: readonly PipeTransform[]) => readonly Step[];

const utils = new ContextUtils();

/** Decorators of this package: no pipe is for what they give, and what they need of Nest's context they have without it. */
const KNOWN: ReadonlySet<unknown> = new Set([abortSignal, currentPrincipal, currentSession, pathParam]);

function declaredOf(instance: object, name: string): Record<string, Declared> | undefined {
  return utils.reflectCallbackMetadata<Record<string, Declared>>(instance as never, name, PARAM_ARGS_METADATA);
}

/** The names that `@PathParam()` asks for. */
export function pathParamsOf(instance: object, name: string): string[] {
  const asked = Object.values(declaredOf(instance, name) ?? {}).filter(({ factory }) => factory === pathParam);
  return asked.map(({ data }) => data).filter((param) => param !== undefined);
}

/** True where a parameter is `@Signal()`. */
export function takesSignal(instance: object, name: string): boolean {
  return Object.values(declaredOf(instance, name) ?? {}).some(({ factory }) => factory === abortSignal);
}

/**
 * The parameters of a handler, with how each is read and what stands between it and the handler.
 *
 * @param stepsOf what a parameter goes through, given the application's pipes for it
 * @param pipesWith the application's pipes for a parameter that has some of its own
 */
export function parametersOf(
  instance: object,
  name: string,
  stepsOf: StepsOf,
  pipesWith: (own: unknown[]) => PipeTransform[],
): Parameter[] {
  const types = utils.reflectCallbackParamtypes(instance as never, name) as Type[] | undefined;
  const declared = declaredOf(instance, name);
  if (declared === undefined || Object.keys(declared).length === 0) return undecorated(types, stepsOf);
  const contextOf = utils.getContextFactory(
    'ws',
    instance as never,
    (instance as Record<string, unknown>)[name] as never,
  );
  return Object.entries(declared).map(([key, { index, data, pipes: own = [], schema, factory }]) => {
    const kind = Number(utils.mapParamType(key));
    const isKnown = KNOWN.has(factory);
    const metadata = {
      type: kind === PAYLOAD ? 'body' : 'custom',
      metatype: types?.[index],
      data,
      schema,
    } as ArgumentMetadata;
    // Nest pipes every parameter; the application's pipes skip what is none of theirs by its type.
    const pipes = (isKnown && own.length === 0) || kind === SOCKET ? [] : pipesWith(own);
    const steps = stepsOf(metadata, pipes);
    const isOwn = isKnown || !key.includes(CUSTOM_ROUTE_ARGS_METADATA);
    const plain = isOwn && pipes.every((pipe) => pipe instanceof WsValidationPipe);
    return {
      index,
      steps,
      plain,
      mayWait: !plain || steps.length > 0,
      isBody: kind === PAYLOAD && data === undefined,
      read: readerOf(kind, data, factory, contextOf as never),
    };
  });
}

/** A parameter that takes the payload, or a part of it. */
export interface Body {
  readonly metatype: Type;
  readonly schema: ArgumentMetadata['schema'] | undefined;
  /** Those of the parameter itself: instances and classes. */
  readonly pipes: readonly unknown[];
}

/** The parameters of a handler that take the payload. */
export function bodiesOf(instance: object, name: string): Body[] {
  const types = utils.reflectCallbackParamtypes(instance as never, name) as Type[] | undefined;
  const declared = Object.entries(declaredOf(instance, name) ?? {});
  if (declared.length === 0) {
    const { length } = types ?? ((instance as Record<string, unknown>)[name] as { length: number }); // because it is a method
    return length > 1 ? [{ metatype: types?.[1], schema: undefined, pipes: [] }] : [];
  }
  return declared
    .filter(([key]) => Number(utils.mapParamType(key)) === PAYLOAD)
    .map(([, { index, schema, pipes = [] }]) => ({ metatype: types?.[index], schema, pipes }));
}

/** `handle(client, data)` without decorators: Nest's pipes leave it alone, but its class still says what `data` may be. */
function undecorated(types: Type[] | undefined, stepsOf: StepsOf): Parameter[] {
  return [0, 1, 2].map((index) => {
    const metadata: ArgumentMetadata = { type: index === 1 ? 'body' : 'custom', metatype: types?.[index] };
    const isBody = index === 1;
    const steps = stepsOf(metadata, []);
    return { index, steps, plain: true, mayWait: steps.length > 0, isBody, read: (args) => args[index] };
  });
}

/**
 * How `handleConnection` and `handleDisconnect` are called: with the socket and the request, or the close code, except where
 * a parameter is decorated.
 */
export function hookArgumentsOf(instance: object, name: string): (given: readonly unknown[]) => unknown[] {
  if (Object.keys(declaredOf(instance, name) ?? {}).length === 0) return (given) => [...given];
  if (takesSignal(instance, name))
    throw new Error(`${instance.constructor.name}.${name}: @Signal() is for handlers of messages`);
  const parameters = parametersOf(
    instance,
    name,
    () => [],
    () => [],
  );
  return (given) => {
    const args = [...given];
    for (const { index, read } of parameters) args[index] = read(given);
    return args;
  };
}

function readerOf(
  kind: number,
  data: string | undefined,
  factory: Declared['factory'],
  contextOf: (args: unknown) => unknown,
): Parameter['read'] {
  if (factory !== undefined) return (args) => factory(data, contextOf(args));
  if (kind === SOCKET) return (args) => args[0];
  if (kind !== PAYLOAD) return () => undefined; // an acknowledgement function: a native WebSocket has none
  if (data === undefined) return (args) => args[1];
  return (args) => {
    const body = args[1];
    // hasOwn: `@MessageBody('constructor')` is not to reach a prototype.
    return typeof body === 'object' && body !== null && Object.hasOwn(body, data) ? body[data as never] : undefined;
  };
}
