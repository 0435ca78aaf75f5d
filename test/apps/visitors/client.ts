import { WebSocket } from 'ws'; // which in a page is the browser's

/** The script of the blog's pages: it knows `{ type, payload }`, and nothing of what the blog runs on. */
export class Page {
  /** What has come, by type. */
  readonly seen = new Map<string, unknown[]>();
  readonly socket: WebSocket;
  readonly #waiting = new Map<string, (payload: unknown) => void>();

  constructor(url: string, headers: Record<string, string> = {}) {
    this.socket = new WebSocket(url, { headers });
    this.socket.onmessage = ({ data }) => {
      const { type, payload } = JSON.parse(data as string) as { type: string; payload: unknown };
      this.seen.set(type, [...(this.seen.get(type) ?? []), payload]);
      this.#waiting.get(type)?.(payload);
      this.#waiting.delete(type);
    };
  }

  /** The next of a type. */
  next(type: string): Promise<unknown> {
    return new Promise((resolve) => this.#waiting.set(type, resolve));
  }

  say(type: string, payload?: unknown): void {
    this.socket.send(JSON.stringify({ type, payload }));
  }

  ask(type: string, payload?: unknown): Promise<unknown> {
    this.say(type, payload);
    return this.next(type);
  }
}
