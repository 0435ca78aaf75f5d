import { Conversation, PATIENCE_MS } from './conversation.js';
import { MARKER } from './input.js';
import type { Input } from './input.js';
import { Broken } from '../support/peer.js';
import type { Peer } from '../support/peer.js';
import { PIPELINED } from './upgrades.js';

/** The answer to the key that all handshakes here have (RFC 6455 §1.3). */
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';

/** Sends an upgrade request on a connection of its own. @throws Broken when it is neither answered nor closed */
export async function attempt(port: number, input: Input): Promise<void> {
  const conversation = new Conversation('user', true);
  const peer = await conversation.connect(port);
  try {
    // What stands behind the head is the session's, once there is one.
    if (input.bytes.indexOf(PIPELINED) !== -1 && input.statuses?.includes(101)) conversation.expect(PIPELINED);
    await peer.write(input.bytes, input.cuts);
    if (input.finish === 'reset') return void peer.socket.resetAndDestroy();
    if (input.finish === 'half-close') await closedAfterHalfClose(peer);
    else {
      const isAnswered = await peer.until(() => peer.isUpgraded || peer.isClosed || peer.head !== '', PATIENCE_MS);
      if (!isAnswered) throw new Broken('a handshake without an answer');
      if (peer.isUpgraded) await conversation.barrier();
      else await closedAfterHalfClose(peer);
    }
    if (peer.broken !== undefined) throw peer.broken;
    checkHead(peer.head, input);
  } finally {
    conversation.end();
  }
}

async function closedAfterHalfClose(peer: Peer): Promise<void> {
  peer.socket.end();
  if (!(await peer.until(() => peer.isClosed, PATIENCE_MS))) throw new Broken('the connection does not end');
}

function checkHead(head: string, { statuses }: Input): void {
  const status = Number(/^HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n/.exec(head)?.[1] ?? 0);
  if (statuses !== undefined && !statuses.includes(status)) {
    throw new Broken(`${status} instead of ${statuses.join(' or ')}: ${head.slice(0, 300)}`);
  }
  if (head === '') return; // closed, which is an answer to what is no whole request
  if (status === 0) throw new Broken(`not an HTTP answer: ${head.slice(0, 300)}`);
  const isOurs = status === 101 || /\r\n\r\n\{"code":"[A-Z_]+","message":"[^"]*"\}$/.test(head);
  if (isOurs && head.includes(MARKER)) throw new Broken(`what a client sent is quoted: ${head.slice(0, 600)}`);
  if (isOurs && status !== 101 && !/\r\nConnection: close/i.test(head))
    throw new Broken('a refusal without Connection: close');
  if (statuses?.includes(101) && !head.includes(ACCEPT)) throw new Broken('a wrong Sec-WebSocket-Accept');
}
