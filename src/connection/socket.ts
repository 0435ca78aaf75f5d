import { WebSocket } from 'ws';
import { endByCloseCode, endSlowConsumer } from './failure.js';
import type { WsSession } from './session.js';

// By symbol, not instanceof: an application may have a second copy of `ws`.
export const SESSION = Symbol.for('nestjs-ws-gateway.session');

/**
 * The socket that handlers receive: `ws`'s own, which tells the peer why before it closes. `ws` closes with its status
 * code before it emits `error` for a protocol violation, so `close` is where both its closes and the application's pass.
 */
export class GatewaySocket extends WebSocket {
  [SESSION]: WsSession | undefined = undefined;

  override close(code?: number, reason?: string | Buffer): void {
    const session = this[SESSION];
    if (session?.isLive && !this.#peerIsClosing) endByCloseCode(session, code ?? 1000, reason);
    else super.close(code, reason);
  }

  override send(data: Parameters<WebSocket['send']>[0], ...rest: unknown[]): void {
    // because the overloads of send() take (cb) or (options, cb), and both are passed on untouched
    (super.send as (data: unknown, ...rest: unknown[]) => void)(data, ...rest);
    const session = this[SESSION];
    if (session?.isLive && this.bufferedAmount > session.server.context.options.limits.maxOutboundBytes) {
      endSlowConsumer(session);
    }
  }

  /** `ws` answers a peer's close frame through close() too. Its flag is the only sign of it; absent, we would say goodbye twice. */
  get #peerIsClosing(): boolean {
    return (this as unknown as { _closeFrameReceived?: boolean })._closeFrameReceived === true;
  }
}
