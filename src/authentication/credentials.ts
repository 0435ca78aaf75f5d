import type { IncomingMessage } from 'node:http';
import { parseCookie } from 'cookie';
import { GatewayError } from '../protocol/errors.js';
import { BEARER_SUBPROTOCOL } from '../protocol/message.js';
import { certificateOf } from './certificate.js';

/** Where a token is looked for; the order of `auth.sources` decides, and the first present source counts. */
export const SOURCES = ['header', 'subprotocol', 'cookie', 'ticket', 'query', 'message', 'certificate'] as const;
export type TokenSource = (typeof SOURCES)[number];

/** A token, not yet verified. */
export interface Credential {
  readonly source: TokenSource;
  /** Empty for a certificate, which the connection has. */
  readonly token: string;
}

/**
 * The token of a handshake. The first source that is present decides; a bad one never falls through to the next.
 *
 * @param cookie the name of the cookie that holds the token
 * @returns undefined when no source has one
 * @throws GatewayError ORIGIN_FORBIDDEN for a cookie without an Origin: a browser sends both
 */
export function credentialOf(
  request: IncomingMessage,
  sources: readonly TokenSource[],
  cookie: string | undefined,
): Credential | undefined {
  for (const source of sources) {
    const token = readToken(request, source, cookie);
    if (token !== undefined) return { source, token };
  }
  return undefined;
}

function readToken(request: IncomingMessage, source: TokenSource, cookie: string | undefined): string | undefined {
  const { headers, url } = request;
  switch (source) {
    case 'header':
      return bearerOf(headers.authorization);
    case 'subprotocol':
      return headers['sec-websocket-protocol']
        ?.split(',')
        .map((name) => name.trim())
        .find((name) => name.startsWith(BEARER_SUBPROTOCOL))
        ?.slice(BEARER_SUBPROTOCOL.length);
    case 'cookie':
      return cookieOf(headers, cookie);
    case 'ticket':
      return parameterOf(url, 'ticket');
    case 'query':
      return parameterOf(url, 'access_token'); // RFC 6750 §2.3
    case 'message':
      return undefined; // it has yet to come
    case 'certificate':
      return certificateOf(request) && '';
    default:
      return source satisfies never;
  }
}

/**
 * The token of an Authorization header (RFC 6750 §2.1). Another scheme counts as absent, an empty token as present.
 */
export function bearerOf(authorization: string | undefined): string | undefined {
  const [scheme, ...rest] = authorization?.trim().split(' ') ?? [];
  return scheme?.toLowerCase() === 'bearer' ? rest.join(' ').trim() : undefined;
}

function cookieOf({ cookie: header, origin }: IncomingMessage['headers'], name = ''): string | undefined {
  const token = header === undefined ? undefined : parseCookie(header)[name];
  // The cookie comes from whichever page asks, so who asks has to be known (RFC 6455 §10.2).
  if (token !== undefined && origin === undefined) throw new GatewayError('ORIGIN_FORBIDDEN');
  return token;
}

/** A parameter of the query; the first where there are several. */
function parameterOf(target: string | undefined, name: string): string | undefined {
  const query = target?.indexOf('?') ?? -1;
  return query === -1 ? undefined : (new URLSearchParams(target?.slice(query + 1)).get(name) ?? undefined);
}
