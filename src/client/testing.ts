import type { DisconnectData, ExceptionData } from '../protocol/message.js';
import { isException } from './errors.js';
import type { AnyGateway, DataOf, Frame, PushName, ReplyOf, RequestName, Session, SocketLike } from './types.js';

type Shape = { requests: object; pushes: object };

/** By event: the reply, a promise of it, or for a stream its values. What it throws is the exception that the client gets. */
export type MockHandlers<S extends Shape> = {
  readonly [E in RequestName<S>]?: (
    data: DataOf<S, E>,
  ) => ReplyOf<S, E> | Promise<ReplyOf<S, E>> | AsyncIterable<ReplyOf<S, E>>;
};

/** A gateway in memory, for the tests of a front end. */
export interface MockGateway<S extends Shape = AnyGateway> {
  /** For the client's option of that name. */
  readonly createSocket: (url: string, protocols: string[]) => SocketLike;
  /** What clients have sent, the first first. */
  readonly received: readonly Frame[];
  /** Sockets that are open. */
  readonly connections: number;
  push<E extends PushName<S>>(event: E, data: S['pushes'][E]): void;
  /** To the subscribers of a channel. All channels may be subscribed to, and have a history without an end. */
  publish(channel: string, event: string, data: unknown): void;
  /** Connections break without a word; new ones are taken. */
  drop(): void;
  /** Nothing is answered any more, though connections stay open, until `speak()`. */
  goSilent(): void;
  speak(): void;
  /** Ends all with TOKEN_EXPIRED: the client asks for a fresh token. */
  expire(): void;
  /** Ends all by this, and all that connect later, until `accept()`. */
  refuse(disconnect: Partial<DisconnectData> & Pick<DisconnectData, 'code'>): void;
  accept(): void;
}

const OPEN = 1;
/** Of the histories of channels. */
const EPOCH = 'mock';
const CLOSED = 3;

/** One end of a connection that has no other process behind it. What is sent arrives in a later microtask, as over a network. */
class MockSocket implements SocketLike {
  readyState = 0;
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  readonly cancelled = new Set<unknown>();
  readonly channels = new Set<string>();

  constructor(
    private readonly onText: (text: string, socket: MockSocket) => void,
    private readonly onEnd: (socket: MockSocket) => void,
  ) {
    queueMicrotask(() => {
      if (this.readyState === CLOSED) return;
      this.readyState = OPEN;
      this.onopen?.({} as never); // because the client does not read it
    });
  }

  send(text: string): void {
    queueMicrotask(() => this.onText(text, this));
  }

  close(code = 1005, reason = ''): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.onEnd(this);
    queueMicrotask(() => this.onclose?.({ code, reason } as never)); // because it is all that the client reads
  }

  deliver(frame: object): void {
    if (this.readyState === OPEN) this.onmessage?.({ data: JSON.stringify(frame) } as never); // because it is all that the client reads
  }
}

