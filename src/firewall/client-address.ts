import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import ipaddr from 'ipaddr.js';
import { GatewayError } from '../protocol/errors.js';
import { AddressList } from './address-list.js';
import type { ResolvedFirewall } from './options.js';

/** The peer's address as the TCP connection has it. */
export function addressOf(socket: Duplex): string {
  return normalised((socket as { remoteAddress?: string }).remoteAddress ?? '') ?? '';
}

/** An address in its one form: IPv4-mapped IPv6 is IPv4, IPv6 is short (RFC 5952); undefined for what is none. */
export function normalised(text: string): string | undefined {
  const address = text.split('%', 1)[0] as string; // because split never returns nothing; a zone has a meaning on this machine only
  const version = isIP(address);
  if (version === 4) return address;
  if (version === 0) return undefined;
  const mapped = /^::ffff:(\d+(?:\.\d+){3})$/i.exec(address)?.[1];
  return mapped ?? ipaddr.process(address).toString();
}

/** What is counted as one: an IPv4 address, or the /64 of an IPv6 one, of which a subscriber has one or more. */
export function countedAs(address: string): string {
  if (!address.includes(':')) return address;
  const parts = (ipaddr.parse(address) as ipaddr.IPv6).parts.slice(0, 4); // because only IPv6 has colons, in this form
  return `${parts.map((part) => part.toString(16)).join(':')}::/64`;
}

/** What an address is counted in: itself, or of an IPv6 one its /64, and the /56 and /48 that a provider gives one customer. */
export function rangesOf(address: string): readonly string[] {
  if (!address.includes(':')) return [address];
  const [a, b, c, d] = (ipaddr.parse(address) as ipaddr.IPv6).parts as [number, number, number, number]; // because IPv6 has eight
  const site = [a, b, c].map((part) => part.toString(16)).join(':');
  return [countedAs(address), `${site}:${(d & 0xff00).toString(16)}::/56`, `${site}::/48`];
}

/** True for a peer on a Unix domain socket, which has no address. A TCP socket has one of its own until it is destroyed. */
function isOnUnixSocket(socket: Duplex): boolean {
  const { remoteAddress, localAddress } = socket as { remoteAddress?: string; localAddress?: string };
  return remoteAddress === undefined && localAddress === undefined && !socket.destroyed;
}

/** Finds the address that a request comes from, through the trusted proxies. */
export class ClientAddresses {
  readonly #trusted: AddressList | undefined;
  readonly #hops: number;
  readonly #header: ResolvedFirewall['proxyHeader'];

  /** @param onDisbelief called with the peer whose header of a proxy is not believed, each time */
  constructor(
    { trustProxy, proxyHeader }: Pick<ResolvedFirewall, 'trustProxy' | 'proxyHeader'>,
    private readonly onDisbelief: (peer: string) => void = () => undefined,
  ) {
    this.#trusted = Array.isArray(trustProxy) ? new AddressList(trustProxy as string[]) : undefined;
    this.#hops = typeof trustProxy === 'number' ? trustProxy : 0;
    this.#header = proxyHeader;
  }

  /** True for a trusted proxy. */
  trusts(peer: string): boolean {
    return this.#hops > 0 || this.#trusted?.has(peer) === true;
  }

  /**
   * The address of the client. Headers count only where a trusted proxy sent the request: every client can write them.
   *
   * @throws GatewayError BAD_UPGRADE when X-Forwarded-For and Forwarded disagree and `firewall.proxyHeader` names neither
   */
  of(request: IncomingMessage, socket: Duplex): string {
    const peer = addressOf(socket);
    const { forwarded, 'x-forwarded-for': forwardedFor } = request.headers;
    if (forwarded === undefined && forwardedFor === undefined) return peer;
    if (!this.#trusts(peer, socket)) {
      this.onDisbelief(peer);
      return peer;
    }
    const stories = [
      this.#header !== 'forwarded' && typeof forwardedFor === 'string' ? forwardedFor.split(',') : undefined,
      this.#header !== 'x-forwarded-for' && forwarded !== undefined ? forwardedBy(forwarded) : undefined,
    ].filter((story) => story !== undefined);
    const [first = peer, second = first] = stories.map((story) => this.#clientIn(story, peer));
    if (first === second) return first;
    throw new GatewayError('BAD_UPGRADE', { message: 'X-Forwarded-For and Forwarded disagree' });
  }

  /** File permissions decide which peers reach a Unix domain socket, and a list of addresses cannot name them: they are trusted. */
  #trusts(peer: string, socket: Duplex): boolean {
    return this.trusts(peer) || (this.#trusted !== undefined && isOnUnixSocket(socket));
  }

  /** Reads from the right: the client itself may have written the left. */
  #clientIn(story: readonly string[], peer: string): string {
    let client = peer;
    for (const [index, entry] of story.toReversed().entries()) {
      const isTrusted = this.#trusted === undefined ? index < this.#hops : index === 0 || this.#trusted.has(client);
      const address = isTrusted ? addressIn(entry) : undefined;
      if (address === undefined) return client; // the entry is not a trusted proxy's, or is no address
      client = address;
    }
    return client;
  }
}

/** `for` of each element of Forwarded (RFC 7239 §4, §6). */
function forwardedBy(header: string): string[] {
  return header.split(',').map((element) => /(?:^|;)\s*for\s*=\s*("?)([^";,]*)\1/i.exec(element)?.[2] ?? '');
}

/** The address of `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:443`. */
function addressIn(entry: string): string | undefined {
  const text = entry.trim();
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^(\d+(?:\.\d+){3}):\d+$/.exec(text)?.[1] ?? text;
  return normalised(bare);
}
