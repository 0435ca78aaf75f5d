import { STATUS_CODES } from 'node:http';
import type { IncomingMessage, Server as HttpServer, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { Server as TlsServer } from 'node:tls';
import { Logger } from '@nestjs/common';
import { contain, loggerFaults } from '../base/contain.js';
import { GatewayError } from '../protocol/errors.js';
import type { UpgradeTrace } from './tracing.js';
import { isThenable } from '../base/thenable.js';
import type { SocketDeadlines } from '../socket/socket-deadlines.js';
import { addressOf } from '../firewall/client-address.js';
import { refuse, refuseRequest } from './refusal.js';
import { upgrade } from './handshake.js';
import { Paths } from './paths.js';
import type { ConnectionContext } from './context.js';
import type { GatewayServer } from './server.js';

/** The gateways behind one HTTP server: which path belongs to whom, and what becomes of every upgrade request. */
export class Endpoint {
  readonly #servers = new Paths<GatewayServer>();
  readonly #unwatch: () => void;
  readonly #log = new Logger('WsGatewayModule');
  #isStarted = false;
  /** The target of a request that offers another protocol at a gateway's path and is served as plain HTTP. */
  readonly #offers = new WeakMap<Duplex, string | undefined>();

  /** @param own true for an HTTP server that exists for gateways alone */
  constructor(
    readonly http: HttpServer,
    readonly own: boolean,
    private readonly context: ConnectionContext,
    private readonly sockets: SocketDeadlines,
  ) {
    http.on('upgrade', this.#onUpgrade);
    http.on('newListener', this.#onNewListener);
    this.#unwatch = sockets.watch(http);
    http.on('clientError', this.#onClientError);
    if (own) {
      const notFound = (response: ServerResponse): void => this.#refuseRequest(response, new GatewayError('NOT_FOUND'));
      http.on('request', (request, response) => this.request(request, response, () => notFound(response)));
    }
  }

  /**
   * All gateways are bound.
   *
   * @throws Error where a WebSocketServer of the application's listens on the same HTTP server
   */
  start(): void {
    if (this.http.listeners('upgrade').some(answersAll)) throw new Error(this.#rival());
    this.#isStarted = true;
  }

  readonly #onNewListener = (event: string | symbol, listener: unknown): void => {
    if (!this.#isStarted || event !== 'upgrade' || !answersAll(listener)) return;
    contain(() => this.#log.error(this.#rival()), loggerFaults.tell);
  };

  #rival(): string {
    const paths = this.servers.map(({ pathname }) => pathname).join(', ');
    return (
      `A WebSocketServer of the application's listens on the HTTP server of the gateways at ${paths}, and answers each of their ` +
      "upgrades as well, as a rule with 400. Create it with { noServer: true }, and call its handleUpgrade() in a listener for 'upgrade' " +
      'that leaves other paths alone'
    );
  }

  /** @param path as it is declared */
  get(path: string): GatewayServer | undefined {
    return this.#servers.get(path);
  }

  get servers(): GatewayServer[] {
    return this.#servers.values;
  }

  /** @throws Error for a path that cannot be read, and for one that another server's can be taken for */
  add(server: GatewayServer): void {
    this.#servers.add(server.pathname, server);
    server.on('wsClientError', (error: Error, socket: Duplex, request: IncomingMessage) => {
      const clientAddress = this.context.firewall.admission.addressOf(request);
      this.#refuse(socket, new GatewayError('BAD_UPGRADE', { message: error.message }), clientAddress);
    });
  }

  /** What still comes until the server has closed is refused, so that it holds nothing up. */
  dispose(): void {
    if (this.http.listening) this.http.once('close', () => this.#unlisten());
    else this.#unlisten();
  }

  #unlisten(): void {
    this.http.off('upgrade', this.#onUpgrade);
    this.http.off('newListener', this.#onNewListener);
    this.#unwatch();
    this.http.off('clientError', this.#onClientError);
  }

  /** Plain HTTP that the application has no route for: 426 at a gateway's path. */
  request(request: IncomingMessage, response: ServerResponse, next: () => void): void {
    if (this.#servers.find(pathOf(request.url)) === undefined) return next();
    request.resume();
    const isOffer = this.#offers.get(request.socket) === request.url;
    const error = isOffer
      ? new GatewayError('BAD_UPGRADE', { message: 'Upgrade is not "websocket"' })
      : new GatewayError('UPGRADE_REQUIRED');
    this.#refuseRequest(response, error);
  }

  readonly #onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    // Node takes its own listener off with the upgrade, and an error without a listener ends the process.
    socket.on('error', destroyThis);
    this.sockets.asked(socket);
    const path = pathOf(request.url);
    const server = this.#servers.find(path);
    if (server === undefined && this.http.listenerCount('upgrade') > 1) {
      // Another listener's, perhaps: none of them has to answer.
      const clientAddress = this.context.firewall.admission.addressOf(request);
      return this.sockets.await(socket, () => this.#refuse(socket, noGateway(), clientAddress));
    }
    // The answer to the earlier request would be written into our frames. No honest client pipelines an upgrade.
    const clientAddress = this.context.firewall.admission.addressOf(request); // now, since a destroyed socket has none
    if (owesResponse(socket)) {
      return this.#refuse(socket, new GatewayError('BAD_UPGRADE', { message: 'Pipelined' }), clientAddress);
    }
    if (!isWebSocket(request)) {
      if (server !== undefined) this.#offers.set(socket, request.url);
      return serveAsPlainHttp(this.http, request, socket, head);
    }
    const trace = this.context.tracing?.upgrade(server?.pathname ?? '', request.headers);
    const refused = (error: unknown): void => this.#refuse(socket, error, clientAddress, trace);
    try {
      if (server === undefined) throw noGateway();
      const params = this.#servers.paramsOf(path);
      const waiting = upgrade({ server, params, request, socket, head, sockets: this.sockets, trace });
      if (isThenable(waiting)) waiting.then(undefined, refused);
    } catch (error) {
      refused(error);
    }
  };

  readonly #onClientError = (error: NodeJS.ErrnoException, socket: Duplex): void => {
    // An application's own listener knows better what it answers.
    if (this.http.listenerCount('clientError') > 1 || this.sockets.isRefused(socket)) return;
    if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
    const status = STATUS_OF_NODE[error.code ?? ''];
    if (status !== undefined) return this.#answerAsNode(socket, status);
    this.#refuse(socket, new GatewayError('BAD_UPGRADE', { message: 'Not an HTTP request' }), addressOf(socket));
  };

  /** Says what a server of Node's says by itself. */
  #answerAsNode(socket: Duplex, status: number): void {
    const answer = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\n\r\n`;
    const { _httpMessage: response } = socket as AnsweringSocket;
    if (response?.headersSent) return void socket.destroy(); // it would be read as the body
    socket.end(answer, response ? () => socket.destroy() : undefined); // ends a handler that waits for the rest
    this.sockets.linger(socket);
  }

  #refuseRequest(response: ServerResponse, error: GatewayError): void {
    refuseRequest(response, error, this.context.monitor, this.context.firewall.admission.addressOf(response.req));
  }

  #refuse(socket: Duplex, error: unknown, clientAddress: string, trace?: UpgradeTrace): void {
    if (owesResponse(socket)) socket.destroy(); // our answer would be written into the one that is under way
    const failure = refuse(socket, error, this.context.monitor, this.sockets, clientAddress);
    trace?.refused(failure);
  }
}

/**
 * True for the listener that `ws` adds for a WebSocketServer with `server`: whatever its `path`, it answers each upgrade. Nothing but
 * its text tells it from listeners that leave other paths alone.
 */
function answersAll(listener: unknown): boolean {
  return typeof listener === 'function' && /\bhandleUpgrade\(\w+, \w+, \w+, emitConnection\)/.test(String(listener));
}

function destroyThis(this: Duplex): void {
  this.destroy();
}

/** Where Node keeps the response to an earlier request of the connection. */
interface AnsweringSocket extends Duplex {
  readonly _httpMessage?: ServerResponse | null;
}

/** True while an earlier request of the connection has not been answered. */
function owesResponse(socket: AnsweringSocket): boolean {
  return (socket._httpMessage ?? undefined) !== undefined;
}

function noGateway(): GatewayError {
  return new GatewayError('NOT_FOUND', { message: 'No gateway at this path' });
}

/** What Node says by other words than 400. */
const STATUS_OF_NODE: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

function isWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket';
}

/** Headers of one hop, which offer what is not taken up. */
const OFFERS: ReadonlySet<string> = new Set(['upgrade', 'http2-settings', 'connection']);

/**
 * A request that offers another protocol, as HTTP clients do with `h2c`, and does without (RFC 9110 §7.8). Node hands every
 * upgrade to each listener for upgrades; this one is the application's, so the server reads it again without its offer.
 */
function serveAsPlainHttp(http: HttpServer, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const { method, url, httpVersion, rawHeaders } = request;
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const [name, value] = rawHeaders.slice(i, i + 2) as [string, string]; // because they come in pairs
    if (!OFFERS.has(name.toLowerCase())) lines.push(`${name}: ${value}`);
  }
  if (/\bclose\b/i.test(request.headers.connection ?? '')) lines.push('Connection: close');
  socket.off('error', destroyThis);
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]));
  http.emit(http instanceof TlsServer ? 'secureConnection' : 'connection', socket);
}

/**
 * The path of a request target (RFC 9112 §3.2), without its query and a trailing slash. No URL is parsed, so none can
 * fail to.
 */
export function pathOf(target = '/'): string {
  const absolute = /^[a-z]+:\/\/[^/?]*/i.exec(target);
  const path = target.slice(absolute?.[0].length ?? 0).split('?', 1)[0] as string; // because split never returns nothing
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path || '/';
}
