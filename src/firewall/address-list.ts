import { BlockList, isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/** True for an address or a CIDR range (RFC 4632, RFC 4291 §2.3). */
export function isRange(value: unknown): value is string {
  if (typeof value !== 'string') return false;
  return value.includes('/') ? ipaddr.isValidCIDR(value) && isIP(value.split('/')[0] ?? '') !== 0 : isIP(value) !== 0;
}

/** Addresses and CIDR ranges. */
export class AddressList {
  readonly #list = new BlockList();

  /** @param ranges each of which {@link isRange} has found to be one */
  constructor(readonly ranges: readonly string[]) {
    for (const range of ranges) {
      const [address = '', bits] = range.split('/');
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
      if (bits === undefined) this.#list.addAddress(address, family);
      else this.#list.addSubnet(address, Number(bits), family);
    }
  }

  get isEmpty(): boolean {
    return this.ranges.length === 0;
  }

  has(address: string): boolean {
    if (this.isEmpty) return false;
    const version = isIP(address);
    return version !== 0 && this.#list.check(address, version === 6 ? 'ipv6' : 'ipv4');
  }
}
