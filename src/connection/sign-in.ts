import type { IncomingMessage } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import { endOf } from '../authentication/principal.js';
import type { Principal } from '../authentication/principal.js';
import { refusedDigestOf } from '../authentication/refused-token.js';
import { UnknownKey } from '../authentication/token.js';
import { isThenable } from '../base/thenable.js';
import type { Client } from '../firewall/client.js';
import { GatewayError } from '../protocol/errors.js';
import { checkConnection } from '../authentication/connection-guard.js';
import { isGatewayError, SessionEnd, toFailure } from '../session/failure.js';
import type { ConnectionContext, ServedPath } from './context.js';
import type { PathParams } from '../base/path-params.js';
import { serverOf } from './context.js';
import type { Session } from '../session/session.js';

/**
 * The one rule by which a principal comes into a session, at the handshake, by `auth` and at a refresh: revoked? expired?
 * banned? what do the connection guards say? is there room for one more session of the subject? The first four are asked by
 * {@link vet}, before anything has changed; {@link adopt} asks the last one and puts the principal in its place.
 */

/** Who is to have a session, and from where. */
export interface Applicant {
  readonly server: ServedPath;
  readonly params: PathParams;
  readonly client: Client;
  /** The upgrade. It is kept with the session only where a connection guard may want it. */
  readonly request: IncomingMessage | undefined;
  /** Undefined at a handshake without a token. */
  readonly principal: Principal | undefined;
  /** Whom the session speaks for so far; undefined at first. */
  readonly current?: Principal | undefined;
}

/**
 * May this principal come in?
 *
 * @returns the principal, or the one that a connection guard names; a promise where guards are asked
 * @throws GatewayError, also as a rejection: SESSION_REVOKED, TOKEN_EXPIRED, BANNED; FORBIDDEN, or what a guard throws
 */
export function vet(applicant: Applicant): Principal | undefined | Promise<Principal | undefined> {
  const { server, params, client, request, principal, current } = applicant;
  const { context, connectionGuards, pathname } = server;
  if (principal !== undefined) refuseUnfit(context, client, principal, true);
  if (connectionGuards.length === 0 || request === undefined) return principal;
  if (principal !== undefined && current !== undefined && saysTheSame(principal, current)) return principal;
  const attempt = { request, path: pathname, params, clientAddress: client.address, principal };
  const { sources, timeoutMs } = context.options.auth;
  const mayName = sources.includes('guard');
  const asked = checkConnection(connectionGuards, attempt, mayName);
  return context.deadlines.bound(asked, 'the connection guards', timeoutMs).then((named) => {
    if (named !== undefined && named !== principal) refuseUnfit(context, client, named, true);
    return named;
  });
}

/**
 * Gives the principal to the session. Time may have passed since it was vetted, so what can have come meanwhile is asked anew.
 *
 * @returns a promise where nodes share the slots of a subject
 * @throws GatewayError, also as a rejection: SESSION_REVOKED, TOKEN_EXPIRED, BANNED, SESSION_LIMIT, UNAVAILABLE
 */
export function adopt(session: Session, principal: Principal): void | Promise<void> {
  const { context } = serverOf(session);
  const { sessions, revalidation } = context;
  refuseUnfit(context, session.client, principal, false);
  if (session.principal !== undefined) {
    session.adopt(principal);
    sessions.refreshed(session);
    return revalidation.watch(session);
  }
  const claimed = sessions.claim(session, principal.subject);
  if (!isThenable(claimed)) return seat(session, principal, claimed);
  return Promise.resolve(claimed).then((replaced) => {
    try {
      refuseAnother(session, principal);
      refuseUnfit(context, session.client, principal, false);
    } catch (error) {
      sessions.unclaim(session, principal.subject);
      throw error;
    }
    seat(session, principal, replaced);
  });
}

