import type { EventEmitter } from 'node:events';
import type { Verification } from '../authentication/verification.js';
import type { Deadlines } from '../authentication/deadlines.js';
import type { LoadGauge } from './load-gauge.js';
import type { PathOptions } from './options.js';
import type { Emitter } from '../base/emitter.js';
import type { SessionEvent } from '../session/events.js';
import type { ConnectionEvent } from './events.js';
import type { Facts } from '../engine/facts.js';
import type { Tracing } from './tracing.js';
import type { EventTraffic, Traffic } from './traffic.js';
import type { ConnectionGuard } from '../authentication/connection-guard.js';
import type { Disconnects } from './disconnects.js';
import type { PendingRequests } from './request.js';
import type { Revalidation } from '../session/revalidation.js';
import type { Router } from './router.js';
import type { SessionRegistry } from '../session/registry.js';
import type { Session } from '../session/session.js';
import type { SessionContext, SessionHost } from '../session/session-host.js';
import type { GatewaySocket } from '../socket/gateway-socket.js';

/** What the sessions of all paths share. */
export interface ConnectionContext extends SessionContext<Session> {
  readonly options: PathOptions;
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
  /** @throws GatewayError, SessionEnd where the session may not be heard */
  demand(session: Session): void;
}

/** The server of one path, as the path of a message and of a session sees it. */
export interface ServedPath extends SessionHost<Session>, Pick<EventEmitter, 'rawListeners'> {
  readonly context: ConnectionContext;
  readonly router: Router;
  /** Set where the gateway of the path is raw. */
  readonly raw: RawPath | undefined;
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
