import { Injectable } from '@nestjs/common';
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import type { EventLimit } from '../firewall/ws-firewall.js';
import { SessionEnd } from '../session/failure.js';
import { WsSession } from '../session/session.js';
import { GatewayError } from '../protocol/errors.js';
import type { Rule } from './rules.js';
import { PUBLIC_METADATA, RATE_LIMIT_METADATA, ROLES_METADATA, RULES_METADATA, SCOPES_METADATA } from './decorators.js';

/** What a handler asks of a session; decided once per handler. */
export interface Access {
  readonly isPublic: boolean;
  /** One of each list is needed. */
  readonly roles: readonly (readonly string[])[];
  /** All are needed. */
  readonly scopes: readonly string[];
  /** All have to say true, in this order. */
  readonly rules: readonly Rule[];
  readonly rateLimit: EventLimit | undefined;
}

type Handler = (...args: never[]) => unknown;

/**
 * Reads the decorators of a handler and its class. What a handler says of being public or not wins over its class; where
 * one of them says both, closed wins.
 */
export function accessOf(gateway: object, handler: Handler): Access {
  const read = <T>(key: string, target: object): T | undefined => Reflect.getMetadata(key, target) as T | undefined;
  const roles = [read<string[][]>(ROLES_METADATA, gateway), read<string[][]>(ROLES_METADATA, handler)];
  const scopes = [read<string[]>(SCOPES_METADATA, gateway), read<string[]>(SCOPES_METADATA, handler)];
  const rules = [read<Rule[]>(RULES_METADATA, gateway), read<Rule[]>(RULES_METADATA, handler)];
  const [classIsClosed, handlerIsClosed] = [0, 1].map(
    (index) => (roles[index] ?? scopes[index] ?? rules[index]) !== undefined,
  );
  const classIsPublic = read<boolean>(PUBLIC_METADATA, gateway) === true && !classIsClosed;
  const handlerIsPublic = read<boolean>(PUBLIC_METADATA, handler) === true;
  const isPublic = !handlerIsClosed && (handlerIsPublic || classIsPublic);
  return {
    isPublic,
    roles: roles.flatMap((lists) => lists ?? []),
    scopes: scopes.flatMap((list) => list ?? []),
    rules: isPublic ? [] : rules.flatMap((list) => list ?? []),
    rateLimit: read<EventLimit>(RATE_LIMIT_METADATA, handler) ?? read<EventLimit>(RATE_LIMIT_METADATA, gateway),
  };
}

/**
 * Stands before every handler of every gateway: closed without a session, unless the handler is public.
 *
 * @throws GatewayError UNAUTHENTICATED, FORBIDDEN, TOKEN_EXPIRED (which ends the session)
 */
@Injectable()
export class WsGuard implements CanActivate {
  // By class and handler: two gateways may share a handler of their base, and be decorated in different ways.
  readonly #access = new WeakMap<object, WeakMap<Handler, Access>>();

  /** For `@UseGuards(WsGuard)` of one's own; the module calls {@link authorize} itself. */
  canActivate(context: ExecutionContext): boolean {
    if (context.getType() !== 'ws') return true;
    const handler = context.getHandler() as Handler;
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
    if (!access.isPublic) demandAccess(session, access);
    if (event !== undefined && access.rateLimit !== undefined) session.chargeEvent(event, access.rateLimit);
  }
}

function demandAccess(session: WsSession, access: Access): void {
  const { principal } = session;
  if (principal === undefined) throw new GatewayError('UNAUTHENTICATED');
  if (session.isExpired(session.clock.now())) throw new SessionEnd('TOKEN_EXPIRED');
  const allowed =
    access.roles.every((oneOf) => oneOf.some((role) => principal.roles.includes(role))) &&
    access.scopes.every((scope) => principal.scopes.includes(scope));
  if (!allowed) throw new GatewayError('FORBIDDEN');
}
