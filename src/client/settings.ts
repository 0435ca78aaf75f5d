import { browserSignals } from './signals.js';
import type { ClientClock, ClientOptions, Signals, SocketLike } from './types.js';

/** The options with their defaults. */
export interface Settings extends Pick<ClientOptions, 'url' | 'auth' | 'meta' | 'onFrame'> {
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly reconnect: { readonly baseMs: number; readonly maxMs: number; readonly maxAttempts: number };
  readonly stableMs: number;
  readonly queue: { readonly maxRequests: number; readonly maxBytes: number; readonly maxInFlight: number };
  readonly silenceMs: number;
  readonly answerMs: number;
  readonly whenHidden: 'slow' | 'pause' | 'normal';
  readonly exceptionEvent: string;
  readonly onError: (error: unknown) => void;
  readonly createSocket: (url: string, protocols: string[]) => SocketLike;
  readonly signals: Signals;
  readonly clock: ClientClock;
  readonly random: () => number;
}

/** What every platform has, and some of which TypeScript knows only with a DOM. */
interface Globals {
  readonly WebSocket: new (url: string, protocols: string[]) => SocketLike;
  readonly performance?: { now(): number };
  readonly console?: { error(error: unknown): void };
  setTimeout(task: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}
/** Looked at when used, never at import: a server that renders has none of it. */
const globals = (): Globals => globalThis as unknown as Globals; // because this file is compiled without a DOM

const CLOCK: ClientClock = {
  now: () => globals().performance?.now() ?? Date.now(), // a platform without a monotonic clock has no other
  timeOfDay: () => Date.now(),
  setTimeout: (task, ms) => globals().setTimeout(task, ms),
  clearTimeout: (timer) => globals().clearTimeout(timer),
};

export function settingsOf(options: ClientOptions): Settings {
  const { reconnect = {}, queue = {}, liveness = {}, ...rest } = options;
  const { baseMs = 1_000, maxMs = 30_000, stableMs = 10_000, maxAttempts = Infinity } = reconnect;
  const { maxRequests = 100, maxBytes = 262_144, maxInFlight = 64 } = queue;
  const { silenceMs = 30_000, answerMs = 10_000 } = liveness;
  const onError = options.onError ?? ((error: unknown) => globals().console?.error(error));
  const { onFrame } = options;
  return {
    timeoutMs: 10_000,
    connectTimeoutMs: 10_000,
    whenHidden: 'slow',
    exceptionEvent: 'exception',
    createSocket: (url, protocols) => new (globals().WebSocket)(url, protocols),
    signals: browserSignals,
    clock: CLOCK,
    random: Math.random,
    ...rest,
    onError,
    ...(onFrame !== undefined && { onFrame: guarded(onFrame, onError) }),
    reconnect: { baseMs, maxMs, maxAttempts },
    stableMs,
    queue: { maxRequests, maxBytes, maxInFlight },
    silenceMs,
    answerMs,
  };
}

/** A listener of the application's whose error stays its own. */
export function guarded<A extends unknown[]>(
  listener: (...args: A) => void,
  onError: (error: unknown) => void,
): (...args: A) => void {
  return (...args) => {
    try {
      listener(...args);
    } catch (error) {
      onError(error);
    }
  };
}
