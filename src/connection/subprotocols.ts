import type { IncomingMessage } from 'node:http';
import { GatewayError } from '../protocol/errors.js';
import { BEARER_SUBPROTOCOL } from '../protocol/message.js';
import type { WireProtocol } from '../protocol/wire-protocol.js';

/** Most names of a client that the refusal quotes, and the longest of them: a longer one may be a secret of another server. */
const MAX_TOLD = 5;
const MAX_NAME_LENGTH = 32;

/**
 * A client that offers only what the path does not speak would fail the connection by itself, and say nothing of why.
 *
 * @throws GatewayError BAD_UPGRADE, which names what it offers and what is spoken
 */
export function refuseOtherProtocols(
  { headers }: IncomingMessage,
  { subprotocols = [] }: Pick<WireProtocol<never>, 'subprotocols'>,
): void {
  const header = headers['sec-websocket-protocol'];
  if (header === undefined || subprotocols.length === 0) return;
  const offered = header.split(',').map((name) => name.trim());
  const others = offered.filter((name) => !name.startsWith(BEARER_SUBPROTOCOL));
  if (others.length === 0 || others.some((name) => subprotocols.includes(name))) return;
  const told = others.slice(0, MAX_TOLD).map(shown);
  if (others.length > MAX_TOLD) told.push(`${others.length - MAX_TOLD} more`);
  throw new GatewayError('BAD_UPGRADE', {
    message: `The subprotocols offered are ${told.join(', ')}; this path speaks ${subprotocols.join(', ')}`,
  });
}

function shown(name: string): string {
  // What is no token (RFC 9110 §5.6.2) ws refuses in its own words.
  return name.length > MAX_NAME_LENGTH || !/^[\w!#$%&'*+.^`|~-]+$/.test(name)
    ? `one of ${name.length} characters`
    : name;
}
