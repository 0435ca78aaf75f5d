import { Injectable } from '@nestjs/common';
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { sessionOf } from '../session/session.js';
import { WsSession } from '../session/ws-session.js';
import { accessOf, demandAccess } from './access.js';
import type { Access } from './access.js';

/**
 * Stands before every handler of every gateway: closed without a session, unless the handler is public.
 *
 * @throws GatewayError UNAUTHENTICATED, FORBIDDEN, TOKEN_EXPIRED (which ends the session)
 */
@Injectable()
export class WsGuard implements CanActivate {
  // By class and handler: two gateways may share a handler of their base, and be decorated in different ways.
  readonly #access = new WeakMap<object, WeakMap<object, Access>>();

  /** For `@UseGuards(WsGuard)` of one's own; the module calls {@link authorize} itself. */
  canActivate(context: ExecutionContext): boolean {
    if (context.getType() !== 'ws') return true;
    const handler = context.getHandler();
    const gateway = context.getClass();
    let known = this.#access.get(gateway);
    if (known === undefined) this.#access.set(gateway, (known = new WeakMap()));
    let access = known.get(handler);
    if (access === undefined) known.set(handler, (access = accessOf(gateway, handler)));
    this.authorize(WsSession.of(context.switchToWs().getClient<object>()), access);
    return true;
  }

  /**
   * @param event charged where it has a limit of its own; left out, nothing is
   * @throws GatewayError UNAUTHENTICATED, FORBIDDEN, TOKEN_EXPIRED, RATE_LIMITED
   */
  authorize(session: WsSession, access: Access, event?: string): void {
    if (!access.isPublic) demandAccess(sessionOf(session.socket), access);
    if (event !== undefined && access.rateLimit !== undefined) {
      sessionOf(session.socket).chargeEvent(event, access.rateLimit);
    }
  }
}
