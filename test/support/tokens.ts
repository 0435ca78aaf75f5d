import { JwtService } from '@nestjs/jwt';

export const SECRET = 'a-secret-for-tests-of-at-least-32-bytes';

/** A token that expires in an hour, unless the claims say otherwise; a claim of `undefined` is left out. */
export function token(claims: Record<string, unknown> = {}, secret = SECRET): string {
  const now = Math.floor(Date.now() / 1000);
  const payload = Object.fromEntries(
    Object.entries({ sub: 'ada', iat: now, exp: now + 3_600, ...claims }).filter(([, value]) => value !== undefined),
  );
  return new JwtService({}).sign(payload, { secret, noTimestamp: true });
}
