/**
 * Origins are compared after parsing (RFC 6454): as text, `https://app.example.com.evil.test` would share a prefix.
 *
 * @param host the Host of the request
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
