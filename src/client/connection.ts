import { ended, pauseBefore } from './backoff.js';
import { ConnectionError } from './errors.js';
import { nothing } from './guards.js';
import { openLink } from './link.js';
import type { Link } from './link.js';
import type { Settings } from './settings.js';
import { credentialsOf, tokensOf } from './tokens.js';
import type { ClientState, Disconnect, Frame, Session, TokenReason } from './types.js';

/** What the connection tells. Only `opened`, `frame` and `changed` may call code of the application. */
export interface ConnectionOwner {
  /** The server has answered well: requests may be sent. */
  opened(link: Link): void;
  /** A frame that is none of the connection's own. */
  frame(frame: Frame): void;
  /** @param isFinal true when the client does not come back by itself */
  lost(disconnect: Disconnect, isFinal: boolean): void;
  changed(state: ClientState): void;
}

/** One link after the other, of which at most one lives. */
export interface Connection {
  readonly state: ClientState;
  /** The link on which requests can be sent now. */
  readonly link: Link | undefined;
  /** Begins, where nothing goes on yet; also after an end. */
  readonly start: () => void;
  /** Begins, where it never has. */
  readonly begin: () => void;
  /** Ends for good: until `start()`. */
  readonly close: () => void;
  /** Tries at once, unless the server has asked for a pause that is not over. */
  readonly retryNow: () => void;
  /** A new connection in place of the one there is. */
  readonly reconnect: () => void;
  /** Shows the server a new token, in place. @throws what the token function throws, what the server answers */
  authenticate(reason: TokenReason): Promise<Session>;
}

/** Longest pause of a client that hurries: the network is back, or the page is shown again. */
const HURRY_MS = 300;
const ATTEMPTS_UNTIL_HINT = 3;
/** Pause after the first refresh that fails; each is twice as long as the one before. */
const REFRESH_RETRY_MS = 1_000;

