import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Client } from '../firewall/client.js';
import { GatewayError } from '../protocol/errors.js';
import type { ConnectionContext } from './context.js';

const KEY = /^[+/0-9A-Za-z]{22}==$/;

/**
 * Is this a handshake as RFC 6455 §4.2.1 has it?
 *
 * @throws GatewayError BAD_UPGRADE
 */
export function checkHandshake(request: IncomingMessage): void {
  const { method, headers, httpVersionMajor, httpVersionMinor } = request;
  const broken = (message: string): GatewayError => new GatewayError('BAD_UPGRADE', { message });
  if (method !== 'GET') throw broken('A WebSocket handshake is a GET');
  if (httpVersionMajor !== 1 || httpVersionMinor < 1) throw broken('A WebSocket handshake is HTTP/1.1');
  if (headers.host === undefined) throw broken('Host is missing');
  if (headers.upgrade?.toLowerCase() !== 'websocket') throw broken('Upgrade is not "websocket"');
  if (!KEY.test(headers['sec-websocket-key'] ?? '')) throw broken('Sec-WebSocket-Key is missing or malformed');
  if (headers['sec-websocket-version'] !== '13') throw broken('Sec-WebSocket-Version is not 13');
}

/**
 * May this peer connect at all? The cheapest question comes first.
 *
 * @returns who it is; the connection counts when it is let in
 * @throws GatewayError SHUTTING_DOWN, BAD_UPGRADE, IP_FORBIDDEN, BANNED, TOO_MANY_CONNECTIONS, OVERLOADED, ORIGIN_FORBIDDEN
 */
export function admit(request: IncomingMessage, socket: Duplex, context: ConnectionContext): Client {
  const { firewall, load, options } = context;
  refuseWhileDraining(context);
  firewall.admission.checkHost(request);
  const client = firewall.admission.clientOf(request, socket);
  firewall.admission.checkLists(client);
  firewall.connections.checkAddress(client); // before capacity: at capacity, too, one address gets no more answers and lines than its rate
  if (load.isOverloaded) throw new GatewayError('OVERLOADED', { retryAfterMs: 5_000 });
  firewall.connections.checkCapacity();
  firewall.admission.checkOrigin(client, request, options.firewall, options.auth);
  return client;
}

/**
 * Time has passed since {@link admit}: may the peer still connect?
 *
 * @throws GatewayError SHUTTING_DOWN, IP_FORBIDDEN, BANNED
 */
export function readmit(client: Client, context: ConnectionContext): void {
  refuseWhileDraining(context);
  context.firewall.admission.checkLists(client, false);
}

/** @throws GatewayError SHUTTING_DOWN */
export function refuseWhileDraining({ sessions, options }: ConnectionContext): void {
  if (sessions.refusesNew) throw new GatewayError('SHUTTING_DOWN', { retryAfterMs: options.shutdown.drainMs });
}
