import type { Channel, ChannelOptions } from './channel.js';
import { createChannels } from './channels.js';
import { createConnection } from './connection.js';
import { createEmitter } from './emitter.js';
import { ConnectionError } from './errors.js';
import { nothing } from './guards.js';
import { createRequests } from './requests.js';
import { settingsOf } from './settings.js';
import { stream } from './streams.js';
import type {
  AnyGateway,
  ClientOptions,
  ClientState,
  DataOf,
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
  /**
   * One of the server's channels: subscribed to with the first listener, and back by itself after a lost connection, from the last
   * position where it has a history.
   */
  channel<Events extends object = Record<string, unknown>>(name: string, options?: ChannelOptions): Channel<Events>;
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
/** Event of the listeners to `state`. */
const STATE = '';

/** A client, which connects with its first request or with `connect()`. */
export function createClient<S extends Shape = AnyGateway>(options: ClientOptions): GatewayClient<S> {
  const settings = settingsOf(options);
  const pushes = createEmitter<[data: never]>(settings.guard);
  const states = createEmitter<[state: ClientState]>(settings.guard);
  let holders = 0;
  let stopRelease: () => void = nothing;

  const connection = createConnection(settings, {
    opened() {
      channels.opened();
      requests.pump();
    },
    frame(frame) {
      if (!channels.receive(frame)) pushes.emit(frame.event, frame.data as never); // because the server's types are given by S
    },
    lost(disconnect, isFinal) {
      channels.lost(disconnect, isFinal);
      if (isFinal) requests.close(disconnect);
    },
    changed: (state) => states.emit(STATE, state),
  });
  const requests = createRequests(settings, connection);

  const request = (
    event: string,
    data: unknown,
    { signal, timeoutMs, idempotent }: RequestOptions = {},
  ): Promise<never> => {
    connection.begin(); // one that has ended stays ended until connect()
    return new Promise((resolve, reject) => {
      const { status, lastDisconnect } = connection.state;
      if (status === 'closed') return reject(new ConnectionError('CLOSED', false, lastDisconnect));
      requests.ask(event, data, {
        timeoutMs,
        signal,
        again: idempotent,
        value: resolve as (value: unknown) => void, // because the server's types are given by S
        done: resolve as () => void, // because a stream without a value ends so
        failed: reject,
      });
    });
  };
  const channels = createChannels(settings, connection, (event, data, idempotent) =>
    request(event, data, { idempotent }),
  );

  return {
    get state() {
      return connection.state;
    },
    connect: () =>
      new Promise((resolve, reject) => {
        connection.start();
        const look = (): void => {
          const { status, session, lastDisconnect } = connection.state; // another listener may have changed it
          if (status === 'open') resolve(session);
          else if (status === 'closed') reject(new ConnectionError('CLOSED', false, lastDisconnect));
          else return;
          off();
        };
        const off = states.on(STATE, look);
        look();
      }),
    request: request as GatewayClient<S>['request'], // because the server's types are given by S
    stream(event, ...[data, streamOptions]) {
      connection.begin();
      return stream(requests, event, data as never, streamOptions as never); // because the server's types are given by S
    },
    send(event, data) {
      return connection.link?.send({ event, data }) === true;
    },
    on: pushes.on as GatewayClient<S>['on'], // because the server's types are given by S
    channel: channels.channel as GatewayClient<S>['channel'], // because the application gives the types
    subscribe: (listener) => states.on(STATE, listener),
    retryNow: connection.retryNow,
    authenticate: () => connection.authenticate('connect'),
    reconnect: connection.reconnect,
    close: connection.close,
    retain() {
      stopRelease();
      if (++holders === 1) connection.start();
      let isHeld = true;
      return () => {
        if (!isHeld) return;
        isHeld = false;
        if (--holders === 0) stopRelease = settings.after(RELEASE_MS, connection.close);
      };
    },
  };
}
