import type { TokenSource } from '../authentication/credentials.js';
import type { BanTarget } from '../firewall/bans.js';
import type { FirewallRule } from '../firewall/options.js';
import type { ErrorCode } from '../protocol/errors.js';
import { containResult, Faults } from '../base/contain.js';

/** How serious an end is: a client's fault is a warning, ours an error, an operator's act information. */
export type FailureLevel = 'debug' | 'info' | 'warn' | 'error';

/**
 * The end of a request or of a connection. There is exactly one for each, and it never holds a token, an e-mail address
 * or a payload: `event` names a declared event only.
 */
export interface FailureEvent {
  /** What ended: an upgrade that was refused, a request, a connection, or a request over plain HTTP that was refused or failed. */
  readonly kind: 'upgrade' | 'request' | 'connection' | 'http';
  readonly code: ErrorCode;
  readonly level: FailureLevel;
  readonly message: string;
  readonly sessionId?: string;
  readonly subject?: string;
  readonly clientAddress?: string;
  readonly event?: string;
  /** Of plain HTTP: method and path as they are declared, `POST /admin/revoke`. */
  readonly route?: string;
  /** HTTP status of a refused upgrade, or of plain HTTP. */
  readonly status?: number;
  /** Close code of an ended connection. */
  readonly closeCode?: number;
  /** Also in the frame that the client got. */
  readonly incidentId?: string;
  readonly durationMs?: number;
  /** Why, in this package's own words: of a token that is not valid, for one. */
  readonly reason?: string;
  /** Where, of what was not foreseen. */
  readonly stack?: string;
}

/** A connection was let in. Its end is a {@link FailureEvent} of the kind `connection`. */
export interface AdmittedEvent {
  readonly kind: 'admitted';
  readonly sessionId: string;
  readonly clientAddress: string;
  /** Path of the gateway. */
  readonly path: string;
  /** Who authenticated at the handshake; absent while the session is anonymous. */
  readonly subject?: string;
}

/** A session that was open already has a principal, or a new token for it. */
export interface AuthenticatedEvent {
  readonly kind: 'authenticated';
  readonly sessionId: string;
  readonly clientAddress: string;
  readonly subject: string;
  /** True for a new token in the place of an earlier one. */
  readonly refreshed: boolean;
  /** Epoch milliseconds. */
  readonly expiresAt: number;
}

/** A token was looked at, wherever it came from. */
export interface AuthenticationEvent {
  readonly kind: 'authentication';
  readonly source: TokenSource;
  /** `accepted`, or the code that it was refused with. */
  readonly outcome: 'accepted' | ErrorCode;
  readonly clientAddress?: string;
  readonly subject?: string;
}

/** A message at a declared event has been handled. Made only while somebody listens. */
export interface MessageEvent {
  readonly kind: 'message';
  readonly event: string;
  readonly sessionId: string;
  readonly clientAddress: string;
  readonly subject?: string;
  /** False when it was answered with an exception, of which a `request` event tells. */
  readonly ok: boolean;
  /** From the call of the guard to the reply; of a stream, to its end. */
  readonly durationMs: number;
}

/** `WsSessions.revoke()` was called, by the application or by an administrator. The ends of the sessions follow by themselves. */
export interface RevocationEvent {
  readonly kind: 'revocation';
  readonly sessionId?: string;
  readonly subject?: string;
  readonly tokenId?: string;
  /** Whose token id it is. */
  readonly issuer?: string;
  /** Epoch seconds. */
  readonly issuedBefore?: number;
  /** How many sessions were ended. */
  readonly ended: number;
}

/** An administrator did something through the service. */
export interface AdminEvent {
  readonly kind: 'admin';
  /** Subject of the administrator's token. */
  readonly actor: string;
  /** What was done: `sessions.revoke`, for one; of what was refused, the scope that it needs. */
  readonly act: string;
  /** The code, when it was not done because the token lacks the scope. */
  readonly refused?: ErrorCode;
  readonly clientAddress?: string;
  /** Who it was done to. */
  readonly subject?: string;
  readonly sessionId?: string;
  /** Any JSON value without personal data. */
  readonly details?: unknown;
}

export interface BanEvent {
  readonly kind: 'ban';
  /** `dropped`: it was in force, and made room for a newer one; of an operator's that never happens. */
  readonly action: 'added' | 'lifted' | 'expired' | 'dropped';
  readonly target: BanTarget;
  /** False in a dry run: nobody is kept out. */
  readonly enforced: boolean;
  /** How long it is for, in milliseconds; `Infinity` until it is lifted. */
  readonly forMs?: number;
  readonly reason?: string;
  /** The administrator who did it; absent when the firewall did by itself. */
  readonly actor?: string;
}

/** What there are budgets of. */
export type BudgetName = 'messages' | 'bytes' | 'subject' | 'event' | 'handshakes' | 'authentications';

/** A budget is used up. */
export interface BudgetEvent {
  readonly kind: 'budget';
  readonly budget: BudgetName;
  /** False in a dry run: nothing was refused. */
  readonly enforced: boolean;
  readonly sessionId?: string;
  readonly subject?: string;
  readonly clientAddress?: string;
  /** The declared event, of a budget of its own. */
  readonly event?: string;
}

