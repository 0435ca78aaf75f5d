import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import { handshake } from './tcp.js';
import type { Target } from './target.js';
import { token } from './tokens.js';

/** What an attacker's clients have come to. */
export interface Deeds {
  opened: number;
  refused: number;
  sent: number;
  /** Codes of exceptions and of `disconnect`, with how many there were. */
  readonly codes: Record<string, number>;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const HEAVY = JSON.stringify(Array.from({ length: 21_300 }, () => ({})));
const requests = {
  slow: `{"event":"slow","data":${HEAVY},"id":1}`,
  stream: `{"event":"stream","data":${HEAVY},"id":1}`,
  order: `{"event":"order","data":{"lines":${HEAVY}},"id":1}`,
  tags: `{"event":"tags","data":{"tags":[${Array(32_000).fill(1).join(',')}]},"id":1}`,
  large: '{"event":"large","data":2000000,"id":1}',
  broken: '{"event":"broken","id":1}',
  counted: '{"event":"counted","id":1}',
};

/**
 * One address that does everything a stranger with tokens can do within its budgets, again and again until the time is over:
 * silent connections, half requests, handlers that are kept busy, payloads that are dear to refuse, large replies unread.
 */
export class Mob {
  readonly deeds: Deeds = { opened: 0, refused: 0, sent: 0, codes: {} };
  readonly #sockets = new Set<Socket | WebSocket>();
  #isOver = false;
  #made = 0;

  constructor(
    private readonly target: Target,
    private readonly address: string,
  ) {}

  async run(ms: number): Promise<Deeds> {
    const over = pause(ms).then(() => (this.#isOver = true));
    const repeat = async (act: () => Promise<void>): Promise<void> => {
      while (!this.#isOver) await act();
    };
    await Promise.all([
      repeat(() => this.#silent()),
      repeat(() => this.#switching()),
      ...Array.from({ length: 20 }, () => repeat(() => this.#hold('slow'))),
      ...Array.from({ length: 5 }, () => repeat(() => this.#hold('stream'))),
      repeat(() => this.#refusable('order')),
      repeat(() => this.#refusable('tags')),
      ...Array.from({ length: 8 }, (_, i) => repeat(() => this.#unread(i % 2 === 0))),
      repeat(() => this.#bugs()),
      repeat(() => this.#again()),
      over,
    ]);
    for (const socket of this.#sockets) {
      if (socket instanceof WebSocket) socket.terminate();
      else socket.destroy();
    }
    return this.deeds;
  }

  async #sleep(ms: number): Promise<void> {
    for (let left = ms; left > 0 && !this.#isOver; left -= 100) await pause(Math.min(left, 100));
  }

  #tcp(bytes: string): Socket {
    const socket = connect({ port: this.target.port, host: '127.0.0.1', localAddress: this.address });
    this.#sockets.add(socket);
    socket.on('error', () => undefined); // a reset is what it may come to
    socket.on('close', () => this.#sockets.delete(socket));
    if (bytes !== '') socket.write(bytes);
    socket.resume();
    return socket;
  }

  /** Connections that say nothing, or half of something. */
  async #silent(): Promise<void> {
    const half = handshake('/ws').slice(0, 60);
    const sockets = Array.from({ length: 30 }, (_, i) => this.#tcp(i % 2 === 0 ? '' : half));
    await this.#sleep(12_000);
    for (const socket of sockets) socket.destroy();
  }

  /** A protocol that nobody speaks, and a path where nobody is, on connections that are kept. */
  async #switching(): Promise<void> {
    const switched = this.#tcp('');
    for (let i = 0; i < 200 && !this.#isOver; i++) {
      switched.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n');
      if (i % 50 === 0) this.#tcp(handshake('/nowhere'));
      await pause(50);
    }
    switched.destroy();
  }

  /** @returns undefined when it is not let in */
  async #open(): Promise<WebSocket | undefined> {
    await this.#sleep(100 + Math.random() * 1_000); // within the budget of handshakes
    const subject = `mallory-${this.address}-${this.#made++ % 50}`;
    const socket = new WebSocket(`ws://127.0.0.1:${this.target.port}/ws`, {
      headers: { authorization: `Bearer ${token({ sub: subject })}` },
      localAddress: this.address,
      perMessageDeflate: false,
    });
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => undefined); // 'close' follows
    socket.on('message', (bytes: Buffer) => this.#heard(bytes));
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once('open', () => resolve(true));
      socket.once('close', () => resolve(false));
    });
    if (isOpen) this.deeds.opened++;
    else this.deeds.refused++;
    return isOpen ? socket : undefined;
  }

  #heard(bytes: Buffer): void {
    const code = /"code":"([A-Z_]+)"/.exec(bytes.subarray(0, 200).toString())?.[1];
    if (code !== undefined) this.deeds.codes[code] = (this.deeds.codes[code] ?? 0) + 1;
  }

  async #send(socket: WebSocket, request: keyof typeof requests, times: number, everyMs: number): Promise<void> {
    for (let i = 0; i < times && !this.#isOver && socket.readyState === WebSocket.OPEN; i++) {
      if (socket.bufferedAmount < 2_000_000) socket.send(requests[request]);
      this.deeds.sent++;
      await this.#sleep(everyMs);
    }
  }

  /** Sixteen of the longest messages in handlers that do not end, and more sent behind them; then another session. */
  async #hold(event: 'slow' | 'stream'): Promise<void> {
    const socket = await this.#open();
    if (socket === undefined) return;
    await this.#send(socket, event, 32, 70);
    await this.#sleep(3_000);
    socket.terminate();
  }

  /** What costs more to refuse than to send, sixteen times a second. */
  async #refusable(event: 'order' | 'tags'): Promise<void> {
    const socket = await this.#open();
    if (socket === undefined) return;
    await this.#send(socket, event, 100, 65);
    socket.terminate();
  }

  /** Large replies that are not read, or a byte at a time. */
  async #unread(isSlow: boolean): Promise<void> {
    const socket = await this.#open();
    if (socket === undefined) return;
    socket.pause();
    await this.#send(socket, 'large', 3, 10);
    const { _socket: stream } = socket as unknown as { _socket: Socket }; // because ws does not show it
    for (let i = 0; i < 100 && !this.#isOver; i++) {
      if (isSlow) stream.read(1);
      await this.#sleep(100);
    }
    socket.terminate();
  }

  async #bugs(): Promise<void> {
    const socket = await this.#open();
    if (socket === undefined) return;
    await this.#send(socket, 'broken', 100, 30);
    socket.terminate();
  }

  /** A budget of an event anew with each connection. */
  async #again(): Promise<void> {
    const socket = await this.#open();
    if (socket === undefined) return;
    await this.#send(socket, 'counted', 2, 10);
    await this.#sleep(4_000); // a RATE_LIMITED is a violation, and twenty of them in a minute are a ban
    socket.terminate();
  }
}
