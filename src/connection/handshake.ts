import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Principal } from '../authentication/principal.js';
import type { UpgradeTrace } from '../monitoring/tracing.js';
import { GatewayError, specOf } from '../protocol/errors.js';
import { isThenable } from '../base/thenable.js';
import type { Client, WsFirewall } from '../firewall/firewall.js';
import { admit, checkHandshake, refuseWhileDraining } from './admission.js';
import { checkConnection } from './connection-guard.js';
import type { ConnectionAttempt } from './connection-guard.js';
import { isGatewayError } from './describe.js';
import { turnAway } from './failure.js';
import { open } from './lifecycle.js';
import type { Lingering } from './lingering.js';
import type { GatewayServer } from './server.js';
import { WsSession } from './session.js';

/** An upgrade request at a gateway's path. */
export interface Handshake {
  readonly server: GatewayServer;
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly lingering: Lingering;
  /** Its span, where somebody keeps those. */
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
  count(client, socket, context.firewall);
  let principal: Principal | undefined | Promise<Principal | undefined>;
  try {
    principal = guarded(handshake, client, identify(request, server, client));
  } catch (error) {
    return reject(handshake, client, error);
  }
  if (!isThenable(principal)) return settle(handshake, client, principal);
  return Promise.resolve(principal).then(
    (settled) => {
      refuseWhileDraining(context); // which may have begun meanwhile
      settle(handshake, client, settled);
    },
    (error: unknown) => {
      refuseWhileDraining(context);
      reject(handshake, client, error);
    },
  );
}

const COUNTED = Symbol('nestjs-ws-gateway.counted');

interface CountedSocket extends Duplex {
  [COUNTED]?: { readonly client: Client; readonly firewall: WsFirewall };
}

/** The connection counts until its TCP connection has closed, whatever becomes of it. */
function count(client: Client, socket: CountedSocket, firewall: WsFirewall): void {
  firewall.enter(client);
  socket[COUNTED] = { client, firewall };
  socket.once('close', uncount); // one function for all: a closure for each would be an idle session's memory
}

function uncount(this: CountedSocket): void {
  const counted = this[COUNTED];
  counted?.firewall.leave(counted.client);
}

/** @throws GatewayError UNAUTHENTICATED when a token is needed at the handshake and there is none */
function identify(
  request: IncomingMessage,
  { context }: GatewayServer,
  { address }: Client,
): Principal | undefined | Promise<Principal> {
  const { authentication, options } = context;
  const credential = authentication.credentialOf(request);
  if (credential !== undefined) {
    return authentication.authenticate(credential.token, { source: credential.source, request }, address);
  }
  if (options.auth.anonymous || options.auth.sources.includes('message')) return undefined;
  throw new GatewayError('UNAUTHENTICATED');
}

/** The principal, when the guards of the path have let it through. */
function guarded(
  { server, request }: Handshake,
  { address }: Client,
  identified: Principal | undefined | Promise<Principal>,
): Principal | undefined | Promise<Principal | undefined> {
  const { connectionGuards, context, pathname } = server;
  if (connectionGuards.length === 0) return identified;
  const check = async (): Promise<Principal | undefined> => {
    const principal = await identified;
    const attempt: ConnectionAttempt = { request, path: pathname, clientAddress: address, principal };
    await checkConnection(connectionGuards, attempt);
    return principal;
  };
  return context.deadlines.bound(check(), 'the connection guards');
}

function settle(handshake: Handshake, client: Client, principal: Principal | undefined): void {
  try {
    if (principal !== undefined) handshake.server.context.firewall.checkSubject(client, principal.subject);
  } catch (error) {
    return reject(handshake, client, error);
  }
  accept(handshake, client, principal);
}

function accept(handshake: Handshake, client: Client, principal: Principal | undefined): void {
  const { server, request, socket, head } = handshake;
  server.handleUpgrade(request, socket, head, (ws) => {
    server.clients.delete(ws); // until it may be written to, see WsSession.open()
    ws.writeTo(socket);
    const session = new WsSession(ws, server, client);
    handshake.trace?.accepted(session.id);
    open(session, request, principal);
  });
}

/** Whoever must not come in by the handshake at all, and needs no words for it. */
const BEFORE_THE_UPGRADE: ReadonlySet<string> = new Set(['UNAUTHENTICATED', 'ORIGIN_FORBIDDEN']);

/** A browser cannot read a refused handshake, so it is told after it, unless `auth.reject` says otherwise. */
function reject(handshake: Handshake, client: Client, error: unknown): void {
  const { server, request, socket, head, lingering, trace } = handshake;
  const { monitor, options, firewall } = server.context;
  const isCoded = isGatewayError(error);
  if (isCoded && error.code === 'TOKEN_INVALID') firewall.failedAuthentication(client);
  if (isCoded && BEFORE_THE_UPGRADE.has(error.code)) throw error;
  // What has no status can only be said in a frame.
  if (options.auth.reject === 'handshake' && !(isCoded && specOf(error.code).status === undefined)) throw error;
  server.handleUpgrade(request, socket, head, (ws) => {
    server.clients.delete(ws);
    const failure = turnAway(ws, error, monitor, client.address);
    trace?.refused(failure);
    lingering.add(socket);
  });
}
