import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { DEFAULTS, resolveOptions, WsGatewayOptionsError } from '../src/ws-gateway.options.js';
import { SECRET } from './support/tokens.js';

const jwt = { secret: SECRET };

function problemsOf(options: unknown): readonly string[] {
  try {
    resolveOptions(options);
  } catch (error) {
    if (error instanceof WsGatewayOptionsError) return error.problems;
    throw error;
  }
  return [];
}

const pem = (key: { export(options: { type: 'spki'; format: 'pem' }): string | Buffer }): string =>
  key.export({ type: 'spki', format: 'pem' }).toString();
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const weakRsa = generateKeyPairSync('rsa', { modulusLength: 1024 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const ed = generateKeyPairSync('ed25519');

describe('resolveOptions', () => {
  it('fills in every default', () => {
    const { auth, ...rest } = resolveOptions({ auth: { jwt } });
    const {
      issuers: [issuer],
      cookie,
      revalidate,
      connectionGuards,
      ...restOfAuth
    } = auth;
    const { jwt: jwtDefaults, ...authDefaults } = DEFAULTS.auth;
    const { auth: _, compression: __, ...defaults } = DEFAULTS;
    expect(rest).toEqual({
      ...defaults,
      compression: false,
      firewall: { ...defaults.firewall, origins: undefined, proxyHeader: undefined, dryRun: [] },
      sealing: { keys: undefined },
      fingerprints: { keys: undefined },
    });
    expect(restOfAuth).toEqual(authDefaults);
    expect([cookie, revalidate, connectionGuards]).toEqual([undefined, undefined, []]);
    expect(issuer).toMatchObject({
      ...jwtDefaults,
      algorithms: ['HS256'],
      issuer: undefined,
      audience: undefined,
    });
  });

  it('freezes what it returns', () => {
    const options = resolveOptions({ auth: { jwt } });
    expect(
      Object.isFrozen(options) && Object.isFrozen(options.limits) && Object.isFrozen(options.auth.issuers[0]),
    ).toBe(true);
  });

  it('names every bad option at once', () => {
    const problems = problemsOf({
      path: 'ws',
      auth: {
        jwt: { secret: 'short', algorithms: ['none'], clockToleranceSec: -1 },
        sources: [],
        reject: 'x',
        anonymous: 1,
      },
      firewall: { origins: ['app.example.com', 'https://*.example.com/path'] },
      limits: { maxMessageBytes: Infinity, maxJsonDepth: 1, typo: 1 },
      shutdown: { drainMs: '10' },
      errors: { event: '' },
      nonsense: true,
    });
    for (const name of [
      'path',
      'auth.jwt.secret',
      'auth.jwt.algorithms',
      'auth.jwt.clockToleranceSec',
      'auth.sources',
      'auth.reject',
      'auth.anonymous',
      'firewall.origins',
      'limits.maxMessageBytes',
      'limits.maxJsonDepth',
      'limits.typo',
      'shutdown.drainMs',
      'errors.event',
      'nonsense',
    ]) {
      expect(problems.some((problem) => problem.startsWith(`${name} `))).toBe(true);
    }
    expect(problems).toContain('limits.maxMessageBytes must be an integer from 1 to 16777216, got Infinity');
  });

  it('never shows a secret', () => {
    expect(problemsOf({ auth: { jwt: { secret: 'hunter2' } } }).join()).not.toContain('hunter2');
  });

  it.each([
    undefined,
    null,
    1,
    [],
    { auth: undefined },
    { auth: { jwt: {} } },
    { auth: { jwt: { ...jwt, publicKey: 'x' } } },
  ])('refuses %j', (options) => {
    expect(problemsOf(options)).not.toEqual([]);
  });

  it('needs no key where clients are anonymous and no credential is looked for', () => {
    expect(problemsOf({ auth: { anonymous: true, sources: [] } })).toEqual([]);
    expect(problemsOf({ auth: { anonymous: true } })).toEqual([expect.stringMatching(/^auth\.jwt needs/)]);
    expect(problemsOf({ auth: { sources: [] } })).toEqual([
      'auth.sources must name one or more where auth.anonymous is false: no client could ever authenticate',
    ]);
  });

  it('binds algorithms to the type of the key', () => {
    expect(problemsOf({ auth: { jwt: { ...jwt, algorithms: ['RS256'] } } })).toHaveLength(1);
    expect(problemsOf({ auth: { jwt: { publicKey: pem(rsa.publicKey), algorithms: ['HS256'] } } })).toHaveLength(1);
    expect(problemsOf({ auth: { jwt: { publicKey: pem(ec.publicKey), algorithms: ['ES256'] } } })).toHaveLength(1);
    expect(problemsOf({ auth: { jwt: { publicKey: pem(ec.publicKey), algorithms: ['ES384'] } } })).toEqual([]);
  });

  it('takes the algorithm from the key when none is named', () => {
    const algorithmsOf = (publicKey: string) =>
      resolveOptions({ auth: { jwt: { publicKey } } }).auth.issuers[0]?.algorithms;
    expect(algorithmsOf(pem(rsa.publicKey))).toEqual(['RS256']);
    expect(algorithmsOf(pem(ec.publicKey))).toEqual(['ES384']);
  });

  it('refuses weak, private and unsupported keys', () => {
    const privatePem = rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    expect(problemsOf({ auth: { jwt: { publicKey: pem(weakRsa.publicKey) } } })[0]).toContain('2048 bits');
    expect(problemsOf({ auth: { jwt: { publicKey: privatePem } } })[0]).toContain('private key');
    expect(problemsOf({ auth: { jwt: { publicKey: pem(ed.publicKey) } } })[0]).toContain('RSA or EC');
    expect(problemsOf({ auth: { jwt: { publicKey: 'nonsense' } } })[0]).toContain('PEM');
  });
});
