import { createClient, isConnectionError, isException } from '../../client/index.js';
import type { ClientState, GatewayClient } from '../../client/index.js';
import { CODE_KINDS, POINTS, SERIES } from '../wire.js';
import type { Point } from './point.js';
import type {
  About,
  EventRow,
  FailureRow,
  Failures,
  FirewallReply,
  Live,
  PageConfig,
  RoomsReply,
  SessionsReply,
} from '../wire.js';

/** What the console's gateway answers, for the typed client. */
export interface Console {
  requests: {
    'ws-gateway.live': { reply: Live };
    'ws-gateway.failures': { reply: Failures };
    'ws-gateway.about': { reply: About };
    'ws-gateway.sessions': {
      data: { subject?: string; clientAddress?: string; sessionId?: string; cursor?: string };
      reply: SessionsReply;
    };
    'ws-gateway.sessions.end': { data: { sessionId: string }; reply: { ended: number } };
    'ws-gateway.firewall': { reply: FirewallReply };
    'ws-gateway.ban': { data: { address?: string; subject?: string; forMs: number; reason?: string }; reply: null };
    'ws-gateway.unban': { data: { id: string }; reply: null };
    'ws-gateway.events': { reply: EventRow[] };
    'ws-gateway.rooms': { reply: RoomsReply };
    'ws-gateway.mint': {
      data: { sub: string; roles: string[]; scope: string; seconds: number };
      reply: { token: string };
    };
  };
  pushes: Record<string, unknown>;
}

const MAX_ROWS = 500;

export interface State {
  readonly status: ClientState;
  readonly about: About | undefined;
  readonly points: readonly Point[];
  readonly failures: readonly FailureRow[];
  readonly dropped: number;
  /** Why nothing is shown, in a sentence. */
  readonly problem: string | undefined;
  readonly isSignedIn: boolean;
}

const NOTHING = Object.fromEntries(SERIES.map((name) => [name, null])) as Point['values']; // because those are all
const NO_CODES: Point['codes'] = { refusals: {}, exceptions: {}, closes: {} };

/** Asked again so often while a page is shown, in milliseconds. */
export const POLL_MS = 2_000;
const ABOUT_MS = 5_000;

/** A session with the console's gateway, and what has come of it. */
export class Store {
  state: State = {
    status: { status: 'idle', attempt: 0 },
    about: undefined,
    points: [],
    failures: [],
    dropped: 0,
    problem: undefined,
    isSignedIn: false,
  };
  readonly client: GatewayClient<Console>;
  readonly #listeners = new Set<() => void>();
  #token: string | undefined;
  #toldAt = 0;
  #abort: AbortController | undefined;

