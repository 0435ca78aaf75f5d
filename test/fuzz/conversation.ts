import type { Input, Speaker } from './input.js';
import { MARKER } from './input.js';
import { isStreamed } from './gateways.js';
import { closeFrame, encodeFrame, textFrame } from '../support/frames.js';
import { Model } from './model.js';
import { Broken, Peer } from '../support/peer.js';
import type { ServerFrame } from '../support/peer.js';
import { GOOD_TOKEN } from './tokens.js';
import { KEY } from './upgrades.js';

/** How long anything may take before it counts as hanging, in milliseconds. */
export const PATIENCE_MS = 10_000;

const MEMBERS: ReadonlySet<string> = new Set(['event', 'data', 'id', 'done']);
const CODE = /^[A-Z][A-Z0-9_]{1,63}$/;

/** One session with the target, of which every frame is held against what the model expects. */
export class Conversation {
  readonly model: Model;
  #peer: Peer | undefined;
  /** Requests that are owed an answer: by id, the events asked for. */
  readonly #owed = new Map<string, string[]>();
  #isAmbiguous = false;
  #taken = 0;
  #badFrames = 0;
  #pongs = 0;
  #barriers = 0;
  #disconnect: { code: string; closeCode: number } | undefined;
  #closed: { code: number; reason: string } | undefined;

  constructor(
    readonly speaker: Speaker,
    /** True when the handshake itself is the input: whether there is a session at all is the server's to say. */
    private readonly mayEndAnyhow = false,
  ) {
    this.model = new Model(speaker);
  }

  static async open(port: number, speaker: Speaker): Promise<Conversation> {
    const conversation = new Conversation(speaker);
    const peer = await conversation.connect(port);
    await peer.write(Buffer.from(handshake(speaker)));
    const isAnswered = await peer.until(() => peer.isUpgraded || peer.isClosed, PATIENCE_MS);
    if (!isAnswered || !peer.isUpgraded) throw new Broken(`a good handshake was answered with ${peer.head}`);
    return conversation;
  }

  async connect(port: number): Promise<Peer> {
    this.#peer = await Peer.open(port, (frame) => this.#take(frame));
    return this.#peer;
  }

  get peer(): Peer {
    if (this.#peer === undefined) throw new Error('Not connected');
    return this.#peer;
  }

  /** False when the next input needs a session of its own. */
  get isReusable(): boolean {
    return !this.peer.isClosed && !this.isEnding && !this.#isAmbiguous && !this.model.identityChanged;
  }

  get isEnding(): boolean {
    return this.model.expected.end !== undefined || this.#closed !== undefined || this.#disconnect !== undefined;
  }

  /** What is sent besides inputs counts as well. */
  expect(bytes: Buffer): void {
    this.model.feed(bytes);
    this.#owe();
  }

  /** Sends an input and waits until all that it is owed has come. @throws Broken when something else comes, or nothing */
  async run({ bytes, cuts, finish }: Input): Promise<void> {
    const { peer } = this;
    this.expect(bytes);
    await peer.write(bytes, cuts);
    if (finish === 'reset') return void peer.socket.resetAndDestroy();
    if (finish === 'half-close') {
      peer.socket.end();
      return this.#expectClosed();
    }
    await this.#complete();
    await this.barrier();
  }

  /** Asks for a pong of the protocol's, behind which nothing that came before may be unanswered. */
  async barrier(): Promise<void> {
    const { peer, model } = this;
    if (!this.isEnding) {
      const ping = textFrame(`{"event":"ping","id":"barrier-${this.#barriers++}"}`);
      this.expect(ping);
      await peer.write(ping);
    }
    const isDone = (): boolean => this.isEnding || peer.isClosed || this.#isPaid();
    if (!(await peer.until(isDone, PATIENCE_MS))) throw new Broken(`no answer: ${this.#debts()}`);
    if (this.isEnding || peer.isClosed) return this.#expectClosed();
    const { badFrames, isLoose } = model.expected;
    if (!isLoose && this.#badFrames !== badFrames) {
      throw new Broken(`${badFrames} bad frames without an id, and ${this.#badFrames} exceptions for them`);
    }
  }

  end(): void {
    this.#peer?.socket.destroy();
  }

  /** What has begun is brought to its end: the frame with filling, the message with an empty last fragment. */
  async #complete(): Promise<void> {
    const { peer, model } = this;
    while (!this.isEnding && model.state !== 'between messages') {
      const isInFrame = model.state === 'inside a frame';
      const last = encodeFrame({ opcode: 0 });
      const filling = isInFrame ? Buffer.alloc(model.missing ?? 1, 0x80) : last;
      this.expect(filling);
      await peer.write(filling);
    }
  }

  #owe(): void {
    const { requests } = this.model.expected;
    for (const { id, event } of requests.slice(this.#taken)) {
      const events = this.#owed.get(id);
      if (events === undefined) this.#owed.set(id, [event]);
      else {
        events.push(event);
        this.#isAmbiguous = true; // two at once under one id: which answer is whose cannot be told
      }
    }
    this.#taken = requests.length;
  }

  #isPaid(): boolean {
    if (this.#pongs < this.model.expected.pongs.length) return false;
    if (!this.#isAmbiguous) return this.#owed.size === 0;
    return !this.#owed.has(`"barrier-${this.#barriers - 1}"`);
  }

  #debts(): string {
    return `${[...this.#owed.keys()].join(' ')}, ${this.#pongs} of ${this.model.expected.pongs.length} pongs`;
  }

