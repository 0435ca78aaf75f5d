import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { isSentByItself } from '../authentication/credentials.js';
import type { TokenSource } from '../authentication/credentials.js';
import type { Principal } from '../authentication/principal.js';
import type { UpgradeTrace } from './tracing.js';
import { GatewayError, specOf } from '../protocol/errors.js';
import { isThenable } from '../base/thenable.js';
import type { SocketDeadlines, SocketHolder } from '../socket/socket-deadlines.js';
import type { Client } from '../firewall/client.js';
import type { Firewall } from '../firewall/firewall.js';
import { barrier } from './barrier.js';
import { admit, checkHandshake, readmit, refuseWhileDraining } from './upgrade-checks.js';
import { isGatewayError } from '../session/failure.js';
import { reportSetAside, refuseAfterUpgrade } from './refusal.js';
import { open } from './lifecycle.js';
import { refuseOtherProtocols } from './subprotocols.js';
import type { PathParams } from '../base/path-params.js';
import type { GatewayServer } from './server.js';
import { Session } from '../session/session.js';
import { countBadToken, vet } from './sign-in.js';

/** An upgrade request at a gateway's path. */
export interface Handshake {
  readonly server: GatewayServer;
  /** What the parameters of its path are. */
  readonly params: PathParams;
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly sockets: SocketDeadlines;
  /** Its span, where the application traces. */
  readonly trace?: UpgradeTrace | undefined;
}

/**
 * From an upgrade request to a session. What is wrong with it before its token is looked at is thrown; so is what is wrong
 * with the token where `auth.reject` wants it so.
 *
 * @returns a promise where the token, or a guard of the application's, is not settled at once
 * @throws GatewayError, also as a rejection, that refuses the upgrade
 */
export function upgrade(handshake: Handshake): void | Promise<void> {
  const { server, request, socket } = handshake;
  const { context } = server;
  checkHandshake(request);
  const client = admit(request, socket, context);
  refuseOtherProtocols(request, server.protocol);
  handshake.sockets.handOver(socket, new Connection(client, context.firewall));
  const informed = barrier(context);
  if (!isThenable(informed)) return welcome(handshake, client);
  return Promise.resolve(informed).then(() => {
    readmit(client, context);
    return welcome(handshake, client);
  });
}

/** The peer may connect: who is it? */
function welcome(handshake: Handshake, client: Client): void | Promise<void> {
  const { context } = handshake.server;
  let principal: Principal | undefined | Promise<Principal | undefined>;
  try {
    const { sources } = context.options.auth;
    principal = vetted(handshake, client, identify(handshake, client, sources));
  } catch (error) {
    return reject(handshake, client, error);
  }
  if (!isThenable(principal)) return accept(handshake, client, principal);
  return Promise.resolve(principal).then(
    (settled) => {
      readmit(client, context);
      return accept(handshake, client, settled);
    },
    (error: unknown) => {
      refuseWhileDraining(context);
      reject(handshake, client, error);
    },
  );
}

/** An admitted connection: it counts until its TCP connection has closed. */
class Connection implements SocketHolder {
  constructor(
    private readonly client: Client,
    private readonly firewall: Firewall,
  ) {
    firewall.connections.enter(client);
  }

  onClosed(): void {
    this.firewall.connections.leave(this.client);
  }
}

/**
 * The principal that connects. Where clients may be anonymous, a bad credential that the browser sends by itself locks none out: it
 * counts as absent, and the log says so.
 *
 * @throws GatewayError UNAUTHENTICATED when a token is needed at the handshake and there is none
 */
function identify(
  handshake: Handshake,
  client: Client,
  sources: readonly TokenSource[],
): Principal | undefined | Promise<Principal | undefined> {
  const { server, request } = handshake;
  const { authentication, options, firewall } = server.context;
  const credential = authentication.credentialOf(request, sources);
  if (credential === undefined) {
    if (!options.auth.sources.includes('guard')) refuseWithout(server);
    return undefined;
  }
  const { source, token } = credential;
  const withoutIt = (error: unknown): Principal | undefined | Promise<Principal | undefined> => {
    if (!options.auth.anonymous || !isSetAside(source, error)) throw error;
    countBadToken(server.context, client, error);
    reportSetAside(error, source, server.context.monitor, client.address);
    return identify(handshake, client, sources.slice(sources.indexOf(source) + 1));
  };
  try {
    const context = { source, request, isSuspect: firewall.violations.hasFailed(client) };
    const answer = authentication.authenticate(token, context, client.address, options.auth.timeoutMs);
    return isThenable(answer) ? Promise.resolve(answer).catch(withoutIt) : answer;
  } catch (error) {
    return withoutIt(error);
  }
}

