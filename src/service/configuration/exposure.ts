import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/** True for an address that other machines reach, `0.0.0.0` and `::` included, and for what is no address. */
export function isPublic(address: string): boolean {
  return isIP(address) === 0 || ipaddr.process(address).range() !== 'loopback';
}

/** True where a proxy in front speaks TLS: an operator who sets `firewall.trustProxy`, or `TRUST_PROXY`, says so. */
export function isBehindProxy(trustProxy: unknown): boolean {
  return (
    ![undefined, null, false, 0].includes(trustProxy as undefined) &&
    !(Array.isArray(trustProxy) && trustProxy.length === 0)
  );
}

/** What the operator reads who starts the service without TLS on an address that others reach. */
export function exposureWarning(host: string): string {
  return [
    `${host} is reached by other machines, and there is no TLS: any machine on the way can read and change every token and message.`,
    'Set TLS_CERT_FILE and TLS_KEY_FILE; or TRUST_PROXY where a proxy in front speaks TLS; or HOST=127.0.0.1.',
  ].join('\n');
}
