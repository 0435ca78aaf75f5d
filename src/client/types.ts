import type { DisconnectData } from '../protocol/message.js';

/** What a gateway answers and pushes, as types alone. An interface of the application's has this shape. */
export interface GatewayShape {
  /** By event: what it takes, what it answers, and the codes of its own that it may fail with. */
  readonly requests: Readonly<Record<string, EventShape>>;
  /** By event: the data of a push. */
  readonly pushes: Readonly<Record<string, unknown>>;
}

export interface EventShape {
  readonly data?: unknown;
  readonly reply?: unknown;
  readonly errors?: string;
}

/** Any event with any data: the shape of a client that was given none. */
export interface AnyGateway {
  readonly requests: Readonly<Record<string, { data?: unknown; reply: unknown }>>;
  readonly pushes: Readonly<Record<string, unknown>>;
}

export type RequestName<S extends { requests: object }> = keyof S['requests'] & string;
export type PushName<S extends { pushes: object }> = keyof S['pushes'] & string;
export type DataOf<S extends { requests: object }, E extends RequestName<S>> = S['requests'][E] extends {
  data?: infer Data;
}
  ? Data
  : undefined;
export type ReplyOf<S extends { requests: object }, E extends RequestName<S>> = S['requests'][E] extends {
  reply?: infer Reply;
}
  ? Reply
  : unknown;

/** Why a token is asked for. After `expired` only a fresh one helps. */
export type TokenReason = 'connect' | 'reconnect' | 'expiring' | 'expired';

/** A JWT, or a promise of one. An error with `permanent: true` closes the client; any other is tried again later. */
export type TokenSource = (request: { readonly reason: TokenReason }) => string | Promise<string>;

export type ClientAuth =
  /** A JWT as first message (default), or in a subprotocol of the handshake. */
  | { readonly token: TokenSource; readonly via?: 'message' | 'subprotocol' }
  /** A new one-time ticket for each attempt, in the query of the URL. */
  | { readonly ticket: () => string | Promise<string> }
  /** The browser sends the cookie. */
  | 'cookie';

/** What a client uses of a WebSocket: browsers, `ws`, React Native and Node have it. */
export interface SocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** Changes around the client that tell it to hurry, to wait or to look whether its connection still lives. */
export interface SignalHandlers {
  readonly online: () => void;
  readonly offline: () => void;
  visible(): void;
  hidden(): void;
  /** The page goes into the back/forward cache: the socket is closed until `resume`. */
  suspend(): void;
  resume(): void;
}

/** Begins to call the handlers. @returns what ends that */
export type Signals = (handlers: SignalHandlers) => () => void;

/** Time, for tests. */
export interface ClientClock {
  /** Monotonic milliseconds. */
  now(): number;
  /** Epoch milliseconds. */
  timeOfDay(): number;
  setTimeout(task: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

export interface ReconnectOptions {
  /** @default 1,000 */
  readonly baseMs?: number;
  /** Longest pause between two attempts. @default 30,000 */
  readonly maxMs?: number;
  /** A connection that lives so long counts as good again. @default 10,000 */
  readonly stableMs?: number;
  /** Attempts in a row until the client is closed. @default Infinity */
  readonly maxAttempts?: number;
}

export interface QueueOptions {
  /** Requests that wait to be sent. @default 100 */
  readonly maxRequests?: number;
  /** UTF-16 units of their data. @default 262,144 */
  readonly maxBytes?: number;
  /** Requests that wait for an answer. @default 64 */
  readonly maxInFlight?: number;
}

export interface ClientOptions {
  /** Asked before every attempt where it is a function. */
  readonly url: string | (() => string | Promise<string>);
  /** @default none: the session stays anonymous */
  readonly auth?: ClientAuth;
  /** For waiting and answer together, in milliseconds. @default 10,000 */
  readonly timeoutMs?: number;
  /** From the attempt to the server's first good answer, in milliseconds. @default 10,000 */
  readonly connectTimeoutMs?: number;
  readonly reconnect?: ReconnectOptions;
  readonly queue?: QueueOptions;
  /** Silence after which the client asks, and how long the answer may take. @default 30,000 and 10,000 */
  readonly liveness?: { readonly silenceMs?: number; readonly answerMs?: number };
  /** How a hidden page reconnects: at most every `maxMs`, not before it is seen, or as ever. @default 'slow' */
  readonly whenHidden?: 'slow' | 'pause' | 'normal';
  /** Goes with every request, for one a `traceparent`. */
  readonly meta?: () => object | undefined;
  /** Sees every frame; tokens are left out. */
  readonly onFrame?: (direction: 'in' | 'out', frame: Frame) => void;
  /** Gets what a listener of the application throws. @default `console.error` */
  readonly onError?: (error: unknown) => void;
  /** As the server's `errors.event`. @default 'exception' */
  readonly exceptionEvent?: string;
  /** @default `new WebSocket(url, protocols)` */
  readonly createSocket?: (url: string, protocols: string[]) => SocketLike;
  /** @default those of a browser, where there is a `window` */
  readonly signals?: Signals;
  readonly clock?: ClientClock;
  /** 0 to 1. @default `Math.random` */
  readonly random?: () => number;
}

/** A frame as it is on the wire (PROTOCOL.md §1). */
export interface Frame {
  readonly event: string;
  readonly data?: unknown;
  readonly id?: string | number;
  readonly done?: boolean;
  readonly channel?: string;
  readonly offset?: number;
}

/** Who the server says the client is. */
export interface Session {
  readonly sessionId: string;
  readonly subject: string;
  /** Epoch milliseconds. */
  readonly expiresAt: number;
  readonly roles?: readonly string[];
  readonly scopes?: readonly string[];
}

/** Why the last connection ended: the server's `disconnect`, or what the client made of a close without one. */
export type Disconnect = Pick<DisconnectData, 'code' | 'message' | 'reconnect'> & {
  readonly retryAfterMs?: number | undefined;
  readonly closeCode?: number;
};

export interface ClientState {
  readonly status: 'idle' | 'connecting' | 'opening' | 'open' | 'waiting' | 'closed';
  /** Attempts since the last connection that lived for `stableMs`. */
  readonly attempt: number;
  /** Of the next attempt, in epoch milliseconds; while waiting. */
  readonly retryAt?: number;
  /** Undefined while anonymous. */
  readonly session?: Session;
  readonly lastDisconnect?: Disconnect;
  /** Three attempts never opened: a browser does not see whether origin, path or a limit is why. */
  readonly hint?: 'handshake refused';
}

export interface RequestOptions {
  readonly signal?: AbortSignal;
  /** For waiting and answer together, in milliseconds. @default the client's `timeoutMs` */
  readonly timeoutMs?: number;
  /** True where a second run does no harm: then it is sent again after a lost connection. @default false */
  readonly idempotent?: boolean;
}

export interface StreamOptions<Data, Value> {
  readonly signal?: AbortSignal;
  /** How long it may wait to be sent, in milliseconds. @default the client's `timeoutMs` */
  readonly timeoutMs?: number;
  /** What to ask after a lost connection, given the last value. @default the loss is thrown */
  readonly resume?: (last: Value | undefined) => Data;
}
