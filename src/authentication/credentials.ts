import type { IncomingMessage } from 'node:http';
import { parseCookie } from 'cookie';
import { GatewayError } from '../protocol/errors.js';
import { BEARER_SUBPROTOCOL, isJsonObject } from '../protocol/message.js';
import { certificateOf } from './certificate.js';
import { invalid } from './token.js';

/** Where a credential is looked for; the order of `auth.sources` decides, and the first present source counts. */
export const SOURCES = [
  'header',
  'subprotocol',
  'cookie',
  'ticket',
  'query',
  'message',
  'certificate',
  'basic',
  'guard',
] as const;

/** Kinds of sources that have a name of the application's choice. */
const NAMED = ['header', 'query', 'cookie'] as const;
type NamedKind = (typeof NAMED)[number];

/** A source as `auth.sources` has it: by its name, or a header, a parameter of the query or a cookie that the application names. */
export type CredentialSource =
  (typeof SOURCES)[number] | { readonly header: string } | { readonly query: string } | { readonly cookie: string };

/** A source as text: one of {@link SOURCES}, or `header:x-api-key`, `query:token`, `cookie:sid`. */
export type TokenSource = (typeof SOURCES)[number] | `${NamedKind}:${string}`;

/** What a credential is: a bearer token, `user:password` of HTTP Basic (RFC 7617), or the value of a source that has a name. */
export type CredentialKind = 'bearer' | 'basic' | NamedKind;

/** A credential, not yet verified. */
export interface Credential {
  readonly source: TokenSource;
  /** Empty for a certificate, which the connection has. */
  readonly token: string;
}

