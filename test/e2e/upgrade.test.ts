import { Controller, Get, Post } from '@nestjs/common';
import { WebSocketServer as NestServer, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { Duplex } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import type { WebSocketServer } from 'ws';
import { startApp, stopApps } from '../support/app.js';
import { Client, fetchFrom, refusal } from '../support/client.js';
import { exchange, exchangeUpgrade, freePort, handshake, openTcp, parseAnswer, reset } from '../support/tcp.js';
import { token } from '../support/tokens.js';

@WebSocketGateway()
class DefaultGateway {
  @SubscribeMessage('where') where(): string {
    return 'default';
  }
}

@WebSocketGateway({ path: 'orders' })
class OrdersGateway {
  @NestServer() server!: WebSocketServer;
  @SubscribeMessage('where') where(): string {
    return 'orders';
  }
  @SubscribeMessage('count') count(): number {
    return this.server.clients.size;
  }
}

@Controller()
class PagesController {
  @Get('page') page(): string {
    return 'a page';
  }
  @Post('ws/more') more(): string {
    return 'posted';
  }
}

afterEach(stopApps);

describe.each([{ fastify: false }, { fastify: true }])('on $fastify for fastify', ({ fastify }) => {
  it('serves gateways by their paths, with and without a trailing slash, and the built-in events on each', async () => {
    const { url } = await startApp({ fastify, gateways: [DefaultGateway, OrdersGateway] });
    for (const [path, where] of [
      ['/ws', 'default'],
      ['/ws/', 'default'],
      ['/ws?x=1', 'default'],
      ['/orders', 'orders'],
      ['/orders/', 'orders'],
    ]) {
      const client = await Client.connect(`${url}${path}`, { token: token() });
      expect(await client.ask({ event: 'where', id: 1 })).toMatchObject({ data: where });
      expect(await client.ask({ event: 'session', id: 2 })).toMatchObject({
        event: 'session',
        data: { subject: 'ada' },
      });
      await client.close();
    }
  });

  it('leaves plain HTTP at other paths to the application', async () => {
    const { url } = await startApp({ fastify, gateways: [DefaultGateway], controllers: [PagesController] });
    expect(await (await fetchFrom(url, `/page`)).text()).toBe('a page');
    expect(await (await fetchFrom(url, `/ws/more`, { method: 'POST' })).text()).toBe('posted');
    expect((await fetchFrom(url, `/ws`, { method: 'POST', body: 'x' })).status).toBe(426);
    expect((await fetchFrom(url, `/ws`, { method: 'HEAD' })).status).toBe(426);
    expect((await fetchFrom(url, `/nothing`)).status).toBe(404);
  });

  it('leaves other upgrade users of the same HTTP server alone', async () => {
    const { url, app, port } = await startApp({ fastify, gateways: [DefaultGateway] });
    app.getHttpServer().on('upgrade', (request: { url: string }, socket: Duplex) => {
      if (request.url === '/other') socket.end('HTTP/1.1 299 Mine\r\n\r\n');
    });
    expect(await exchange(port, handshake('/other'))).toContain('299 Mine');
    const client = await Client.connect(`${url}/ws`, { token: token() });
    expect(await client.ask({ event: 'where', id: 1 })).toMatchObject({ data: 'default' });
  });

  it('survives upgrades that no URL parser takes, followed by a reset', async () => {
    const { url, port } = await startApp({ fastify, gateways: [DefaultGateway] });
    for (const target of ['//', 'http://[', '/%', '///ws', 'ws://[::1', '/\\', '*', 'http://%zz/nope']) {
      const socket = await openTcp(port);
      socket.write(handshake(target).replace('Host: 127.0.0.1', 'Host: [::1'));
      reset(socket);
      const parsed = parseAnswer(await exchange(port, handshake(target)));
      expect([101, 400, 404]).toContain(parsed.status);
    }
    const client = await Client.connect(`${url}/ws`, { token: token() });
    expect(await client.ask({ event: 'where', id: 1 })).toMatchObject({ data: 'default' });
  });
});

it('refuses a handshake without a Host, as HTTP/1.0, and with another Upgrade', async () => {
  const { port } = await startApp();
  for (const request of [
    handshake().replace('Host: 127.0.0.1\r\n', ''),
    handshake().replace('HTTP/1.1', 'HTTP/1.0'),
    handshake().replace('Upgrade: websocket', 'Upgrade: h2c'),
  ]) {
    expect(parseAnswer(await exchange(port, request))).toMatchObject({ status: 400 });
  }
});

it('selects ws-gateway.v1 when it is offered and nothing otherwise', async () => {
  const { port } = await startApp();
  const offered = async (protocols: string): Promise<string> =>
    (await exchangeUpgrade(port, [`Sec-WebSocket-Protocol: ${protocols}`])).toLowerCase();
  expect(await offered('ws-gateway.v1')).toContain('sec-websocket-protocol: ws-gateway.v1');
  expect(await offered('other, ws-gateway.v1')).toContain('sec-websocket-protocol: ws-gateway.v1');
  expect(await offered('other')).not.toContain('sec-websocket-protocol');
});

it('does not compress unless told to, and then without context takeover', async () => {
  const { url } = await startApp();
  const plain = await Client.connect(`${url}/ws`, { token: token(), perMessageDeflate: true });
  expect(plain.socket.extensions).toBe('');
  await stopApps();
  const { url: compressing, port } = await startApp({ gateways: [DefaultGateway], options: { compression: true } });
  const head = await exchangeUpgrade(port, ['Sec-WebSocket-Extensions: permessage-deflate']);
  expect(head).toContain('server_no_context_takeover');
  const client = await Client.connect(`${compressing}/ws`, { token: token(), perMessageDeflate: true });
  client.socket.send(Buffer.from(JSON.stringify({ event: 'ping', data: 'x'.repeat(60_000), id: 1 })), {
    binary: false,
  });
  expect(await client.next()).toMatchObject({ event: 'pong' });
  client.socket.send(Buffer.from(JSON.stringify({ event: 'ping', data: 'x'.repeat(70_000), id: 1 })), {
    binary: false,
  });
  expect(await client.closed).toEqual({ code: 1009, reason: 'MESSAGE_TOO_BIG' });
});

it('serves gateways on ports of their own, with 426 and 404 there as well', async () => {
  const port = await freePort();
  @WebSocketGateway(port)
  class OwnPortGateway {
    @SubscribeMessage('where') where(): string {
      return 'own port';
    }
  }
  @WebSocketGateway(port, { path: '/second' })
  class SecondGateway {
    @SubscribeMessage('where') where(): string {
      return 'second';
    }
  }
  await startApp({ gateways: [DefaultGateway, OwnPortGateway, SecondGateway] });
  const first = await Client.connect(`ws://127.0.0.1:${port}/ws`, { token: token() });
  expect(await first.ask({ event: 'where', id: 1 })).toMatchObject({ data: 'own port' });
  const second = await Client.connect(`ws://127.0.0.1:${port}/second`, { token: token() });
  expect(await second.ask({ event: 'where', id: 1 })).toMatchObject({ data: 'second' });
  expect(await second.ask({ event: 'session', id: 2 })).toMatchObject({ data: { subject: 'ada' } });
  expect((await fetch(`http://127.0.0.1:${port}/ws`)).status).toBe(426);
  expect((await fetch(`http://127.0.0.1:${port}/page`)).status).toBe(404);
  expect(await refusal(`ws://127.0.0.1:${port}/nope`)).toMatchObject({ status: 404 });
});

it('shows in server.clients only those who may be written to', async () => {
  const { url } = await startApp({ gateways: [OrdersGateway] });
  const stranger = await Client.connect(`${url}/orders`);
  await stranger.ask({ event: 'ping' });
  const client = await Client.connect(`${url}/orders`, { token: token() });
  expect(await client.ask({ event: 'count', id: 1 })).toMatchObject({ data: 1 });
  await stranger.ask(token({ sub: 'bob' }));
  expect(await client.ask({ event: 'count', id: 2 })).toMatchObject({ data: 2 });
});
