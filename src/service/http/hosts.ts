import { isIP } from 'node:net';
import { isPublic } from '../configuration/exposure.js';

/** Which names a service answers to. */
export interface HostRule {
  /** Names and addresses of `ALLOWED_HOSTS`, beside localhost and loopback addresses; undefined where it is not set. */
  readonly allowed: readonly string[] | undefined;
  /** The address that the service listens on. */
  readonly address: string;
  readonly isBehindProxy: boolean;
}

const NAME = /^(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?$/;

/** True for a name, `*.` with a name (any one or more labels), or an address; all without a port. */
export function isHostPattern(text: string): boolean {
  return isIP(text) !== 0 || NAME.test(text.toLowerCase());
}

/**
 * Decides whether the service answers a request with this Host. An attacker's page whose name resolves to this machine (DNS rebinding)
 * has the origin of the service in its browser's eyes, and only Host tells the two apart. So a service on loopback answers to localhost
 * and loopback addresses, and any service with `ALLOWED_HOSTS` to those in it as well.
 *
 * @param isProbe true for a path that orchestrators ask, by address or, in HTTP/1.0, without a Host: no name, no rebinding
 */
export function answersTo(
  host: string | undefined,
  { allowed, address, isBehindProxy }: HostRule,
  isProbe = false,
): boolean {
  if (allowed === undefined && (isBehindProxy || isPublic(address))) return true;
  const name = nameOf(host ?? '');
  if (name === undefined) return isProbe && host === undefined;
  if (isIP(name) !== 0 && (isProbe || !isPublic(name))) return true;
  return name === 'localhost' || (allowed ?? []).some((pattern) => matches(name, pattern.toLowerCase()));
}

/** Of `name`, `name:port`, `address:port` or `[address]:port`, in lower case and without a final dot. */
function nameOf(host: string): string | undefined {
  const [, inBrackets, name] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::\d*)?$/.exec(host.toLowerCase()) ?? [];
  if (inBrackets !== undefined) return isIP(inBrackets) === 6 ? inBrackets : undefined;
  return name?.replace(/\.$/, '');
}

function matches(name: string, pattern: string): boolean {
  return pattern.startsWith('*.') ? name.endsWith(pattern.slice(1)) && name.length >= pattern.length : name === pattern;
}
