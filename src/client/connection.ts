import type { DisconnectData, ExceptionData } from '../protocol/message.js';
import { BEARER_SUBPROTOCOL, isJsonObject, SUBPROTOCOL } from '../protocol/message.js';
import { disconnectOf, pauseBefore } from './backoff.js';
import { ConnectionError, GatewayException, isConnectionError } from './errors.js';
import { Liveness } from './liveness.js';
import type { Settings } from './settings.js';
import type { ClientState, Disconnect, Frame, Session, SocketLike, TokenReason } from './types.js';

/** What the connection tells. Only `onOpen`, `onFrame` and `onState` may call code of the application. */
export interface ConnectionOwner {
  /** The server has answered well: requests may be sent. */
  onOpen(): void;
  /** A frame that is none of the connection's own. */
  onFrame(frame: Frame): void;
  /** Settles what waits for an answer. @param isFinal true when the client does not come back by itself */
  onLost(disconnect: Disconnect, isFinal: boolean): void;
  onState(state: ClientState): void;
}

type Waiter = { answered(data: unknown): void; failed(error: unknown): void };

/** `readyState` of an open socket. */
const OPEN = 1;
/** Longest pause of a client that hurries: the network is back, or the page is shown again. */
const HURRY_MS = 300;
const WAKE_ANSWER_MS = 3_000;
const ATTEMPTS_UNTIL_HINT = 3;
const REFRESH_RETRY_MS: readonly number[] = [1_000, 2_000, 4_000];

/** Why the client itself ends a connection. It has no words of its own: a page says it in its language. */
const ended = (code: string, reconnect = true): Disconnect => ({ code, message: code, reconnect });

/**
 * One connection after the other, of which at most one lives. Each attempt has a generation, and what comes from an older one is
 * dropped. An accepted upgrade proves nothing, so a connection is open when the server has given its first good answer.
 */
export class Connection {
  #state: ClientState = { status: 'idle', attempt: 0 };
  #generation = 0;
  #socket: SocketLike | undefined;
  /** Of the attempt that goes on, or the pause before the next. */
  #timer: unknown;
  #stableTimer: unknown;
  #refreshTimer: unknown;
  /** Monotonic: the server does not want to see us earlier. */
  #notBefore = 0;
  #neverOpened = 0;
  #reason: TokenReason = 'connect';
  #fetching: Promise<string> | undefined;
  #token: string | undefined;
  #expiredToken: string | undefined;
  #goodbye: Disconnect | undefined;
  #waiters = new Map<number, Waiter>();
  #nextId = 1;
  #isOffline = false;
  #isHidden = false;
  #isSuspended = false;
  #endSignals: (() => void) | undefined;
  readonly #liveness: Liveness;

