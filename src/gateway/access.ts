import type { Type } from '@nestjs/common';
import type { Principal } from '../authentication/principal.js';
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
 * one of them says both, closed wins. What the method asks for in a base class is asked for here, too, while `@Public()` opens
 * what it is written at: the method, not its override; the handlers of the class, not those that a subclass adds.
 */
export function accessOf(gateway: Type, handler: object): Access {
  const places = placesOf(gateway, handler);
  const classReads = <T>(key: string): T | undefined => Reflect.getMetadata(key, gateway) as T | undefined; // because the decorators wrote it
  const handlerAsks = <T>(key: string): T[] | undefined => {
    const lists = places.map((place) => place<T[]>(key)).filter((list) => list !== undefined);
    return lists.length === 0 ? undefined : [...new Set(lists.flat())]; // a method that was not replaced has its lists twice
  };
  const roles = [classReads<string[][]>(ROLES_METADATA), handlerAsks<string[]>(ROLES_METADATA)];
  const scopes = [classReads<string[]>(SCOPES_METADATA), handlerAsks<string>(SCOPES_METADATA)];
  const rules = [classReads<Rule[]>(RULES_METADATA), handlerAsks<Rule>(RULES_METADATA)];
  const [classIsClosed, handlerIsClosed] = [0, 1].map(
    (index) => (roles[index] ?? scopes[index] ?? rules[index]) !== undefined,
  );
  const classIsPublic = !classIsClosed && holdersOf(gateway, handler).some(isMarkedPublic);
  const handlerIsPublic = places.slice(0, 2).some((place) => place<boolean>(PUBLIC_METADATA) === true);
  const isPublic = !handlerIsClosed && (handlerIsPublic || classIsPublic);
  const [rateLimit] = places
    .map((place) => place<EventLimit>(RATE_LIMIT_METADATA))
    .filter((limit) => limit !== undefined);
  return {
    isPublic,
    roles: roles.flatMap((lists) => lists ?? []),
    scopes: scopes.flatMap((list) => list ?? []),
    rules: isPublic ? [] : rules.flatMap((list) => list ?? []),
    rateLimit: rateLimit ?? classReads<EventLimit>(RATE_LIMIT_METADATA),
  };
}

/** Reads what is written at one place. */
type Place = <T>(key: string) => T | undefined;

/** Where the decorators of a handler may have written: the function, its name on the class, and that name on each base. */
function placesOf(gateway: Type, handler: object): Place[] {
  const name = nameOf(gateway, handler);
  const atFunction: Place = (key) => Reflect.getOwnMetadata(key, handler) as never; // because the decorators wrote it
  if (name === undefined) return [atFunction];
  const declaring = prototypesOf(gateway).filter((prototype) => Object.hasOwn(prototype, name));
  const byName = declaring.map(
    (prototype): Place =>
      (key) =>
        Reflect.getOwnMetadata(key, prototype, name) as never,
  );
  return [atFunction, ...byName];
}

/** The gateway and its bases, down to the class whose method the handler is: all the classes that have the handler. */
function holdersOf(gateway: Type, handler: object): object[] {
  const name = nameOf(gateway, handler);
  const prototypes = prototypesOf(gateway);
  const declaring = name === undefined ? 0 : prototypes.findIndex((prototype) => Object.hasOwn(prototype, name));
  return prototypes.slice(0, declaring + 1).map(({ constructor }) => constructor);
}

function isMarkedPublic(type: object): boolean {
  return Reflect.getOwnMetadata(PUBLIC_METADATA, type) === true;
}

/** The method's name: the function's own may be that of a decorator. */
function nameOf(gateway: Type, handler: object): string | symbol | undefined {
  for (const prototype of prototypesOf(gateway)) {
    const found = Reflect.ownKeys(prototype).find(
      (name) => Object.getOwnPropertyDescriptor(prototype, name)?.value === handler,
    );
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The class's, then those of its bases. */
function prototypesOf(gateway: Type): object[] {
  const prototypes: object[] = [];
  let prototype: unknown = gateway.prototype;
  while (typeof prototype === 'object' && prototype !== null && prototype !== Object.prototype) {
    prototypes.push(prototype);
    prototype = Object.getPrototypeOf(prototype);
  }
  return prototypes;
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
  if (!isAllowed(principal, access)) throw new GatewayError('FORBIDDEN');
}

/** True where the principal has the roles and scopes. */
export function isAllowed({ roles, scopes }: Principal, access: Access): boolean {
  return (
    access.roles.every((oneOf) => oneOf.some((role) => roles.includes(role))) &&
    access.scopes.every((scope) => scopes.includes(scope))
  );
}