  /** The connection ends as it should: the right code, `disconnect` before it where the server gave the peer up. */
  async #expectClosed(): Promise<void> {
    const { peer } = this;
    const { end, mayEnd } = this.model.expected;
    if (!(await peer.until(() => peer.isClosed, PATIENCE_MS))) throw new Broken('the connection does not end');
    if (peer.socket.writableEnded && this.#closed === undefined) return; // we ended it, without a close frame
    if (this.#closed === undefined) throw new Broken('the connection ended without a close frame');
    const { code, reason } = this.#closed;
    if (this.#disconnect !== undefined) {
      if (this.#disconnect.closeCode !== code || this.#disconnect.code !== reason) {
        throw new Broken(`disconnect says ${JSON.stringify(this.#disconnect)}, the close ${code} ${reason}`);
      }
      if (!this.mayEndAnyhow && !mayEnd.has(code) && (end?.byPeer !== false || end.code !== code)) {
        throw new Broken(`closed with ${code} instead of ${JSON.stringify(end)}`);
      }
    } else if (end?.byPeer !== true) throw new Broken(`closed with ${code} and no disconnect`);
    else if (end.code !== code) throw new Broken(`a close with ${end.code} came back as ${code}`);
  }

  #take(frame: ServerFrame): void {
    if (this.#closed !== undefined) throw new Broken(`a ${frame.kind} frame after the close`);
    switch (frame.kind) {
      case 'close':
        this.#closed = frame;
        if (!this.model.expected.end?.byPeer) void this.peer.write(closeFrame(frame.code));
        this.peer.socket.end();
        return;
      case 'pong': {
        const payload = this.model.expected.pongs[this.#pongs++];
        if (payload?.equals(frame.payload) !== true) throw new Broken(`a pong with ${frame.payload.toString('hex')}`);
        return;
      }
      case 'ping':
      case 'binary':
        throw new Broken(`a ${frame.kind} frame that nobody is owed`);
      case 'text':
        if (this.#disconnect !== undefined) throw new Broken('a text frame after disconnect');
        return this.#text(JSON.parse(frame.text) as Record<string, unknown>);
      default:
        frame satisfies never;
    }
  }

  #text(frame: Record<string, unknown>): void {
    const text = JSON.stringify(frame);
    if (Object.keys(frame).some((name) => !MEMBERS.has(name))) throw new Broken(`an odd frame: ${text}`);
    const { event, data, id, done } = frame as { event?: unknown; data?: unknown; id?: unknown; done?: unknown };
    if (event === 'disconnect') return this.#disconnected(data);
    if (event === 'exception') this.#checkException(data, text);
    if (id === undefined) {
      if (event === 'exception' && (data as { code: unknown }).code === 'BAD_FRAME') this.#badFrames++;
      return;
    }
    const key = JSON.stringify(id);
    const events = this.#owed.get(key);
    if (events === undefined && this.mayEndAnyhow) return; // asked for behind a handshake of which nothing is known
    if (events === undefined) throw new Broken(`an answer that nobody is owed: ${text}`);
    const isLast = event === 'exception' || done === true;
    if (!isLast && events.some(isStreamed)) return;
    events.pop();
    if (events.length === 0 && !this.#isAmbiguous) this.#owed.delete(key);
    if (key.startsWith('"barrier-')) this.#owed.delete(key);
  }

  #disconnected(data: unknown): void {
    const { code, message, closeCode, reconnect } = data as Record<string, unknown>;
    const isRight = typeof code === 'string' && CODE.test(code) && typeof message === 'string';
    if (!isRight || typeof closeCode !== 'number' || typeof reconnect !== 'boolean') {
      throw new Broken(`an odd disconnect: ${JSON.stringify(data)}`);
    }
    checkNotQuoted(data);
    this.#disconnect = { code, closeCode };
  }

  #checkException(data: unknown, text: string): void {
    const { status, code, message, retryable, incidentId } = (data ?? {}) as Record<string, unknown>;
    const isRight = status === 'error' && typeof code === 'string' && CODE.test(code) && typeof message === 'string';
    if (!isRight || typeof retryable !== 'boolean') throw new Broken(`an odd exception: ${text}`);
    if ((code === 'INTERNAL') !== (incidentId !== undefined)) throw new Broken(`an incident or none: ${text}`);
    if (code === 'HANDLER_TIMEOUT') throw new Broken(`a handler hangs: ${text}`);
    checkNotQuoted(data);
  }
}

/** @throws Broken when something a client sent comes back in an error */
export function checkNotQuoted(data: unknown): void {
  if (JSON.stringify(data).includes(MARKER)) throw new Broken(`what a client sent is quoted: ${JSON.stringify(data)}`);
}

function handshake(speaker: Speaker): string {
  const lines = [
    'GET /ws HTTP/1.1',
    'Host: 127.0.0.1',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${KEY}`,
    ...(speaker === 'anonymous' ? [] : [`Authorization: Bearer ${GOOD_TOKEN}`]),
    ...(speaker === 'deflate' ? ['Sec-WebSocket-Extensions: permessage-deflate'] : []),
  ];
  return `${lines.join('\r\n')}\r\n\r\n`;
}
