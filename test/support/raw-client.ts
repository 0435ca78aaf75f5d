import { once } from 'node:events';
import { WebSocket } from 'ws';
import type { ClientOptions } from 'ws';
import { localTls } from './certificates.js';
import type { Closed } from './client.js';

/** A client that speaks whatever a test writes: texts are strings, binary messages are Buffers. */
export class RawClient {
  readonly closed: Promise<Closed>;
  #messages: (string | Buffer)[] = [];
  #waiting: ((message: string | Buffer | undefined) => void)[] = [];
  #over = false;

  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data: Buffer, isBinary) => {
      const message = isBinary ? data : data.toString();
      const waiter = this.#waiting.shift();
      if (waiter === undefined) this.#messages.push(message);
      else waiter(message);
    });
    this.closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => {
        this.#over = true;
        for (const waiter of this.#waiting.splice(0)) waiter(undefined);
        resolve({ code, reason: reason.toString() });
      });
    });
    socket.on('error', () => undefined); // what it says is in `closed`, or is what connect() throws
  }

  static async connect(
    url: string,
    { token, protocols = [], ...rest }: ClientOptions & { token?: string; protocols?: string[] } = {},
  ): Promise<RawClient> {
    const headers = { ...rest.headers, ...(token !== undefined && { authorization: `Bearer ${token}` }) };
    const trusted = url.startsWith('wss:') && { ca: localTls().ca };
    const socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...trusted, ...rest, headers });
    const client = new RawClient(socket);
    await once(socket, 'open');
    return client;
  }

  /** @throws Error when the connection closes first */
  async next(): Promise<string | Buffer> {
    const there = this.#messages.shift();
    if (there !== undefined) return there;
    const message = this.#over
      ? undefined
      : await new Promise<string | Buffer | undefined>((resolve) => this.#waiting.push(resolve));
    if (message === undefined) throw new Error('The connection closed before the message came');
    return message;
  }

  /** The next message, which is JSON. */
  async json(): Promise<unknown> {
    return JSON.parse((await this.next()).toString()) as unknown;
  }

  /** Sends a text or bytes as they are, anything else as JSON, and takes the next message, which is JSON. */
  async ask(message: unknown): Promise<unknown> {
    this.send(message);
    return this.json();
  }

  send(message: unknown): void {
    this.socket.send(typeof message === 'string' || message instanceof Uint8Array ? message : JSON.stringify(message));
  }

  /** The messages from here to the close. */
  async rest(): Promise<(string | Buffer)[]> {
    await this.closed;
    return this.#messages;
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.closed;
  }
}
