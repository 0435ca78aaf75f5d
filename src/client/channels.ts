import type { Channel, ChannelEvents, ChannelMessage, ChannelOptions, Gap, Position } from './channel.js';
import type { Connection } from './connection.js';
import { createEmitter } from './emitter.js';
import type { Emitter } from './emitter.js';
import { ConnectionError, GatewayException, isException } from './errors.js';
import { nothing } from './guards.js';
import type { Settings } from './settings.js';
import type { Disconnect, Frame } from './types.js';
import { readable } from './values.js';

/** What all listeners of one channel share. */
interface Subscription {
  readonly name: string;
  readonly listeners: Emitter<[data: never, message: ChannelMessage]>;
  count: number;
  position: Position | undefined;
  /** On this connection. */
  phase: 'missing' | 'asked' | 'subscribed' | 'refused';
}

/** The answer to one channel of a `subscribe` (PROTOCOL.md §5). */
interface Subscribed extends Partial<Position> {
  readonly recovered?: boolean;
  readonly replayed?: number;
  readonly reason?: Gap['reason'];
  readonly error?: Refusal;
}

type Refusal = Pick<GatewayException, 'code' | 'message' | 'retryable'> & {
  readonly retryAfterMs?: number | undefined;
};

export interface Channels {
  channel(name: string, options?: ChannelOptions): Channel;
  /** @returns true where a listener of a channel has got it */
  receive(frame: Frame): boolean;
  /** Subscribes to all of them. */
  opened(): void;
  lost(disconnect: Disconnect, isFinal: boolean): void;
}

/** Channels in one frame. */
const MAX_BATCH = 100;
/** Spread of what is tried again, in milliseconds. */
const RETRY_MS = 5_000;
/** Event of listeners that get all. */
const ALL = '';

