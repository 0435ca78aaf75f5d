import { once } from 'node:events';
import { request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { ClientOptions } from 'ws';
import { localTls } from './certificates.js';

export interface Frame {
  event?: string;
  data?: unknown;
  id?: string | number;
  done?: boolean;
}

export interface Closed {
  code: number;
  reason: string;
}

/** A client that keeps every frame it is sent, so that a test can await the next one without missing any. */
export class Client {
  readonly frames: Frame[] = [];
  readonly closed: Promise<Closed>;
  #waiting: ((frame: Frame | undefined) => void)[] = [];
  #taken = 0;
  #over = false;

  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data) => {
      this.frames.push(JSON.parse((data as Buffer).toString()) as Frame);
      if (this.#waiting.length > 0) this.#waiting.shift()?.(this.frames[this.#taken++]);
    });
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => {
        this.#over = true;
        for (const waiter of this.#waiting.splice(0)) waiter(undefined);
        resolve({ code, reason: reason.toString() });
      });
    });
    socket.on('error', () => undefined); // a refused handshake is what connect() throws, a reset is in `closed`
  }

  static async connect(
    url: string,
    options: ClientOptions & { token?: string; protocols?: string[] } = {},
  ): Promise<Client> {
    const { token, protocols = [], ...rest } = options;
    const headers = { ...rest.headers, ...(token !== undefined && { authorization: `Bearer ${token}` }) };
    const socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...trustIn(url), ...rest, headers });
    const client = new Client(socket);
    await once(socket, 'open');
    return client;
  }

  /** The next frame not yet taken. @throws Error when the connection closes first */
  async next(): Promise<Frame> {
    const frame =
      this.#taken < this.frames.length
        ? this.frames[this.#taken++]
        : this.#over
          ? undefined
          : await new Promise<Frame | undefined>((resolve) => this.#waiting.push(resolve));
    if (frame === undefined) throw new Error('The connection closed before the frame came');
    return frame;
  }

  send(frame: unknown): void {
    this.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
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
    return this.frames.slice(this.#taken);
  }

  async close(): Promise<void> {
    this.socket.close();
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
  headers: Record<string, string | string[] | undefined>;
  body: { code?: string; message?: string };
}

/** Connects where a refusal is expected. @throws Error when the handshake succeeds */
export function refusal(url: string, options: ClientOptions & { protocols?: string[] } = {}): Promise<Refusal> {
  const { protocols = [], ...rest } = options;
  const socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...trustIn(url), ...rest });
  return new Promise((resolve, reject) => {
    socket.on('open', () => {
      socket.terminate();
      reject(new Error('The handshake was accepted'));
    });
    socket.on('error', reject);
    socket.on('unexpected-response', (_, response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: JSON.parse(text) as Refusal['body'],
        });
      });
    });
  });
}
