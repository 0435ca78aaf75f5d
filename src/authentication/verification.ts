import type { IncomingMessage } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { EMITTER } from '../base/emitter.js';
import type { Emitter } from '../base/emitter.js';
import type { AuthenticationEvent } from './events.js';
import { GatewayError } from '../protocol/errors.js';
import { isThenable } from '../base/thenable.js';
import { Authentication } from './authentication.js';
import type { AuthenticationContext, Authenticator, CredentialOrigin } from './authenticator.js';
import { principalOfCertificate } from './certificate.js';
import { namesIn } from './claims.js';
import { basicOf, credentialOf, kindOf, userAndPassword } from './credentials.js';
import type { Credential, CredentialKind, TokenSource } from './credentials.js';
import { Deadlines } from './deadlines.js';
import { JwtVerifier } from './jwt/jwt-verifier.js';
import { AUTH_OPTIONS } from './options.js';
import type { ResolvedAuth } from './options.js';
import { originOf, principalOf } from './principal.js';
import type { Principal, PrincipalInit } from './principal.js';
import { refusedFor } from './refused-token.js';
import { Revocations } from './revocations.js';
import { TicketOffice } from './ticket-office.js';
import { invalid, revocationDigestOf, secretDigestOf } from './token.js';
import { withheld } from './withheld.js';

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

  /**
   * The application has an authenticator of its own.
   *
   * @param sources those of all paths, each with the option that names it
   * @throws Error for a source whose credentials no authenticator judges
   */
  replaceAuthenticator(authenticator: Authenticator, sources: ReadonlyMap<TokenSource, string>): void {
    const { kinds } = authenticator;
    const { name } = authenticator.constructor;
    for (const [source, option] of sources) {
      const { kind } = kindOf(source);
      if (kinds === undefined || NOT_JUDGED.has(source) || kinds.includes(kind)) continue;
      if (kind !== 'bearer') throw new Error(`${option} has ${source}, and the kinds of ${name} have no ${kind}`);
      if (this.options.issuers.length > 0) continue;
      throw new Error(
        `The kinds of ${name} leave bearer tokens to auth.jwt, which has no keys, and ${option} has ${source}`,
      );
    }
    this.#authenticator = authenticator;
  }

  /** Begins to fetch published keys. */
  start(): void {
    this.jwt.start();
  }

  /** Why no token can be verified; undefined while they can. */
  get problem(): string | undefined {
    return this.#judgeOf('bearer') === this.jwt ? this.jwt.problem : undefined;
  }

  /** The token of a handshake; undefined when none of the sources has one. */
  credentialOf(request: IncomingMessage, sources: readonly TokenSource[]): Credential | undefined {
    return credentialOf(request, sources, this.options.cookie);
  }

  /** @param timeoutMs how long the authenticator may take; what the path says, where the token is for one */
  override authenticate(
    token: string,
    context: CredentialOrigin = { source: 'header' },
    clientAddress = '',
    timeoutMs = this.options.timeoutMs,
  ): Principal | Promise<Principal> {
    if (!this.monitor.has('authentication')) return this.#authenticate(token, context, clientAddress, timeoutMs);
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
      const answer = this.#authenticate(token, context, clientAddress, timeoutMs);
      return isThenable(answer) ? Promise.resolve(answer).then(accepted, refused) : accepted(answer);
    } catch (error) {
      return refused(error);
    }
  }

  #authenticate(
    token: string,
    context: CredentialOrigin,
    clientAddress: string,
    timeoutMs: number,
  ): Principal | Promise<Principal> {
    const refused = (error: unknown): never => {
      throw refusedFor({ source: context.source, token }, error);
    };
    try {
      const answer = this.#verify(token, context, clientAddress, timeoutMs);
      return isThenable(answer) ? answer.catch(refused) : answer;
    } catch (error) {
      return refused(error);
    }
  }

  #verify(
    token: string,
    context: CredentialOrigin,
    clientAddress: string,
    timeoutMs: number,
  ): Principal | Promise<Principal> {
    if (token.length > MAX_TOKEN_BYTES) throw invalid('longer than 8 KiB');
    if (context.source === 'certificate') return this.#refuseRevoked(this.#certified(context));
    if (context.source === 'ticket') {
      const redeemed = this.#redeem(token, context, clientAddress);
      if (!isThenable(redeemed)) return this.#refuseRevoked(redeemed);
      return Promise.resolve(redeemed).then((principal) => this.#refuseRevoked(principal));
    }
    const { kind, name } = kindOf(context.source);
    const judge = this.#judgeOf(kind);
    const answer =
      judge === this.jwt
        ? this.jwt.authenticate(token, context)
        : ask(judge, token, { ...context, kind, ...(name !== undefined && { name }) });
    if (!isThenable(answer)) return this.#refuseRevoked(complete(answer, token, context.source));
    return this.deadlines
      .bound(Promise.resolve(answer), 'the authenticator', timeoutMs)
      .then((principal) => this.#refuseRevoked(complete(principal, token, context.source)));
  }

  /** @throws GatewayError TOKEN_INVALID for a kind that no authenticator judges */
  #judgeOf(kind: CredentialKind): Authenticator {
    const own = this.#authenticator;
    if (own !== this.jwt && (own.kinds?.includes(kind) ?? true)) return own;
    if (kind === 'bearer') return this.jwt;
    throw invalid(`no authenticator judges the kind ${kind}`);
  }

  /** TLS has verified it, so no authenticator is asked. */
  #certified({ request }: CredentialOrigin): Principal {
    const { certificate, claims: where } = this.options;
    const namesOf = (claims: Record<string, unknown>): Pick<Principal, 'roles' | 'scopes'> => ({
      roles: namesIn(claims, where.roles),
      scopes: namesIn(claims, where.scopes),
    });
    return principalOfCertificate(request, certificate.subject, namesOf, this.clock.now());
  }

  #redeem(ticket: string, { request }: CredentialOrigin, clientAddress: string): Principal | Promise<Principal> {
    const origin = request?.headers.origin;
    return this.tickets.redeem(ticket, { clientAddress, ...(origin !== undefined && { origin }) });
  }

  #refuseRevoked(principal: Principal): Principal {
    if (this.revocations.isRevoked(principal)) throw new GatewayError('SESSION_REVOKED');
    return principal;
  }
}

