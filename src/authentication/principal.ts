import { isJsonObject } from '../protocol/message.js';

/** Who a session speaks for (RFC 7519 §4.1.2). */
export interface Principal {
  readonly subject: string;
  readonly roles: readonly string[];
  readonly scopes: readonly string[];
  /** All claims of the token, as verified. Revocation by token id and by age reads `jti` and `iat` here. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** `exp` in epoch milliseconds. */
  readonly expiresAt: number;
}

/** The members that an {@link Authenticator} of an application has to return; the others are empty by default. */
export type PrincipalInit = Pick<Principal, 'subject' | 'expiresAt'> & Partial<Principal>;

/** The token that a principal came from. Applications neither see nor copy it. */
export interface Origin {
  /** Stands for the token in revocations; undefined for a principal that an application has made. */
  readonly digest: string | undefined;
  /** How long after `expiresAt` the token was still accepted, in milliseconds. */
  readonly toleranceMs: number;
}

const ORIGIN = Symbol('origin');
const UNKNOWN: Origin = Object.freeze({ digest: undefined, toleranceMs: 0 });

export function originOf(principal: Principal): Origin {
  return (principal as { [ORIGIN]?: Origin } | undefined)?.[ORIGIN] ?? UNKNOWN;
}

/**
 * A principal, complete and frozen.
 *
 * @throws TypeError that names the member that is wrong
 */
export function principalOf(init: PrincipalInit, origin: Origin): Principal {
  const {
    subject,
    expiresAt,
    roles = [],
    scopes = [],
    claims = {},
  } = isJsonObject(init) ? init : ({} as PrincipalInit);
  const wrong = (what: string): TypeError => new TypeError(`A principal's ${what}`);
  if (typeof subject !== 'string' || subject === '') throw wrong('subject must be a string, and not empty');
  if (!Number.isFinite(expiresAt)) throw wrong('expiresAt must be a finite number of milliseconds');
  if (!isNames(roles) || !isNames(scopes)) throw wrong('roles and scopes must be lists of strings');
  if (!isJsonObject(claims)) throw wrong('claims must be an object');
  const principal = {
    subject,
    roles: Object.freeze([...roles]),
    scopes: Object.freeze([...scopes]),
    claims: Object.freeze({ ...claims }), // a copy: the application may go on changing its own object
    expiresAt: Math.floor(expiresAt),
  };
  // Not enumerable: a copy with other roles does not come from the token, and no log prints it.
  return Object.freeze(Object.defineProperty(principal, ORIGIN, { value: Object.freeze(origin) }));
}

/** When a session of the principal ends, in epoch milliseconds; one that began within the tolerance ends with it (PROTOCOL.md §2). */
export function endOf(principal: Principal, timeOfDay: number): number {
  const { expiresAt } = principal;
  return expiresAt > timeOfDay ? expiresAt : expiresAt + originOf(principal).toleranceMs;
}

/** The `jti`. As with `sub`, a whole number counts as its decimal string. */
export function tokenIdOf({ claims: { jti } }: Principal): string | undefined {
  if (Number.isSafeInteger(jti)) return String(jti);
  return typeof jti === 'string' ? jti : undefined;
}

function isNames(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((name) => typeof name === 'string');
}
