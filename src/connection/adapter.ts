import { createServer } from 'node:http';
import type { IncomingMessage, Server as HttpServer, ServerResponse } from 'node:http';
import { Server as TlsServer } from 'node:tls';
import { Logger } from '@nestjs/common';
import type { HttpAdapterHost } from '@nestjs/core';
import { WsAdapter } from '@nestjs/platform-ws';
import { contain, loggerFaults } from '../base/contain.js';
import { show } from '../base/options.js';
import { normalised } from '../firewall/client-address.js';
import { SocketDeadlines } from '../socket/socket-deadlines.js';
import { reportCut } from './refusal.js';
import { pathnameOf } from '../base/pathname.js';
import { Sweeper } from '../base/sweeper.js';
import type { Swept } from '../base/sweeper.js';
import { GatewayServer } from './server.js';
import { Shedding } from './shedding.js';
import { serverOf } from './context.js';
import type { ConnectionContext } from './context.js';
import { Endpoint } from './endpoint.js';
import type { OptionsByPath } from './options-by-path.js';
import { placeOf } from './path-options.js';
import type { ResolvedPaths } from './path-options.js';
import { drain } from './shutdown.js';

/** The port that stands for the application's own HTTP server, as in `@WebSocketGateway()`. */
const APPLICATION_PORT = 0;

/**
 * The adapter of platform-ws with the upgrade path taken over: it owns the servers, every upgrade request and the
 * shutdown. Nest calls it with one server per port and path; the handlers are bound by the module, once per server
 * rather than once per connection, so the binding hooks of the base class are empty.
 */
export class WsGatewayAdapter extends WsAdapter {
  readonly #log = new Logger(WsGatewayAdapter.name);
  readonly #endpoints = new Map<number, Endpoint>();
  readonly #sockets: SocketDeadlines;
  readonly #sweeper: Sweeper;
  #drained: Promise<void> | undefined;

