import type { EventLimit } from '../firewall/message-budget.js';
import { SessionEnd } from '../session/failure.js';
import type { Session } from '../session/session.js';
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

/**
 * Reads the decorators of a handler and its class. What a handler says of being public or not wins over its class; where
 * one of them says both, closed wins.
 */
export function accessOf(gateway: object, handler: object): Access {
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
 * Demands of the session what its handler asks for: a principal whose token lasts, its roles and its scopes. Rules come later,
 * when there is a payload to ask about.
 *
 * @throws GatewayError UNAUTHENTICATED, FORBIDDEN; SessionEnd TOKEN_EXPIRED
 */
export function demandAccess(session: Session, access: Access): void {
  const { principal } = session;
  if (principal === undefined) throw new GatewayError('UNAUTHENTICATED');
  if (session.isExpired(session.clock.now())) throw new SessionEnd('TOKEN_EXPIRED');
  const allowed =
    access.roles.every((oneOf) => oneOf.some((role) => principal.roles.includes(role))) &&
    access.scopes.every((scope) => principal.scopes.includes(scope));
  if (!allowed) throw new GatewayError('FORBIDDEN');
}
