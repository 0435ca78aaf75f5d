/** Token of `options.auth`. */
export const AUTH_OPTIONS = Symbol('nestjs-ws-gateway.auth-options');