  /**
   * @param tables swept beside the connection's own
   * @param beforeBinding called each time before Nest binds a gateway
   */
  constructor(
    private readonly context: ConnectionContext,
    private readonly byPath: OptionsByPath,
    private readonly host: HttpAdapterHost,
    tables: readonly Swept[],
    private readonly beforeBinding: () => void,
  ) {
    super();
    const { clock, sessions, pending, disconnects, deadlines, revalidation, firewall, load, byteBudget, options } =
      context;
    const cut = (error: unknown, address: string): void => reportCut(error, context.monitor, normalised(address) ?? '');
    this.#sockets = new SocketDeadlines(() => clock.monotonic(), firewall.sockets, cut);
    const shedding = new Shedding(sessions, load, byteBudget, options.limits);
    const own = [this.#sockets, shedding];
    const swept = [pending, deadlines, load, sessions, disconnects, revalidation, firewall, ...own, ...tables];
    this.#sweeper = new Sweeper(clock, swept);
  }

  /** The server of a port and path; gateways that share both share it. */
  override create(port: number, options: Record<string, unknown> & { path?: string } = {}): GatewayServer {
    this.beforeBinding();
    const { path, namespace } = options; // the binder reads the others: Nest calls this for the first gateway of a path alone
    if (namespace !== undefined) throw new Error('A native WebSocket has no namespaces: give the gateway a path');
    if (path !== undefined && typeof path !== 'string') {
      throw new Error(
        `A gateway's path cannot be read: it is no text, but ${show(path)}. Write a gateway for each path`,
      );
    }
    const endpoint = this.#endpointOf(port);
    const pathname = this.#pathnameOf(path);
    const existing = endpoint.get(pathname);
    if (existing !== undefined) return existing;
    const context = { ...this.context, options: this.byPath.of(pathname) };
    const server = new GatewayServer(context, port, pathname);
    endpoint.add(server);
    return server;
  }

  /** The server that a gateway with these options was given; undefined when Nest has bound none. */
  find(port: number, path: string | undefined): GatewayServer | undefined {
    return this.#endpoints.get(port)?.get(this.#pathnameOf(path));
  }

  /** False in a microservice, which has no HTTP server for gateways without a port. */
  get hasApplicationServer(): boolean {
    return (this.host.httpAdapter ?? undefined) !== undefined; // because a microservice's is null
  }

  /** Every server, on every port. */
  get servers(): GatewayServer[] {
    return [...this.#endpoints.values()].flatMap((endpoint) => endpoint.servers);
  }

  /** Handlers are bound: gateways on ports of their own listen, and the sweep begins. */
  async start(): Promise<void> {
    this.#requireTls();
    for (const endpoint of this.#endpoints.values()) endpoint.start();
    this.#warnOfPlainPorts();
    this.context.authentication.start();
    this.context.load.start();
    this.#sweeper.start();
    await Promise.all([...this.#endpoints].filter(([, { own }]) => own).map(([port, { http }]) => listen(http, port)));
  }

  /** Certificates come with TLS: one of the servers has to speak it, and that of each path that asks for certificates by itself. */
  #requireTls(): void {
    const speaksTls = ({ http }: Endpoint): boolean => http instanceof TlsServer;
    const endpoints = [...this.#endpoints.values()];
    const { sources } = this.context.options.auth;
    const asks = (server: GatewayServer): boolean => {
      const { auth } = server.context.options;
      return auth.sources !== sources && auth.sources.includes('certificate');
    };
    const lacking = endpoints.filter((endpoint) => !speaksTls(endpoint)).flatMap(({ servers }) => servers.filter(asks));
    const problems = lacking.map(({ pathname }) => `${placeOf(pathname)}.auth.sources`);
    if (sources.includes('certificate') && !endpoints.some(speaksTls)) problems.unshift('auth.sources');
    if (problems.length === 0) return;
    const what = `${problems.join(', ')} ${problems.length === 1 ? 'has' : 'have'} 'certificate'`;
    throw new Error(
      `${what}, so the HTTP server has to speak TLS: create it with httpsOptions that have requestCert and ca`,
    );
  }

  /** A port of its own has no TLS, also beside an application that has. */
  #warnOfPlainPorts(): void {
    if (!this.hasApplicationServer || !(this.host.httpAdapter.getHttpServer() instanceof TlsServer)) return;
    for (const [port, { own, servers }] of this.#endpoints) {
      if (!own) continue;
      const paths = servers.map(({ pathname }) => pathname).join(', ');
      this.#log.warn(
        `The gateways at ${paths} on port ${port} speak ws:, without TLS, while the application speaks HTTPS: their tokens and ` +
          'messages can be read on the way. Leave the port out, or put a proxy that ends TLS before it',
      );
    }
  }

  /** What is wrong with options by path: those of a path that no gateway serves would be in force nowhere. */
  problemsOf(paths: ResolvedPaths): string[] {
    const served = new Set(this.servers.map(({ pathname }) => pathname));
    if (served.size === 0) return []; // an application context without sockets
    const lost = Object.keys(paths).filter((pathname) => !served.has(pathname));
    return lost.map(
      (pathname) =>
        `${placeOf(pathname)} is the path of no gateway: there are gateways at ${[...served].toSorted().join(', ')}`,
    );
  }

  /** The options are others than before. What `ws` has copied out of them is changed for the sessions that are there, too. */
  applyOptions(): void {
    this.byPath.apply();
    for (const server of this.servers) server.applyLimits();
    for (const session of this.context.sessions.find()) session.socket.limitTo(serverOf(session).messageLimits);
  }

  /** Why no client is let in; undefined while clients are. */
  get problem(): string | undefined {
    const { sessions, load } = this.context;
    if (sessions.refusesNew) return 'shutting down';
    return load.isOverloaded ? 'overloaded' : undefined;
  }

  /** From here on upgrades get 503; sessions are served until drain() ends them. */
  refuseUpgrades(): void {
    this.context.sessions.refusesNew = true;
  }

  /** Ends every session, once, see shutdown.ts. */
  drain(): Promise<void> {
    return (this.#drained ??= drain(this.context));
  }

  override bindClientConnect(): void {}

  override bindMessageHandlers(): void {}

  override bindClientDisconnect(): void {}

  override async close(server: GatewayServer): Promise<void> {
    await this.drain(); // a microservice closes its sockets before it calls any hook
    // Nest counts two spellings of one path as two servers and closes each; here they are one. ws waits for its clients, so the
    // connections that are still open are cut.
    for (const client of server.clients) client.terminate();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  override async dispose(): Promise<void> {
    this.#sweeper.stop();
    this.context.load.stop();
    this.#sockets.close();
    for (const [port, endpoint] of this.#endpoints) {
      endpoint.dispose();
      if (port !== APPLICATION_PORT) await closeHttp(endpoint.http);
    }
    this.#endpoints.clear();
  }

  #pathnameOf(path: string | undefined): string {
    return pathnameOf(path ?? this.context.options.path);
  }

  #endpointOf(port: number): Endpoint {
    const existing = this.#endpoints.get(port);
    if (existing !== undefined) return existing;
    const own = port !== APPLICATION_PORT;
    const { httpAdapter } = this.host; // read here: Nest sets it after the module is made
    // A microservice has no HTTP server. One that never listens takes its place, for the gateway of the package.
    const http = own || !this.hasApplicationServer ? createServer() : (httpAdapter.getHttpServer() as HttpServer);
    if (own) http.on('error', (error) => contain(() => this.#log.error(error), loggerFaults.tell));
    const endpoint = new Endpoint(http, own, this.context, this.#sockets);
    if (!own && this.hasApplicationServer)
      answerUnrouted(httpAdapter, (request, response, next) => endpoint.request(request, response, next));
    this.#endpoints.set(port, endpoint);
    return endpoint;
  }
}

type Middleware = (request: IncomingMessage, response: ServerResponse, next: () => void) => void;

/** What an HTTP framework wraps around Node's own objects, where it does. */
interface Wrapped<T> {
  readonly raw?: T;
  /** Fastify's: the answer is written past it. */
  hijack?(): void;
}

/**
 * Calls `answer` for every request that the application has no route for. Nest makes its routes after the gateways and the handler
 * of missing routes last, so that handler is the only place that all frameworks have in common.
 */
function answerUnrouted(httpAdapter: HttpAdapterHost['httpAdapter'], answer: Middleware): void {
  const setNotFoundHandler = httpAdapter.setNotFoundHandler?.bind(httpAdapter);
  if (setNotFoundHandler === undefined) return void httpAdapter.use(answer);
  httpAdapter.setNotFoundHandler = (handler, ...rest) => {
    if (httpAdapter.getType() !== 'fastify') {
      httpAdapter.use(answer); // under a global prefix the handler sees nothing else
      return setNotFoundHandler(handler, ...rest);
    }
    const wrapped = (request: Wrapped<IncomingMessage>, reply: Wrapped<ServerResponse>): unknown => {
      let result: unknown;
      // because fastify's have both
      answer(request.raw as IncomingMessage, reply.raw as ServerResponse, () => (result = handler(request, reply)));
      if ((reply.raw as ServerResponse).headersSent) reply.hijack?.();
      return result;
    };
    return setNotFoundHandler(wrapped, ...rest);
  };
}

function listen(http: HttpServer, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    http.once('error', reject);
    http.listen(port, () => {
      http.off('error', reject);
      resolve();
    });
  });
}

function closeHttp(http: HttpServer): Promise<void> {
  http.closeAllConnections();
  return new Promise((resolve) => http.close(() => resolve()));
}
