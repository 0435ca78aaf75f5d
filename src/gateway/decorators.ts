import { createParamDecorator } from '@nestjs/common';
import type { CustomDecorator, ExecutionContext, Type } from '@nestjs/common';
import type { Principal } from '../authentication/principal.js';
import type { ConnectionGuard } from '../authentication/connection-guard.js';
import { controllerOf } from '../connection/signals.js';
import type { InboundMessage } from '../protocol/message.js';
import { sessionOf } from '../session/session.js';
import { WsSession } from '../session/ws-session.js';
import type { ProtocolSource } from './protocols.js';
import type { Rule } from './rules.js';

export const PUBLIC_METADATA = 'nestjs-ws-gateway:public';
export const ROLES_METADATA = 'nestjs-ws-gateway:roles';
export const SCOPES_METADATA = 'nestjs-ws-gateway:scopes';
export const RATE_LIMIT_METADATA = 'nestjs-ws-gateway:rate-limit';
export const RULES_METADATA = 'nestjs-ws-gateway:rules';
export const PROTOCOL_METADATA = 'nestjs-ws-gateway:protocol';
export const BINARY_METADATA = 'nestjs-ws-gateway:binary';
export const RAW_METADATA = 'nestjs-ws-gateway:raw';
export const CONNECTION_GUARDS_METADATA = 'nestjs-ws-gateway:connection-guards';
export const OWN_METADATA = 'nestjs-ws-gateway:own';

/**
 * Changes what is known under a key of a class, or of a method. A method's is known twice: of the function, and of its name on
 * the class, since another decorator may put a function of its own in the method's place.
 */
function change<T>(key: string, next: (own: T | undefined) => T): ClassDecorator & MethodDecorator {
  return (target: object, name?: string | symbol, descriptor?: PropertyDescriptor): void => {
    // because no other code writes under these keys
    if (name === undefined) return Reflect.defineMetadata(key, next(Reflect.getMetadata(key, target) as T), target);
    Reflect.defineMetadata(key, next(Reflect.getOwnMetadata(key, target, name) as T), target, name);
    const method: unknown = descriptor?.value;
    if (typeof method === 'function') {
      Reflect.defineMetadata(key, next(Reflect.getOwnMetadata(key, method) as T), method);
    }
  };
}

/**
 * Stacked decorators add up, as those of Nest do, the upper one's first: none is to take away what another asks for. So does
 * one of a class to that of its base.
 */
const adding = (key: string, values: readonly unknown[]): ClassDecorator & MethodDecorator =>
  change<readonly unknown[]>(key, (below = []) => [...values, ...below]);

const setting = (key: string, value: unknown): CustomDecorator =>
  Object.assign(
    change<unknown>(key, () => value),
    { KEY: key },
  );

/** Opens a handler, or all handlers of a gateway, to sessions that have not authenticated. Handlers are closed without it. */
export const Public = (): CustomDecorator => setting(PUBLIC_METADATA, true);

/** The principal needs one of these roles. Stacked, or on a class and on its handler: one of each. */
export const Roles = (...roles: [string, ...string[]]): ClassDecorator & MethodDecorator =>
  adding(ROLES_METADATA, [roles]);

/** The principal needs all of these scopes. Stacked, or on a class and on its handler: all of both. */
export const Scopes = (...scopes: [string, ...string[]]): ClassDecorator & MethodDecorator =>
  adding(SCOPES_METADATA, scopes);

/**
 * Asks a rule before the handler, or before all handlers of a gateway: a function `(session, data)`, or a class with a method
 * `authorize(session, data)`, which may have dependencies. `data` is what the pipe has let through. Several are asked one after
 * the other, those of the class first, and all have to say true.
 */
export const Authorize = (...rules: [Rule, ...Rule[]]): ClassDecorator & MethodDecorator =>
  adding(RULES_METADATA, rules);

/** How often an event may be sent. */
export interface RateLimitOptions {
  /** Requests, or what they cost together, within `perMs`; so many may come at once. 1 to 1_000_000. */
  readonly limit: number;
  /** The time in which the limit fills up again, in milliseconds, 1 to 86_400_000. */
  readonly perMs: number;
  /** What one request costs, 1 to `limit`. @default 1 */
  readonly cost?: number;
}

/**
 * A budget for each event of its own: of the subject over all its sessions, or of the address while there is no subject, so that
 * coming back is no way to a new one. Over it a request is RATE_LIMITED with the exact `retryAfterMs`. On a class it is for each of its events; the handler's own wins.
 *
 * @throws TypeError for a limit that cannot be
 */
