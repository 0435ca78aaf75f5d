import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import type { CredentialOrigin } from '../authentication/authenticator.js';
import { namesIn } from '../authentication/claims.js';
import type { Credential, TokenSource } from '../authentication/credentials.js';
import { Deadlines } from '../authentication/deadlines.js';
import { JwtVerifier } from '../authentication/jwt/jwt-verifier.js';
import { AUTH_OPTIONS } from '../authentication/options.js';
import type { ResolvedAuth } from '../authentication/options.js';
import { principalOf } from '../authentication/principal.js';
import type { Principal } from '../authentication/principal.js';
import { Revocations } from '../authentication/revocations.js';
import { TicketOffice } from '../authentication/ticket-office.js';
import { revocationDigestOf } from '../authentication/token.js';
import { Verification } from '../authentication/verification.js';
import { WsClock } from '../base/clock.js';
import { EMITTER } from '../base/emitter.js';
import type { Emitter } from '../base/emitter.js';
import { GatewayError } from '../protocol/errors.js';
import type { AuthenticationEvent } from '../authentication/events.js';

/** Who a test speaks for: the claims of a token. */
export interface TestClaims {
  /** @default 'ada' */
  readonly sub?: string;
  /** The roles of the principal, wherever the application's tokens have them. */
  readonly roles?: readonly string[];
  /** The scopes of the principal. */
  readonly scopes?: readonly string[];
  /** When the token expires, in epoch seconds of the test's clock. @default in 60 seconds */
  readonly exp?: number;
  readonly [claim: string]: unknown;
}

/** How long a token of the kit is good. */
const LIFE_MS = 60_000;

const BEARER = 'Bearer ';

/**
 * Takes tokens of the kit beside those of the application, whatever keys, sources or authenticator that has. They look like JWTs, since
 * a message that is a JWT alone authenticates; what proves them is a random head that no other process knows.
 */
@Injectable()
export class TestVerification extends Verification {
  readonly #head = Buffer.from(JSON.stringify({ alg: 'test', kid: randomBytes(16).toString('hex') })).toString(
    'base64url',
  );
  readonly #auth: ResolvedAuth;
  readonly #revoked: Revocations;
  readonly #time: WsClock;
  #made = 0;

  constructor(
    @Inject(AUTH_OPTIONS) options: ResolvedAuth,
    jwt: JwtVerifier,
    tickets: TicketOffice,
    revocations: Revocations,
    deadlines: Deadlines,
    clock: WsClock,
    @Inject(EMITTER) monitor: Emitter<AuthenticationEvent>,
  ) {
    super(options, jwt, tickets, revocations, deadlines, clock, monitor);
    this.#auth = options;
    this.#revoked = revocations;
    this.#time = clock;
  }

  /** A token for these claims. */
  issue(claims: TestClaims = {}): string {
    const now = this.#time.now();
    const iat = Math.floor(now / 1_000);
    const whole = { sub: 'ada', iat, jti: `test-${++this.#made}`, expiresAt: now + LIFE_MS, ...claims };
    return `${this.#head}.${Buffer.from(JSON.stringify(whole)).toString('base64url')}.x`;
  }

  override credentialOf(request: IncomingMessage, sources: readonly TokenSource[]): Credential | undefined {
    const { authorization = '' } = request.headers;
    return authorization.startsWith(BEARER + this.#head)
      ? { source: 'header', token: authorization.slice(BEARER.length) }
      : super.credentialOf(request, sources);
  }

  override authenticate(
    token: string,
    context?: CredentialOrigin,
    clientAddress?: string,
    timeoutMs?: number,
  ): Principal | Promise<Principal> {
    const [head, body = ''] = token.split('.');
    if (head !== this.#head) return super.authenticate(token, context, clientAddress, timeoutMs);
    const principal = this.#principalOf(JSON.parse(Buffer.from(body, 'base64url').toString()) as TestClaims, token); // because issue() has written it
    if (principal.expiresAt <= this.#time.now()) throw new GatewayError('TOKEN_EXPIRED');
    if (this.#revoked.isRevoked(principal)) throw new GatewayError('SESSION_REVOKED');
    return principal;
  }

  #principalOf({ expiresAt, ...claims }: TestClaims, token: string): Principal {
    const { sub = 'ada', exp, roles, scopes } = claims;
    const where = this.#auth.claims;
    return principalOf(
      {
        subject: sub,
        expiresAt: exp === undefined ? Number(expiresAt) : exp * 1_000,
        roles: roles ?? namesIn(claims, where.roles),
        scopes: scopes ?? namesIn(claims, where.scopes),
        claims,
      },
      { digest: revocationDigestOf(token), toleranceMs: 0 },
    );
  }
}
