import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { WsResponse } from '@nestjs/websockets';
import type { Principal } from '../authentication/principal.js';
import { UnknownKey } from '../authentication/token.js';
import { sessionOf } from '../session/session.js';
import type { Session } from '../session/session.js';
import { WsSession } from '../session/ws-session.js';
import { barrier } from '../connection/barrier.js';
import { serverOf } from '../connection/context.js';
import { NO_ANSWER } from '../connection/request.js';
import { countBadToken, signIn } from '../connection/sign-in.js';
import { GatewayError } from '../protocol/errors.js';
import { isThenable } from '../base/thenable.js';
import { isJsonObject } from '../protocol/message.js';
import { CurrentSession, Public } from './decorators.js';
import { AuthDto } from './dto/auth.dto.js';

/** Answer to `auth`. */
export interface AuthReply {
  readonly sessionId: string;
  readonly subject: string;
  /** Epoch milliseconds. */
  readonly expiresAt: number;
}

/** Answer to `session`. */
export interface SessionReply extends AuthReply {
  readonly roles: readonly string[];
  readonly scopes: readonly string[];
  /** Epoch milliseconds. */
  readonly connectedAt: number;
}

/** The events of the wire contract itself. They answer on every path and port that the module serves. */
@WebSocketGateway()
export class WsGateway {
  /**
   * Authenticates an anonymous session, or refreshes an authenticated one in place.
   *
   * @throws GatewayError TOKEN_INVALID, TOKEN_EXPIRED, SESSION_REVOKED, BANNED, SESSION_LIMIT; FORBIDDEN for another subject or by a
   * connection guard; each ends the session. UNAUTHENTICATED when `message` is not among `auth.sources`; UNAVAILABLE when it cannot be
   * known whether the token is revoked
   */
  @Public()
  @SubscribeMessage('auth')
  auth(@MessageBody() { token }: AuthDto, @CurrentSession() { socket }: WsSession): AuthReply | Promise<AuthReply> {
    const session = sessionOf(socket);
    const { sources } = serverOf(session).context.options.auth;
    if (session.principal === undefined && !sources.includes('message')) throw new GatewayError('UNAUTHENTICATED');
    const informed = barrier(serverOf(session).context);
    return isThenable(informed)
      ? Promise.resolve(informed).then(() => this.#signIn(token, session))
      : this.#signIn(token, session);
  }

  #signIn(token: string, session: Session): AuthReply | Promise<AuthReply> {
    const answer = this.#principalOf(token, session);
    return isThenable(answer)
      ? Promise.resolve(answer).then((principal) => signedIn(session, principal))
      : signedIn(session, answer);
  }

  #principalOf(token: string, session: Session): Principal | Promise<Principal> {
    const { client } = session;
    const { context } = serverOf(session);
    const refused = (error: unknown): never => {
      // Of a bad one the end of the session counts.
      if (error instanceof UnknownKey) countBadToken(context, client, error);
      throw error;
    };
    try {
      const origin = { source: 'message', isSuspect: context.firewall.violations.hasFailed(client) } as const;
      const { timeoutMs } = context.options.auth;
      const answer = context.authentication.authenticate(token, origin, client.address, timeoutMs);
      return isThenable(answer) ? Promise.resolve(answer).catch(refused) : answer;
    } catch (error) {
      return refused(error);
    }
  }

  @SubscribeMessage('session')
  session(@CurrentSession() session: WsSession): SessionReply {
    const principal = session.principal as Principal; // because the guard has let it through
    const { roles, scopes } = principal;
    return { ...authReply(session, principal), roles, scopes, connectedAt: session.connectedAt };
  }

  /** Ends the session's stream of that `id`. It has no answer, and nothing is said of an `id` that no stream has. */
  @Public()
  @SubscribeMessage('cancel')
  cancel(@MessageBody() data: unknown, @CurrentSession() { socket }: WsSession): symbol {
    if (isJsonObject(data)) sessionOf(socket).intake.cancel(data.id);
    return NO_ANSWER;
  }

  /** For clients that cannot see WebSocket pings: a browser's script, for one. */
  @Public()
  @SubscribeMessage('ping')
  ping(): WsResponse<null> {
    return { event: 'pong', data: null };
  }
}

function signedIn(session: Session, principal: Principal): AuthReply | Promise<AuthReply> {
  const waiting = signIn(session, principal);
  // A connection guard may have named the principal anew.
  const reply = (): AuthReply => authReply(session, session.principal ?? principal);
  return isThenable(waiting) ? waiting.then(reply) : reply();
}

function authReply(session: WsSession, { subject, expiresAt }: Principal): AuthReply {
  return { sessionId: session.id, subject, expiresAt };
}