/** Names that sources of their own read, or that say something else. */
const TAKEN: Readonly<Record<NamedKind, RegExp>> = {
  header: /^(?:authorization|cookie|origin|host|connection|upgrade|sec-.*)$/,
  query: /^(?:ticket|access_token)$/,
  cookie: /^$/,
};
const NAME: Readonly<Record<NamedKind, RegExp>> = {
  header: /^[\w!#$%&'*+.^`|~-]{1,64}$/,
  query: /^[\w.~-]{1,64}$/,
  cookie: /^[\w!#$%&'*+.^`|~-]{1,256}$/,
};

/** Parameters of the query that hold credentials in any case. */
const SECRET_PARAMETERS = ['ticket', 'access_token'] as const;

/** For JSON: how a source of `auth.sources` may be written. */
export const SOURCE_SCHEMA = {
  anyOf: [
    { enum: SOURCES },
    ...NAMED.map((kind) => ({
      type: 'object',
      additionalProperties: false,
      required: [kind],
      properties: { [kind]: { type: 'string', pattern: NAME[kind].source } },
    })),
  ],
};

/** @returns undefined for what is no source */
export function readSource(given: unknown): TokenSource | undefined {
  const known = SOURCES.find((source) => source === given);
  if (known !== undefined || !isJsonObject(given)) return known;
  const [kind, ...others] = Object.keys(given);
  const named = NAMED.find((one) => one === kind);
  if (named === undefined || others.length > 0) return undefined;
  const value = given[named];
  if (typeof value !== 'string' || !NAME[named].test(value)) return undefined;
  const name = named === 'header' ? value.toLowerCase() : value;
  return TAKEN[named].test(name) ? undefined : `${named}:${name}`;
}

/** What a source yields, and its name where the application has chosen one. */
export function kindOf(source: TokenSource): { readonly kind: CredentialKind; readonly name?: string } {
  if (source === 'basic') return { kind: source };
  const [kind, name] = split(source);
  return name === undefined ? { kind: 'bearer' } : { kind, name };
}

/** True for a source that a browser sends without a script that asks it to. */
export function isSentByItself(source: TokenSource): boolean {
  return source === 'cookie' || source === 'certificate' || source.startsWith('cookie:');
}

/** Parameters of a URL whose values are credentials, and belong into no log. */
export function secretParameters(sources: readonly TokenSource[]): ReadonlySet<string> {
  const named = sources.filter((source) => source.startsWith('query:')).map((source) => source.slice('query:'.length));
  return new Set([...SECRET_PARAMETERS, ...named]);
}

/**
 * The credential of a handshake. The first source that is present decides; a bad one never falls through to the next.
 *
 * @param cookie the name of the cookie that holds the token
 * @returns undefined when no source has one
 * @throws GatewayError ORIGIN_FORBIDDEN for a cookie without an Origin: a browser sends both. TOKEN_INVALID for a header or parameter
 * that is there more than once
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
      return queryOf(url)?.get('ticket') ?? undefined;
    case 'query':
      return queryOf(url)?.get('access_token') ?? undefined; // RFC 6750 §2.3
    case 'basic':
      return schemeOf(headers.authorization, 'basic');
    case 'message': // it has yet to come
    case 'guard': // it is asked when all other sources have none
      return undefined;
    case 'certificate':
      return certificateOf(request) && '';
    default:
      return readNamed(request, source);
  }
}

function readNamed({ headers, headersDistinct, url }: IncomingMessage, source: TokenSource): string | undefined {
  const [kind, name = ''] = split(source);
  switch (kind) {
    case 'header':
      return onlyOne(headersDistinct[name]);
    case 'query':
      return onlyOne(queryOf(url)?.getAll(name));
    case 'cookie':
      return cookieOf(headers, name);
    default:
      return kind satisfies never;
  }
}

function split(source: TokenSource): [kind: NamedKind, name?: string] {
  const [kind, name] = source.split(':', 2);
  return [kind as NamedKind, name]; // because a source with a colon begins with one, and any other is not looked at
}

/** Which of several was meant, the client and a proxy in front of us may see differently. */
function onlyOne(values: readonly string[] | undefined): string | undefined {
  if (values !== undefined && values.length > 1) throw invalid('the credential is there more than once');
  return values?.[0];
}

/**
 * The token of an Authorization header (RFC 6750 §2.1). Another scheme counts as absent, an empty token as present.
 */
export function bearerOf(authorization: string | undefined): string | undefined {
  return schemeOf(authorization, 'bearer');
}

function schemeOf(authorization: string | undefined, wanted: string): string | undefined {
  const [scheme, ...rest] = authorization?.trim().split(' ') ?? [];
  return scheme?.toLowerCase() === wanted ? rest.join(' ').trim() : undefined;
}

function cookieOf({ cookie: header, origin }: IncomingMessage['headers'], name = ''): string | undefined {
  const token = header === undefined ? undefined : parseCookie(header)[name];
  // The cookie comes from whichever page asks, so the page that asks has to be known (RFC 6455 §10.2).
  if (token !== undefined && origin === undefined) throw new GatewayError('ORIGIN_FORBIDDEN');
  return token;
}

function queryOf(target: string | undefined): URLSearchParams | undefined {
  const query = target?.indexOf('?') ?? -1;
  return query === -1 ? undefined : new URLSearchParams(target?.slice(query + 1));
}

const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/**
 * `user:password` of an Authorization header of the scheme Basic (RFC 7617 §2).
 *
 * @throws GatewayError TOKEN_INVALID
 */
export function basicOf(token: string): string {
  const decoded = BASE64.test(token) ? utf8Of(Buffer.from(token, 'base64')) : undefined;
  if (decoded === undefined || !decoded.includes(':') || CONTROL.test(decoded)) throw invalid('malformed Basic');
  return decoded;
}

/** RFC 7617 §2 forbids control characters. */
const CONTROL = /\p{Cc}/u;

function utf8Of(bytes: Buffer): string | undefined {
  const text = bytes.toString();
  return Buffer.from(text).equals(bytes) ? text : undefined;
}

/** Takes the credential of the kind `basic` apart: the user ends at the first colon, and the password may have more of them. */
export function userAndPassword(credential: string): { readonly user: string; readonly password: string } {
  const colon = credential.indexOf(':');
  return { user: credential.slice(0, colon), password: credential.slice(colon + 1) };
}