/** What a rule of the firewall would have refused, were it no dry run. */
export interface AdmissionEvent {
  readonly kind: 'admission';
  readonly rule: FirewallRule;
  /** The code that the refusal would have had. */
  readonly code: ErrorCode;
  readonly enforced: false;
  /** Absent where the process is full, whoever asks. */
  readonly clientAddress?: string;
  /** Of a ban of a subject. */
  readonly subject?: string;
  /** In this package's own words. */
  readonly reason?: string;
}

/** A header of a proxy came from an address that `firewall.trustProxy` does not name, and was not believed. Told once. */
export interface ProxyEvent {
  readonly kind: 'proxy';
  /** Of the peer: empty on a Unix domain socket. */
  readonly clientAddress: string;
}

/** What the nodes of a cluster tell each other, and whether they can. */
export interface BusEvent {
  readonly kind: 'bus';
  readonly action: 'published' | 'received' | 'dropped' | 'connected' | 'disconnected';
}

/** Every kind of event and what it carries. */
export interface WsEvents {
  readonly upgrade: FailureEvent;
  readonly request: FailureEvent;
  readonly connection: FailureEvent;
  readonly http: FailureEvent;
  readonly admitted: AdmittedEvent;
  readonly authenticated: AuthenticatedEvent;
  readonly authentication: AuthenticationEvent;
  readonly message: MessageEvent;
  readonly revocation: RevocationEvent;
  readonly admin: AdminEvent;
  readonly ban: BanEvent;
  readonly budget: BudgetEvent;
  readonly admission: AdmissionEvent;
  readonly proxy: ProxyEvent;
  readonly bus: BusEvent;
}

/** What the firewall tells of. */
export type FirewallEvent = BanEvent | BudgetEvent | AdmissionEvent | ProxyEvent;

export type WsEventKind = keyof WsEvents;
export type WsEvent = WsEvents[WsEventKind];
export type WsEventListener<Kind extends WsEventKind = WsEventKind> = (event: WsEvents[Kind]) => unknown;
export type FailureListener = (event: FailureEvent) => void;

/** The kinds that tell of a failure or of an end. */
export const FAILURE_KINDS = ['upgrade', 'request', 'connection', 'http'] as const satisfies readonly WsEventKind[];

/** All kinds. */
export const WS_EVENT_KINDS = [
  ...FAILURE_KINDS,
  'admitted',
  'authenticated',
  'authentication',
  'message',
  'revocation',
  'admin',
  'ban',
  'budget',
  'admission',
  'proxy',
  'bus',
] as const satisfies readonly WsEventKind[];

/**
 * One stream of typed events: connection, guard, firewall and failure feed it, and logs, audit, metrics and applications
 * listen. Personal data is in clear here; whoever writes it down shows it as the options say.
 *
 * An event is made only where somebody listens: `if (monitor.has('message')) monitor.emit({ kind: 'message', … })`.
 */
export class WsMonitor {
  // Lists are replaced, not changed, so that a listener may subscribe and unsubscribe while it is told.
  readonly #listeners: Record<WsEventKind, readonly WsEventListener<never>[]> = listsOf();
  readonly #faults = new WeakMap<WsEventListener<never>, Faults>();

  /** Whether anybody listens to this kind. */
  has(kind: WsEventKind): boolean {
    return this.#listeners[kind].length > 0;
  }

  /**
   * Listens to one kind of event, or to several. A listener is called at once, on the path of what it is told of: it must be
   * quick. What it throws, or rejects with, becomes a warning of the process.
   *
   * @returns a function that ends the subscription
   */
  on<Kind extends WsEventKind>(kinds: Kind | readonly Kind[], listener: WsEventListener<Kind>): () => void {
    const list = typeof kinds === 'string' ? [kinds] : [...new Set(kinds)];
    // A function of its own for each subscription, so that one listener may have two and end one of them.
    const own: WsEventListener<never> = (event) => listener(event);
    for (const kind of list) this.#listeners[kind] = [...this.#listeners[kind], own];
    return () => {
      for (const kind of list) this.#listeners[kind] = this.#listeners[kind].filter((other) => other !== own);
    };
  }

  /**
   * Listens to failures: refused upgrades, failed requests, ended connections, and plain HTTP that was refused or failed.
   *
   * @returns a function that ends the subscription
   */
  subscribe(listener: FailureListener): () => void {
    return this.on(FAILURE_KINDS, listener);
  }

  /** Tells every listener of the kind. One that throws is a fault of its own: it must not end a session, let alone the process. */
  emit(event: WsEvent): void {
    for (const listener of this.#listeners[event.kind]) {
      // Not contain(): messages are events too, and this makes no closure for each.
      let answer: unknown;
      try {
        answer = listener(event as never); // because it has subscribed to this kind
      } catch (error) {
        this.#fault(listener, event, error);
      }
      if (typeof answer === 'object') containResult(answer, (error) => this.#fault(listener, event, error));
    }
  }

  #fault(listener: WsEventListener<never>, { kind }: WsEvent, error: unknown): void {
    let faults = this.#faults.get(listener);
    if (faults === undefined) this.#faults.set(listener, (faults = new Faults('A listener of WsMonitor threw')));
    faults.tell(error, ` at "${kind}"`);
  }
}

function listsOf(): Record<WsEventKind, readonly WsEventListener<never>[]> {
  const lists = Object.fromEntries(WS_EVENT_KINDS.map((kind) => [kind, []]));
  return lists as unknown as Record<WsEventKind, readonly WsEventListener<never>[]>; // because those are all the kinds
}
