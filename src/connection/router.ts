import type { IncomingMessage } from 'node:http';
import { EMPTY, from, takeWhile } from 'rxjs';
import type { Observable } from 'rxjs';
import type { InboundMessage } from '../protocol/message.js';
import type { PulledStream } from './pulled-stream.js';
import type { EventTraffic } from './traffic.js';
import type { Session } from '../session/session.js';

/** The request that an answer belongs to. */
interface Answered {
  readonly session: Session;
  readonly isWanted: boolean;
  pulled: PulledStream | undefined;
  streams(): void;
}

/**
 * An answer that came through interceptors. Those hand on an Observable whatever the handler returned, and only a stream
 * of the handler's own is one for the client.
 */
export class InterceptedReply {
  values: Observable<unknown> = EMPTY;
  isStream = false;
  request: Answered | undefined = undefined;
  /** The handler's own stream, where that is an AsyncIterable. */
  pulled: PulledStream | undefined;

  /**
   * The handler has returned a stream.
   *
   * @param pulled the stream, where it is an AsyncIterable
   * @returns its values, as far as they are to be read
   */
  stream(values: Observable<unknown>, pulled: PulledStream | undefined): Observable<unknown> {
    this.isStream = true;
    this.pulled = pulled;
    if (this.request !== undefined) {
      this.request.pulled = pulled;
      this.request.streams();
      this.request.session.intake.release();
    }
    return from(values).pipe(takeWhile(() => this.request?.isWanted ?? true));
  }
}

/** What a handler asks of a session, as an administrator is shown it. */
export interface RouteAccess {
  readonly isPublic: boolean;
  readonly roles: readonly (readonly string[])[];
  readonly scopes: readonly string[];
  readonly hasRules: boolean;
  /** Makes a payload that its class lets through; undefined where it has none. */
  readonly example: () => object | undefined;
  readonly rateLimit: { readonly limit: number; readonly perMs: number; readonly cost: number } | undefined;
}

/** One event of one gateway: what stands between frame and method is decided when it is made, not per message. */
export interface Route {
  readonly event: string;
  /** True when later frames of the session wait until this one has settled (`auth`: what follows it relies on it). */
  readonly serial: boolean;
  /** True for an event of this package that an application may handle itself. */
  readonly isReplaceable: boolean;
  /** True where the handler asks for a signal. */
  readonly takesSignal: boolean;
  /** True where a session without a principal may ask for it. */
  readonly isPublic: boolean;
  /** What it asks for; undefined for events of this package. */
  readonly access?: RouteAccess | undefined;
  /** What has come in for it. */
  readonly traffic: EventTraffic;
  /** Guard, pipe and handler. The value, a promise or an Observable of it; throws what the client is to be told. */
  call(session: Session, message: InboundMessage): unknown;
}

/** `handleConnection` and `handleDisconnect` of one gateway. */
export interface ConnectionHooks {
  connected(session: Session, request: IncomingMessage): unknown;
  disconnected(session: Session, closeCode: number): unknown;
}

/** All events of all gateways on one path. */
export class Router {
  // Map, not object: "__proto__" is a legal event name.
  readonly #routes = new Map<string, Route>();
  readonly hooks: ConnectionHooks[] = [];
  /** Takes the binary messages of the path. */
  binary: Route | undefined;

  /** @returns false when another handler has the event already */
  add(route: Route): boolean {
    if (this.#routes.get(route.event)?.isReplaceable === false) return false;
    this.#routes.set(route.event, route);
    return true;
  }

  get routes(): Iterable<Route> {
    return this.#routes.values();
  }

  find(event: string): Route | undefined {
    return this.#routes.get(event);
  }
}
