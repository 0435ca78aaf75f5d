import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** The peer's address as the TCP connection has it; an IPv4 address in IPv6 clothes is written as IPv4. */
export function addressOf(socket: Duplex): string {
  return (socket as Partial<Socket>).remoteAddress?.replace(/^::ffff:(?=\d+\.)/, '') ?? '';
}
