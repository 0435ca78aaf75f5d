import { WebSocketServer } from 'ws';
import type { Authentication } from '../authentication/authentication.js';
import type { Deadlines } from '../authentication/deadlines.js';
import { SUBPROTOCOL } from '../protocol/message.js';
import type { ResolvedOptions } from '../ws-gateway.options.js';
import type { WsMonitor } from '../monitoring/events.js';
import type { Tracing } from '../monitoring/tracing.js';
import type { Traffic } from '../monitoring/traffic.js';
import type { WsClock } from './clock.js';
import type { ConnectionGuard } from './connection-guard.js';
import type { PendingRequests } from './pending.js';
import type { Revalidation } from './revalidation.js';
import { Router } from './router.js';
import type { WsSessions } from './sessions.js';
import { GatewaySocket } from './socket.js';

/** What every session of the module shares. */
export interface ConnectionContext {
  readonly options: ResolvedOptions;
  readonly clock: WsClock;
  readonly monitor: WsMonitor;
  readonly sessions: WsSessions;
  readonly authentication: Authentication;
  readonly deadlines: Deadlines;
  readonly revalidation: Revalidation;
  readonly pending: PendingRequests;
  readonly traffic: Traffic;
  /** Undefined where nobody keeps spans. */
  readonly tracing: Tracing | undefined;
}

/** Milliseconds a peer has to finish the closing handshake before its TCP connection is cut. */
const CLOSE_TIMEOUT_MS = 5_000;

/** Chunks a peer may leave unread inside one message. Each holds at least a byte, so this also bounds their overhead. */
const MAX_BUFFERED_CHUNKS = 4_096;

/**
 * The server of one path: what `@WebSocketServer()` injects. Its `clients` are those that may be written to: a session
 * that has yet to authenticate is not among them.
 */
export class GatewayServer extends WebSocketServer<typeof GatewaySocket> {
  readonly router = new Router();
  /** What the gateways of the path, and the options, ask of every upgrade. */
  readonly connectionGuards: ConnectionGuard[] = [];

  constructor(
    readonly context: ConnectionContext,
    readonly port: number,
    readonly pathname: string,
  ) {
    const { limits, compression } = context.options;
    super({
      noServer: true,
      WebSocket: GatewaySocket,
      maxPayload: limits.maxMessageBytes,
      maxFragments: limits.maxFragments,
      maxBufferedChunks: MAX_BUFFERED_CHUNKS,
      closeTimeout: CLOSE_TIMEOUT_MS,
      // A token may stand beside the protocol, so nothing but our own name is ever selected.
      handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
      perMessageDeflate: compression !== false && {
        threshold: compression.thresholdBytes,
        serverNoContextTakeover: true,
        clientNoContextTakeover: true,
        concurrencyLimit: 4,
      },
    } as ConstructorParameters<typeof WebSocketServer<typeof GatewaySocket>>[0]); // because @types/ws lacks the newer limits
  }
}
