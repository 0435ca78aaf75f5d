/** Token of all options, as {@link ConnectionContext} has them. */
export const CONNECTION_OPTIONS = Symbol('nestjs-ws-gateway.connection-options');
/** Token of `options.limits`. */
export const LIMIT_OPTIONS = Symbol('nestjs-ws-gateway.limit-options');
/** Token of `options.overload`. */
export const OVERLOAD_OPTIONS = Symbol('nestjs-ws-gateway.overload-options');
/** Token of the {@link ConnectionContext}. */
export const CONTEXT = Symbol('nestjs-ws-gateway.context');
