import { expect, it } from 'vitest';
import { resolveOptions } from '../../../src/ws-gateway.options.js';
import { keyPair, SECRET } from '../../support/tokens.js';

const { pem: rsa } = keyPair('rsa');
const { pem: ec } = keyPair('ec');
const jwksUri = 'https://id.test/keys';

const complaint = (jwt: object): string => {
  try {
    resolveOptions({ auth: { jwt } });
  } catch (error) {
    return (error as Error).message;
  }
  return 'none';
};

it.each([
  'http://id.test/keys',
  'http://127.0.0.1.id.test/keys',
  'http://localhost.id.test/keys',
  'http://10.0.0.1/keys',
  'file:///etc/keys',
  'ftp://id.test/keys',
  'id.test/keys',
])('keys at %s would be anybody’s', (uri) => {
  expect(complaint({ jwksUri: uri })).toContain('auth.jwt.jwksUri must be an https URL');
});

it.each(['https://id.test/keys', 'http://127.0.0.1:80/keys', 'http://localhost/keys', 'http://[::1]/keys'])(
  'keys at %s are fetched',
  (uri) => {
    expect(complaint({ jwksUri: uri, issuer: 'https://id.test', audience: 'ws' })).toBe('none');
  },
);

it.each([
  ['HMAC for published keys', { jwksUri, algorithms: ['RS256', 'HS256'] }, 'HS256 does not fit a published key'],
  [
    'algorithms that leave out a key',
    { publicKeys: { rsa, ec }, algorithms: ['RS256'] },
    'auth.jwt.algorithms has none that fits one of the keys',
  ],
  ['no secret by kid', { secrets: {} }, 'auth.jwt.secrets must have one key or more'],
  ['a secret and a public key', { secret: SECRET, publicKey: rsa }, 'auth.jwt takes keys of one kind'],
  ['secrets and published keys', { secrets: { a: SECRET }, jwksUri }, 'auth.jwt takes keys of one kind'],
  [
    'one name for two issuers',
    { secret: SECRET, issuer: 'a', issuers: [{ issuer: 'a', secret: SECRET }] },
    'auth.jwt.issuers must not name an issuer twice',
  ],
  [
    'an issuer without a name',
    { secret: SECRET, issuers: [{ secret: SECRET }] },
    'auth.jwt.issuers[0].issuer is needed',
  ],
  ['an issuer without keys', { issuers: [{ issuer: 'a' }] }, 'auth.jwt.issuers[0] needs a secret'],
  ['no issuers', { secret: SECRET, issuers: [] }, 'auth.jwt.issuers must be a list'],
  [
    'an issuer of its own and no key for it',
    { issuer: 'b', issuers: [{ issuer: 'a', secret: SECRET }] },
    'and no key beside the issuers to go with them',
  ],
  ['roles that are no list', { secret: SECRET, roles: 'admin' }, 'auth.jwt.roles must be "all" or a list of names'],
  ['a subject that is no function', { secret: SECRET, subject: 'email' }, 'auth.jwt.subject must be a function'],
  ['published keys for any audience', { jwksUri, issuer: 'a' }, 'auth.jwt.audience is needed with a jwksUri'],
  ['published keys for any issuer', { jwksUri, audience: 'a' }, 'auth.jwt.issuer is needed with a jwksUri'],
  [
    'published keys of a further issuer for any audience',
    { secret: SECRET, issuers: [{ issuer: 'a', jwksUri }] },
    'auth.jwt.issuers[0].audience is needed with a jwksUri',
  ],
  [
    'a further issuer that is any',
    { secret: SECRET, issuers: [{ issuer: false, secret: SECRET }] },
    '.issuer is needed',
  ],
  ['an audience of true', { secret: SECRET, audience: true }, 'auth.jwt.audience must be a non-empty string'],
])('refuses %s', (_, jwt, problem) => {
  expect(complaint(jwt)).toContain(problem);
});

it('takes published keys for anybody where that is said out loud, once for all issuers', () => {
  expect(complaint({ jwksUri, issuer: false, audience: false })).toBe('none');
  expect(complaint({ secret: SECRET, audience: false, issuers: [{ issuer: 'a', jwksUri }] })).toBe('none');
  expect(complaint({ secret: SECRET, audience: 'ws', issuers: [{ issuer: 'a', jwksUri }] })).toBe('none');
  const [first, second] = resolveOptions({
    auth: { jwt: { secret: SECRET, audience: 'ws', issuers: [{ issuer: 'a', secret: SECRET, audience: false }] } },
  }).auth.issuers;
  expect([first?.audience, second?.audience]).toEqual([['ws'], false]);
});
