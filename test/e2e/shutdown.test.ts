import type { OnApplicationShutdown } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startApp, stopApps, until } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { token } from '../support/tokens.js';

let release: (value: string) => void = () => undefined;

@WebSocketGateway()
class BusyGateway {
  @SubscribeMessage('slow') slow(): Promise<string> {
    return new Promise((resolve) => (release = resolve));
  }
  @SubscribeMessage('quick') quick(): string {
    return 'quick';
  }
}

/** What happened, in order. */
const events: string[] = [];
let leave: () => void = () => undefined;

@WebSocketGateway()
class LeavingGateway {
  async handleDisconnect(): Promise<void> {
    events.push('leaving');
    await new Promise<void>((resolve) => (leave = resolve));
    events.push('left');
  }
}

class Database implements OnApplicationShutdown {
  onApplicationShutdown(): void {
    events.push('database closed');
  }
}

afterEach(stopApps);
beforeEach(() => void (events.length = 0));

describe('a shutdown', () => {
  it('lets a request in flight answer, serves what comes meanwhile, refuses upgrades, and closes after the last answer', async () => {
    const { app, url, clock } = await startApp({ gateways: [BusyGateway] });
    const busy = await Client.connect(`${url}/ws`, { token: token() });
    const idle = await Client.connect(`${url}/ws`, { token: token() });
    busy.send({ event: 'slow', id: 1 });
    await busy.ask({ event: 'quick', id: 2 });
    await idle.ask({ event: 'quick' });
    const closing = app.close();
    expect(await idle.closed).toEqual({ code: 1012, reason: 'SHUTTING_DOWN' });
    const refused = await refusal(`${url}/ws`);
    expect(refused).toMatchObject({ status: 503, body: { code: 'SHUTTING_DOWN' } });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect(await busy.ask({ event: 'quick', id: 3 })).toMatchObject({ id: 3 });
    release('done');
    expect(await busy.next()).toEqual({ event: 'slow', data: 'done', id: 1 });
    clock.advance(250);
    expect(await busy.next()).toMatchObject({ event: 'disconnect', data: { code: 'SHUTTING_DOWN', reconnect: true } });
    expect(await busy.closed).toEqual({ code: 1012, reason: 'SHUTTING_DOWN' });
    await closing;
  });

  it('does not wait for ever for a handler that does not answer', async () => {
    const { app, url, clock } = await startApp({ gateways: [BusyGateway], options: { shutdown: { drainMs: 1_000 } } });
    const busy = await Client.connect(`${url}/ws`, { token: token() });
    busy.send({ event: 'slow', id: 1 });
    await busy.ask({ event: 'quick' });
    const closing = app.close();
    await refusal(`${url}/ws`);
    clock.advance(750);
    expect(await busy.closed).toEqual({ code: 1012, reason: 'SHUTTING_DOWN' });
    await closing;
  });

  it('waits for an async handleDisconnect before the application closes what it needs', async () => {
    const { app, url } = await startApp({ gateways: [LeavingGateway], providers: [Database] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    await client.ask({ event: 'ping' });
    const closing = app.close();
    await client.closed;
    await until(() => events.length > 0);
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    expect(events).toEqual(['leaving']);
    leave();
    await closing;
    expect(events).toEqual(['leaving', 'left', 'database closed']);
  });

  it('waits for no handleDisconnect past its time, and says so', async () => {
    const { app, url, clock, log } = await startApp({
      gateways: [LeavingGateway],
      providers: [Database],
      options: { shutdown: { drainMs: 1_000 } },
    });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    await client.ask({ event: 'ping' });
    const closing = app.close();
    await client.closed;
    await until(() => events.length > 0);
    clock.advance(1_000);
    await closing;
    expect(events).toEqual(['leaving', 'database closed']);
    expect(log.lines.filter(({ level }) => level === 'error')).toMatchObject([{ event: 'handleDisconnect' }]);
  });

  it('cuts a peer that does not close when it is told to', async () => {
    const { app, url, clock } = await startApp({ options: { shutdown: { drainMs: 1_000 } } });
    const deaf = await Client.connect(`${url}/ws`, { token: token() });
    await deaf.ask({ event: 'ping' });
    deaf.socket.pause();
    const closing = app.close();
    await refusal(`${url}/ws`);
    clock.advance(1_000);
    await closing;
  });

  it('tells each client its own time to come back', async () => {
    const { app, url } = await startApp();
    const clients = await Promise.all(
      Array.from({ length: 20 }, () => Client.connect(`${url}/ws`, { token: token() })),
    );
    await Promise.all(clients.map((client) => client.ask({ event: 'ping' })));
    const closing = app.close();
    const ends = await Promise.all(clients.map((client) => client.rest()));
    const delays = ends.map((frames) => (frames.at(-1) as { data: { retryAfterMs: number } }).data.retryAfterMs);
    expect(new Set(delays).size).toBeGreaterThan(10);
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(1_000);
    expect(Math.max(...delays)).toBeLessThanOrEqual(11_000);
    await closing;
  });
});
