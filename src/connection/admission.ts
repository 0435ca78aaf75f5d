import type { IncomingMessage } from 'node:http';
import { GatewayError } from '../protocol/errors.js';
import type { ConnectionContext } from './server.js';

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
 * @throws GatewayError SHUTTING_DOWN, ORIGIN_FORBIDDEN
 */
export function admit(request: IncomingMessage, { options, sessions }: ConnectionContext): void {
  if (sessions.refusesNew) throw new GatewayError('SHUTTING_DOWN', { retryAfterMs: options.shutdown.drainMs });
  const { origin, host } = request.headers;
  if (origin !== undefined && !isOriginAllowed(origin, host ?? '', options.firewall.origins)) {
    throw new GatewayError('ORIGIN_FORBIDDEN');
  }
}

/**
 * Origins are compared after parsing (RFC 6454): as text, `https://app.example.com.evil.test` would share a prefix.
 *
 * @param allowed exact origins and `https://*.example.com`; undefined means the server's own host and nothing else
 */
export function isOriginAllowed(origin: string, host: string, allowed: readonly string[] | undefined): boolean {
  if (allowed === undefined && (origin === `https://${host}` || origin === `http://${host}`)) return true; // the usual case
  const url = parse(origin);
  if (url === undefined) return false; // "null", too: an opaque origin is nobody's
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return false;
  if (allowed === undefined) return url.host === ownHost(url.protocol, host);
  return allowed.some((pattern) => matches(url, pattern));
}

/** The Host header with the default port of the origin's scheme taken off, as URL does for the origin. */
function ownHost(protocol: string, host: string): string | undefined {
  return parse(`${protocol}//${host}`)?.host;
}

function parse(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}

function matches(url: URL, pattern: string): boolean {
  if (!pattern.includes('://*.')) return url.origin === new URL(pattern).origin;
  const base = new URL(pattern.replace('://*.', '://'));
  return url.protocol === base.protocol && url.port === base.port && url.hostname.endsWith(`.${base.hostname}`);
}
