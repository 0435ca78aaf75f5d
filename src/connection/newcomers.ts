import type { EventEmitter } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import type { Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';

/** Milliseconds in which a connection has to bring its first request, all its headers included. */
const FIRST_REQUEST_MS = 10_000;

/**
 * Connections that have not asked for anything yet. Node gives them a minute, and looks every half a minute; here they have
 * ten seconds, whoever made the server. A request of its own later on the same connection is Node's affair again.
 */
export class Newcomers {
  // In the order in which they came, so the sweep looks only at the front.
  readonly #until = new Map<Socket, number>();

  constructor(private readonly now: () => number) {}

  get size(): number {
    return this.#until.size;
  }

  /** @returns a function that ends the watch */
  watch(http: HttpServer): () => void {
    const event = http instanceof TlsServer ? 'secureConnection' : 'connection';
    const server: EventEmitter = http;
    const arrived = (request: { socket: Socket }): void => void this.#until.delete(request.socket);
    server.on(event, this.#add);
    server.prependListener('request', arrived);
    server.prependListener('upgrade', arrived);
    return () => {
      server.off(event, this.#add);
      server.off('request', arrived);
      server.off('upgrade', arrived);
    };
  }

  sweep(now: number): void {
    for (const [socket, until] of this.#until) {
      if (now < until) return;
      this.#until.delete(socket);
      socket.destroy();
    }
  }

  readonly #add = (socket: Socket): void => {
    this.#until.set(socket, this.now() + FIRST_REQUEST_MS);
    socket.once('close', () => this.#until.delete(socket));
  };
}
