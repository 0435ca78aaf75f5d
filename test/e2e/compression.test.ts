import { pbkdf2 } from 'node:crypto';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { deflateRawSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { frame, handshake, openTcp } from '../support/tcp.js';
import { token } from '../support/tokens.js';

/** Whatever would have ended the process. */
const deaths: unknown[] = [];
const note = (error: unknown): void => void deaths.push(error);

let test: TestApp;

beforeEach(async () => {
  process.on('uncaughtException', note);
  test = await startApp({ options: { compression: true } });
});

afterEach(async () => {
  await stopApps();
  process.off('uncaughtException', note);
  expect(deaths.splice(0)).toEqual([]);
});

/** Keeps every thread of the pool busy, so that nothing is unpacked meanwhile. */
function blockThreads(): Promise<unknown> {
  return Promise.all(Array.from({ length: 4 }, () => promisify(pbkdf2)('x', 'y', 200_000, 64, 'sha512')));
}

/** Time for what has been written to be read, as a piece of its own. */
async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
}

describe('behind a compressed message that is still being unpacked', () => {
  it.each([
    ['Authorization: Bearer good', [frame(0x88, Buffer.from([0, 0])), frame(0x81, 'more')]],
    ['Authorization: Bearer bad', [frame(0x88, Buffer.from([0, 0])), frame(0x81, 'more')]],
    ['Authorization: Bearer good', [frame(0x81, Buffer.from([0xff])), frame(0x81, 'more')]],
    ['Authorization: Bearer good', [frame(0x83, 'x'), frame(0x81, 'more'), frame(0x81, 'more')]],
  ])('a violation with more behind it ends that one connection: %s', async (authorization, pieces) => {
    const socket = await openTcp(test.port);
    socket.setNoDelay(true); // each piece arrives by itself
    const extra = [authorization.replace('good', token()), 'Sec-WebSocket-Extensions: permessage-deflate'];
    socket.write(handshake('/ws', extra));
    await once(socket, 'data');
    const closed = once(socket, 'close');
    socket.resume();
    const threads = blockThreads();
    const packed = deflateRawSync('{"event":"ping"}', { finishFlush: 2 }).subarray(0, -4);
    for (const piece of [frame(0xc1, packed), ...pieces]) {
      socket.write(piece);
      await turns();
    }
    await threads;
    await turns();
    socket.end();
    await closed;
  });
});
