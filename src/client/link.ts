import type { DisconnectData, ExceptionData } from '../protocol/message.js';
import { BEARER_SUBPROTOCOL, SUBPROTOCOL } from '../protocol/message.js';
import { disconnectOf, ended } from './backoff.js';
import { GatewayException, isConnectionError } from './errors.js';
import { nothing, trying } from './guards.js';
import { watch } from './liveness.js';
import type { Liveness } from './liveness.js';
import type { Settings } from './settings.js';
import { credentialsOf } from './tokens.js';
import type { Disconnect, Frame, Session, SocketLike } from './types.js';

/** How a request ends, or goes on. No code of the application is called in it, but what settles a promise. */
export interface Answer {
  /** True where values come until `done`. */
  readonly isStream?: boolean;
  /** The reply, or a value of a streamed one. */
  value(data: unknown): void;
  /** The end of a stream. */
  done?(): void;
  /** GatewayException, or ConnectionError when the connection ends. */
  failed(error: unknown): void;
}

/** What comes of an attempt. Nothing is called after `end()`. */
export interface LinkOwner {
  /** The socket is open, which proves nothing: the server accepts first and says no afterwards. */
  opening(credential: string | undefined): void;
  /** The server's first good answer. */
  opened(session: Session | null): void;
  /** A frame that answers nothing. */
  frame(frame: Frame): void;
  /** The attempt or the connection is over: to be ended by `end()`. */
  lost(disconnect: Disconnect): void;
}

/** One attempt, and the connection that comes of it. All that belongs to it ends with it. */
export interface Link {
  /** True where a frame can be written now. */
  isReady(): boolean;
  /** Without an answer. @returns false where nothing can be sent */
  send(frame: object): boolean;
  /** @param data as JSON, `''` for none @returns what gives the answer up, and cancels a stream */
  ask(event: string, data: string, answer: Answer, meta?: object): () => void;
  /** Asks whether the other side lives. */
  probe(): void;
  /** Teardown; what waits for an answer fails with this error. */
  end(error: Error): void;
}

/** `readyState` of an open socket. */
const OPEN = 1;
const WAKE_ANSWER_MS = 3_000;

/**
 * @param credential of this attempt: a token, a ticket, or undefined
 * @param nextId never the same twice, over all connections
 */