/** @throws GatewayError UNAUTHENTICATED where a session needs a credential at the handshake */
function refuseWithout({ context, raw }: GatewayServer): void {
  const { anonymous, sources } = context.options.auth;
  const mayComeLater = sources.includes('message') && (raw === undefined || raw.untilToken !== undefined);
  if (!anonymous && !mayComeLater) throw new GatewayError('UNAUTHENTICATED');
}

/** What a browser sends by itself, a page can neither see nor leave out when it is stale. */
function isSetAside(source: TokenSource, error: unknown): error is GatewayError {
  return isSentByItself(source) && isGatewayError(error) && specOf(error.code).setAside === true;
}

/** The principal, when it has been vetted. */
function vetted(
  { server, params, request }: Pick<Handshake, 'server' | 'params' | 'request'>,
  client: Client,
  identified: Principal | undefined | Promise<Principal | undefined>,
): Principal | undefined | Promise<Principal | undefined> {
  if (isThenable(identified)) {
    return identified.then((principal) => vetted({ server, params, request }, client, principal));
  }
  const known = (principal: Principal | undefined): Principal | undefined => {
    if (principal === undefined) refuseWithout(server);
    return principal;
  };
  const answer = vet({ server, params, client, request, principal: identified });
  return isThenable(answer) ? answer.then(known) : known(answer);
}

/** @returns a promise where the application behind the path is asked first */
function accept(handshake: Handshake, client: Client, principal: Principal | undefined): void | Promise<void> {
  const { server, request, socket, params, trace } = handshake;
  if (server.upstream === undefined) return admitted(handshake, client, principal);
  const sessionId = randomUUID();
  const reaching = server.upstream.reach({ request, socket, params, client, principal, sessionId, trace });
  if (reaching === undefined) return admitted(handshake, client, principal, sessionId);
  return reaching.then((upstream) => {
    let isAttached = false;
    try {
      readmit(client, server.context);
      admitted(handshake, client, principal, sessionId, (session) => {
        isAttached = true;
        upstream.attach(session);
      });
    } finally {
      if (!isAttached) upstream.abandon(); // ws does not call back for a client that has gone
    }
  });
}

function admitted(
  handshake: Handshake,
  client: Client,
  principal: Principal | undefined,
  sessionId?: string,
  onSession?: (session: Session) => void,
): void {
  const { server, params, request, socket, head } = handshake;
  server.handleUpgrade(request, socket, head, (ws) => {
    server.clients.delete(ws); // until it may be written to, see Session.open()
    ws.writeTo(socket);
    const session = new Session(ws, server, client, params, sessionId);
    // A few kilobytes, so only where a connection guard, or the application behind the path, may ask for it.
    if (server.connectionGuards.length > 0 || mayNeedRequest(server, principal)) session.request = request;
    handshake.trace?.accepted(session.id);
    onSession?.(session);
    open(session, request, principal);
  });
}

/** The application behind a path is asked when the session has authenticated. */
function mayNeedRequest({ raw }: GatewayServer, principal: Principal | undefined): boolean {
  return raw?.untilToken !== undefined && principal === undefined;
}

/** A browser's script cannot read a refused handshake, so the refusal comes after it as a `disconnect`, unless `auth.reject` says otherwise. */
function reject(handshake: Handshake, client: Client, error: unknown): void {
  const { server, request, socket, head, sockets, trace } = handshake;
  const { monitor, options } = server.context;
  const isCoded = isGatewayError(error);
  countBadToken(server.context, client, error);
  if (isCoded && specOf(error.code).early === true) throw error;
  // What has no status can only be said in a frame.
  if (options.auth.reject === 'handshake' && !(isCoded && specOf(error.code).status === undefined)) throw error;
  server.handleUpgrade(request, socket, head, (ws) => {
    server.clients.delete(ws);
    const failure = refuseAfterUpgrade(ws, server.protocol, error, monitor, client.address);
    trace?.refused(failure);
    sockets.linger(socket);
  });
}
