import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { startApp, stopApps, until } from '../support/app.js';
import { Client } from '../support/client.js';
import { startTarget, stopTargets } from '../support/target.js';
import type { Target } from '../support/target.js';
import { SECRET, token } from '../support/tokens.js';
import { SessionRegistry } from '../../src/session/registry.js';

let answer: (value: string) => void = () => undefined;
let opened: () => void = () => undefined;
let wait = false;

@WebSocketGateway()
class SlowGateway {
  handleConnection(): Promise<void> | undefined {
    return wait ? new Promise((resolve) => (opened = resolve)) : undefined;
  }
  @SubscribeMessage('slow') slow(): Promise<string> {
    return new Promise((resolve) => (answer = resolve));
  }
  @SubscribeMessage('echo') echo(): string {
    return 'here';
  }
}

/** A stop of a minute, and the sweep that comes first after it. */
const STOP_MS = 60_000;

describe('a stop of the process by the clock', () => {
  afterEach(async () => {
    wait = false;
    await stopApps();
  });

  it('ends no peer that has not been asked since, and ends who does not answer after it', async () => {
    const { clock, url } = await startApp({ gateways: [SlowGateway] });
    const [client, silent] = [
      await Client.connect(`${url}/ws`, { token: token() }),
      await Client.connect(`${url}/ws`, { token: token({ sub: 'eve' }) }),
    ];
    silent.socket.pong = () => undefined;
    clock.advance(25_000);
    clock.jump(STOP_MS);
    clock.advance(250);
    expect(await client.ask({ event: 'echo', id: 1 })).toMatchObject({ data: 'here' });
    clock.advance(10_250);
    expect((await silent.closed).reason).toBe('NO_PONG');
    expect(await client.ask({ event: 'echo', id: 2 })).toMatchObject({ data: 'here' });
  });

  it('takes no time from a handler', async () => {
    const { clock, url } = await startApp({ gateways: [SlowGateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    client.send({ event: 'slow', id: 1 });
    await client.ask({ event: 'echo', id: 2 });
    clock.jump(STOP_MS);
    clock.advance(250);
    answer('in time');
    expect(await client.next()).toMatchObject({ id: 1, data: 'in time' });
    client.send({ event: 'slow', id: 3 });
    await client.ask({ event: 'echo', id: 4 });
    clock.jump(STOP_MS);
    for (let i = 5; i < 10; i++) {
      clock.advance(5_000);
      await client.ask({ event: 'echo', id: i });
    }
    clock.advance(5_500);
    expect(await client.next()).toMatchObject({ id: 3, data: { code: 'HANDLER_TIMEOUT' } });
  });

  it('takes no time from who authenticates by message, and none for ever', async () => {
    const { clock, url } = await startApp({ gateways: [SlowGateway] });
    const [client, silent] = [await Client.connect(`${url}/ws`), await Client.connect(`${url}/ws`)];
    clock.jump(STOP_MS);
    clock.advance(250);
    expect(await client.ask({ event: 'auth', data: { token: token() }, id: 1 })).toMatchObject({
      id: 1,
      event: 'auth',
    });
    clock.advance(10_000);
    expect((await silent.closed).reason).toBe('AUTH_TIMEOUT');
  });

  it('takes no time from handleConnection', async () => {
    wait = true;
    const { clock, url } = await startApp({ gateways: [SlowGateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    clock.jump(STOP_MS);
    clock.advance(250);
    opened();
    expect(await client.ask({ event: 'echo', id: 1 })).toMatchObject({ data: 'here' });
  });

  it('takes no time from a message that has begun', async () => {
    const { app, clock, url } = await startApp({ gateways: [SlowGateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    client.socket.send('{"event":"echo",', { fin: false });
    await until(() => (app.get(SessionRegistry).find()[0]?.socket.receiving ?? 0) > 0);
    clock.advance(5_000);
    clock.jump(STOP_MS);
    clock.advance(250);
    client.socket.send('"id":1}', { fin: true });
    expect(await client.next()).toMatchObject({ id: 1, data: 'here' });
  });

  it('that comes again and again keeps nobody for ever', async () => {
    const { clock, url } = await startApp({ gateways: [SlowGateway] });
    const silent = await Client.connect(`${url}/ws`);
    for (let i = 0; i < 45; i++) {
      clock.jump(5_000);
      clock.advance(250);
    }
    expect((await silent.closed).reason).toBe('AUTH_TIMEOUT');
  });
});

describe('a process that is stopped, or whose event loop is blocked, for longer than heartbeat.timeoutMs', () => {
  afterAll(stopTargets);

  const OPTIONS = {
    heartbeat: { intervalMs: 500, timeoutMs: 700 },
    auth: { timeoutMs: 700 },
    overload: { maxEventLoopDelayMs: 500 },
    limits: { messagesPerSecond: 50, messageBurst: 20, handlerTimeoutMs: 700 },
  };
  const start = (): Promise<Target> =>
    startTarget('hostile-target.mjs', { JWT_SECRET: SECRET, OPTIONS: JSON.stringify(OPTIONS) });

  /** Its pongs leave this process 200 ms after the ping, while the other one reads nothing. */
  async function joinLate({ port }: Target, claims = {}): Promise<Client> {
    const client = await Client.connect(`ws://127.0.0.1:${port}/ws`, { token: token(claims), autoPong: false });
    client.socket.on('ping', (payload) => setTimeout(() => client.socket.pong(payload), 200));
    return client;
  }

  const stopFor = async ({ process: child }: Target, ms: number, meanwhile: () => Promise<void>): Promise<void> => {
    child.kill('SIGSTOP');
    await Promise.all([meanwhile(), sleep(ms)]);
    child.kill('SIGCONT');
  };

  it('ends no peer whose pong is there (stopped)', async () => {
    const target = await start();
    const clients = [await joinLate(target), await joinLate(target, { sub: 'eve' })];
    await once(clients[1]!.socket, 'ping');
    await stopFor(target, 2_500, () => Promise.resolve());
    await sleep(1_000);
    for (const client of clients) expect(await client.ask({ event: 'echo', id: 1 })).toMatchObject({ id: 1 });
  });

  it('ends no peer whose pong is there (blocked)', async () => {
    const target = await start();
    const [client, other] = [await joinLate(target), await joinLate(target, { sub: 'eve' })];
    await once(client.socket, 'ping');
    other.send({ event: 'block', data: 2_500 });
    await sleep(3_500);
    expect(await client.ask({ event: 'echo', id: 1 })).toMatchObject({ id: 1 });
  });

  it('ends no peer whose token is there, and refuses nothing that was sent at the rate it may', async () => {
    const target = await start();
    const client = await joinLate(target);
    const late = await Client.connect(`ws://127.0.0.1:${target.port}/ws`);
    await stopFor(target, 3_000, async () => {
      late.send({ event: 'auth', data: { token: token({ sub: 'eve' }) }, id: 'auth' });
      for (let i = 0; i < 100; i++) {
        client.send({ event: 'echo', id: i });
        await sleep(27);
      }
    });
    for (let i = 0; i < 100; i++) expect(await client.next()).toMatchObject({ id: i, event: 'echo' });
    expect(await late.next()).toMatchObject({ id: 'auth', event: 'auth' });
  });

  it('is no load: no anonymous session is ended for it', async () => {
    const options = { ...OPTIONS, auth: { anonymous: true } };
    const target = await startTarget('hostile-target.mjs', { JWT_SECRET: SECRET, OPTIONS: JSON.stringify(options) });
    const client = await Client.connect(`ws://127.0.0.1:${target.port}/ws`);
    await sleep(1_500);
    await stopFor(target, 6_000, () => Promise.resolve());
    await sleep(2_000);
    expect(await client.ask({ event: 'echo', id: 1 })).toMatchObject({ id: 1 });
  });

  it('has no credit left afterwards', async () => {
    const target = await start();
    const client = await joinLate(target);
    await stopFor(target, 2_000, () => Promise.resolve());
    await sleep(1_500);
    for (let i = 0; i < 60; i++) client.send({ event: 'echo', id: i });
    expect((await client.closed).reason).toBe('RATE_LIMITED');
  });
});