/** The session, which had no principal, has a slot of its subject. */
function seat(session: Session, principal: Principal, replaced: readonly Session[]): void {
  const { sessions, firewall, revalidation } = serverOf(session).context;
  sessions.join(session, principal.subject, replaced);
  session.subjectUsage = firewall.metering.join(principal.subject);
  session.adopt(principal);
  revalidation.watch(session);
}

/**
 * Signs in the principal of an `auth`: an anonymous session gets it at first, an authenticated one in place of its own.
 *
 * @returns a promise where connection guards are asked, or nodes share the slots of a subject
 * @throws GatewayError, also as a rejection, as {@link vet} and {@link adopt} do; FORBIDDEN for another subject. What says no to
 * the principal ends the session; what cannot say now does not
 */
export function signIn(session: Session, principal: Principal): void | Promise<void> {
  const { client, params, request, principal: current } = session;
  refuseAnother(session, principal);
  const vetted = vet({ server: serverOf(session), params, client, request, principal, current });
  if (!isThenable(vetted)) return take(session, principal);
  return Promise.resolve(vetted).then(
    (named) => take(session, named ?? principal),
    (error: unknown) => {
      throw asEnd(error);
    },
  );
}

/** Counts a token that was bad, or that may have been, against the address that it came from. */
export function countBadToken({ firewall }: Pick<ConnectionContext, 'firewall'>, client: Client, error: unknown): void {
  if (!isGatewayError(error)) return;
  if (error.code === 'TOKEN_INVALID') firewall.violations.failedAuthentication(client, refusedDigestOf(error));
  else if (error instanceof UnknownKey) firewall.violations.doubtfulAuthentication(client, refusedDigestOf(error));
}

/** A session has one subject for all its life, and none once it has ended: both may come to pass while a token is verified. */
function refuseAnother(session: Session, { subject }: Principal): void {
  if (!session.isLive) throw new GatewayError('UNAUTHENTICATED');
  if ((session.principal?.subject ?? subject) !== subject) throw new SessionEnd('FORBIDDEN');
}

function take(session: Session, principal: Principal): void | Promise<void> {
  refuseAnother(session, principal);
  const refreshed = session.principal !== undefined;
  const adopted = adopt(session, principal);
  return isThenable(adopted)
    ? adopted.then(() => announce(session, principal, refreshed))
    : announce(session, principal, refreshed);
}

function announce(session: Session, principal: Principal, refreshed: boolean): void {
  const { id: sessionId, clientAddress } = session;
  const { subject, expiresAt } = principal;
  const { monitor } = serverOf(session).context;
  if (monitor.has('authenticated')) {
    monitor.emit({ kind: 'authenticated', sessionId, clientAddress, subject, refreshed, expiresAt });
  }
}

function refuseUnfit(context: ConnectionContext, client: Client, principal: Principal, isFirst: boolean): void {
  context.sessions.refuseRevoked(principal);
  const timeOfDay = context.clock.now();
  if (timeOfDay >= endOf(principal, timeOfDay)) throw new GatewayError('TOKEN_EXPIRED');
  context.firewall.admission.checkSubject(client, principal.subject, isFirst);
}

/** A connection guard's no ends the session, as it does at the handshake; a fault, or a guard that cannot say now, does not. */
function asEnd(error: unknown): unknown {
  const { code, message, details, retryable, retryAfterMs, reason } = toFailure(error);
  if (retryable || code === 'INTERNAL') return error;
  return new SessionEnd(code, {
    message,
    details,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    cause: reason ?? (error as { cause?: unknown }).cause, // because what has a code of its own is an error
  });
}

/** A refresh with what guards have been asked about before is nothing new: the next token of the same person, as a rule. */
function saysTheSame(one: Principal, other: Principal): boolean {
  return isDeepStrictEqual(statementOf(one), statementOf(other));
}

function statementOf({ roles, scopes, claims }: Principal): unknown {
  // Of the token, not of its holder: these differ from each token to the next.
  const { iat: _iat, nbf: _nbf, exp: _exp, jti: _jti, ...rest } = claims;
  return { roles, scopes, rest };
}
