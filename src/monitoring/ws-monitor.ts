import type { AuthenticationEvent } from '../authentication/events.js';
import { containResult, Faults } from '../base/contain.js';
import type { Emitter } from '../base/emitter.js';
import type { ConnectionEvent } from '../connection/events.js';
import type { BusEvent } from '../engine/events.js';
import type { FirewallEvent } from '../firewall/events.js';
import type { ErrorCode } from '../protocol/errors.js';
import type { RoomsEvent } from '../rooms/events.js';
import type { FailureEvent, SessionEvent } from '../session/events.js';

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
  /** The subject that the act was about. */
  readonly subject?: string;
  readonly sessionId?: string;
  /** Any JSON value without personal data. */
  readonly details?: unknown;
}

/** Every event: those of each folder, of the service and of a cluster. */
export type WsEvent =
  AuthenticationEvent | FirewallEvent | SessionEvent | ConnectionEvent | RoomsEvent | AdminEvent | BusEvent;
export type WsEventKind = WsEvent['kind'];

/** Every kind of event and what it carries. */
export type WsEvents = { readonly [Kind in WsEventKind]: EventOf<WsEvent, Kind> };

// Not Extract: `FailureEvent` has four kinds, and none of them is the whole.
type EventOf<E extends WsEvent, Kind extends WsEventKind> = E extends unknown
  ? Kind extends E['kind']
    ? E
    : never
  : never;

export type WsEventListener<Kind extends WsEventKind = WsEventKind> = (event: WsEvents[Kind]) => unknown;
export type FailureListener = (event: FailureEvent) => void;

/** The kinds of a {@link FailureEvent}. */
export const FAILURE_KINDS = ['upgrade', 'request', 'connection', 'http'] as const satisfies readonly WsEventKind[];

/** All kinds. */
export const WS_EVENT_KINDS = [
  ...FAILURE_KINDS,
  'admitted',
  'authenticated',
  'authentication',
  'message',
  'revocation',
  'room',
  'channel',
  'admin',
  'ban',
  'budget',
  'admission',
  'proxy',
  'bus',
] as const satisfies readonly WsEventKind[];

/**
 * One stream of typed events: authentication, firewall, session and connection emit into it, and logs, audit, metrics and
 * applications listen. Personal data is in clear here; log and audit show it as `privacy` says.
 *
 * An event is made only while a listener is subscribed: `if (monitor.has('message')) monitor.emit({ kind: 'message', … })`.
 */
export class WsMonitor implements Emitter<WsEvent> {
  // Lists are replaced, not changed, so that a listener may subscribe and unsubscribe while it is called.
  readonly #listeners: Record<WsEventKind, readonly WsEventListener<never>[]> = listsOf();
  readonly #faults = new WeakMap<WsEventListener<never>, Faults>();

  /** True while a listener for this kind is subscribed. */
  has(kind: WsEventKind): boolean {
    return this.#listeners[kind].length > 0;
  }

  /**
   * Listens to one kind of event, or to several. A listener is called synchronously, on the path of a message or a
   * connection: it must be quick. What it throws, or rejects with, becomes a warning of the process.
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

  /** Calls every listener of the kind. A listener that throws ends no session, and not the process. */
  emit(event: WsEvent): void {
    for (const listener of this.#listeners[event.kind]) {
      // Not contain(): messages are events too, and this makes no closure for each.
      let answer: unknown;
      try {
        answer = listener(event as never); // because the listener has subscribed to this kind
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
