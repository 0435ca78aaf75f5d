import { once } from 'node:events';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it } from 'vitest';
import { LoadGauge } from '../../src/connection/load-gauge.js';
import { Public, WsSessions } from '../../src/index.js';
import type { WsGatewayOptions } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { exchange, frame, handshake, openTcp } from '../support/tcp.js';
import { token } from '../support/tokens.js';
import { SessionRegistry } from '../../src/session/registry.js';

@WebSocketGateway()
class BusyGateway {
  /** Holds the event loop. */
  @Public() @SubscribeMessage('busy') busy(): string {
    const end = performance.now() + 1_500;
    while (performance.now() < end);
    return 'done';
  }
  @Public() @SubscribeMessage('large') large(): string {
    return 'x'.repeat(1_000_000);
  }
}

afterEach(stopApps);

// Where time is moved by minutes at once, nobody has a chance to answer a ping.
const heartbeat = { intervalMs: 3_600_000 };

const start = (options: Omit<WsGatewayOptions, 'auth'> & { auth?: object }): Promise<TestApp> =>
  startApp({ gateways: [BusyGateway], options });

describe('an overloaded process', () => {
  it('lets nobody in, ends its newest anonymous sessions, and serves who has authenticated', async () => {
    const test = await start({ auth: { anonymous: true }, overload: { maxEventLoopDelayMs: 150 }, heartbeat });
    const ada = await Client.connect(`${test.url}/ws`, { token: token() });
    const strangers = [];
    for (let i = 0; i < 12; i++) strangers.push(await Client.connect(`${test.url}/ws`));
    const load = test.app.get(LoadGauge, { strict: false });
    // What is measured is real time, so some of it has to pass before each sample, and after it.
    const pass = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 60));
    const measured = async (isOverloaded: boolean): Promise<void> => {
      do {
        await pass();
        test.clock.advance(1_000);
      } while (load.isOverloaded !== isOverloaded);
      await pass();
    };
    await measured(false);
    await ada.ask({ event: 'busy', id: 1 });
    await measured(true);
    const { status, body, headers } = await refusal(`${test.url}/ws`);
    expect([status, body.code, headers['retry-after']]).toEqual([503, 'OVERLOADED', '5']);
    for (const stranger of strangers.slice(2)) {
      expect(await stranger.closed).toEqual({ code: 1013, reason: 'OVERLOADED' });
    }
    expect(await strangers[0]?.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
    expect(await ada.ask({ event: 'session', id: 2 })).toMatchObject({ data: { subject: 'ada' } });
    await measured(false); // a second without load, and it is over
    await Client.connect(`${test.url}/ws`, { token: token() });
  });

  it('is one whose heap is full, too', async () => {
    const test = await start({ overload: { maxHeapPercent: 1 } });
    const ballast = Array.from({ length: 5_000_000 }, (_, i) => ({ i }));
    test.clock.advance(1_000);
    expect(ballast).toHaveLength(5_000_000);
    expect((await refusal(`${test.url}/ws`)).body.code).toBe('OVERLOADED');
  });
});