  constructor(
    private readonly settings: Settings,
    private readonly owner: ConnectionOwner,
  ) {
    this.#liveness = new Liveness(
      settings,
      () => this.ask('ping').catch(() => undefined), // any answer will do, and none is what the probe is about
      () => this.#lose(ended('NO_PONG')),
    );
  }

  get state(): ClientState {
    return this.#state;
  }

  get isOpen(): boolean {
    return this.#state.status === 'open';
  }

  /** Begins, where nothing goes on yet; also after an end. */
  start(): void {
    if (this.#state.status !== 'idle' && this.#state.status !== 'closed') return;
    this.#reason = 'connect';
    this.#neverOpened = 0;
    this.#notBefore = 0;
    this.#expiredToken = undefined;
    this.#set({ status: 'connecting', attempt: 0 });
    if (this.state.status !== 'connecting' || this.#endSignals !== undefined) return; // a listener has closed it again
    this.#endSignals = this.settings.signals({
      online: () => this.#onNetwork(false),
      offline: () => this.#onNetwork(true),
      visible: () => this.#onVisible(),
      hidden: () => void (this.#isHidden = true),
      suspend: () => this.#onSuspend(),
      resume: () => this.#onResume(),
    });
    this.#attempt(0);
  }

  /** Ends for good: until `start()`. */
  close(): void {
    if (this.#state.status === 'idle') return this.#set({ ...this.#state, status: 'closed' });
    if (this.#state.status !== 'closed') this.#lose(ended('CLOSED', false));
  }

  /** Tries at once, unless the server has asked for a pause that is not over. */
  retryNow(): void {
    if (this.#state.status !== 'waiting' || this.#isSuspended) return;
    const pause = Math.max(this.settings.random() * HURRY_MS, this.#notBefore - this.settings.clock.now());
    this.#wait(pause, 0);
  }

  /** A new connection in place of the one there is. */
  reconnect(): void {
    if (this.#socket !== undefined || this.#state.status === 'connecting') {
      this.#lose(ended('RECONNECT'));
    }
    if (this.#state.status === 'waiting') this.retryNow();
    else this.start();
  }

  /** Shows the server a new token, in place. @throws what the token function throws, GatewayException data as an error */
  async authenticate(reason: TokenReason): Promise<Session> {
    const generation = this.#generation;
    const token = await this.#fetchToken(reason);
    if (generation !== this.#generation || !this.isOpen) throw new ConnectionError('NOT_CONNECTED', false);
    const session = (await this.ask('auth', { token })) as Session;
    if (generation === this.#generation) this.#onSession(token, session);
    return session;
  }

  /** Never used twice, over all connections. */
  nextId(): number {
    return this.#nextId++;
  }

  /** @param shown what `onFrame` gets of it @returns false where nothing can be sent */
  send(text: string, shown: () => Frame): boolean {
    if (this.#socket === undefined || this.#socket.readyState !== OPEN) return false;
    this.#socket.send(text);
    this.settings.onFrame?.('out', shown());
    return true;
  }

  /** A request of the client's own, before the connection is open or beside those of the application. */
  ask(event: string, data?: { token: string }): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = this.nextId();
      this.#waiters.set(id, { answered: resolve, failed: reject });
      const shown = { event, id };
      if (!this.send(JSON.stringify({ ...shown, data }), () => shown))
        reject(new ConnectionError('NOT_CONNECTED', false));
    });
  }

  #set(state: ClientState): void {
    this.#state = Object.freeze(state);
    this.owner.onState(this.#state);
  }

  // --- attempts

  #wait(pauseMs: number, attempt: number): void {
    this.#set(this.#waiting(this.#state, pauseMs, attempt));
  }

  /** Sets the timer of the next attempt, none where it waits for an event. @returns the state meanwhile */
  #waiting(before: ClientState, pauseMs: number, attempt: number): ClientState {
    const { retryAt: _, ...state } = before;
    const { clock } = this.settings;
    clock.clearTimeout(this.#timer);
    const isPaused = pauseMs === Infinity;
    this.#timer = isPaused ? undefined : clock.setTimeout(() => this.#attempt(attempt), pauseMs);
    return { ...state, status: 'waiting', attempt, ...(!isPaused && { retryAt: clock.timeOfDay() + pauseMs }) };
  }

  #attempt(attempt: number): void {
    const generation = ++this.#generation;
    const { clock, connectTimeoutMs } = this.settings;
    clock.clearTimeout(this.#timer);
    this.#timer = clock.setTimeout(() => this.#lose(ended('CONNECT_TIMEOUT')), connectTimeoutMs);
    const { retryAt: _, session: __, ...state } = this.#state;
    this.#set({ ...state, status: 'connecting', attempt });
    if (generation !== this.#generation) return;
    this.#connect(generation).catch((error: unknown) => {
      if (generation === this.#generation) this.#lose((error as FailedAttempt).disconnect); // because #connect() throws no other
    });
  }

  async #connect(generation: number): Promise<void> {
    const { url, auth, createSocket } = this.settings;
    const hasToken = typeof auth === 'object' && 'token' in auth;
    const [address, credential] = await Promise.all([
      attempting('NO_URL', () => (typeof url === 'function' ? url() : url)),
      attempting('NO_TOKEN', () =>
        hasToken ? this.#fetchToken(this.#reason) : typeof auth === 'object' ? auth.ticket() : undefined,
      ),
    ]);
    if (generation !== this.#generation) return;
    if (hasToken) this.#token = credential;
    const inSubprotocol = hasToken && auth.via === 'subprotocol';
    const query = !hasToken && credential !== undefined ? `ticket=${encodeURIComponent(credential)}` : undefined;
    const protocols = inSubprotocol ? [SUBPROTOCOL, BEARER_SUBPROTOCOL + credential] : [SUBPROTOCOL];
    let socket: SocketLike;
    try {
      socket = createSocket(withQuery(address, query), protocols);
    } catch (error) {
      throw new FailedAttempt('NO_SOCKET', error);
    }
    this.#socket = socket;
    const ifCurrent =
      <E>(task: (event: E) => void) =>
      (event: E): void => {
        if (generation === this.#generation) task(event);
      };
    socket.onopen = ifCurrent(() => this.#prove(generation, inSubprotocol || !hasToken ? undefined : credential));
    socket.onmessage = ifCurrent(({ data }: { data: unknown }) => this.#receive(data));
    socket.onclose = ifCurrent(({ code, reason }: { code: number; reason: string }) => {
      this.#lose(this.#goodbye ?? disconnectOf(code, reason));
    });
    socket.onerror = () => undefined; // a close follows
  }

  /** The server accepts first and says no afterwards, so it is asked something. */
  #prove(generation: number, token: string | undefined): void {
    this.#set({ ...this.#state, status: 'opening' });
    if (generation !== this.#generation) return;
    this.#liveness.start();
    const { auth } = this.settings;
    const asked = token !== undefined ? this.ask('auth', { token }) : this.ask(auth === undefined ? 'ping' : 'session');
    asked.then(
      (session) => {
        if (generation === this.#generation) this.#opened(session as Session | null); // because that is its form (PROTOCOL.md §2)
      },
      (error: Partial<ExceptionData>) => {
        if (generation !== this.#generation) return;
        const { code = 'CONNECTION_LOST', message = '', retryable = true, retryAfterMs } = error;
        this.#goodbye = { code, message, reconnect: retryable, ...(retryAfterMs !== undefined && { retryAfterMs }) };
        this.#socket?.close(1000); // the server's own disconnect, which comes behind it, says more
      },
    );
  }

  #opened(session: Session | null): void {
    const { clock, stableMs } = this.settings;
    clock.clearTimeout(this.#timer);
    this.#neverOpened = 0;
    this.#notBefore = 0;
    this.#reason = 'reconnect';
    this.#stableTimer = clock.setTimeout(() => this.#set({ ...this.#state, attempt: 0 }), stableMs);
    const { hint: _, lastDisconnect: __, ...state } = this.#state;
    const generation = this.#generation;
    this.#set({ ...state, status: 'open', ...(session !== null && { session }) });
    if (generation === this.#generation) this.owner.onOpen();
  }

  #onSession(token: string, session: Session): void {
    this.#token = token;
    this.#set({ ...this.#state, session });
  }

  // --- frames

  #receive(text: unknown): void {
    this.#liveness.seen();
    const frame = typeof text === 'string' ? parsed(text) : undefined;
    if (frame === undefined) return; // not of this protocol
    this.settings.onFrame?.('in', frame);
    const { event, data, id } = frame;
    const waiter = typeof id === 'number' ? this.#waiters.get(id) : undefined;
    if (waiter !== undefined) {
      this.#waiters.delete(id as number); // because a waiter was found by it
      if (event === this.settings.exceptionEvent)
        waiter.failed(new GatewayException(data as ExceptionData)); // because that is its form (PROTOCOL.md §3)
      else waiter.answered(data);
    } else if (event === 'disconnect' && id === undefined && isJsonObject(data)) {
      this.#lose(data as unknown as DisconnectData); // because the server writes it so (PROTOCOL.md §3)
    } else {
      if (event === 'auth.expiring' && isJsonObject(data)) this.#refresh(Number(data.expiresAt), 0);
      this.owner.onFrame(frame);
    }
  }

  // --- tokens

  /** One fetch at a time; a second caller shares it. */
  #fetchToken(reason: TokenReason): Promise<string> {
    const { auth } = this.settings;
    if (typeof auth !== 'object' || !('token' in auth))
      return Promise.reject(new TypeError('This client has no token'));
    this.#fetching ??= (async () => auth.token({ reason }))()
      .then((token) => {
        if (token !== this.#expiredToken) return token;
        throw new ConnectionError('SAME_TOKEN', false);
      })
      .finally(() => (this.#fetching = undefined));
    return this.#fetching;
  }

  /** A failed fetch is tried again while the token lives; afterwards the server's TOKEN_EXPIRED does the rest. */
  #refresh(expiresAt: number, attempt: number): void {
    if (typeof this.settings.auth !== 'object' || !('token' in this.settings.auth)) return;
    const generation = this.#generation;
    this.authenticate('expiring').catch(() => {
      const { clock } = this.settings;
      if (generation !== this.#generation || clock.timeOfDay() >= expiresAt) return;
      const pause = REFRESH_RETRY_MS[Math.min(attempt, REFRESH_RETRY_MS.length - 1)];
      this.#refreshTimer = clock.setTimeout(() => this.#refresh(expiresAt, attempt + 1), pause ?? 0);
    });
  }

  // --- ends

  /** The only end of an attempt or a connection. Teardown is complete before a listener is called. */
  #lose(disconnect: Disconnect): void {
    const { clock, reconnect, random, whenHidden } = this.settings;
    const wasOpen = this.isOpen;
    this.#generation++;
    for (const timer of [this.#timer, this.#stableTimer, this.#refreshTimer]) clock.clearTimeout(timer);
    this.#liveness.stop();
    this.#detach();
    this.#goodbye = undefined;
    const waiters = [...this.#waiters.values()];
    this.#waiters.clear();
    if (!wasOpen) this.#neverOpened++;
    if (disconnect.code === 'TOKEN_EXPIRED') {
      this.#expiredToken = this.#token;
      this.#reason = 'expired';
    }
    const { attempt, session: _, retryAt: __, hint: ___, ...state } = this.#state;
    const isFinal = !disconnect.reconnect || attempt + 1 > reconnect.maxAttempts;
    const { retryAfterMs } = disconnect;
    if (retryAfterMs !== undefined) this.#notBefore = clock.now() + retryAfterMs;
    const next: ClientState = {
      ...state,
      attempt,
      lastDisconnect: disconnect,
      ...(this.#neverOpened >= ATTEMPTS_UNTIL_HINT && { hint: 'handshake refused' }),
    };
    if (isFinal) {
      this.#endSignals?.();
      this.#endSignals = undefined;
      this.#isOffline = this.#isHidden = this.#isSuspended = false;
      this.#state = Object.freeze({ ...next, status: 'closed' });
    } else {
      let pause = pauseBefore({ attempt, ...reconnect, disconnect, random });
      if (this.#isOffline || (this.#isHidden && whenHidden === 'slow')) pause = Math.max(pause, reconnect.maxMs);
      if (this.#isSuspended || (this.#isHidden && whenHidden === 'pause')) pause = Infinity;
      this.#state = Object.freeze(this.#waiting(next, pause, attempt + 1));
    }
    for (const waiter of waiters) waiter.failed(new ConnectionError('CONNECTION_LOST', true, disconnect));
    this.owner.onLost(disconnect, isFinal);
    this.owner.onState(this.#state);
  }

  /** A dead socket can take minutes to close, so it is not waited for. */
  #detach(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket === undefined) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try {
      socket.close(1000);
    } catch (error) {
      this.settings.onError(error); // a socket of the application's own
    }
  }

  // --- what happens around

  #onNetwork(isOffline: boolean): void {
    this.#isOffline = isOffline;
    this.#liveness.probe(WAKE_ANSWER_MS);
    if (!isOffline) this.retryNow();
  }

  #onVisible(): void {
    this.#isHidden = false;
    this.#liveness.probe(WAKE_ANSWER_MS);
    this.retryNow();
  }

  #onSuspend(): void {
    this.#isSuspended = true;
    if (this.#socket !== undefined || this.#state.status === 'connecting') this.#lose(ended('SUSPENDED'));
    else if (this.#state.status === 'waiting') this.#wait(Infinity, this.#state.attempt);
  }

  #onResume(): void {
    this.#isSuspended = false;
    this.retryNow();
  }
}

function parsed(text: string): Frame | undefined {
  try {
    const frame: unknown = JSON.parse(text);
    return isJsonObject(frame) && typeof frame.event === 'string' ? (frame as unknown as Frame) : undefined; // because the event is checked, the rest is the server's word
  } catch {
    return undefined;
  }
}

/** No token, no URL, no socket: the attempt ends before there is a connection. */
class FailedAttempt extends Error {
  readonly disconnect: Disconnect;

  constructor(code: string, error: unknown) {
    const { permanent, message } = (error ?? {}) as { permanent?: unknown; message?: unknown };
    super('The attempt failed', { cause: error });
    this.disconnect = {
      code: isConnectionError(error, 'SAME_TOKEN') ? error.code : code,
      message: typeof message === 'string' ? message : 'No connection could be made',
      reconnect: permanent !== true,
    };
  }
}

/** Runs code of the application's. @throws FailedAttempt with the code, whatever it throws or rejects with */
async function attempting<T>(code: string, task: () => T | Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    throw new FailedAttempt(code, error);
  }
}

function withQuery(url: string, query: string | undefined): string {
  return query === undefined ? url : url + (url.includes('?') ? '&' : '?') + query;
}
