import { containResult } from '../base/contain.js';
import { isJsonObject } from '../protocol/message.js';

type Claims = Readonly<Record<string, unknown>>;

/**
 * Where names of roles or scopes stand in a token: a claim (`roles`), a path through claims (`realm_access.roles`), several of
 * these, whose names are taken together, or a function. A claim is a list of strings or one string with spaces between
 * them (RFC 8693 §4.2).
 */
export type ClaimNames = string | readonly string[] | ((claims: Claims) => readonly string[]);

/**
 * The names that the claims have.
 *
 * @throws whatever the application's function throws; TypeError when it does not return a list of strings
 */
export function namesIn(claims: Claims, where: ClaimNames): readonly string[] {
  if (typeof where === 'string') return namesOf(claimAt(claims, where));
  if (typeof where === 'function') {
    const names: unknown = where(claims);
    if (Array.isArray(names) && names.every((name) => typeof name === 'string')) return names;
    containResult(names, () => undefined); // a rejection that comes later must not end the process
    throw new TypeError('A function of auth.claims must return a list of strings, and at once');
  }
  return [...new Set(where.flatMap((path) => namesOf(claimAt(claims, path))))];
}

function namesOf(claim: unknown): string[] {
  if (typeof claim === 'string') return claim.split(' ').filter((name) => name !== '');
  return Array.isArray(claim) ? claim.filter((name) => typeof name === 'string') : [];
}

/** The whole text is tried first: names of claims may be URLs, with dots in them (RFC 7519 §4.2). */
function claimAt(claims: Claims, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path];
  let value: unknown = claims;
  for (const name of path.split('.')) {
    if (!isJsonObject(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}

/** The channels that a token names, undefined where it has no such claim: its claim is `{"subscribe": [...], "publish": [...]}`. */
export function channelsIn(claims: Claims, path: string, act: 'subscribe' | 'publish'): readonly unknown[] | undefined {
  const claim = claimAt(claims, path);
  if (!isJsonObject(claim) || !Object.hasOwn(claim, act)) return undefined;
  const patterns = claim[act];
  return Array.isArray(patterns) ? patterns : []; // any other value names no channel
}