/** @param request as the client's: event, data, idempotent */
export function createChannels(
  { guard, after, random }: Settings,
  connection: Connection,
  request: (event: string, data: object, idempotent: boolean) => Promise<never>,
): Channels {
  const subscriptions = new Map<string, Subscription>();
  /** End the readers. */
  const readers = new Set<(error: unknown) => void>();
  let isPlanned = false;
  let stopRetry: () => void = nothing;

  const emit = ({ listeners }: Subscription, event: string, data: unknown, offset?: number): void => {
    const message = { event, data, offset };
    for (const name of [event, ALL]) listeners.emit(name, data as never, message); // because the types are given by the application
  };

  const refuse = (subscription: Subscription, { code, message, retryable, retryAfterMs = 0 }: Refusal): void => {
    subscription.phase = retryable ? 'missing' : 'refused';
    if (retryable) {
      stopRetry();
      stopRetry = after(retryAfterMs + random() * RETRY_MS, subscribe);
    }
    emit(subscription, 'unsubscribed', { code, message, resubscribe: retryable });
  };

  const answered = (subscription: Subscription, answer: Subscribed): void => {
    const { error, epoch, offset = 0, recovered, replayed = 0, reason } = answer;
    if (error) return refuse(subscription, error);
    subscription.phase = 'subscribed';
    subscription.position = epoch === undefined ? epoch : { epoch, offset: offset - replayed };
    if (recovered === false) emit(subscription, 'gap', { ...subscription.position, reason, reloadAfterMs: 0 });
  };

  const subscribe = (): void => {
    const missing = [...subscriptions.values()].filter(({ phase }) => phase === 'missing').slice(0, MAX_BATCH);
    const { link } = connection;
    if (missing.length === 0 || !link) return;
    const channels = missing.map((subscription) => {
      subscription.phase = 'asked';
      return { channel: subscription.name, since: subscription.position };
    });
    const each = (of: (index: number) => Subscribed): void =>
      missing.forEach((subscription, index) => {
        if (subscription.phase === 'asked') answered(subscription, of(index));
      });
    link.ask('subscribe', JSON.stringify({ channels }), {
      value: (data) => each((index) => (data as { channels: Subscribed[] }).channels[index] ?? {}), // because that is its form (PROTOCOL.md §5)
      failed(error) {
        if (isException(error)) each(() => ({ error }));
      },
    });
    subscribe();
  };

  /** Listeners come and go by the dozen in one turn: a frame is sent for what is left of it. */
  const plan = (): void => {
    if (isPlanned) return;
    isPlanned = true;
    void Promise.resolve().then(() => {
      isPlanned = false;
      for (const [name, { count, phase }] of subscriptions) {
        if (count > 0) continue;
        subscriptions.delete(name);
        if (phase !== 'missing') connection.link?.send({ event: 'unsubscribe', data: { channel: name } });
      }
      subscribe();
    });
  };

  const join = (name: string, position: Position | undefined): Subscription => {
    let subscription = subscriptions.get(name);
    if (!subscription) {
      subscription = { name, listeners: createEmitter(guard), count: 0, position, phase: 'missing' };
      subscriptions.set(name, subscription);
    }
    if (subscription.phase === 'refused') subscription.phase = 'missing'; // the rights may be others by now
    subscription.count++;
    connection.begin();
    plan();
    return subscription;
  };

  const channel: Channels['channel'] = (name, { since } = {}) => {
    let position = since;
    const leaves = new Set<() => void>();

    const listen = (event: string, listener: (data: never, message: ChannelMessage) => void, left?: () => void) => {
      const subscription = join(name, position);
      const off = subscription.listeners.on(event, listener);
      const leave = (): void => {
        if (!leaves.delete(leave)) return;
        off();
        position = subscription.position;
        subscription.count--;
        plan();
        left?.();
      };
      leaves.add(leave);
      return leave;
    };

    return {
      name,
      get position() {
        return subscriptions.get(name)?.position ?? position;
      },
      on: listen,
      [Symbol.asyncIterator]: () =>
        readable((sink) => {
          const end = (error: unknown): void => {
            sink.failed(error);
            leave();
          };
          const read = (data: ChannelEvents['unsubscribed'], message: ChannelMessage): void => {
            if (message.event === 'unsubscribed' && !data.resubscribe)
              end(new GatewayException({ ...data, retryable: false }));
            else sink.value(message);
          };
          const leave = listen(ALL, read as never, () => {
            readers.delete(end);
            sink.done();
          });
          readers.add(end);
          const { status, lastDisconnect } = connection.state;
          if (status === 'closed') end(new ConnectionError('CLOSED', false, lastDisconnect));
          return leave;
        }),
      publish: (event, data, options) =>
        request('publish', { channel: name, event, data, ...options }, options?.key !== undefined),
      presence: (page) => request('presence', { channel: name, ...page }, true),
      close() {
        for (const leave of leaves) leave();
      },
    };
  };

  return {
    channel,
    receive({ channel: name = '', event, data, offset }) {
      const subscription = subscriptions.get(name);
      if (subscription?.phase !== 'subscribed') return false;
      const { position } = subscription;
      if (event === 'unsubscribed') {
        const { resubscribe, ...refusal } = data as ChannelEvents['unsubscribed']; // because that is its form (PROTOCOL.md §5)
        refuse(subscription, { ...refusal, retryable: resubscribe });
        return true;
      }
      if (event === 'gap') {
        const { epoch, offset: top } = data as Position; // because that is its form (PROTOCOL.md §5)
        subscription.position = { epoch, offset: top };
      } else if (offset !== undefined && position) {
        if (offset <= position.offset) return true; // it has been here already
        subscription.position = { ...position, offset };
      }
      emit(subscription, event, data, offset);
      return true;
    },
    opened: subscribe,
    lost(disconnect, isFinal) {
      stopRetry();
      for (const subscription of subscriptions.values()) subscription.phase = 'missing';
      if (isFinal) for (const end of readers) end(new ConnectionError('CLOSED', false, disconnect));
    },
  };
}
