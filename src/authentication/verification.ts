import type { IncomingMessage } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { EMITTER } from '../base/emitter.js';
import type { Emitter } from '../base/emitter.js';
import type { AuthenticationEvent } from './events.js';
import { GatewayError } from '../protocol/errors.js';
import { isThenable } from '../base/thenable.js';
import { Authentication } from './authentication.js';
import type { AuthenticationContext, Authenticator } from './authenticator.js';
import { principalOfCertificate } from './certificate.js';
import { namesIn } from './claims.js';
import { credentialOf } from './credentials.js';
import type { Credential, TokenSource } from './credentials.js';
import { Deadlines } from './deadlines.js';
import { JwtVerifier } from './jwt/jwt-verifier.js';
import { AUTH_OPTIONS } from './options.js';
import type { ResolvedAuth } from './options.js';
import { originOf, principalOf } from './principal.js';
import type { Principal, PrincipalInit } from './principal.js';
import { refusedFor } from './refused-token.js';
import { Revocations } from './revocations.js';
import { TicketOffice } from './ticket-office.js';
import { invalid, revocationDigestOf } from './token.js';

/** Longest token looked at, in bytes. */
const MAX_TOKEN_BYTES = 8_192;

/** The working class behind {@link Authentication}: tokens are judged by our verifier, or by the application's. */
@Injectable()
export class Verification extends Authentication {
  #authenticator: Authenticator;

  constructor(
    @Inject(AUTH_OPTIONS) private readonly options: ResolvedAuth,
    private readonly jwt: JwtVerifier,
    private readonly tickets: TicketOffice,
    private readonly revocations: Revocations,
    private readonly deadlines: Deadlines,
    private readonly clock: WsClock,
    @Inject(EMITTER) private readonly monitor: Emitter<AuthenticationEvent>,
  ) {
    super();
    this.#authenticator = jwt;
  }

  /** The application has one of its own. */
  replaceAuthenticator(authenticator: Authenticator): void {
    this.#authenticator = authenticator;
  }

  /** Begins to fetch published keys. */
  start(): void {
    this.jwt.start();
  }

  /** Why no token can be verified; undefined while they can. */
  get problem(): string | undefined {
    return this.#authenticator === this.jwt ? this.jwt.problem : undefined;
  }

  /** The token of a handshake; undefined when none of the sources has one. */
  credentialOf(request: IncomingMessage, sources: readonly TokenSource[]): Credential | undefined {
    return credentialOf(request, sources, this.options.cookie);
  }

  override authenticate(
    token: string,
    context: AuthenticationContext = { source: 'header' },
    clientAddress = '',
  ): Principal | Promise<Principal> {
    if (!this.monitor.has('authentication')) return this.#authenticate(token, context, clientAddress);
    const tell = (outcome: AuthenticationEvent['outcome'], subject?: string): void =>
      this.monitor.emit({
        kind: 'authentication',
        source: context.source,
        outcome,
        ...(clientAddress !== '' && { clientAddress }),
        ...(subject !== undefined && { subject }),
      });
    const accepted = (principal: Principal): Principal => {
      tell('accepted', principal.subject);
      return principal;
    };
    const refused = (error: unknown): never => {
      tell(error instanceof GatewayError ? error.code : 'INTERNAL');
      throw error;
    };
    try {
      const answer = this.#authenticate(token, context, clientAddress);
      return isThenable(answer) ? Promise.resolve(answer).then(accepted, refused) : accepted(answer);
    } catch (error) {
      return refused(error);
    }
  }

  #authenticate(token: string, context: AuthenticationContext, clientAddress: string): Principal | Promise<Principal> {
    const refused = (error: unknown): never => {
      throw refusedFor(token, error);
    };
    try {
      const answer = this.#verify(token, context, clientAddress);
      return isThenable(answer) ? answer.catch(refused) : answer;
    } catch (error) {
      return refused(error);
    }
  }

  #verify(token: string, context: AuthenticationContext, clientAddress: string): Principal | Promise<Principal> {
    if (token.length > MAX_TOKEN_BYTES) throw invalid('longer than 8 KiB');
    if (context.source === 'certificate') return this.#refuseRevoked(this.#certified(context));
    if (context.source === 'ticket') {
      const redeemed = this.#redeem(token, context, clientAddress);
      if (!isThenable(redeemed)) return this.#refuseRevoked(redeemed);
      return Promise.resolve(redeemed).then((principal) => this.#refuseRevoked(principal));
    }
    const answer = this.#authenticator.authenticate(token, context);
    if (!isThenable(answer)) return this.#refuseRevoked(complete(answer, token));
    return this.deadlines
      .bound(Promise.resolve(answer), 'the authenticator')
      .then((principal) => this.#refuseRevoked(complete(principal, token)));
  }

  /** TLS has verified it, so no authenticator is asked. */
  #certified({ request }: AuthenticationContext): Principal {
    const { certificate, claims: where } = this.options;
    const namesOf = (claims: Record<string, unknown>): Pick<Principal, 'roles' | 'scopes'> => ({
      roles: namesIn(claims, where.roles),
      scopes: namesIn(claims, where.scopes),
    });
    return principalOfCertificate(request, certificate.subject, namesOf, this.clock.now());
  }

  #redeem(ticket: string, { request }: AuthenticationContext, clientAddress: string): Principal | Promise<Principal> {
    const origin = request?.headers.origin;
    return this.tickets.redeem(ticket, { clientAddress, ...(origin !== undefined && { origin }) });
  }

  #refuseRevoked(principal: Principal): Principal {
    if (this.revocations.isRevoked(principal)) throw new GatewayError('SESSION_REVOKED');
    return principal;
  }
}

/** What an application's authenticator says, made whole and checked; ours says it whole. */
function complete(answer: Principal | PrincipalInit, token: string): Principal {
  const isWhole = originOf(answer as Principal).digest !== undefined;
  return isWhole ? (answer as Principal) : principalOf(answer, { digest: revocationDigestOf(token), toleranceMs: 0 });
}
