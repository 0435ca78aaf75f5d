import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeFrame } from '../../support/frames.js';
import { startHostileTarget } from '../../support/hostile.js';
import { Peer } from '../../support/peer.js';
import type { ServerFrame } from '../../support/peer.js';
import { stopTargets } from '../../support/target.js';
import type { Target } from '../../support/target.js';
import { handshake } from '../../support/tcp.js';
import { token } from '../../support/tokens.js';

let target: Target;

beforeAll(async () => {
  target = await startHostileTarget({ heartbeat: { intervalMs: 500, timeoutMs: 500 } });
});
afterAll(stopTargets);

const fragment = encodeFrame({ opcode: 0, payload: 'x', fin: false });

describe.concurrent('who goes too far is told why, and closed', () => {
  it.each<[string, Buffer, string, number]>([
    [
      'with a message that is too big',
      encodeFrame({ opcode: 1, payload: 'x'.repeat(65_537) }),
      'MESSAGE_TOO_BIG',
      1009,
    ],
    ['with a length that is too big', encodeFrame({ opcode: 1, declared: 1n << 62n }), 'MESSAGE_TOO_BIG', 1009],
    [
      'with fragments without end',
      Buffer.concat([encodeFrame({ opcode: 1, fin: false }), ...Array<Buffer>(2_000).fill(fragment)]),
      'MESSAGE_TOO_BIG',
      1009,
    ],
    ['without a pong', Buffer.alloc(0), 'NO_PONG', 4108],
    [
      'without a pong, in the middle of a frame',
      encodeFrame({ opcode: 1, payload: 'x' }).subarray(0, 5),
      'NO_PONG',
      4108,
    ],
    ['without a pong, in the middle of a message', encodeFrame({ opcode: 1, fin: false }), 'NO_PONG', 4108],
    ['without a pong, with pings of its own', encodeFrame({ opcode: 9 }), 'NO_PONG', 4108],
  ])('%s', async (_, bytes, code, closeCode) => {
    const frames: ServerFrame[] = [];
    const peer = await Peer.open(target.port, (frame) => frames.push(frame));
    await peer.write(Buffer.concat([Buffer.from(handshake('/ws', [`Authorization: Bearer ${token()}`])), bytes]));
    await peer.until(() => frames.at(-1)?.kind === 'close', 10_000);
    peer.socket.destroy();
    const [disconnect, close] = frames.slice(-2);
    expect(disconnect?.kind === 'text' && JSON.parse(disconnect.text)).toMatchObject({ event: 'disconnect', data: { code, closeCode } }); // prettier-ignore
    expect(close).toEqual({ kind: 'close', code: closeCode, reason: code });
  });
});
