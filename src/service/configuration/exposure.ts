import { isIPv4 } from 'node:net';

/** Is it an address that other machines reach, `0.0.0.0` and `::` included? */
export function isPublic(address: string): boolean {
  const plain = address.replace(/^::ffff:(?=\d+\.)/, '');
  return isIPv4(plain) ? !plain.startsWith('127.') : plain !== '::1';
}

/** Does somebody in front speak TLS? Whoever sets `firewall.trustProxy`, or `TRUST_PROXY`, says so. */
export function isBehindProxy(trustProxy: unknown): boolean {
  return (
    ![undefined, null, false, 0].includes(trustProxy as undefined) &&
    !(Array.isArray(trustProxy) && trustProxy.length === 0)
  );
}

/** For whoever starts the service where everybody can listen in. */
export function exposureWarning(host: string): string {
  return [
    `${host} is reached by other machines, and there is no TLS: whoever is on the way reads every token and message, and changes them.`,
    'Set TLS_CERT_FILE and TLS_KEY_FILE; or TRUST_PROXY where a proxy in front speaks TLS; or HOST=127.0.0.1.',
  ].join('\n');
}