/** Sources that need no authenticator. */
const NOT_JUDGED: ReadonlySet<TokenSource> = new Set(['ticket', 'certificate', 'guard']);

/**
 * Asks the application's authenticator.
 *
 * @throws GatewayError TOKEN_INVALID, without asking it, for a credential that is empty or malformed; else what it throws, as
 * {@link withheld} leaves it
 */
function ask(
  judge: Authenticator,
  token: string,
  context: AuthenticationContext,
): ReturnType<Authenticator['authenticate']> {
  const { kind } = context;
  const credential = kind === 'basic' ? basicOf(token) : token;
  if (credential === '' && kind !== 'bearer') throw invalid('empty');
  const failed = (error: unknown): never => {
    throw withheld(error, kind === 'basic' ? [token, credential, userAndPassword(credential).password] : [token]);
  };
  try {
    const answer = judge.authenticate(credential, context);
    return isThenable(answer) ? Promise.resolve(answer).catch(failed) : answer;
  } catch (error) {
    return failed(error);
  }
}

/** Completes and checks the principal of an application's authenticator; ours is complete. */
function complete(answer: Principal | PrincipalInit, token: string, source: TokenSource): Principal {
  if (originOf(answer as Principal).digest !== undefined) return answer as Principal; // because only a whole one has an origin
  const { kind } = kindOf(source);
  // Decoded: Basic can be spelled in other ways that decode to the same.
  const credential = kind === 'basic' ? basicOf(token) : token;
  const digest = kind === 'bearer' ? revocationDigestOf(token) : secretDigestOf(source, credential);
  return principalOf(answer, { digest, toleranceMs: 0 });
}
