import type { IncomingMessage } from 'node:http';
import { parseCookie } from 'cookie';
import { compile, parse } from 'path-to-regexp';
import type { Token } from 'path-to-regexp';
import { secretParameters } from '../authentication/credentials.js';
import type { TokenSource } from '../authentication/credentials.js';
import type { PathParams } from '../base/path-params.js';
import { BEARER_SUBPROTOCOL } from '../protocol/message.js';

/** What of an upgrade goes on to the application: path, query, subprotocols and headers, without what is the gateway's own. */

/** Where the gateway finds credentials. */
export interface CredentialPlaces {
  readonly sources: readonly TokenSource[];
  /** Name of the cookie of the source `cookie`. */
  readonly cookie: string | undefined;
}

/** Headers of one hop (RFC 9110 §7.6.1), and those that `ws` writes for the next one. */
const OF_ONE_HOP: ReadonlySet<string> = new Set([
  'connection',
  'upgrade',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'content-length',
  'expect',
  'host',
  'http2-settings',
]);

/** What only a proxy may say. */
const PROXY_HEADERS = /^(?:forwarded|x-forwarded-.*|x-real-ip|traceparent|tracestate)$/;

/**
 * The name that a header has for an application that knows it as a CGI variable (RFC 3875 §4.1.18): there `X_Auth_Subject`,
 * `X.Auth.Subject` and `X-Auth-Subject` are one, so a client could write the one that the gateway does not.
 */
export function known(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '-');
}

/** What the client has sent and goes on, by its name in lower case. */
export function forwardedHeaders(
  { headersDistinct, headers }: IncomingMessage,
  own: ReadonlySet<string>,
  places: CredentialPlaces,
  keepsCredentials: boolean,
): Record<string, string | readonly string[]> {
  const named = new Set(headers.connection?.split(',').map((name) => name.trim().toLowerCase()));
  const result: Record<string, string | readonly string[]> = Object.create(null) as Record<string, string>;
  for (const [name, values = []] of Object.entries(headersDistinct)) {
    const isOurs = OF_ONE_HOP.has(name) || named.has(name) || name.startsWith('sec-websocket-');
    if (isOurs || PROXY_HEADERS.test(known(name)) || own.has(known(name))) continue;
    if (!keepsCredentials && holdsCredential(name, values, places)) continue;
    result[name] = values;
  }
  if (!keepsCredentials && headers.cookie !== undefined) replaceCookies(result, headers.cookie, places);
  return result;
}

/** @param name in lower case */
function holdsCredential(name: string, values: readonly string[], { sources }: CredentialPlaces): boolean {
  if (sources.includes(`header:${name}`)) return true;
  if (name !== 'authorization') return false;
  const scheme = values[0]?.trim().split(' ', 1)[0]?.toLowerCase();
  return scheme === 'bearer' ? sources.includes('header') : scheme === 'basic' && sources.includes('basic');
}

function replaceCookies(
  result: Record<string, string | readonly string[]>,
  header: string,
  { sources, cookie }: CredentialPlaces,
): void {
  const secrets = sources
    .filter((source) => source.startsWith('cookie:'))
    .map((source) => source.slice('cookie:'.length));
  if (sources.includes('cookie') && cookie !== undefined) secrets.push(cookie);
  if (secrets.length === 0) return;
  // Not written anew from what is parsed: the values that go on stay as they came.
  const isSecret = (pair: string): boolean => secrets.some((name) => parseCookie(pair)[name] !== undefined);
  const kept = header.split(';').filter((pair) => !isSecret(pair));
  if (kept.length === 0) delete result.cookie;
  else result.cookie = kept.join(';').trim();
}

/** The subprotocols that the client offers, without a token among them. */
export function forwardedSubprotocols({ headers }: IncomingMessage): string[] {
  const offered = headers['sec-websocket-protocol']?.split(',').map((name) => name.trim()) ?? [];
  return offered.filter((name) => name !== '' && !name.startsWith(BEARER_SUBPROTOCOL));
}

/** The query of the client, with its question mark, as it came; what holds a credential is left out. */
function forwardedQuery(target: string, { sources }: CredentialPlaces, keepsCredentials: boolean): string {
  const start = target.indexOf('?');
  if (start === -1) return '';
  const query = target.slice(start + 1).split('#', 1)[0] as string; // because split never returns nothing
  if (keepsCredentials) return query;
  const secrets = secretParameters(sources);
  const isSecret = (pair: string): boolean => [...new URLSearchParams(pair).keys()].some((name) => secrets.has(name));
  return query
    .split('&')
    .filter((pair) => !isSecret(pair))
    .join('&');
}

/** What `new URL()` reads as a step to another folder: it takes a backslash for a slash. */
const STEP = /\\|\/(?:\.|%2e){1,2}(?:\/|$)/i;

/** The URL of an application, as it is declared, with what the client adds to it. */
export class UrlTemplate {
  readonly #base: string;
  readonly #query: string;
  /** Undefined where the path is the client's. */
  readonly #pathOf: ((params: Record<string, string | string[]>) => string) | undefined;

  /**
   * @param names of the parameters that the client's path has
   * @throws Error for a path that cannot be read, or needs another parameter
   */
  constructor(
    readonly source: string,
    names: readonly string[],
  ) {
    const [, base = '', path = '', query = ''] = /^(wss?:\/\/[^/?]+)([^?]*)(?:\?(.*))?$/.exec(source) ?? [];
    this.#base = base;
    this.#query = query;
    if (path === '' || path === '/') return;
    const tokens = parse(path);
    const missing = parametersOf(tokens.tokens).find((name) => !names.includes(name));
    if (missing !== undefined) throw new Error(`${source} needs "${missing}", which the path does not have`);
    this.#pathOf = compile(tokens);
  }

  /** True where the URL has a user: then it is the application's credential, and no client's goes on in its place. */
  get hasUser(): boolean {
    return this.#base.includes('@');
  }

  /** As the log and the metrics have it: without user, password and query. */
  get label(): string {
    return this.source.replace(/^(wss?:\/\/)[^/]*@/, '$1').replace(/\?.*$/s, '');
  }

  /**
   * @throws TypeError for parameters that it needs and the path does not have
   * @throws Error for a path that leads elsewhere than it says
   */
  urlOf({ url: target = '/' }: IncomingMessage, params: PathParams, places: CredentialPlaces, keeps: boolean): string {
    const path = this.#pathOf?.(params as Record<string, string | string[]>) ?? pathOf(target); // because compile() changes none
    if (STEP.test(path)) throw new Error('The path holds a backslash or a dot segment');
    const query = [this.#query, forwardedQuery(target, places, keeps)].filter((part) => part !== '').join('&');
    return `${this.#base}${path}${query === '' ? '' : `?${query}`}`;
  }
}

/** Names of the parameters that a path cannot do without. */
function parametersOf(tokens: readonly Token[]): string[] {
  return tokens.filter((token) => token.type === 'param' || token.type === 'wildcard').map(({ name }) => name);
}

/** The path of a request target (RFC 9112 §3.2) as it came. */
function pathOf(target: string): string {
  const absolute = /^[a-z]+:\/\/[^/?#]*/i.exec(target);
  const path = target.slice(absolute?.[0].length ?? 0).split(/[?#]/, 1)[0] as string; // because split never returns nothing
  return path.startsWith('/') ? path : `/${path}`;
}
