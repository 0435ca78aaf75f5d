import { useEffect, useRef, useState, useSyncExternalStore } from 'react';
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
  const last = useRef(handler);
  useEffect(() => void (last.current = handler));
  useEffect(() => client.on(event, (data) => last.current(data)), [client, event]);
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
  const given = useRef(data);
  useEffect(() => void (given.current = data));
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
  }, [client, event, key, keep]);
  return state;
}
