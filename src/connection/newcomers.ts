import type { EventEmitter } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Server as TlsServer } from 'node:tls';

/** Milliseconds in which a connection has to bring its first request, all its headers included. */
const FIRST_REQUEST_MS = 10_000;

/**
 * Connections that have not asked for anything yet. Node gives them a minute, and looks every half a minute; here they have
 * ten seconds, whoever made the server. A request of its own later on the same connection is Node's affair again.
 */
export class Newcomers {
  // In the order in which they came, so the sweep looks only at the front.
  readonly #until = new Map<Duplex, number>();

  constructor(private readonly now: () => number) {}

  get size(): number {
    return this.#until.size;
  }

  /**
   * Watches a server. Its upgrades are told by {@link arrived}: a listener more would be somebody else who answers them.
   *
   * @returns a function that ends the watch
   */
  watch(http: HttpServer): () => void {
    const event = http instanceof TlsServer ? 'secureConnection' : 'connection';
    const server: EventEmitter = http;
    const asked = ({ socket }: { socket: Socket }): void => this.arrived(socket);
    server.on(event, this.#add);
    server.prependListener('request', asked);
    return () => {
      server.off(event, this.#add);
      server.off('request', asked);
    };
  }

  /** It has brought its first request. */
  arrived(socket: Duplex): void {
    this.#until.delete(socket);
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
