import { expect, it } from 'vitest';
import { originOf, principalOf } from '../../src/authentication/principal.js';

const init = { subject: 'ada', expiresAt: 1_000, roles: ['a'], claims: { jti: '1' } };
const origin = { digest: 'digest', toleranceMs: 5 };

it.each([undefined, null, [], 'ada', { ...init, claims: 'x' }, { ...init, claims: [] }, { ...init, scopes: [1] }])(
  '%j is no principal',
  (given) => {
    expect(() => principalOf(given as never, origin)).toThrow(TypeError);
  },
);

it('nobody changes a principal', () => {
  const principal = principalOf(init, origin);
  expect([principal, principal.roles, principal.scopes, principal.claims].every(Object.isFrozen)).toBe(true);
  init.roles.push('admin');
  expect(principal.roles).toEqual(['a']);
});

it('a copy of a principal is not the token’s any more', () => {
  const principal = principalOf(init, origin);
  expect(originOf(principal)).toEqual(origin);
  expect(originOf({ ...principal, roles: ['admin'] })).toEqual({ digest: undefined, toleranceMs: 0 });
});

it('the claims that it was made from are still their maker’s', () => {
  const claims: Record<string, unknown> = { jti: '1' };
  const principal = principalOf({ ...init, claims }, origin);
  claims.jti = '2';
  expect(principal.claims).toEqual({ jti: '1' });
});
