import { parseArgs } from 'node:util';
import { JwtService } from '@nestjs/jwt';
import { MIN_SECRET_BYTES } from '../../authentication/jwt/issuers.js';
import type { Algorithm } from '../../authentication/jwt/issuers.js';
import type { ServiceConfiguration } from '../configuration/configuration.js';
import { CommandError } from './errors.js';

const SECONDS = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;

/** What a token says beside its times; what is undefined or an empty list is left out. */
interface TokenClaims {
  readonly sub: string;
  readonly roles?: readonly string[] | undefined;
  readonly scope?: string | undefined;
  readonly iss?: string | undefined;
  readonly aud?: string | undefined;
}

/**
 * `ws-gateway token`: prints a token for development, signed with the secret of an environment variable. The token alone is on
 * stdout, so that a shell can take it: `--token "$(ws-gateway token --sub ada)"`.
 *
 * @returns the exit code
 * @throws CommandError in one sentence; an error of parseArgs for an option it does not know
 */
export function tokenCommand(args: string[], environment: NodeJS.ProcessEnv): number {
  const { values } = parseArgs({
    args,
    options: {
      sub: { type: 'string' },
      role: { type: 'string', multiple: true, default: [] },
      scope: { type: 'string', multiple: true, default: [] },
      expires: { type: 'string', default: '1h' },
      'secret-env': { type: 'string', default: 'JWT_SECRET' },
    },
  });
  const { sub, role: roles, scope: scopes, expires } = values;
  if (!sub) throw new CommandError('ws-gateway token needs a subject: --sub ada');
  const seconds = secondsOf(expires);
  const secret = secretOf(values['secret-env'], environment);
  const claims = {
    sub,
    roles,
    scope: scopes.join(' '),
    iss: firstOf(environment.JWT_ISSUER),
    aud: firstOf(environment.JWT_AUDIENCE),
  };
  const token = signToken(claims, { secret, seconds, algorithm: algorithmOf(environment.JWT_ALGORITHMS) });
  const names = [...roles.map((role) => `role ${role}`), ...scopes.map((scope) => `scope ${scope}`)].join(', ');
  process.stderr.write(
    `For development only: a token for ${sub}${names && `, ${names}`}, that expires in ${expires}. In production an identity provider signs tokens.\n`,
  );
  process.stdout.write(`${token}\n`);
  return 0;
}

/** Signs a token with an HMAC. */
export function signToken(
  claims: TokenClaims,
  { secret, seconds, algorithm }: { secret: string; seconds: number; algorithm: Algorithm },
): string {
  const payload = Object.fromEntries(
    Object.entries(claims).filter(([, value]: [string, string | readonly string[] | undefined]) => value?.length),
  );
  return new JwtService({}).sign(payload, { secret, expiresIn: seconds, algorithm });
}

function secondsOf(expires: string): number {
  const [, count, unit] = /^([1-9]\d{0,4})([smhd])$/.exec(expires) ?? [];
  if (count === undefined) throw new CommandError('--expires takes a number with a unit: 30s, 15m, 1h or 7d');
  return Number(count) * SECONDS[unit as keyof typeof SECONDS]; // because the pattern allows no other unit
}

function secretOf(variable: string, environment: NodeJS.ProcessEnv): string {
  // Also keeps a secret that was given in place of a name out of the message.
  if (!/^[A-Za-z_]\w{0,63}$/.test(variable)) {
    throw new CommandError('--secret-env takes the name of an environment variable, as JWT_SECRET');
  }
  const secret = environment[variable]?.trim();
  if (!secret) {
    throw new CommandError(
      `${variable} is not set: put into it the secret with which the gateway verifies tokens, or name another variable with --secret-env.`,
    );
  }
  const bytes = Buffer.byteLength(secret);
  if (bytes >= MIN_SECRET_BYTES) return secret;
  throw new CommandError(
    `${variable} has ${bytes} bytes, and the gateway takes secrets of at least ${MIN_SECRET_BYTES}: make one with openssl rand -base64 32`,
  );
}

/** The first name of a list as the service reads it; `false` stands for any. */
function firstOf(list: string | undefined): string | undefined {
  const [first = ''] = (list ?? '').split(',');
  return first.trim() === 'false' ? undefined : first.trim();
}

function algorithmOf(list: string | undefined): Algorithm {
  const first = firstOf(list) ?? '';
  return first === 'HS384' || first === 'HS512' ? first : 'HS256';
}

/** A token that this run accepts, whatever issuer and audience it is configured with. */
export function signDemo(
  { seconds, ...claims }: Pick<TokenClaims, 'sub' | 'roles' | 'scope'> & { readonly seconds: number },
  secret: string,
  { auth }: ServiceConfiguration['gateway'],
): string {
  const first = (names: string | readonly string[] | false | undefined): string | undefined =>
    typeof names === 'string' ? names : names === false ? undefined : names?.[0];
  const { issuer, audience, algorithms } = auth.jwt ?? {};
  const whole = { ...claims, scope: claims.scope || undefined, iss: first(issuer), aud: first(audience) };
  return signToken(whole, { secret, seconds, algorithm: algorithms?.[0] ?? 'HS256' });
}
