import type { TokenSource } from '../authentication/credentials.js';
import type { ByteLimits } from '../session/ledger.js';
import type { SessionOptions } from '../session/session.js';

/** What handshakes, messages and servers read of the options, beside what a session reads. */
export interface ConnectionOptions extends SessionOptions {
  readonly path: string;
  readonly auth: SessionOptions['auth'] & {
    readonly sources: readonly TokenSource[];
    readonly reject: 'close' | 'handshake';
  };
  readonly limits: SessionOptions['limits'] &
    ByteLimits & { readonly maxFragments: number; readonly maxJsonDepth: number };
  readonly compression: { readonly thresholdBytes: number } | false;
  readonly shutdown: { readonly drainMs: number };
  readonly monitoring: { readonly metrics: boolean; readonly traces: boolean };
}

/** Token of all options, as {@link ConnectionContext} has them. */
export const CONNECTION_OPTIONS = Symbol('nestjs-ws-gateway.connection-options');
/** Token of `options.limits`. */
export const LIMIT_OPTIONS = Symbol('nestjs-ws-gateway.limit-options');
/** Token of `options.overload`. */
export const OVERLOAD_OPTIONS = Symbol('nestjs-ws-gateway.overload-options');
/** Token of the {@link ConnectionContext}. */
export const CONTEXT = Symbol('nestjs-ws-gateway.context');
