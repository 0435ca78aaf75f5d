import { spawnSync } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import { Client } from '../../support/client.js';
import { MAIN, startService, stopServices } from '../../support/service.js';
import { SECRET } from '../../support/tokens.js';

afterEach(stopServices);

function token(args: string[], environment: NodeJS.ProcessEnv = { JWT_SECRET: SECRET }) {
  const env = { PATH: process.env.PATH, ...environment };
  return spawnSync(process.execPath, [MAIN, 'token', ...args], { env, encoding: 'utf8' });
}

const claimsOf = (jwt: string): Record<string, unknown> =>
  JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>;

describe('ws-gateway token', () => {
  it('prints a token alone on stdout, which the service accepts, and says on stderr that it is for development', async () => {
    const environment = { JWT_SECRET: SECRET, JWT_ISSUER: 'one, two', JWT_AUDIENCE: 'three', JWT_ALGORITHMS: 'HS512' };
    const args = ['--sub', 'ada', '--role', 'buyer', '--role', 'seller', '--scope', 'read', '--scope=write'];
    const { stdout, stderr, status } = token(args, environment);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    expect(stderr).toMatch(/^For development only: a token for ada, role buyer.*expires in 1h\. .*\n$/);
    const { iat, exp, ...claims } = claimsOf(stdout);
    expect(claims).toEqual({ sub: 'ada', roles: ['buyer', 'seller'], scope: 'read write', iss: 'one', aud: 'three' });
    expect(Number(exp) - Number(iat)).toBe(3_600);
    const { url } = await startService({ ...environment, LOG_FORMAT: 'json' });
    const client = await Client.connect(url, { token: stdout.trim() });
    expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({
      data: { subject: 'ada', roles: ['buyer', 'seller'], scopes: ['read', 'write'] },
    });
  });

  it('takes the secret from another variable, and any of four units of time', () => {
    for (const [expires, seconds] of Object.entries({ '30s': 30, '15m': 900, '2h': 7_200, '7d': 604_800 })) {
      const { stdout } = token(['--sub', 'ada', '--expires', expires, '--secret-env', 'MINE'], { MINE: SECRET });
      const { iat, exp, ...claims } = claimsOf(stdout);
      expect(Number(exp) - Number(iat)).toBe(seconds);
      expect(claims).toEqual({ sub: 'ada' });
    }
  });

  it.each([
    ['no subject', [], {}, 'needs a subject'],
    ['no secret', ['--sub', 'ada'], {}, 'JWT_SECRET is not set'],
    ['a short secret', ['--sub', 'ada'], { JWT_SECRET: 'too-short' }, 'JWT_SECRET has 9 bytes'],
    ['a time without a unit', ['--sub', 'ada', '--expires', '60'], { JWT_SECRET: SECRET }, '--expires takes'],
    ['a time of nothing', ['--sub', 'ada', '--expires', '0s'], { JWT_SECRET: SECRET }, '--expires takes'],
    ['a secret for a name', ['--sub', 'ada', '--secret-env', SECRET], {}, 'the name of an environment variable'],
  ])('says in one sentence what is wrong: %s', (_, args, environment, message) => {
    const { stdout, stderr, status } = token(args, environment);
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toContain(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    for (const secret of [SECRET, 'too-short']) expect(stderr).not.toContain(secret);
  });

  it('answers an option it does not know with the help', () => {
    const { stderr, status } = token(['--subject', 'ada']);
    expect(status).toBe(1);
    expect(stderr).toContain('ws-gateway token --sub SUBJECT');
  });
});
