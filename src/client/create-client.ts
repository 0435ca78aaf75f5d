import { Connection } from './connection.js';
import { ConnectionError } from './errors.js';
import { Requests } from './requests.js';
import { guarded, settingsOf } from './settings.js';
import { stream } from './streams.js';
import type {
  AnyGateway,
  ClientOptions,
  ClientState,
  DataOf,
  Disconnect,
  PushName,
  ReplyOf,
  RequestName,
  RequestOptions,
  Session,
  StreamOptions,
} from './types.js';

type Shape = { requests: object; pushes: object };

/** Data may be left out where the event takes none. */
type Arguments<Data, Options> = undefined extends Data
  ? [data?: Data, options?: Options]
  : [data: Data, options?: Options];

/** A client of one gateway. It lives across connections: listeners, streams with `resume` and waiting requests stay. */
export interface GatewayClient<S extends Shape = AnyGateway> {
  readonly state: ClientState;
  /**
   * Connects, where no request has done so yet.
   *
   * @returns the session, undefined while anonymous
   * @throws ConnectionError CLOSED when the server says stop, with its `disconnect`
   */
  connect(): Promise<Session | undefined>;
  /**
   * @returns the reply
   * @throws GatewayException what the server answered
   * @throws ConnectionError TIMEOUT, CONNECTION_LOST, QUEUE_FULL, CLOSED; `maybeExecuted` says whether it was sent
   */
  request<E extends RequestName<S>>(event: E, ...rest: Arguments<DataOf<S, E>, RequestOptions>): Promise<ReplyOf<S, E>>;
  /** The values of a streamed reply, asked for with the first `next()`. Leaving the loop cancels it at the server. */
  stream<E extends RequestName<S>>(
    event: E,
    ...rest: Arguments<DataOf<S, E>, StreamOptions<DataOf<S, E>, ReplyOf<S, E>>>
  ): AsyncIterableIterator<ReplyOf<S, E>>;
  /** Without an answer, and never queued. @returns false when not open */
  send<E extends RequestName<S>>(event: E, data?: DataOf<S, E>): boolean;
  /** Listens to a push, over all connections. @returns what ends that */
  on<E extends PushName<S>>(event: E, listener: (data: S['pushes'][E]) => void): () => void;
  /** Listens to changes of `state`. @returns what ends that */
  subscribe(listener: (state: ClientState) => void): () => void;
  /** Tries at once, unless the server has asked for a pause that is not over. */
  retryNow(): void;
  /** Shows the server a new token of the same subject, in place. */
  authenticate(): Promise<Session>;
  /** A new connection, for example after a login as another user. */
  reconnect(): void;
  /** Ends for good; what waits is rejected with CLOSED. `connect()` starts anew. */
  close(): void;
  /** Holds the client open. @returns what releases it; a second after the last release it closes */
  retain(): () => void;
}

const RELEASE_MS = 1_000;

/** A client, which connects with its first request or with `connect()`. */
export function createClient<S extends Shape = AnyGateway>(options: ClientOptions): GatewayClient<S> {
  const settings = settingsOf(options);
  const listeners = new Map<string, Set<(data: never) => void>>();
  const stateListeners = new Set<(state: ClientState) => void>();
  let connecting: { resolve(session: Session | undefined): void; reject(error: unknown): void }[] = [];
  let holders = 0;
  let releaseTimer: unknown;

  const each = <A>(set: Iterable<(value: A) => void> | undefined, value: A): void => {
    for (const listener of set ?? []) guarded(listener, settings.onError)(value);
  };

  const connection = new Connection(settings, {
    onOpen() {
      for (const { resolve } of connecting.splice(0)) resolve(connection.state.session);
      requests.pump();
    },
    onFrame(frame) {
      if (!requests.receive(frame)) each(listeners.get(frame.event), frame.data as never); // because the server's types are given by S
    },
    onLost(disconnect: Disconnect, isFinal: boolean) {
      requests.lost(disconnect, isFinal);
      if (isFinal)
        for (const { reject } of connecting.splice(0)) reject(new ConnectionError('CLOSED', false, disconnect));
    },
    onState: (state) => each(stateListeners, state),
  });
  const requests = new Requests(settings, connection);

  /** A client that the server or the application has ended stays ended until `connect()`. */
  const startIfIdle = (): void => {
    if (connection.state.status === 'idle') connection.start();
  };
  const closedError = (): ConnectionError => new ConnectionError('CLOSED', false, connection.state.lastDisconnect);

  return {
    get state() {
      return connection.state;
    },
    connect() {
      if (connection.isOpen) return Promise.resolve(connection.state.session);
      return new Promise((resolve, reject) => {
        connecting.push({ resolve, reject });
        connection.start();
      });
    },
    request(event, ...[data, { signal, timeoutMs = settings.timeoutMs, idempotent = false } = {}]) {
      startIfIdle();
      return new Promise<never>((resolve, reject) => {
        if (connection.state.status === 'closed') return reject(closedError());
        requests.ask({
          event,
          data,
          timeoutMs,
          signal,
          isStream: false,
          answer: {
            value: (value) => resolve(value as never), // because the server's types are given by S
            done: () => resolve(undefined as never),
            failed: reject,
            again: () => (idempotent ? { data } : undefined),
          },
        });
      });
    },
    stream(event, ...[data, streamOptions]) {
      startIfIdle();
      return stream(requests, event, data as never, { timeoutMs: settings.timeoutMs, ...streamOptions } as never); // because the server's types are given by S
    },
    send(event, data) {
      const frame = { event, ...(data !== undefined && { data }) };
      return connection.isOpen && connection.send(JSON.stringify(frame), () => frame);
    },
    on(event, listener) {
      let set = listeners.get(event);
      if (set === undefined) listeners.set(event, (set = new Set()));
      const own = (data: never): void => listener(data);
      set.add(own);
      return () => {
        if (set.delete(own) && set.size === 0) listeners.delete(event);
      };
    },
    subscribe(listener) {
      const own = (state: ClientState): void => listener(state);
      stateListeners.add(own);
      return () => void stateListeners.delete(own);
    },
    retryNow: () => connection.retryNow(),
    authenticate: () => connection.authenticate('connect'),
    reconnect: () => connection.reconnect(),
    close: () => connection.close(),
    retain() {
      holders++;
      settings.clock.clearTimeout(releaseTimer);
      if (connection.state.status === 'idle' || holders === 1) connection.start();
      let isHeld = true;
      return () => {
        if (!isHeld) return;
        isHeld = false;
        if (--holders === 0) releaseTimer = settings.clock.setTimeout(() => connection.close(), RELEASE_MS);
      };
    },
  };
}
