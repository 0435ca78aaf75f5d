import { connect as connectTcp } from 'node:net';
import type { NetConnectOpts, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import { WebSocket } from 'ws';
import type { ClientOptions } from 'ws';
import { GatewayException } from '../client/errors.js';
import { isJsonObject } from '../protocol/message.js';
import type { DisconnectData, ExceptionData, MessageId } from '../protocol/message.js';

/** What the server has sent: a frame of the protocol, whatever JSON another language of a path has, or else a text or bytes. */
export interface WsTestFrame {
  readonly event?: string;
  readonly data?: unknown;
  readonly id?: MessageId;
  readonly done?: boolean;
  /** Of a push to a channel. */
  readonly channel?: string;
  readonly offset?: number;
  /** A message that is no JSON object. */
  readonly text?: string;
  /** A binary message. */
  readonly bytes?: Buffer;
}

/** How a connection has ended. */
export interface WsTestClosed {
  /** The close code; 1005 where the close had none, 1006 where there was no close. */
  readonly code: number;
  readonly reason: string;
  /** What the server has said before it closed. */
  readonly disconnect?: DisconnectData;
}

/** A handshake that was refused. */
export interface WsTestRefusal {
  readonly status: number;
  /** The code of the body: `ORIGIN_FORBIDDEN`, for one. */
  readonly code: string | undefined;
  readonly message: string | undefined;
  /** The whole body, where it is a JSON object. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

export interface WsTestConnectOptions extends Omit<ClientOptions, 'createConnection'> {
  /** Offered in `Sec-WebSocket-Protocol`. @default none */
  readonly protocols?: readonly string[];
}

export interface WaitOptions {
  /** Real milliseconds after which the wait fails. @default 1_000 for a frame, 4_000 for an answer */
  readonly timeoutMs?: number;
}

const [FRAME_MS, ANSWER_MS] = [1_000, 4_000];

/** How many of the last frames the error of a wait that has failed shows, and how much of each. */
const [SHOWN, SHOWN_UNITS] = [5, 200];

interface Waiter {
  readonly what: string;
  readonly isMeant: (frame: WsTestFrame) => boolean;
  readonly take: (frame: WsTestFrame) => void;
  readonly fail: (error: Error) => void;
}

/**
 * A client that keeps every frame it is sent, so that a test can await the next one without missing any. Its connection does not keep the
 * process alive; what a test awaits does, for a bounded time.
 */
export class WsTestClient {
  /** The connection, for what this class has no method for. */
  readonly socket: WebSocket;
  /** Resolves when the connection has ended. */
  readonly closed: Promise<WsTestClosed>;
  readonly #frames: WsTestFrame[] = [];
  readonly #untaken: WsTestFrame[] = [];
  readonly #waiting = new Set<Waiter>();
  readonly #requests = new Map<MessageId, (frame: WsTestFrame) => void>();
  #asked = 0;
  #end: WsTestClosed | undefined;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data, isBinary) => this.#receive(frameOf(data as Buffer, isBinary))); // because ws gives Buffers
    socket.on('error', () => undefined); // a refused handshake is what connect() throws, a reset is in `closed`
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => {
        const last = this.#frames.findLast(({ event }) => event === 'disconnect');
        const end = { code, reason: reason.toString(), ...(last && { disconnect: last.data as DisconnectData }) }; // because its data is that
        this.#end = end;
        for (const waiter of this.#waiting) waiter.fail(this.#failure(waiter.what));
        resolve(end);
      });
    });
  }

  /**
   * Connects to any gateway.
   *
   * @param url `ws:`, `wss:` or `ws+unix:`
   * @throws WsRefusedError where the handshake is refused
   */
  static connect(url: string, { protocols = [], ...options }: WsTestConnectOptions = {}): Promise<WsTestClient> {
    let stream: Socket | undefined;
    const socket = new WebSocket(url, [...protocols], {
      perMessageDeflate: false,
      ...options,
      ...(!url.startsWith('ws+unix:') && {
        createConnection: (wanted: object) => (stream = connectTo(url, wanted)),
      }),
    });
    const client = new WsTestClient(socket);
    return new Promise((resolve, reject) => {
      socket.on('open', () => {
        stream?.unref();
        resolve(client);
      });
      socket.on('error', reject);
      socket.on('unexpected-response', (_, response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const { statusCode: status = 0, headers } = response;
          reject(new WsRefusedError(status, bodyOf(Buffer.concat(chunks).toString()), headers));
        });
      });
    });
  }

  /**
   * Sends a request with an `id`.
   *
   * @returns `data` of its reply
   * @throws GatewayException where the reply is an exception; Error when the connection ends, or nothing comes in time
   */
  async request<Reply = unknown>(
    event: string,
    data?: unknown,
    { timeoutMs = ANSWER_MS }: WaitOptions = {},
  ): Promise<Reply> {
    const id = this.#newId();
    const frame = await this.#await(
      `the answer to "${event}"`,
      (each) => each.id === id,
      timeoutMs,
      () => {
        this.send({ event, ...(data !== undefined && { data }), id });
      },
    );
    return answerOf(frame) as Reply; // because only the test knows its type
  }

  /**
   * Sends a request whose reply is a stream; `break` cancels it.
   *
   * @param options how long it waits for each value
   * @throws as {@link request}
   */
  async *stream<Value = unknown>(
    event: string,
    data?: unknown,
    { timeoutMs = ANSWER_MS }: WaitOptions = {},
  ): AsyncGenerator<Value, void, undefined> {
    const id = this.#newId();
    const values: WsTestFrame[] = [];
    let isDone = false;
    this.#requests.set(id, (frame) => {
      values.push(frame);
    });
    try {
      this.send({ event, ...(data !== undefined && { data }), id });
      for (;;) {
        const frame =
          values.shift() ?? (await this.#await(`a value of "${event}"`, (each) => each.id === id, timeoutMs));
        isDone = frame.done === true || frame.event === 'exception';
        if (frame.done === true) return;
        yield answerOf(frame) as Value; // because only the test knows its type
      }
    } finally {
      if (isDone) this.#requests.delete(id);
      else this.#cancel(id);
    }
  }

  /** Sends a frame: an object as JSON, a string or bytes as they are. */
  send(frame: object | string | Buffer): void {
    this.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
  }

  /**
   * The first frame that was not taken yet, and is no answer to `request()` or `stream()`.
   *
   * @param event only frames of this event; the others stay
   * @throws Error when the connection ends, or nothing comes in time; its message has the last frames
   */
  next(event?: string, { timeoutMs = FRAME_MS }: WaitOptions = {}): Promise<WsTestFrame> {
    const isMeant = (frame: WsTestFrame): boolean => event === undefined || frame.event === event;
    const at = this.#untaken.findIndex(isMeant);
    const [taken] = at === -1 ? [] : this.#untaken.splice(at, 1);
    if (taken !== undefined) return Promise.resolve(taken);
    return this.#await(event === undefined ? 'a frame' : `"${event}"`, isMeant, timeoutMs);
  }

  /** All frames that have come, taken or not, answers as well. @param event only those of this event */
  frames(event?: string): readonly WsTestFrame[] {
    return event === undefined ? this.#frames : this.#frames.filter((frame) => frame.event === event);
  }

  /** Frames that next() has not returned. */
  get untaken(): readonly WsTestFrame[] {
    return this.#untaken;
  }

  /**
   * A barrier instead of a sleep: the server has received what was sent before, and what it had sent by then is here. A handler that
   * answers later may still run.
   *
   * @throws Error when the connection ends meanwhile, or the server does not answer pings in time
   */
  async settled({ timeoutMs = FRAME_MS }: WaitOptions = {}): Promise<void> {
    // Twice: a pong may overtake the answers to what came in one piece with its ping.
    await this.#pong(timeoutMs);
    await this.#pong(timeoutMs);
  }

  /** Closes with 1000, and waits for the server's close. */
  close(code = 1_000): Promise<WsTestClosed> {
    this.socket.close(code);
    return this.closed;
  }

  /** Cuts the connection, as a network does. */
  terminate(): void {
    this.socket.terminate();
  }

  /** What comes until the end of the stream is for frames() alone. */
  #cancel(id: MessageId): void {
    this.#requests.set(id, ({ done, event }) => {
      if (done === true || event === 'exception') this.#requests.delete(id);
    });
    if (this.socket.readyState === WebSocket.OPEN) this.send({ event: 'cancel', data: { id } });
  }

  #newId(): string {
    return `test-${++this.#asked}`;
  }

  #receive(frame: WsTestFrame): void {
    this.#frames.push(frame);
    for (const waiter of this.#waiting) {
      if (waiter.isMeant(frame)) return waiter.take(frame);
    }
    const requested = frame.id !== undefined && this.#requests.get(frame.id);
    if (requested) requested(frame);
    else this.#untaken.push(frame);
  }

  #await(
    what: string,
    isMeant: Waiter['isMeant'],
    timeoutMs: number,
    begin: () => void = () => undefined,
  ): Promise<WsTestFrame> {
    return this.#bounded(what, timeoutMs, (take, fail) => {
      const waiter = { what, isMeant, take, fail };
      this.#waiting.add(waiter);
      begin();
      return () => this.#waiting.delete(waiter);
    });
  }

  #pong(timeoutMs: number): Promise<void> {
    return this.#bounded('a pong', timeoutMs, (take, fail) => {
      const closed = (): void => fail(this.#failure('a pong'));
      this.socket.once('pong', take).once('close', closed);
      this.socket.ping();
      return () => this.socket.off('pong', take).off('close', closed);
    });
  }

  /** @param listen returns what ends its listening */
  #bounded<T>(
    what: string,
    timeoutMs: number,
    listen: (take: (value: T) => void, fail: (error: Error) => void) => () => unknown,
  ): Promise<T> {
    if (this.#end !== undefined) return Promise.reject(this.#failure(what));
    return new Promise((resolve, reject) => {
      // It keeps the process alive, as the connection does not.
      const timer = setTimeout(() => fail(this.#failure(what, timeoutMs)), timeoutMs);
      let stop: () => unknown = () => undefined;
      const end = (): void => {
        clearTimeout(timer);
        stop();
      };
      const fail = (error: Error): void => {
        end();
        reject(error);
      };
      stop = listen((value) => {
        end();
        resolve(value);
      }, fail);
    });
  }

  #failure(what: string, timeoutMs?: number): Error {
    const { code, reason } = this.#end ?? {};
    const why =
      timeoutMs === undefined
        ? `The connection ended (${code} ${reason}) before ${what} came`
        : `Waited ${timeoutMs} ms for ${what}`;
    const last = this.#frames.slice(-SHOWN).map((frame) => JSON.stringify(frame).slice(0, SHOWN_UNITS));
    return new Error(`${why}. ${last.length === 0 ? 'No frame has come' : `The last frames: ${last.join(' ')}`}`);
  }
}

/** A handshake was refused. */
export class WsRefusedError extends Error implements WsTestRefusal {
  override readonly name = 'WsRefusedError';
  readonly code: string | undefined;

  constructor(
    readonly status: number,
    readonly body: WsTestRefusal['body'],
    readonly headers: WsTestRefusal['headers'],
  ) {
    const { code, message } = body;
    super([status, code, message].filter((part) => typeof part === 'string' || typeof part === 'number').join(' '));
    this.code = typeof code === 'string' ? code : undefined;
  }
}

/** A server under test is on this machine, with a certificate of its own making at best. */
function connectTo(url: string, wanted: object): Socket {
  // `path` is the request's here, and net would take it for a socket in the file system.
  const options = { ...wanted, path: undefined } as unknown as NetConnectOpts & ConnectionOptions; // because ws gives what net and tls take
  return url.startsWith('wss:')
    ? connectTls({ rejectUnauthorized: false, servername: '', ...options })
    : connectTcp(options);
}

function frameOf(data: Buffer, isBinary: boolean): WsTestFrame {
  if (isBinary) return { bytes: data };
  const text = data.toString();
  const value = parsed(text);
  if (Array.isArray(value)) return value as WsTestFrame; // because only the test knows the language of its path
  return isJsonObject(value) ? value : { text };
}

function bodyOf(text: string): Record<string, unknown> {
  const body = parsed(text);
  return isJsonObject(body) ? body : {};
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // no JSON: it is shown as text
  }
}

/** @throws GatewayException */
function answerOf({ event, data }: WsTestFrame): unknown {
  if (event === 'exception') throw new GatewayException(data as ExceptionData); // because an exception's data is that
  return data;
}
