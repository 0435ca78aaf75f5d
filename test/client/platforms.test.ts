import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createClient, GatewayException } from '../../src/client/index.js';
import { nodeSocket } from '../../src/client/node.js';
import { createMockGateway } from '../../src/client/testing.js';
import { startApp, stopApps, until } from '../support/app.js';
import { token } from '../support/tokens.js';
import { failureOf, is, stopAll, testClient } from './support.js';

interface Shop {
  requests: {
    'order.place': { data: { article: string }; reply: { placed: string } };
    prices: { data: undefined; reply: number };
  };
  pushes: { 'order.changed': { id: number } };
}

afterEach(async () => {
  await stopAll();
  await stopApps();
});

describe('on Node', () => {
  it('has a session with the gateway itself', async () => {
    const { url } = await startApp();
    const client = createClient({ url: `${url}/ws`, createSocket: nodeSocket(), auth: { token: () => token() } });
    expect(await client.connect()).toMatchObject({ subject: 'ada' });
    expect(await client.request('session')).toMatchObject({ subject: 'ada', roles: expect.any(Array) as unknown });
    expect(await failureOf(client.request('nowhere'))).toMatchObject({ code: 'UNKNOWN_EVENT' });
    client.close();
  });

  it('reads the answer to a refused handshake', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    server.on('upgrade', (_, socket) => {
      const body = '{"code":"TOO_MANY_CONNECTIONS","message":"Too many"}';
      const head = `HTTP/1.1 429 No\r\nConnection: close\r\nRetry-After: 7\r\nContent-Length: ${body.length}\r\n\r\n`;
      socket.end(head + body);
    });
    await until(() => server.listening);
    const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { client, clock } = testClient({ url, createSocket: nodeSocket() });
    client.connect().catch(() => undefined);
    await is(client, 'waiting');
    expect(client.state.lastDisconnect).toMatchObject({ code: 'TOO_MANY_CONNECTIONS', retryAfterMs: 7_000 });
    expect((client.state.retryAt ?? 0) - clock.timeOfDay()).toBeGreaterThanOrEqual(7_000);
    client.close();
    server.close();
  });
});

describe('a mock gateway', () => {
  const start = (): ReturnType<typeof mock> => mock();
  const mock = () => {
    const gateway = createMockGateway<Shop>({
      'order.place': ({ article }) => {
        if (article === 'none')
          throw new GatewayException({ status: 'error', code: 'SOLD_OUT', message: 'no', retryable: false });
        return { placed: article };
      },
      async *prices() {
        yield 1;
        await Promise.resolve();
        yield 2;
      },
    });
    const { client, clock } = testClient({
      url: 'ws://mock',
      createSocket: gateway.createSocket,
      auth: { token: () => 'a.b.c' },
    });
    return { gateway, clock, client: client as unknown as ReturnType<typeof createClient<Shop>> }; // because testClient() has no shape
  };

  it('answers, streams, pushes and fails as the handlers say', async () => {
    const { gateway, client } = start();
    expect(await client.request('order.place', { article: 'tea' })).toEqual({ placed: 'tea' });
    expect(await failureOf(client.request('order.place', { article: 'none' }))).toMatchObject({ code: 'SOLD_OUT' });
    const prices: number[] = [];
    for await (const price of client.stream('prices')) prices.push(price);
    expect(prices).toEqual([1, 2]);
    const changes: unknown[] = [];
    client.on('order.changed', (order) => changes.push(order.id));
    gateway.push('order.changed', { id: 7 });
    expect(changes).toEqual([7]);
    expect(gateway.received.map(({ event }) => event)).toEqual(['auth', 'order.place', 'order.place', 'prices']);
  });

  it('has channels, which come back after a break with what was published meanwhile', async () => {
    const { gateway, client, clock } = start();
    const room = client.channel<{ chat: string }>('room.1');
    const seen: unknown[] = [];
    room.on('chat', (text, { offset }) => seen.push([text, offset]));
    await until(() => room.position !== undefined);
    expect(await room.publish('chat', 'one')).toEqual({ channel: 'room.1', epoch: 'mock', offset: 1 });
    gateway.publish('room.1', 'chat', 'two');
    gateway.publish('room.2', 'chat', 'elsewhere');
    gateway.drop();
    gateway.publish('room.1', 'chat', 'three');
    await until(() => (clock.advance(100), seen.length === 3));
    expect(seen).toEqual([
      ['one', 1],
      ['two', 2],
      ['three', 3],
    ]);
    expect(await room.presence()).toMatchObject({ count: { sessions: 1, subjects: 1 } });
    room.close();
    await until(() => gateway.received.some(({ event }) => event === 'unsubscribe'));
    gateway.publish('room.1', 'chat', 'unheard');
    expect(seen).toHaveLength(3);
  });

  it('drops, is silent, expires and refuses', async () => {
    const { gateway, client, clock } = start();
    await client.connect();
    gateway.drop();
    await until(() => client.state.status === 'waiting');
    const reopened = (): Promise<void> => until(() => (clock.advance(100), client.state.status === 'open'));
    await reopened();
    gateway.goSilent();
    clock.advance(40_000);
    expect(client.state.lastDisconnect?.code).toBe('NO_PONG');
    gateway.speak();
    await reopened();
    clock.advance(10_000);
    gateway.expire();
    expect(client.state.lastDisconnect?.code).toBe('TOKEN_EXPIRED');
    await until(() => client.state.lastDisconnect?.code === 'SAME_TOKEN' || (clock.advance(0), false));
    gateway.refuse({ code: 'SESSION_REVOKED' });
    gateway.accept();
    client.close();
    await client.connect().catch(() => undefined);
    expect(gateway.connections).toBe(1);
  });
});
