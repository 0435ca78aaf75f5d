import { readFileSync } from 'node:fs';
import { GatewayError } from '../protocol/errors.js';
import { normalised, rangesOf } from './client-address.js';
import type { ResolvedFirewall } from './options.js';

/** The share of the process's descriptors that sockets without a session may take, and that one address may. */
const SHARE_OF_ALL = 7 / 8;
const SHARE_OF_ADDRESS = 1 / 4;

/** Counts by address, and IPv6 by /64, /56 and /48. */
export class AddressCounts {
  readonly #counts = new Map<string, number>();

  get size(): number {
    return this.#counts.size;
  }

  enter(ranges: readonly string[]): void {
    for (const range of ranges) this.#counts.set(range, (this.#counts.get(range) ?? 0) + 1);
  }

  leave(ranges: readonly string[]): void {
    for (const range of ranges) {
      const left = (this.#counts.get(range) ?? 0) - 1;
      if (left > 0) this.#counts.set(range, left);
      else this.#counts.delete(range);
    }
  }

  /** True when one of the ranges has reached the cap at the same index. */
  isFull(ranges: readonly string[], caps: readonly number[]): boolean {
    return ranges.some((range, index) => (this.#counts.get(range) ?? 0) >= (caps[index] ?? Infinity));
  }
}

/** The caps of one address, and of the /56 and the /48 around it: none is below that of a smaller range. */
export function capsOf(perAddress: number, options: ResolvedFirewall): [number, number, number] {
  const per56 = Math.max(perAddress, options.maxConnectionsPer56);
  return [perAddress, per56, Math.max(per56, options.maxConnectionsPer48)];
}

/** What the quota asks the firewall. */
export interface SocketRules {
  /** True for a trusted proxy. */
  isProxy(address: string): boolean;
  /** Sockets of admitted connections. */
  connections(): number;
  /** @throws the error, unless the rule is in a dry run */
  enforce(rule: 'connections', address: string, error: () => GatewayError): void;
}

/** How many sockets without a session an address, a proxy and the process may have. */
export class FirewallSockets {
  readonly #counts = new AddressCounts();
  #all = 0;

  /** @param descriptors how many files the process may have open */
  constructor(
    private readonly options: ResolvedFirewall,
    private readonly rules: SocketRules,
    private readonly descriptors = openFiles(),
  ) {}

  get size(): number {
    return this.#all;
  }

  /** Addresses and ranges that have a socket. */
  get ranges(): number {
    return this.#counts.size;
  }

  get isFull(): boolean {
    const { maxSockets } = this.options;
    if (maxSockets === Infinity) return false;
    return this.#all >= Math.min(maxSockets, this.descriptors * SHARE_OF_ALL - this.rules.connections());
  }

  checkAddress(remoteAddress: string): void {
    const address = normalised(remoteAddress) ?? '';
    // A Unix socket has no address; its peers are on this machine, and most often they are proxies.
    const isProxy = address === '' || this.rules.isProxy(address);
    if (!this.#counts.isFull(rangesOf(address), isProxy ? this.#capsOfProxy() : this.#capsOfAddress())) return;
    const message = isProxy
      ? 'Too many sockets of a proxy: firewall.maxSocketsPerProxy'
      : 'Too many sockets of one address: set firewall.trustProxy if it is a proxy, or raise firewall.maxSocketsPerAddress';
    this.rules.enforce('connections', address, () => new GatewayError('TOO_MANY_CONNECTIONS', { message }));
  }

  checkAll(remoteAddress: string): void {
    const message = 'Too many sockets: firewall.maxSockets, or the limit of open files';
    const address = normalised(remoteAddress) ?? '';
    this.rules.enforce('connections', address, () => new GatewayError('OVERLOADED', { message }));
  }

  enter(remoteAddress: string): void {
    this.#all++;
    this.#counts.enter(rangesOf(normalised(remoteAddress) ?? ''));
  }

  leave(remoteAddress: string): void {
    this.#all--;
    this.#counts.leave(rangesOf(normalised(remoteAddress) ?? ''));
  }

  #capsOfProxy(): [number] {
    return [this.options.maxSocketsPerProxy];
  }

  /** Never below the cap of sessions: each of those is a socket first. */
  #capsOfAddress(): readonly number[] {
    const { maxSocketsPerAddress, maxConnectionsPerAddress } = this.options;
    const caps = capsOf(Math.max(maxSocketsPerAddress, maxConnectionsPerAddress), this.options);
    const share = Math.max(1, Math.floor(this.descriptors * SHARE_OF_ADDRESS));
    return caps.map((cap) => (cap === Infinity ? cap : Math.min(cap, share)));
  }
}

/** The process's limit of open files; `Infinity` where the system does not say. */
function openFiles(): number {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return limit === undefined ? Infinity : Number(limit);
  } catch {
    return Infinity; // not Linux
  }
}
