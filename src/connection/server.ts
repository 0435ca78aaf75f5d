import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import type { PerMessageDeflateOptions } from 'ws';
import { contain, containResult, Faults } from '../base/contain.js';
import { ENVELOPE } from '../protocol/envelope.js';
import type { WireProtocol } from '../protocol/wire-protocol.js';
import type { WsSession } from '../session/ws-session.js';
import type { ConnectionGuard } from '../authentication/connection-guard.js';
import { onClosed, onControl, onMessage } from './lifecycle.js';
import { Router } from './router.js';
import type { Session } from '../session/session.js';
import { GatewaySocket } from '../socket/gateway-socket.js';
import type { ConnectionContext, RawPath, ServedPath, Upstream } from './context.js';
import type { GatewayLimits } from './gateway-options.js';
import type { ResolvedConnection } from './options.js';
import { receive } from './receive.js';
import type { RequestQueue } from './request.js';

/** What `ws` itself emits on a server that has no HTTP server of its own. */
const NATIVE: ReadonlySet<string | symbol> = new Set(['headers', 'close', 'wsClientError']);

/** Milliseconds a peer has to finish the closing handshake before its TCP connection is cut. */
const CLOSE_TIMEOUT_MS = 5_000;

/**
 * Pieces in which one frame may arrive. A slow connection delivers about a segment at a time, so a large message needs more
 * of them; `ws` takes them from the front one by one, which costs 6 ms for 4,096 and 120 ms for 16,512.
 */
function maxBufferedChunks(maxMessageBytes: number): number {
  return Math.min(16_512, Math.max(4_096, Math.ceil(maxMessageBytes / 64) + 128));
}

function deflateOf(compression: ResolvedConnection['compression']): PerMessageDeflateOptions | false {
  return (
    compression !== false && {
      threshold: compression.thresholdBytes,
      serverNoContextTakeover: true,
      clientNoContextTakeover: true,
      concurrencyLimit: 4,
    }
  );
}

/**
 * The server of one path, which `@WebSocketServer()` injects. Its `clients` are the sockets that may be written to: the socket of a
 * session that has yet to authenticate is not among them.
 */
export class GatewayServer extends WebSocketServer<typeof GatewaySocket> implements ServedPath {
  readonly router = new Router();
  readonly #faults = new Faults('A listener of a WebSocketServer threw');
  /** What the gateways of the path, and the options, ask of every upgrade. */
  readonly connectionGuards: ConnectionGuard[] = [];
  readonly pending: RequestQueue;
  protocol: WireProtocol<WsSession> = ENVELOPE;
  /** Set where the gateway of the path is raw. */
  raw: RawPath | undefined = undefined;
  /** Set where the path is a proxy's. */
  upstream: Upstream | undefined = undefined;
  /** The smallest `maxPayload` of the gateways of the path. */
  #maxPayload = Infinity;

  /** @param context with the options of the path */
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
      maxBufferedChunks: maxBufferedChunks(limits.maxMessageBytes),
      closeTimeout: CLOSE_TIMEOUT_MS,
      autoPong: false, // see Pongs
      // A token may stand beside the protocol, so nothing but what the path speaks is ever selected.
      handleProtocols: (offered, request) =>
        this.upstream?.selected(request, offered) ??
        [...offered].find((name) => this.protocol.subprotocols?.includes(name)) ??
        false,
      perMessageDeflate: deflateOf(compression),
    } as ConstructorParameters<typeof WebSocketServer<typeof GatewaySocket>>[0]); // because @types/ws lacks the newer limits
    this.pending = context.pending.queue(limits);
  }

  override handleUpgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    callback: (ws: GatewaySocket, request: IncomingMessage) => void,
  ): void {
    super.handleUpgrade(request, socket, head, (ws, upgraded) => {
      ws.stopAtViolation();
      callback(ws, upgraded);
    });
  }

  /** Listeners of the application on the server, each in a fence: `ws` emits from where a throw ends the process. */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (!NATIVE.has(event)) return super.emit(event, ...args);
    const listeners = this.rawListeners(event);
    for (const listener of listeners) {
      const call = (): unknown => Reflect.apply(listener, this, args);
      const failed = (error: unknown): void => this.#faults.tell(error, ` at "${String(event)}"`);
      // A listener of `headers` that throws refuses the upgrade: it may not have set a cookie that matters.
      if (event === 'headers') containResult(call(), failed);
      else contain(call, failed);
    }
    return listeners.length > 0;
  }

  onMessage(session: Session, data: Buffer, isBinary: boolean): void {
    onMessage(session, data, isBinary);
  }

  onControl(session: Session, data: Buffer): void {
    onControl(session, data);
  }

  handle(session: Session, bytes: Buffer, isBinary: boolean): void {
    receive(session, bytes, isBinary);
  }

  admitToBroadcasts(socket: GatewaySocket): void {
    this.clients.add(socket);
  }

  onClosed(session: Session, closeCode: number, reason: string): void {
    onClosed(session, closeCode, reason);
  }

  /** A gateway of the path asks for less than the module allows, or for other compression. */
  restrict({ maxPayload = Infinity, compression }: GatewayLimits): void {
    this.#maxPayload = Math.min(this.#maxPayload, maxPayload);
    if (compression !== undefined) this.options.perMessageDeflate = deflateOf(compression);
    this.applyLimits();
  }

  get messageLimits(): { maxMessageBytes: number; maxFragments: number } {
    const { maxMessageBytes, maxFragments } = this.context.options.limits;
    return { maxMessageBytes: Math.min(maxMessageBytes, this.#maxPayload), maxFragments };
  }

  /** The limits in force are those of every upgrade from now on. */
  applyLimits(): void {
    const { maxMessageBytes, maxFragments } = this.messageLimits;
    Object.assign(this.options, {
      maxPayload: maxMessageBytes,
      maxFragments,
      maxBufferedChunks: maxBufferedChunks(maxMessageBytes),
    });
  }
}
