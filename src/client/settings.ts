import { trying } from './guards.js';
import { browserSignals } from './signals.js';
import type { ClientClock, ClientOptions, Signals, SocketLike } from './types.js';

/** The options with their defaults. */
export interface Settings extends Pick<ClientOptions, 'url' | 'auth' | 'meta' | 'onFrame'> {
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly reconnect: {
    readonly baseMs: number;
    readonly maxMs: number;
    readonly stableMs: number;
    readonly maxAttempts: number;
  };
  readonly queue: { readonly maxRequests: number; readonly maxBytes: number; readonly maxInFlight: number };
  readonly liveness: { readonly silenceMs: number; readonly answerMs: number };
  readonly whenHidden: 'slow' | 'pause' | 'normal';
  readonly exceptionEvent: string;
  readonly createSocket: (url: string, protocols: string[]) => SocketLike;
  readonly signals: Signals;
  readonly clock: ClientClock;
  readonly random: () => number;
  /** Calls a function of the application's, whose error stays its own. */
  readonly guard: (act: () => void) => void;
  /** Never early. @returns what stops the timer */
  readonly after: (ms: number, task: () => void) => () => void;
}

/** What every platform has, and some of which TypeScript knows only with a DOM. */
interface Globals {
  readonly WebSocket: new (url: string, protocols: string[]) => SocketLike;
  readonly performance?: { now(): number };
  readonly console?: { error(error: unknown): void };
  setTimeout(task: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}
/** Its members are looked at when used, never at import: a server that renders has none of them. */
const globals = globalThis as unknown as Globals; // because this file is compiled without a DOM

const CLOCK: ClientClock = {
  now: () => globals.performance?.now() ?? Date.now(), // a platform without a monotonic clock has no other
  timeOfDay: () => Date.now(),
  setTimeout: (task, ms) => globals.setTimeout(task, ms),
  clearTimeout: (timer) => globals.clearTimeout(timer),
};

/** An option that is there and undefined counts as absent. */
function withDefaults<T extends object>(defaults: T, given: object = {}): T {
  return Object.assign(defaults, Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)));
}

export function settingsOf(options: ClientOptions): Settings {
  const { clock, onError, reconnect, queue, liveness, ...settings } = withDefaults(
    {
      timeoutMs: 10_000,
      connectTimeoutMs: 10_000,
      whenHidden: 'slow' as const,
      exceptionEvent: 'exception',
      createSocket: (url: string, protocols: string[]) => new globals.WebSocket(url, protocols),
      signals: browserSignals,
      clock: CLOCK,
      random: Math.random,
      onError: (error: unknown) => globals.console?.error(error),
    } as Required<Omit<ClientOptions, 'auth' | 'meta' | 'onFrame'>> & ClientOptions, // because the options come on top
    options,
  );
  const guard = (act: () => void): void => trying(act, onError);
  return {
    ...settings,
    clock,
    guard,
    after(ms, task) {
      const due = clock.now() + ms;
      let timer: unknown;
      // Node counts from the beginning of a turn, browsers round: a timer that is early is armed again.
      const arm = (): void => {
        const left = due - clock.now();
        timer = clock.setTimeout(() => (clock.now() < due ? arm() : task()), left);
      };
      arm();
      return () => clock.clearTimeout(timer);
    },
    reconnect: withDefaults({ baseMs: 1_000, maxMs: 30_000, stableMs: 10_000, maxAttempts: Infinity }, reconnect),
    queue: withDefaults({ maxRequests: 100, maxBytes: 262_144, maxInFlight: 64 }, queue),
    liveness: withDefaults({ silenceMs: 30_000, answerMs: 10_000 }, liveness),
  };
}