/** A gateway that answers with these handlers. @param session who its clients are */
export function createMockGateway<S extends Shape = AnyGateway>(
  handlers: MockHandlers<S>,
  session: Partial<Session> = {},
): MockGateway<S> {
  const who: Session = { sessionId: 'mock', subject: 'ada', expiresAt: Date.now() + 3_600_000, ...session };
  const sockets = new Set<MockSocket>();
  const received: Frame[] = [];
  /** By channel, the pushes of its history, the first first. */
  const histories = new Map<string, { event: string; data: unknown }[]>();
  let isSilent = false;
  let refusal: DisconnectData | undefined;

  const end = (socket: MockSocket, data: DisconnectData): void => {
    socket.deliver({ event: 'disconnect', data });
    socket.close(data.closeCode, data.code);
  };

  const historyOf = (channel: string): { event: string; data: unknown }[] => {
    const history = histories.get(channel) ?? [];
    histories.set(channel, history);
    return history;
  };

  const publish = (channel: string, event: string, data: unknown): void => {
    const offset = historyOf(channel).push({ event, data });
    if (isSilent) return;
    for (const socket of sockets) {
      if (socket.channels.has(channel)) socket.deliver({ event, data, channel, offset });
    }
  };

  const subscribe = (socket: MockSocket, { data, id }: Frame): void => {
    const { channels } = data as { channels: { channel: string; since?: { offset: number } }[] }; // because our own client has written it
    const answers = channels.map(({ channel, since }) => {
      const { length: offset } = historyOf(channel);
      const position = { channel, epoch: EPOCH, offset };
      return since === undefined ? position : { ...position, recovered: true, replayed: offset - since.offset };
    });
    socket.deliver({ event: 'subscribe', data: { channels: answers }, id });
    for (const { channel, since } of channels) {
      socket.channels.add(channel);
      historyOf(channel).forEach((push, index) => {
        if (since !== undefined && index >= since.offset) socket.deliver({ ...push, channel, offset: index + 1 });
      });
    }
  };

  /** What clients do with channels. @returns false for an event that is none of theirs */
  const onChannel = (socket: MockSocket, frame: Frame): boolean => {
    const { event, id } = frame;
    const { channel = '', ...data } = (frame.data ?? {}) as { channel?: string; event?: string; data?: unknown };
    if (event === 'subscribe') subscribe(socket, frame);
    else if (event === 'unsubscribe') socket.channels.delete(channel);
    else if (event === 'publish') {
      publish(channel, data.event ?? 'publication', data.data ?? null);
      socket.deliver({ event, data: { channel, epoch: EPOCH, offset: historyOf(channel).length }, id });
    } else if (event === 'presence') {
      const sessions = [...sockets].filter(({ channels }) => channels.has(channel)).length;
      socket.deliver({
        event,
        data: { channel, count: { sessions, subjects: Math.min(1, sessions) }, members: [] },
        id,
      });
    } else return false;
    return true;
  };

  const answer = async (socket: MockSocket, { event, data, id }: Frame): Promise<void> => {
    const handler = Object.hasOwn(handlers, event)
      ? (handlers as Record<string, ((data: unknown) => unknown) | undefined>)[event] // because it has it
      : undefined;
    if (handler === undefined) throw failure('UNKNOWN_EVENT');
    const reply = await handler(data);
    if (!isAsyncIterable(reply)) return socket.deliver({ event, data: reply ?? null, id });
    for await (const value of reply) {
      if (socket.cancelled.has(id)) break;
      socket.deliver({ event, data: value, id });
    }
    socket.deliver({ event, id, done: true });
  };

  const onText = (text: string, socket: MockSocket): void => {
    const frame = JSON.parse(text) as Frame; // because our own client has written it
    received.push(frame);
    const { event, data, id } = frame;
    if (isSilent || !sockets.has(socket)) return;
    if (refusal !== undefined) return end(socket, refusal);
    if (event === 'ping') return socket.deliver({ event: 'pong', data: null, id });
    if (event === 'auth' || event === 'session') return socket.deliver({ event, data: who, id });
    if (event === 'cancel') return void socket.cancelled.add((data as { id: unknown }).id);
    if (!Object.hasOwn(handlers, event) && onChannel(socket, frame)) return;
    answer(socket, frame).catch((error: unknown) => {
      socket.deliver({ event: 'exception', data: exceptionOf(error), id });
    });
  };

  return {
    createSocket() {
      const socket = new MockSocket(onText, (closed) => sockets.delete(closed));
      sockets.add(socket);
      return socket;
    },
    received,
    get connections() {
      return sockets.size;
    },
    push(event, data) {
      if (!isSilent) for (const socket of sockets) socket.deliver({ event, data });
    },
    publish,
    drop() {
      for (const socket of sockets) socket.close(1006);
    },
    goSilent: () => void (isSilent = true),
    speak: () => void (isSilent = false),
    expire() {
      const data = { code: 'TOKEN_EXPIRED', message: 'The token has expired', closeCode: 4101, reconnect: true };
      for (const socket of sockets) end(socket, data);
    },
    refuse(disconnect) {
      refusal = { message: disconnect.code, closeCode: 4400, reconnect: false, ...disconnect };
      for (const socket of sockets) end(socket, refusal);
    },
    accept: () => void (refusal = undefined),
  };
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof (value as Partial<AsyncIterable<unknown>> | null | undefined)?.[Symbol.asyncIterator] === 'function';
}

function failure(code: string): ExceptionData {
  return { status: 'error', code, message: code, retryable: false };
}

/** What a handler throws: a GatewayException, an object with a code, or anything else, which is INTERNAL. */
function exceptionOf(error: unknown): ExceptionData {
  const { code, message, retryable, retryAfterMs, details } = (error ?? {}) as Partial<ExceptionData>;
  if (typeof code !== 'string' && !isException(error)) return failure('INTERNAL');
  return {
    ...failure(String(code)),
    ...(message !== undefined && { message }),
    ...(retryable !== undefined && { retryable }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(details !== undefined && { details }),
  };
}
