import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { createClient } from '../../src/client/index.js';
import type {
  AnyGateway,
  ClientClock,
  ClientOptions,
  GatewayClient,
  SignalHandlers,
  SocketLike,
} from '../../src/client/index.js';
import { until } from '../support/app.js';

/** A clock that stands still until it is moved; its tasks run one after the other, each at its time. */
export class TestClock implements ClientClock {
  #now = 1_000;
  readonly #timeOfDay = Date.UTC(2026, 0, 1);
  readonly #timers = new Map<object, { task: () => void; at: number }>();

  now = (): number => this.#now;
  timeOfDay = (): number => this.#timeOfDay + this.#now;
  setTimeout = (task: () => void, ms: number): unknown => {
    const timer = {};
    this.#timers.set(timer, { task, at: this.#now + Math.max(0, ms) });
    return timer;
  };
  clearTimeout = (timer: unknown): void => void this.#timers.delete(timer as object);

  get pending(): number {
    return this.#timers.size;
  }

  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].filter(([, { at }]) => at <= end).toSorted(([, a], [, b]) => a.at - b.at);
      if (next === undefined) break;
      const [timer, { task, at }] = next;
      this.#timers.delete(timer);
      this.#now = Math.max(this.#now, at);
      task();
    }
    this.#now = end;
  }

  /** All timers are as late as the page slept. */
  sleep(ms: number): void {
    this.#now += ms;
  }
}

const proxies: Proxy[] = [];

/** TCP connections that a test can cut, or make silent while they stay open. */
export class Proxy {
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  #isSilent = false;
  /** Connections that it has taken. */
  count = 0;

  private constructor(private readonly target: number) {
    this.#server = createServer((near) => {
      this.count++;
      const far = connect(this.target, '127.0.0.1');
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from);
        from.on('data', (bytes) => void (to.destroyed || to.write(bytes)));
        from.on('error', () => undefined); // its close follows
        from.on('close', () => {
          this.#sockets.delete(from);
          to.destroy();
        });
        if (this.#isSilent) from.pause();
      }
    });
  }

  static async to(target: number): Promise<Proxy> {
    const proxy = new Proxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    proxies.push(proxy);
    return proxy;
  }

  get isSilent(): boolean {
    return this.#isSilent;
  }

  /** Nothing comes through in either direction; what was sent meanwhile comes later. */
  set isSilent(isSilent: boolean) {
    this.#isSilent = isSilent;
    for (const socket of this.#sockets) socket[isSilent ? 'pause' : 'resume']();
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Ends every connection by a reset. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async close(): Promise<void> {
    this.isSilent = false;
    this.cut();
    await new Promise((closed) => this.#server.close(closed));
  }
}

/** What a scripted server does with a frame. */
export type Script = (frame: { event: string; data?: unknown; id?: number; meta?: unknown }, peer: Peer) => void;

/** One connection at a scripted server. */
export class Peer {
  readonly received: { event: string; data?: unknown; id?: number; meta?: unknown }[] = [];

  constructor(
    readonly socket: WebSocket,
    readonly url: string,
    readonly protocols: string | undefined,
  ) {}

  send(frame: object): void {
    this.socket.send(JSON.stringify(frame));
  }

  disconnect(code: string, closeCode: number, more: object): void {
    this.send({ event: 'disconnect', data: { code, message: code, closeCode, ...more } });
    this.socket.close(closeCode, code);
  }
}

const SESSION = { sessionId: 's', subject: 'ada', expiresAt: Date.UTC(2030, 0, 1) };

/** Proves itself to the client, echoes `echo`, and is silent about `never`. */
export const answering: Script = ({ event, data, id }, peer) => {
  if (event === 'ping') peer.send({ event: 'pong', data: null, id });
  else if (event === 'auth' || event === 'session') peer.send({ event, data: SESSION, id });
  else if (event === 'echo') peer.send({ event, data, id });
};

/** A WebSocket server that follows a script, behind a proxy. */
export class ScriptedServer {
  readonly peers: Peer[] = [];
  script: Script = answering;

  private constructor(
    private readonly server: WebSocketServer,
    readonly proxy: Proxy,
  ) {
    server.on('connection', (socket, request) => {
      const peer = new Peer(socket, request.url ?? '', request.headers['sec-websocket-protocol']);
      this.peers.push(peer);
      socket.on('error', () => undefined); // its close follows
      socket.on('message', (bytes) => {
        const frame = JSON.parse((bytes as Buffer).toString()) as Peer['received'][number];
        peer.received.push(frame);
        this.script(frame, peer);
      });
    });
  }

  static async start(): Promise<ScriptedServer> {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    await once(server, 'listening');
    const scripted = new ScriptedServer(server, await Proxy.to((server.address() as AddressInfo).port));
    servers.push(scripted);
    return scripted;
  }

  get url(): string {
    return this.proxy.url;
  }

  get peer(): Peer {
    const peer = this.peers.at(-1);
    if (peer === undefined) throw new Error('nobody has connected');
    return peer;
  }

  /** Frames of an event, over all connections. */
  received(event: string): Peer['received'] {
    return this.peers.flatMap((peer) => peer.received).filter((frame) => frame.event === event);
  }

  get live(): number {
    return this.server.clients.size;
  }

  async stop(): Promise<void> {
    for (const socket of this.server.clients) socket.terminate();
    await new Promise((closed) => this.server.close(closed));
  }
}

const servers: ScriptedServer[] = [];
const clients: GatewayClient[] = [];

export interface TestClient<S extends AnyGateway = AnyGateway> {
  client: GatewayClient<S>;
  clock: TestClock;
  signals: SignalHandlers;
  /** How many listeners there are around the client: 0 or 1. */
  listening: () => number;
  errors: unknown[];
}

/** A client with a clock and signals of the test's; every pause is as long as it can be. */
export function testClient(options: Partial<ClientOptions> & Pick<ClientOptions, 'url'>): TestClient {
  const clock = new TestClock();
  const errors: unknown[] = [];
  let signals: SignalHandlers | undefined;
  const silent = (): void => undefined;
  const none: SignalHandlers = {
    online: silent,
    offline: silent,
    visible: silent,
    hidden: silent,
    suspend: silent,
    resume: silent,
  };
  const client = createClient({
    clock,
    random: () => 1,
    signals: (handlers) => {
      signals = handlers;
      return () => (signals = undefined);
    },
    createSocket: (url, protocols) => new WebSocket(url, protocols) as unknown as SocketLike, // because ws has events of its own type
    onError: (error) => errors.push(error),
    ...options,
  });
  clients.push(client);
  return {
    client,
    clock,
    errors,
    get signals() {
      return signals ?? none;
    },
    listening: () => (signals === undefined ? 0 : 1),
  };
}

export const isOpen = (client: GatewayClient): Promise<void> => until(() => client.state.status === 'open');
export const is = (client: GatewayClient, status: GatewayClient['state']['status']): Promise<void> =>
  until(() => client.state.status === status);

/** Ends all of it; for `afterEach`. */
export async function stopAll(): Promise<void> {
  for (const client of clients.splice(0)) client.close();
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close()));
  await Promise.all(servers.splice(0).map((server) => server.stop()));
}

/** The error that a promise is rejected with. */
export async function failureOf(
  promise: Promise<unknown>,
): Promise<Error & { code?: string; maybeExecuted?: boolean }> {
  return promise.then(
    (value) => {
      throw new Error(`resolved with ${JSON.stringify(value)}`);
    },
    (error: Error) => error,
  );
}
