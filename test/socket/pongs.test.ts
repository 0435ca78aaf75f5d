import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { encodeFrame, textFrame } from '../support/frames.js';
import { Peer } from '../support/peer.js';
import { handshake } from '../support/tcp.js';

let test: TestApp;
let peer: Peer;
const pongs: string[] = [];
const texts: string[] = [];

beforeEach(async () => {
  pongs.length = 0;
  texts.length = 0;
  test = await startApp();
  peer = await Peer.open(test.port, (frame) => {
    if (frame.kind === 'pong') pongs.push(frame.payload.toString());
    if (frame.kind === 'text') texts.push(frame.text);
  });
  await peer.write(Buffer.from(handshake()));
  await peer.until(() => peer.isUpgraded, 5_000);
});
afterEach(stopApps);

const pings = (count: number): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => encodeFrame({ opcode: 9, payload: String(i + 1) })));

describe('pings', () => {
  it('are answered one by one, in order', async () => {
    await peer.write(pings(60));
    await peer.until(() => pongs.length === 60, 5_000);
    expect(pongs).toEqual(Array.from({ length: 60 }, (_, i) => String(i + 1)));
  });

  it('of which thousands come at once end nothing, and the last is answered', async () => {
    await peer.write(Buffer.concat([pings(5_000), textFrame('{"event":"ping","id":1}')]));
    await peer.until(() => pongs.at(-1) === '5000' && texts.length === 1, 5_000);
    expect(texts).toEqual(['{"event":"pong","data":null,"id":1}']);
    expect(pongs.at(-1)).toBe('5000');
    expect(pongs.length).toBeLessThan(5_000);
  });
});
