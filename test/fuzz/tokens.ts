import { createHmac } from 'node:crypto';
import { MARKER } from './input.js';

export const SECRET = 'a-secret-for-the-fuzzer-of-at-least-32-bytes';

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** The times are fixed, so that the same input has the same bytes tomorrow. */
function sign(payload: object, header: object = { alg: 'HS256', typ: 'JWT' }, secret = SECRET): string {
  const body = `${encode(header)}.${encode(payload)}`;
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
}

const EXP = 4_102_444_800; // the year 2100

export const GOOD_TOKEN = sign({ sub: 'fuzz', iat: 1, exp: EXP, roles: ['admin'], note: MARKER });

/** Tokens with something wrong about them, and one that is right but somebody else's. */
export const ODD_TOKENS: readonly string[] = [
  sign({ sub: 'other', iat: 1, exp: EXP }),
  sign({ sub: `${MARKER}`, exp: 1 }),
  sign({ sub: `${MARKER}` }),
  sign({ exp: EXP }),
  sign({ sub: 5, exp: EXP }),
  sign({ sub: 'fuzz', exp: EXP, nbf: EXP }),
  sign({ sub: 'fuzz', exp: EXP, iat: EXP }),
  sign({ sub: 'fuzz', exp: '1' }),
  sign({ sub: 'fuzz', exp: EXP }, { alg: 'HS256', kid: MARKER, crit: ['x'] }),
  sign({ sub: 'fuzz', exp: EXP }, { alg: 'none' }),
  sign({ sub: 'fuzz', exp: EXP }, { alg: 'HS512' }),
  sign({ sub: 'fuzz', exp: EXP }, { alg: 'HS256' }, 'another-secret-of-at-least-thirty-two-bytes'),
  sign([]),
  `${encode({ alg: 'none' })}.${encode({ sub: 'fuzz', exp: EXP })}.`,
  `${encode({ alg: 'HS256' })}.${MARKER}.x`,
  `${MARKER}.${MARKER}.${MARKER}`,
  'a.b.c',
  '...',
  '',
  `${MARKER}${'x'.repeat(9_000)}`,
];
