import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage, Server as HttpServer } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';

/** An application behind the gateway: it echoes, or does what a test says. */
export class UpstreamApp {
  readonly requests: IncomingMessage[] = [];
  /** TCP connections that are open. */
  readonly tcp = new Set<Socket>();
  readonly #sockets: WebSocket[] = [];
  #waiting: ((socket: WebSocket) => void)[] = [];

  private constructor(
    readonly http: HttpServer,
    readonly url: string,
  ) {}

  static async start(
    onConnection: (socket: WebSocket, request: IncomingMessage) => void = echo,
    options: { verify?: (request: IncomingMessage) => number | undefined; port?: number; host?: string } & Pick<
      ConstructorParameters<typeof WebSocketServer>[0] & object,
      'handleProtocols' | 'maxPayload'
    > = {},
  ): Promise<UpstreamApp> {
    const { verify, port = 0, host = '127.0.0.1', ...rest } = options;
    const http = createHttpServer();
    const verifyClient = (
      { req }: { req: IncomingMessage },
      answer: (isIn: boolean, status?: number, text?: string) => void,
    ): void => {
      const status = verify?.(req);
      answer(status === undefined, status, 'the secret of the application');
    };
    const server = new WebSocketServer({ server: http, verifyClient, ...rest });
    http.listen(port, host);
    await once(http, 'listening');
    const app = new UpstreamApp(
      http,
      `ws://${host.includes(':') ? `[${host}]` : host}:${(http.address() as AddressInfo).port}`,
    );
    http.on('connection', (socket: Socket) => {
      app.tcp.add(socket);
      socket.on('close', () => app.tcp.delete(socket));
    });
    server.on('connection', (socket, request) => {
      socket.on('error', () => undefined);
      app.requests.push(request);
      onConnection(socket, request);
      const waiter = app.#waiting.shift();
      if (waiter === undefined) app.#sockets.push(socket);
      else waiter(socket);
    });
    return app;
  }

  /** The application's end of the next connection. */
  async accepted(): Promise<WebSocket> {
    return this.#sockets.shift() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  async stop(): Promise<void> {
    for (const socket of this.tcp) socket.destroy();
    if (!this.http.listening) return;
    this.http.close();
    await once(this.http, 'close');
  }
}

export function echo(socket: WebSocket): void {
  socket.on('message', (data: Buffer, isBinary) => socket.send(data, { binary: isBinary }));
}

/** What a socket is closed with. */
export function closeOf(socket: WebSocket): Promise<{ code: number; reason: string }> {
  return new Promise((resolve) => socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })));
}

/** A TCP server that does what a test says with each connection. */
export async function startTcp(
  onConnection: (socket: Socket) => void,
): Promise<{ url: string; server: Server; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, server, sockets };
}
