import { Logger } from '@nestjs/common';
import type { Server as HttpServer } from 'node:http';
import type { OnGatewayConnection } from '@nestjs/websockets';
import { SubscribeMessage, WebSocketGateway, WebSocketServer } from '@nestjs/websockets';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocketServer as Native } from 'ws';
import type { Server, WebSocket } from 'ws';
import { startApp, stopApps } from '../support/app.js';
import { localTls } from '../support/certificates.js';
import { Client } from '../support/client.js';
import { freePort } from '../support/tcp.js';
import { token } from '../support/tokens.js';

@WebSocketGateway()
class Gateway {
  @SubscribeMessage('hello') hello(): string {
    return 'hello';
  }
}

@WebSocketGateway()
class CountingGateway implements OnGatewayConnection {
  static seen: [size: number, has: boolean][] = [];
  @WebSocketServer() readonly server!: Server;
  handleConnection(socket: WebSocket): void {
    CountingGateway.seen.push([this.server.clients.size, this.server.clients.has(socket)]);
  }
}

const told: string[] = [];

beforeEach(() => {
  for (const method of ['warn', 'error'] as const) {
    vi.spyOn(Logger.prototype, method).mockImplementation((message: unknown) => void told.push(String(message)));
  }
});

afterEach(async () => {
  vi.restoreAllMocks();
  told.length = 0;
  CountingGateway.seen = [];
  await stopApps();
});

describe('another WebSocketServer on the same HTTP server', () => {
  it.each([[{ path: '/other' }], [{}]])('stops the start: %j', async (options) => {
    const starting = startApp({
      gateways: [Gateway],
      before: (app) => void new Native({ server: app.getHttpServer() as HttpServer, ...options }),
    });
    await expect(starting).rejects.toThrow('noServer: true');
  });

  it('is named in the log where it comes after the start', async () => {
    const { app } = await startApp({ gateways: [Gateway] });
    const server = app.getHttpServer() as HttpServer;
    expect(told).toEqual([]);
    const late = new Native({ server, path: '/other' });
    expect(told).toEqual([expect.stringMatching(/WebSocketServer.*\/ws.*noServer: true/)]);
    late.close();
  });

  it('is no trouble where it leaves other paths alone', async () => {
    const theirs = new Native({ noServer: true });
    const { url } = await startApp({
      gateways: [Gateway],
      before: (app) =>
        void (app.getHttpServer() as HttpServer).on('upgrade', (request, socket, head) => {
          if (request.url === '/other') theirs.handleUpgrade(request, socket, head, (ws) => ws.close());
        }),
    });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    expect(await client.ask({ event: 'hello', id: 1 })).toMatchObject({ data: 'hello' });
    expect(told).toEqual([]);
  });
});

describe('a gateway on a port of its own', () => {
  it('is named where it has no TLS and the application has', async () => {
    const port = await freePort();
    @WebSocketGateway(port)
    class PlainGateway {
      @SubscribeMessage('plain') plain(): string {
        return 'plain';
      }
    }
    const { cert, key } = localTls().server;
    await startApp({ gateways: [Gateway, PlainGateway], https: { cert, key } });
    expect(told).toEqual([expect.stringMatching(new RegExp(`/ws on port ${port} .*without TLS`))]);
  });
});

describe('handleConnection', () => {
  it.each([false, true])('finds the client among server.clients (anonymous sessions: %s)', async (anonymous) => {
    const { url } = await startApp({ gateways: [CountingGateway], options: { auth: { anonymous } } });
    const clients = [await Client.connect(`${url}/ws`, { token: token() }), await Client.connect(`${url}/ws`)];
    for (const client of clients) await client.ask({ event: 'ping' });
    expect(CountingGateway.seen).toEqual([
      [1, true],
      [anonymous ? 2 : 1, anonymous],
    ]);
  });
});
