import type { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Principal } from '../authentication/principal.js';
import type { PathParams } from '../base/path-params.js';
import type { Client } from '../firewall/client.js';
import type { Verification } from '../authentication/verification.js';
import type { Deadlines } from '../authentication/deadlines.js';
import type { LoadGauge } from './load-gauge.js';
import type { ConnectionOptions } from './options.js';
import type { Emitter } from '../base/emitter.js';
import type { SessionEvent } from '../session/events.js';
import type { ConnectionEvent } from './events.js';
import type { Facts } from '../engine/facts.js';
import type { Tracing, UpgradeTrace } from './tracing.js';
import type { EventTraffic, Traffic } from './traffic.js';
import type { ConnectionGuard } from '../authentication/connection-guard.js';
import type { Disconnects } from './disconnects.js';
import type { PendingRequests, RequestQueue } from './request.js';
import type { Revalidation } from '../session/revalidation.js';
import type { Route, Router } from './router.js';
import type { SessionRegistry } from '../session/registry.js';
import type { Session } from '../session/session.js';
import type { SessionContext, SessionHost } from '../session/session-host.js';
import type { GatewaySocket } from '../socket/gateway-socket.js';

/** What the sessions of all paths share. That of a server has the options of its path, where the shared one has the module's. */
export interface ConnectionContext extends SessionContext<Session> {
  readonly options: ConnectionOptions;
  readonly monitor: Emitter<ConnectionEvent | SessionEvent>;
  readonly sessions: SessionRegistry;
  readonly authentication: Verification;
  readonly deadlines: Deadlines;
  readonly load: LoadGauge;
  readonly revalidation: Revalidation;
  readonly pending: PendingRequests;
  readonly disconnects: Disconnects;
  readonly traffic: Traffic;
  /** What all nodes know. */
  readonly facts: Facts;
  /** Undefined where no tracer records spans. */
  readonly tracing: Tracing | undefined;
}

/** A path whose messages are for the listeners of the application alone. */
export interface RawPath {
  /** True where an `exception` may say that a message was refused, so that the session need not end. */
  readonly exceptions: boolean;
  readonly traffic: EventTraffic;
  /**
   * Set where a client without a token may authenticate by a first message: until then it speaks the envelope with this package's own
   * handlers. Makes of each what answers here.
   */
  readonly untilToken: ((route: Route) => Route) | undefined;
  /** @throws GatewayError, SessionEnd where the session may not be heard */
  demand(session: Session): void;
}

/** A client that is let in as soon as the application behind its path has accepted it. */
export interface UpstreamApplicant {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly params: PathParams;
  readonly client: Client;
  readonly principal: Principal | undefined;
  readonly sessionId: string;
  readonly trace?: UpgradeTrace | undefined;
}

/** A connection to the application behind a path, accepted. Its owner either attaches it to a session or abandons it. */
export interface ReachedUpstream {
  /** From here on the session owns it. */
  attach(session: Session): void;
  abandon(): void;
}

/** The application behind a proxy's path. */
export interface Upstream {
  /**
   * @returns undefined where the session has to authenticate first
   * @throws GatewayError, as a rejection: BAD_GATEWAY where it refuses, UNAVAILABLE where it cannot be reached in time, CONNECTION_LOST
   * where the client has gone meanwhile
   */
  reach(applicant: UpstreamApplicant): Promise<ReachedUpstream> | undefined;
  /** The subprotocol that it has selected for an upgrade, of those that the client offers. */
  selected(request: IncomingMessage, offered: ReadonlySet<string>): string | undefined;
}

/** The server of one path, as the path of a message and of a session sees it. */
export interface ServedPath extends SessionHost<Session>, Pick<EventEmitter, 'rawListeners'> {
  readonly context: ConnectionContext;
  readonly router: Router;
  /** Its requests that wait for their handler. */
  readonly pending: RequestQueue;
  /** Set where the gateway of the path is raw. */
  readonly raw: RawPath | undefined;
  /** Set where the path is a proxy's. */
  readonly upstream: Upstream | undefined;
  /** What the gateways of the path, and the options, ask of every upgrade. */
  readonly connectionGuards: readonly ConnectionGuard[];
  /** What `ws` holds each message of the path to. */
  readonly messageLimits: { readonly maxMessageBytes: number; readonly maxFragments: number };
  /** The sockets that broadcasts go to. */
  readonly clients: Set<GatewaySocket>;
}

/** The server that has accepted the session. */
export function serverOf(session: Session): ServedPath {
  return session.server as ServedPath; // because handshake.ts makes every session, for a GatewayServer
}