describe('the bytes of all sessions together', () => {
  it('that wait to be read have a bound: who has most of them goes', async () => {
    const test = await start({
      limits: { maxOutboundBytes: 100_000_000, maxOutboundBytesTotal: 10_000_000, maxConcurrentMessages: 100 },
    });
    const reader = await Client.connect(`${test.url}/ws`, { token: token() });
    const sloths = [];
    for (let i = 0; i < 2; i++) {
      const sloth = await Client.connect(`${test.url}/ws`, { token: token({ sub: `sloth${i}` }) });
      sloth.socket.pause();
      sloths.push(sloth);
      for (let n = 0; n < 10 + i * 20; n++) sloth.send({ event: 'large', id: n });
    }
    const sessions = test.app.get(WsSessions);
    const waiting = (): number => sessions.find().reduce((sum, { socket }) => sum + socket.bufferedAmount, 0);
    await until(() => waiting() > 20_000_000);
    test.clock.advance(250);
    await until(() => sessions.count({ subject: 'sloth1' }) === 0);
    expect(test.log.lines.filter(({ code }) => code === 'SLOW_CONSUMER')[0]).toMatchObject({ subject: 'sloth1' });
    expect(await reader.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
  });

  it('that have come of messages not complete have one as well', async () => {
    const test = await start({
      limits: { maxMessageBytes: 2_000_000, maxReceivingBytesTotal: 1_048_576, maxConcurrentMessages: 100 },
    });
    const reader = await Client.connect(`${test.url}/ws`, { token: token() });
    const attackers = await Promise.all(Array.from({ length: 3 }, () => openTcp(test.port)));
    for (const attacker of attackers) {
      attacker.write(Buffer.from(handshake('/ws')));
      await once(attacker, 'data');
      attacker.resume();
      for (let i = 0; i < 10; i++) attacker.write(frame(i === 0 ? 0x01 : 0x00, 'x'.repeat(60_000)));
    }
    const sessions = test.app.get(SessionRegistry);
    const coming = (): number => sessions.find().reduce((sum, { socket }) => sum + socket.receiving, 0);
    await until(() => coming() === 1_800_000);
    test.clock.advance(250);
    await until(() => sessions.count() === 2);
    expect(coming()).toBeLessThanOrEqual(1_200_000);
    expect(await reader.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
    for (const attacker of attackers) attacker.destroy();
  });
});

describe('a peer that takes its time', () => {
  it('and brings no request in ten seconds is cut off', async () => {
    const test = await start({});
    const silent = await openTcp(test.port);
    const slow = await openTcp(test.port);
    slow.write('GET /ws HTTP/1.1\r\nHost: x\r\n');
    const asked = await exchange(test.port, 'GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    expect(asked).toContain('404');
    const session = await Client.connect(`${test.url}/ws`, { token: token() });
    test.clock.advance(9_750);
    expect([silent.destroyed, slow.destroyed]).toEqual([false, false]);
    const cut = Promise.all([once(silent, 'close'), once(slow, 'close')]);
    silent.resume();
    slow.resume();
    test.clock.advance(500);
    await cut;
    expect(await session.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
  });

  it('with a message is STALLED after thirty seconds, and one that goes on is not', async () => {
    const test = await start({ heartbeat });
    const open = async (): ReturnType<typeof openTcp> => {
      const peer = await openTcp(test.port);
      peer.write(handshake('/ws', [`Authorization: Bearer ${token()}`]));
      await once(peer, 'data');
      return peer;
    };
    const [steady, stalled] = [await open(), await open()];
    let told = '';
    stalled.on('data', (chunk: Buffer) => (told += chunk.toString('latin1')));
    const sessions = test.app.get(SessionRegistry).find();
    const first = (peer: typeof steady): boolean => peer.write(frame(0x01, '{"event":"ping",'));
    const last = (peer: typeof steady): boolean => peer.write(frame(0x80, '"id":1}'));
    first(stalled);
    for (let i = 0; i < 4; i++) {
      first(steady);
      await until(() => sessions.every(({ socket }) => socket.receiving > 0));
      test.clock.advance(9_000);
      const answered = once(steady, 'data');
      last(steady);
      await answered;
    }
    await until(() => told.includes('STALLED'));
    expect(steady.destroyed).toBe(false);
    for (const peer of [steady, stalled]) peer.destroy();
  });
});

it('a drain spreads its closes over its time, and serves those who are left', async () => {
  const test = await start({ shutdown: { drainMs: 10_000 } });
  const clients = await Promise.all(
    Array.from({ length: 150 }, (_, i) => Client.connect(`${test.url}/ws`, { token: token({ sub: `s${i}` }) })),
  );
  const closing = test.app.close();
  const open = (): Client[] => clients.filter(({ socket }) => socket.readyState === socket.OPEN);
  await until(() => open().length === 100);
  expect(await open()[0]?.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
  expect((await refusal(`${test.url}/ws`)).body.code).toBe('SHUTTING_DOWN');
  test.clock.advance(50);
  await until(() => open().length === 50);
  test.clock.advance(50);
  await closing;
  const goodbyes = await Promise.all(clients.map((client) => client.rest()));
  const waits = goodbyes.map((frames) => (frames.at(-1) as { data: { retryAfterMs: number } }).data.retryAfterMs);
  expect(new Set(waits).size).toBeGreaterThan(50);
});
