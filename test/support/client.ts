import { once } from 'node:events';
import { request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { ClientOptions, WebSocket } from 'ws';
import { WsRefusedError, WsTestClient } from '../../src/testing/ws-test-client.js';
import type { WsTestFrame } from '../../src/testing/ws-test-client.js';
import { localTls } from './certificates.js';

export interface Closed {
  code: number;
  reason: string;
}

/** A frame of the protocol. */
export type Frame = WsTestFrame;

/** Real milliseconds that a frame may take under the load of a whole run. */
const PATIENCE_MS = 20_000;

/** The kit's client as this suite uses it: by raw frames, with patience, and with certificates of the tests. */
export class Client {
  readonly socket: WebSocket;
  readonly closed: Promise<Closed>;
  readonly #client: WsTestClient;

  private constructor(client: WsTestClient) {
    this.#client = client;
    this.socket = client.socket;
    this.closed = client.closed.then(({ code, reason }) => ({ code, reason }));
  }

  static async connect(
    url: string,
    options: ClientOptions & { token?: string; protocols?: string[] } = {},
  ): Promise<Client> {
    const { token, ...rest } = options;
    const headers = { ...rest.headers, ...(token !== undefined && { authorization: `Bearer ${token}` }) };
    return new Client(await WsTestClient.connect(url, { ...trustIn(url), ...rest, headers }));
  }

  get frames(): readonly Frame[] {
    return this.#client.frames();
  }

  /** The next frame not yet taken. @throws Error when the connection closes first */
  next(): Promise<Frame> {
    return this.#client.next(undefined, { timeoutMs: PATIENCE_MS });
  }

  send(frame: unknown): void {
    this.#client.send(frame as object); // because frames that are none are sent as well
  }

  /** What is sent meanwhile leaves in one piece, as far as one fits into a segment. */
  together(send: () => void): void {
    const { _socket: stream } = this.socket as unknown as { _socket: Socket }; // because ws does not show it
    stream.cork();
    send();
    stream.uncork();
  }

  /** Sends a request and takes the next frame. */
  async ask(frame: unknown): Promise<Frame> {
    this.send(frame);
    return this.next();
  }

  /** The frames from here to the close. */
  async rest(): Promise<Frame[]> {
    await this.closed;
    return [...this.#client.untaken];
  }

  async close(): Promise<void> {
    this.socket.close(); // with no code, as most clients do
    await this.closed;
  }
}

/** Servers of the tests have certificates of the tests. */
function trustIn(url: string): ClientOptions {
  return url.startsWith('wss:') ? { ca: localTls().ca } : {};
}

/** `fetch()` from the server of a `ws:` or `wss:` URL, whose certificate is one of the tests'. */
export async function fetchFrom(
  url: string,
  path: string,
  init: { method?: string; body?: string; headers?: Record<string, string> } = {},
): Promise<Response> {
  const target = new URL(path, url.replace(/^ws/, 'http'));
  if (target.protocol === 'http:') return fetch(target, init);
  const { method = 'GET', body, headers: sentHeaders = {} } = init;
  const sent = httpsRequest(target, { method, headers: sentHeaders, ca: localTls().ca, agent: false });
  sent.end(body);
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  const headers = Object.entries(answer.headers).map(([name, value]): [string, string] => [name, String(value)]);
  return new Response(Buffer.concat(chunks), { status: answer.statusCode ?? 0, headers });
}

/** What a refused handshake answered. */
export interface Refusal {
  status: number;
  headers: Readonly<Record<string, string | string[] | undefined>>;
  body: { code?: string; message?: string };
}

/** Connects where a refusal is expected. @throws Error when the handshake succeeds */
export async function refusal(url: string, options: ClientOptions & { protocols?: string[] } = {}): Promise<Refusal> {
  const outcome = await WsTestClient.connect(url, { ...trustIn(url), ...options }).catch((error: unknown) => error);
  if (outcome instanceof WsRefusedError) {
    const { status, headers, body } = outcome;
    return { status, headers, body };
  }
  if (!(outcome instanceof WsTestClient)) throw outcome;
  outcome.terminate();
  throw new Error('The handshake was accepted');
}