export function openLink(
  settings: Settings,
  credential: () => string | undefined | Promise<string | undefined>,
  nextId: () => number,
  on: LinkOwner,
): Link {
  const { url, auth, after, onFrame, guard } = settings;
  const { token, via } = credentialsOf(settings);
  const answers = new Map<unknown, Answer>();
  let isOver = false;
  let socket: SocketLike | undefined;
  let liveness: Liveness | undefined;
  /** The server's no to the credential, until its own disconnect says more. */
  let refusal: Disconnect | undefined;

  const lose = (disconnect: Disconnect): void => {
    if (!isOver) on.lost(disconnect);
  };
  const stopConnecting = after(settings.connectTimeoutMs, () => lose(ended('CONNECT_TIMEOUT')));

  const isReady = (): boolean => socket?.readyState === OPEN;
  const write = (text: string, shown = text): boolean => {
    if (!isReady()) return false;
    socket?.send(text);
    if (onFrame) guard(() => onFrame('out', JSON.parse(shown) as Frame)); // because a frame was written
    return true;
  };

  const ask: Link['ask'] = (event, data, answer, meta) => {
    const id = nextId();
    answers.set(id, answer);
    const head = JSON.stringify({ event, id, meta });
    const text = data === '' ? head : `${head.slice(0, -1)},"data":${data}}`;
    write(text, event === 'auth' ? head : text); // `onFrame` sees no token
    return () => {
      if (answers.delete(id) && answer.isStream) write(`{"event":"cancel","data":{"id":${id}}}`);
    };
  };

  const prove = (proof: string | undefined): void => {
    on.opening(proof);
    if (isOver) return;
    const isShown = token === undefined || via === 'subprotocol';
    const ping = (): void => void ask('ping', '', { value: nothing, failed: nothing }); // any frame is life
    liveness = watch(settings, ping, () => lose(ended('NO_PONG')));
    const event = !isShown ? 'auth' : auth === undefined ? 'ping' : 'session';
    ask(event, isShown ? '' : JSON.stringify({ token: proof }), {
      value(session) {
        stopConnecting();
        on.opened(session as Session | null); // because that is its form (PROTOCOL.md §2)
      },
      failed(error) {
        if (isOver) return;
        const { code, message, retryable, retryAfterMs } = error as GatewayException; // because a connection that ends is over
        refusal = { code, message, reconnect: retryable, retryAfterMs };
        socket?.close(1000);
      },
    });
  };

  const receive = (text: unknown): void => {
    liveness?.seen();
    const frame = parsed(text);
    if (!frame) return;
    if (onFrame) guard(() => onFrame('in', frame));
    const { event, data, id, done } = frame;
    const answer = answers.get(id);
    if (answer) {
      const isException = event === settings.exceptionEvent;
      if (isException || done || !answer.isStream) answers.delete(id);
      if (isException)
        answer.failed(new GatewayException(data as ExceptionData)); // because that is its form (PROTOCOL.md §3)
      else if (done) answer.done?.();
      else answer.value(data);
    } else if (id !== undefined)
      return; // of a request that was given up
    else if (event === 'disconnect')
      lose(data as DisconnectData); // because that is its form (PROTOCOL.md §3)
    else on.frame(frame);
  };

  /** Runs code of the application's; whatever it throws or rejects with ends the attempt. */
  const attempting = async <T>(code: string, task: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await task();
    } catch (error) {
      const { permanent, message = code } = (error ?? {}) as { permanent?: unknown; message?: unknown };
      lose({
        code: isConnectionError(error) ? error.code : code,
        message: String(message),
        reconnect: permanent !== true,
      });
      return undefined;
    }
  };

  const connect = async (): Promise<void> => {
    await undefined; // the owner has the link before code of the application is called
    if (isOver) return;
    const [address = '', proof] = await Promise.all([
      attempting('NO_URL', () => (typeof url === 'function' ? url() : url)),
      attempting('NO_TOKEN', credential),
    ]);
    if (isOver) return;
    const query =
      token !== undefined || proof === undefined
        ? ''
        : `${address.includes('?') ? '&' : '?'}ticket=${encodeURIComponent(proof)}`;
    await attempting('NO_SOCKET', () => {
      const own = (socket = settings.createSocket(
        address + query,
        via === 'subprotocol' ? [SUBPROTOCOL, BEARER_SUBPROTOCOL + proof] : [SUBPROTOCOL],
      ));
      own.onopen = () => prove(proof);
      own.onmessage = ({ data }: { data: unknown }) => receive(data);
      own.onclose = ({ code, reason }: { code: number; reason: string }) => lose(refusal ?? disconnectOf(code, reason));
      own.onerror = nothing; // a close follows
    });
  };
  void connect();

  return {
    isReady,
    send: (frame) => write(JSON.stringify(frame)),
    ask,
    probe: () => liveness?.probe(WAKE_ANSWER_MS),
    end(error) {
      isOver = true;
      stopConnecting();
      liveness?.stop();
      const dead = socket; // it can take minutes to close, so it is not waited for
      socket = undefined;
      if (dead) {
        dead.onopen = dead.onmessage = dead.onclose = null;
        guard(() => dead.close(1000)); // a socket of the application's own
      }
      const failed = [...answers.values()];
      answers.clear();
      for (const answer of failed) answer.failed(error);
    },
  };
}

/** Undefined for what is no frame of this protocol. */
function parsed(text: unknown): Frame | undefined {
  const frame = trying(() => JSON.parse(text as string) as Frame | null | undefined, nothing); // because anything but text fails
  return typeof frame?.event === 'string' ? frame : undefined;
}