export const RateLimit = ({ limit, perMs, cost = 1 }: RateLimitOptions): CustomDecorator => {
  const isWithin = (value: number, max: number): boolean => Number.isInteger(value) && value >= 1 && value <= max;
  if (!isWithin(limit, 1_000_000) || !isWithin(perMs, 86_400_000) || !isWithin(cost, limit)) {
    throw new TypeError('@RateLimit() takes limit, 1 to 1000000, perMs, 1 to 86400000, and cost, 1 to limit');
  }
  return setting(RATE_LIMIT_METADATA, { limit, perMs, cost });
};

/** A gateway of this package: the application's global guards, pipes and interceptors are not for it, and its events are counted nowhere. */
export const OwnGateway = (): ClassDecorator => setting(OWN_METADATA, true);

/** Asks before an upgrade at the gateway's path, and when a session there signs in: classes, which may have dependencies, or objects. */
export const UseConnectionGuards = (
  ...guards: [Type<ConnectionGuard> | ConnectionGuard, ...(Type<ConnectionGuard> | ConnectionGuard)[]]
): ClassDecorator => adding(CONNECTION_GUARDS_METADATA, guards);

/** Options of `@RawGateway()`: what this package may write at the path, in the envelope of PROTOCOL.md. */
export interface RawGatewayOptions {
  /** An `exception` for a message that is refused. Without it, a message over the budget ends the session. @default false */
  readonly exceptions?: boolean;
  /** A `disconnect` before each close. Without it, close code and reason alone say why. @default false */
  readonly disconnects?: boolean;
  /** Subprotocols that a client can ask for; of those that it offers, its first is selected. @default none */
  readonly subprotocols?: readonly string[];
}

/**
 * Leaves the messages of the gateway's path to the listeners that `handleConnection` adds to the socket. They stand behind
 * authentication, which comes with the upgrade, behind the budgets, sizes, origins, heartbeat and drain of every path, and behind
 * `@Roles()`, `@Scopes()` and `@UseConnectionGuards()` of the class. The gateway is the only one of its path, and has no handlers.
 */
export const RawGateway = (options: RawGatewayOptions = {}): ClassDecorator => setting(RAW_METADATA, options);

export const currentSession = (_: unknown, context: ExecutionContext): WsSession =>
  WsSession.of(context.switchToWs().getClient<object>());

export const currentPrincipal = (_: unknown, context: ExecutionContext): Principal | undefined =>
  currentSession(_, context).principal;

/** The {@link WsSession} of the message, or in `handleConnection` and `handleDisconnect` of the connection. */
export const CurrentSession = createParamDecorator(currentSession);

/**
 * The language of the gateway's path, for all gateways there: a class, which may have dependencies, or what `jsonRpc()`, `arrays()` and
 * `parsed()` return. Without it a path speaks the envelope of PROTOCOL.md.
 */
export const UseProtocol = (protocol: ProtocolSource): ClassDecorator => setting(PROTOCOL_METADATA, protocol);

/**
 * Takes the binary messages of the path, beside the events of its protocol: one method for a path. Its payload is a Buffer that it owns. A
 * Buffer that a handler returns or streams is sent as a binary message; for an `id` that it has, a reply without data follows.
 *
 * @param event names it in the log and metrics, in exceptions, and in a reply that is no Buffer. @default binary
 */
export const SubscribeBinary = (event = 'binary'): MethodDecorator => setting(BINARY_METADATA, event);

/** Where a handler that asks for its signal finds it: after socket, data and event. */
export const abortSignal = (_: unknown, context: ExecutionContext): AbortSignal => {
  const message = context.getArgs<[object, unknown, string, InboundMessage | undefined]>()[3];
  if (message === undefined) throw new TypeError('@Signal() is for parameters of @SubscribeMessage() methods');
  return controllerOf(message, sessionOf(context.switchToWs().getClient<object>())).signal;
};

/**
 * An AbortSignal of the message: aborted when the client sends `cancel` with its `id`, when the session ends, and when
 * `limits.handlerTimeoutMs` are over, with HANDLER_TIMEOUT as its reason then. A handler that throws the reason of a `cancel` or of
 * an end, an AbortError, has not failed: nothing is logged, and the request is answered with `done`.
 */
export const Signal = createParamDecorator(abortSignal);

/** @param name undefined for all of them */
export const pathParam = (name: string | undefined, context: ExecutionContext): unknown => {
  const { params } = currentSession(undefined, context);
  return name === undefined ? params : params[name];
};

/**
 * A parameter of the gateway's path, decoded: a text, or of a wildcard an array of texts. Pipes may follow its name; without a name it is
 * an object of all. One that the path does not have stops the start.
 */
export const PathParam = createParamDecorator(pathParam);

/** The {@link Principal} of the message's session; undefined while it is anonymous. */
export const CurrentPrincipal = createParamDecorator(currentPrincipal);
