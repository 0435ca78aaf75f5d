import type { ErrorCode } from '../protocol/errors.js';

/**
 * Makes the spans: one for an upgrade, one for a message at a declared event, one for its handler inside of that. `loadTracing()`
 * of open-telemetry.ts has one where the application traces.
 */
export interface Tracing {
  /**
   * @param headers of the request, in which the application's propagator looks for the parent
   * @returns undefined where no span can be made
   */
  upgrade(path: string, headers: object): UpgradeTrace | undefined;
  /**
   * @param message in whose `meta` the application's propagator looks for the parent
   * @returns undefined where no span can be made
   */
  message(message: { readonly event: string; readonly meta?: unknown }, sessionId: string): MessageTrace | undefined;
  /** Runs the handler of a message, in a span of its own. */
  handler<T>(message: object, run: () => T): T;
}

/** The span of one upgrade. */
export interface UpgradeTrace {
  /** The headers by which another application continues the trace: `traceparent`, as a rule. */
  headers(): Record<string, string>;
  accepted(sessionId: string): void;
  refused(failure: { readonly code: ErrorCode; readonly incidentId?: string }): void;
}

/** The spans of one message. */
export interface MessageTrace {
  /** Calls with the span of the message as the active one. */
  run<T>(call: () => T): T;
  failed(code: ErrorCode, incidentId: string | undefined): void;
  end(): void;
}
