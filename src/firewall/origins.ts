import type { IncomingHttpHeaders } from 'node:http';
import { parseCookie } from 'cookie';

/** What the firewall reads of the options about credentials. */
export interface BrowserCredentials {
  /** Where tokens are looked for. */
  readonly sources: readonly string[];
  /** Name of the cookie that holds a token. */
  readonly cookie: string | undefined;
}

/** The options about Origins. */
export interface OriginRules {
  readonly origins: readonly string[] | undefined;
  readonly allowMissingOrigin: boolean;
  readonly allowNullOrigin: boolean;
}

/** Longest header that is quoted in the log, in characters. */
const MAX_QUOTED = 120;

/** In a list of origins: every one, the opaque `null` included. */
const ANY = '*';

/** Schemes that URLs have and an Origin never does, and `file`, which has no host. */
const NO_ORIGINS: ReadonlySet<string> = new Set(['ws:', 'wss:', 'ftp:', 'file:']);

/** True where the Origin of a request may connect, or where it may connect without one. */
export function admitsOrigin(
  headers: IncomingHttpHeaders,
  rules: OriginRules,
  credentials: BrowserCredentials,
): boolean {
  const { origin, host, cookie } = headers;
  if (origin === undefined) return rules.allowMissingOrigin && !hasTokenIn(cookie, credentials);
  return (origin === 'null' && rules.allowNullOrigin) || isOriginAllowed(origin, host ?? '', rules.origins);
}

/** For the log: which Origin met which Host. */
export function encounterOf({ origin, host }: IncomingHttpHeaders): string {
  return `${origin === undefined ? 'no Origin' : `Origin ${quoted(origin)}`} met Host ${quoted(host ?? '')}`;
}

/**
 * Origins are compared after parsing (RFC 6454): as text, `https://app.example.com.evil.test` would share a prefix.
 *
 * @param host the Host of the request
 * @param allowed exact origins, `https://*.example.com` and `*`; undefined means the server's own host and nothing else
 */
export function isOriginAllowed(origin: string, host: string, allowed: readonly string[] | undefined): boolean {
  if (allowed === undefined) return isOwn(origin, host);
  if (allowed.includes(origin) || allowed.includes(ANY)) return true; // the usual case
  const url = parse(origin);
  if (url === undefined) return false; // "null", too: an opaque origin belongs to no site
  return allowed.some((pattern) => matches(url, pattern));
}

/** True for what `firewall.origins` can hold. */
export function isOriginPattern(value: unknown): value is string {
  if (typeof value !== 'string') return false;
  if (value === ANY) return true;
  const url = parse(value.replace(/^(https?:\/\/)\*\./i, '$1'));
  return url !== undefined && !url.host.includes('*');
}

/** A browser sends the cookie for every page that asks, so the page's Origin has to be known (RFC 6455 §10.2). */
function hasTokenIn(header: string | undefined, { sources, cookie = '' }: BrowserCredentials): boolean {
  if (header === undefined) return false;
  const names = sources.filter(isCookie).map((source) => (source === 'cookie' ? cookie : source.slice(COOKIE.length)));
  if (names.length === 0) return false;
  const cookies = parseCookie(header);
  return names.some((name) => cookies[name] !== undefined);
}

/** Begins a source that is a cookie whose name the application has chosen. */
const COOKIE = 'cookie:';

/** True for a source of credentials that is a cookie. */
export function isCookie(source: string): boolean {
  return source === 'cookie' || source.startsWith(COOKIE);
}

/** A header of an untrusted peer, in printable ASCII and cut. */
function quoted(header: string): string {
  const text = header.slice(0, MAX_QUOTED).replace(/[^!#-~]/g, '?');
  return `"${text}${header.length > MAX_QUOTED ? '…' : ''}"`;
}

function isOwn(origin: string, host: string): boolean {
  if (origin === `https://${host}` || origin === `http://${host}`) return true; // the usual case
  const url = parse(origin);
  if (url === undefined || !isWeb(url)) return false;
  // The Host header with the default port of the origin's scheme taken off, as URL does for the origin.
  return url.host === parse(`${url.protocol}//${host}`)?.host;
}

/** An origin; undefined for text that has no scheme and host, or has more than these and a port. */
function parse(text: string): URL | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const { protocol, host, pathname, search, hash, username, password } = url;
  const hasMore = (pathname !== '' && pathname !== '/') || search + hash + username + password !== '';
  return host === '' || hasMore || NO_ORIGINS.has(protocol) ? undefined : url;
}

function isWeb({ protocol }: URL): boolean {
  return protocol === 'https:' || protocol === 'http:';
}

function matches(url: URL, pattern: string): boolean {
  const isWildcard = pattern.includes('://*.');
  const base = parse(pattern.replace('://*.', '://'));
  if (base === undefined || url.protocol !== base.protocol) return false;
  if (isWildcard) return url.port === base.port && url.hostname.endsWith(`.${base.hostname}`);
  // URL lowers the case of hosts for the web's own schemes only.
  return url.host.toLowerCase() === base.host.toLowerCase();
}
