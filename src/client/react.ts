import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import type { Channel, ChannelEvents, ChannelMessage, ChannelOptions } from './channel.js';
import type { GatewayClient } from './create-client.js';
import type { AnyGateway, ClientState, DataOf, PushName, ReplyOf, RequestName } from './types.js';

type Shape = { requests: object; pushes: object };

/** Of a page that a server renders: nothing is connected there. */
const ON_THE_SERVER: ClientState = Object.freeze({ status: 'idle', attempt: 0 });

/** Holds the client open while the component is shown, also under StrictMode by one socket. @returns its state */
export function useGateway<S extends Shape = AnyGateway>(client: GatewayClient<S>): ClientState {
  useEffect(() => client.retain(), [client]);
  return useSyncExternalStore(
    client.subscribe,
    () => client.state,
    () => ON_THE_SERVER,
  );
}

/** Calls the handler of the last render for each push, over all connections. */
export function usePush<S extends Shape, E extends PushName<S>>(
  client: GatewayClient<S>,
  event: E,
  handler: (data: S['pushes'][E]) => void,
): void {
  const last = useLatest(handler);
  useEffect(() => client.on(event, (data) => last.current(data)), [client, event, last]);
}

/** By event: what is done with its messages, and with what the server says of the channel itself. */
export type ChannelHandlers<Events extends object> = {
  readonly [E in keyof (Events & ChannelEvents) & string]?: (
    data: (Events & ChannelEvents)[E],
    message: ChannelMessage,
  ) => void;
};

/** Listens to a channel while the component is shown, with the handlers of the last render. @returns it, to publish in */
export function useChannel<Events extends object = Record<string, unknown>, S extends Shape = AnyGateway>(
  client: GatewayClient<S>,
  name: string,
  handlers: ChannelHandlers<Events>,
  options?: ChannelOptions,
): Channel<Events> {
  const last = useLatest(handlers);
  const given = useRef(options);
  const channel = useMemo(() => client.channel<Events>(name, given.current), [client, name]);
  const events = JSON.stringify(Object.keys(handlers));
  useEffect(() => {
    const ends = (JSON.parse(events) as (keyof typeof handlers)[]).map(
      (event) => channel.on(event, (data, message) => last.current[event]?.(data as never, message)), // because it is the data of that event
    );
    return () => ends.forEach((end) => end());
  }, [channel, events, last]);
  return channel;
}

/** What the last render gave. */
function useLatest<T>(value: T): { readonly current: T } {
  const last = useRef(value);
  useEffect(() => void (last.current = value));
  return last;
}

export interface StreamState<Value> {
  /** The newest last; as many as `keep`. */
  readonly values: readonly Value[];
  readonly status: 'running' | 'done' | 'failed';
  readonly error?: unknown;
}

/** The values of a streamed reply; asked anew when client, event or data change, cancelled when the component goes. */
export function useStream<S extends Shape, E extends RequestName<S>>(
  client: GatewayClient<S>,
  event: E,
  data: DataOf<S, E>,
  { keep = 100 }: { keep?: number } = {},
): StreamState<ReplyOf<S, E>> {
  const [state, setState] = useState<StreamState<ReplyOf<S, E>>>({ values: [], status: 'running' });
  const key = JSON.stringify(data);
  const given = useLatest(data);
  useEffect(() => {
    setState({ values: [], status: 'running' });
    const abort = new AbortController();
    const read = async (): Promise<void> => {
      const values = client.stream(event, ...([given.current, { signal: abort.signal }] as never)); // because the data is of the event
      for await (const value of values) {
        setState(({ values: before }) => ({ values: [...before, value].slice(-keep), status: 'running' }));
      }
    };
    read().then(
      () => setState((before) => ({ ...before, status: 'done' })),
      (error: unknown) => {
        if (!abort.signal.aborted) setState((before) => ({ ...before, status: 'failed', error }));
      },
    );
    return () => abort.abort();
  }, [client, event, key, keep, given]);
  return state;
}