export function createConnection(settings: Settings, owner: ConnectionOwner): Connection {
  const { clock, random, after, whenHidden } = settings;
  const { maxMs, stableMs, maxAttempts } = settings.reconnect;
  const { token: source, ticket } = credentialsOf(settings);
  let tokens = tokensOf(source);
  let state: ClientState = { status: 'idle', attempt: 0 };
  let link: Link | undefined;
  let nextId = 1;
  /** Of the pause before the next attempt, or of a connection that is not stable yet. */
  let stopTimer: () => void = nothing;
  let stopRefresh: () => void = nothing;
  let endSignals: (() => void) | undefined;
  /** Monotonic: the server does not want to see us earlier. */
  let notBefore = 0;
  let neverOpened = 0;
  let reason: TokenReason = 'connect';
  let isOffline = false;
  let isHidden = false;
  let isSuspended = false;

  const assign = (next: Partial<ClientState>): void => void (state = Object.freeze({ ...state, ...next }));
  /** A listener may do anything: what comes behind it looks anew. */
  const change = (next: Partial<ClientState>): void => {
    assign(next);
    owner.changed(state);
  };

  const ready = (): Link | undefined => (state.status === 'open' && link?.isReady() ? link : undefined);

  // --- attempts

  const start = (): void => {
    if (state.status !== 'idle' && state.status !== 'closed') return;
    reason = 'connect';
    notBefore = neverOpened = 0;
    isOffline = isHidden = isSuspended = false;
    tokens = tokensOf(source);
    if (!endSignals) settings.guard(() => (endSignals = settings.signals(signals)));
    attempt(0);
  };

  const attempt = (n: number): void => {
    const credential = (): Promise<string> | string | undefined => (source ? tokens.fetch(reason) : ticket?.());
    link = openLink(settings, credential, () => nextId++, {
      opening(token) {
        tokens.shown(token);
        change({ status: 'opening' });
      },
      opened,
      frame(frame) {
        const { event, data } = frame;
        if (event === 'auth.expiring')
          refresh((data as { expiresAt?: number } | null)?.expiresAt ?? 0, REFRESH_RETRY_MS); // because that is its form (PROTOCOL.md §2)
        owner.frame(frame);
      },
      lost: lose,
    });
    change({ status: 'connecting', attempt: n, retryAt: undefined });
  };

  const opened = (session: Session | null): void => {
    neverOpened = notBefore = 0;
    reason = 'reconnect';
    stopTimer = after(stableMs, () => change({ attempt: 0 }));
    const own = link as Link; // because it has opened
    change({ status: 'open', session: session ?? undefined, lastDisconnect: undefined, hint: undefined });
    if (own === link) owner.opened(own);
  };

  /** The next attempt comes after the pause; after `Infinity`, with an event. @returns the state meanwhile */
  const wait = (pause: number, n: number): Partial<ClientState> => {
    stopTimer();
    const isTimed = pause < Infinity;
    if (isTimed) stopTimer = after(pause, () => attempt(n));
    return { status: 'waiting', attempt: n, retryAt: isTimed ? clock.timeOfDay() + pause : undefined };
  };

  /** The only end of an attempt or a connection. Teardown is complete before a listener is called. */
  const lose = (disconnect: Disconnect): void => {
    const { status, attempt: n } = state;
    const { code, retryAfterMs } = disconnect;
    const own = link;
    link = undefined;
    stopTimer();
    stopRefresh();
    if (status !== 'open') neverOpened++;
    if (code === 'TOKEN_EXPIRED') {
      tokens.expired();
      reason = 'expired';
    }
    if (retryAfterMs !== undefined) notBefore = clock.now() + retryAfterMs;
    const isFinal = !disconnect.reconnect || n >= maxAttempts;
    let next: Partial<ClientState> = { status: 'closed', retryAt: undefined };
    if (isFinal) {
      endSignals?.();
      endSignals = undefined;
    } else {
      let pause = pauseBefore({ ...settings.reconnect, attempt: n, disconnect, random });
      if (isOffline || (isHidden && whenHidden === 'slow')) pause = Math.max(pause, maxMs);
      next = wait(isSuspended || (isHidden && whenHidden === 'pause') ? Infinity : pause, n + 1);
    }
    assign({
      ...next,
      session: undefined,
      lastDisconnect: disconnect,
      hint: neverOpened < ATTEMPTS_UNTIL_HINT ? undefined : 'handshake refused',
    });
    own?.end(new ConnectionError(isFinal ? 'CLOSED' : 'CONNECTION_LOST', true, disconnect));
    owner.lost(disconnect, isFinal);
    owner.changed(state);
  };

  const close = (): void => {
    if (state.status !== 'closed') lose(ended('CLOSED', false));
  };

  const retryNow = (): void => {
    if (state.status !== 'waiting' || isSuspended) return;
    change(wait(Math.max(random() * HURRY_MS, notBefore - clock.now()), 0));
  };

  // --- tokens

  const authenticate = async (why: TokenReason): Promise<Session> => {
    const own = ready();
    const token = await tokens.fetch(why);
    return new Promise((resolve, reject) => {
      if (!own || own !== link) return reject(new ConnectionError('NOT_CONNECTED', false));
      own.ask('auth', JSON.stringify({ token }), {
        value(data) {
          const session = data as Session; // because that is its form (PROTOCOL.md §2)
          tokens.shown(token);
          resolve(session);
          change({ session });
        },
        failed: reject,
      });
    });
  };

  /** A failed refresh is tried again while the token lives; afterwards the server's TOKEN_EXPIRED does the rest. */
  const refresh = (expiresAt: number, pause: number): void => {
    const own = link;
    if (!source) return;
    authenticate('expiring').catch(() => {
      if (own !== link || clock.timeOfDay() >= expiresAt) return;
      stopRefresh = after(pause, () => refresh(expiresAt, pause * 2));
    });
  };

  // --- what happens around

  const wake = (): void => {
    link?.probe();
    retryNow();
  };
  const signals = {
    online() {
      isOffline = false;
      wake();
    },
    offline() {
      isOffline = true;
      link?.probe();
    },
    visible() {
      isHidden = false;
      wake();
    },
    hidden: () => void (isHidden = true),
    suspend() {
      isSuspended = true;
      if (link) return lose(ended('SUSPENDED'));
      if (state.status === 'waiting') change(wait(Infinity, state.attempt));
    },
    resume() {
      isSuspended = false;
      retryNow();
    },
  };

  return {
    get state() {
      return state;
    },
    get link() {
      return ready();
    },
    start,
    begin() {
      if (state.status === 'idle') start();
    },
    close,
    retryNow,
    reconnect() {
      if (link) lose(ended('RECONNECT'));
      if (state.status === 'waiting') retryNow();
      else start();
    },
    authenticate,
  };
}