  constructor(
    readonly config: PageConfig,
    token: string | undefined,
  ) {
    this.#token = token;
    this.client = createClient<Console>({
      url: gatewayUrl(config, config.socket),
      auth: config.via === 'cookie' ? 'cookie' : { token: () => this.#token ?? '', via: config.via },
      whenHidden: 'pause',
    });
    this.client.subscribe((status) => {
      this.#set({ status });
      if (status.status === 'closed') this.#set({ isSignedIn: false, problem: problemOf(status) });
    });
    document.addEventListener('visibilitychange', () => (document.hidden ? this.#stop() : this.#begin()));
  }

  get needsToken(): boolean {
    return this.config.via !== 'cookie' && this.#token === undefined;
  }

  /** Now, as the server's clock has it. */
  get now(): number {
    const { about } = this.state;
    return about === undefined ? Date.now() : about.now + performance.now() - this.#toldAt;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** @param token undefined where a cookie says who it is */
  async signIn(token?: string): Promise<void> {
    this.#token = token ?? this.#token;
    this.#set({ problem: undefined });
    try {
      await this.client.connect();
      const about = await this.client.request('ws-gateway.about');
      this.#set({ about, isSignedIn: true });
      document.title = about.title;
      this.#begin();
    } catch (error) {
      this.#token = undefined;
      this.client.close();
      this.#set({ isSignedIn: false, problem: sentenceOf(error) });
    }
  }

  signOut(): void {
    this.#stop();
    this.#token = undefined;
    this.client.close();
    this.#set({ isSignedIn: false, problem: undefined, points: [], failures: [] });
  }

  #set(change: Partial<State>): void {
    if (change.about !== undefined) this.#toldAt = performance.now();
    this.state = { ...this.state, ...change };
    for (const listener of this.#listeners) listener();
  }

  #begin(): void {
    if (!this.state.isSignedIn || this.#abort !== undefined) return;
    const { signal } = (this.#abort = new AbortController());
    void this.#follow(signal, async () => {
      for await (const value of this.client.stream('ws-gateway.live', undefined, { signal })) this.#live(value);
    });
    void this.#follow(signal, async () => {
      let isFirst = true;
      for await (const { rows, dropped } of this.client.stream('ws-gateway.failures', undefined, { signal })) {
        this.#set({
          failures: (isFirst ? [...rows] : [...this.state.failures, ...rows]).slice(-MAX_ROWS),
          dropped: isFirst ? dropped : this.state.dropped + dropped,
        });
        isFirst = false;
      }
    });
    const ask = async (): Promise<void> => {
      if (signal.aborted) return;
      if (this.client.state.status === 'open') {
        const about = await this.client.request('ws-gateway.about').catch(() => undefined);
        if (about !== undefined && !signal.aborted) this.#set({ about });
      }
      setTimeout(() => void ask(), ABOUT_MS);
    };
    void ask();
  }

  /** A hidden page asks for nothing. */
  #stop(): void {
    this.#abort?.abort();
    this.#abort = undefined;
  }

  /** Once more after each lost connection, until the page is hidden or the session is over. */
  async #follow(signal: AbortSignal, read: () => Promise<void>): Promise<void> {
    while (!signal.aborted) {
      try {
        await read();
      } catch (error) {
        if (signal.aborted || isConnectionError(error, 'CLOSED')) return;
        if (isException(error)) return this.#set({ problem: sentenceOf(error) });
      }
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  #live(value: Live): void {
    if (value.kind === 'tick') {
      this.#set({ points: [...this.state.points, value].slice(-POINTS) });
      return;
    }
    const { at, series, codes } = value;
    const count = series.open.length;
    const fresh = Array.from({ length: count }, (_, index): Point => {
      const values = Object.fromEntries(SERIES.map((name) => [name, series[name][index] ?? null]));
      const own = CODE_KINDS.map((kind) => {
        // A code that came later has fewer points.
        const each = Object.entries(codes[kind]).map(
          ([code, list]) => [code, list[index - (count - list.length)] ?? 0] as const,
        );
        return [kind, Object.fromEntries(each.filter(([, number]) => number > 0))];
      });
      return {
        at: at - (count - 1 - index) * 1_000,
        values: values as Point['values'], // because those are all
        codes: Object.fromEntries(own) as Point['codes'], // because those are all
      };
    });
    const from = fresh[0]?.at ?? Infinity;
    const before = this.state.points.filter((point) => point.at < from);
    const last = before.at(-1);
    const gap =
      last !== undefined && from - last.at > 2_000 ? [{ at: last.at + 1_000, values: NOTHING, codes: NO_CODES }] : [];
    this.#set({ points: [...before, ...gap, ...fresh].slice(-POINTS) });
  }
}

/** The URL of a gateway beside this page. A proxy may have put a prefix before what the server sees. */
export function gatewayUrl({ page }: PageConfig, path: string): string {
  const { pathname } = location;
  const prefix = page !== '/' && pathname.endsWith(page) ? pathname.slice(0, -page.length) : '';
  return new URL(`${prefix}${path}`, location.href.replace(/^http/, 'ws')).href.replace(/#.*$/, '');
}

export function sentenceOf(error: unknown): string {
  if (isException(error, 'FORBIDDEN')) {
    return 'This token may connect, but it lacks the scope ws-gateway:admin, which the console needs. Show one that has it.';
  }
  if (isException(error)) return `${error.message} (${error.code}).`;
  if (isConnectionError(error)) {
    const { disconnect, code } = error;
    if (disconnect === undefined)
      return code === 'TIMEOUT' ? 'The gateway did not answer in time.' : `No connection (${code}).`;
    return `${disconnect.message} (${disconnect.code}).`;
  }
  return error instanceof Error ? error.message : String(error);
}

function problemOf({ lastDisconnect }: ClientState): string | undefined {
  if (lastDisconnect === undefined || lastDisconnect.code === 'CLOSED') return undefined;
  if (lastDisconnect.code === 'SAME_TOKEN' || lastDisconnect.code === 'TOKEN_EXPIRED')
    return 'The token has expired. Show another one.';
  return `${lastDisconnect.message} (${lastDisconnect.code}).`;
}
