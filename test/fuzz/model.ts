import { constants, inflateRawSync } from 'node:zlib';
import { MAX_FRAGMENTS, MAX_JSON_DEPTH, MAX_MESSAGE_BYTES } from './input.js';
import type { Speaker } from './input.js';

/** What a peer's bytes ask of the server, said by RFC 6455 and PROTOCOL.md alone: no code of the server is used here. */
export interface Expectations {
  /** Ids that are owed exactly one answer each, as JSON, with the event that was asked for. */
  readonly requests: { readonly id: string; readonly event: string }[];
  /** How many BAD_FRAME exceptions without an id are owed. */
  badFrames: number;
  /** Payloads that are owed a pong, in this order (RFC 6455 §5.5.3). */
  readonly pongs: Buffer[];
  /** How the connection has to end now; undefined while it has not to. */
  end: End | undefined;
  /** Close codes with which the server may end it all the same. */
  readonly mayEnd: Set<number>;
  /** True when the number of bad frames depends on what an earlier frame has led to. */
  isLoose: boolean;
}

export interface End {
  /** True when the peer closed; then no `disconnect` is due, and the code comes back (RFC 6455 §5.5.1). */
  readonly byPeer: boolean;
  readonly code: number;
}

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

const EVENT_OF_BARE_TOKEN = 'auth';

/** Follows one connection from the client's side: feed it what is sent, and it knows what has to come back. */
export class Model {
  readonly expected: Expectations = {
    requests: [],
    badFrames: 0,
    pongs: [],
    end: undefined,
    mayEnd: new Set(),
    isLoose: false,
  };
  #rest: Buffer = Buffer.alloc(0);
  #message: { opcode: number; compressed: boolean; parts: Buffer[]; length: number; fragments: number } | undefined;
  /** True once an `auth` may have changed who the session is. */
  identityChanged = false;

  constructor(readonly speaker: Speaker) {}

  /** Where the bytes so far have left the receiver. */
  get state(): 'between messages' | 'inside a message' | 'inside a frame' {
    if (this.#rest.length > 0) return 'inside a frame';
    return this.#message === undefined ? 'between messages' : 'inside a message';
  }

  /** How many bytes the frame that has begun still lacks; undefined while that is not known. */
  get missing(): number | undefined {
    const head = headOf(this.#rest);
    return head === undefined ? undefined : head.size + head.length - this.#rest.length;
  }

  feed(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.expected.end === undefined && this.#frame());
    if (this.expected.end !== undefined) this.#rest = Buffer.alloc(0);
  }

  /** @returns false when there is no whole frame left */
  #frame(): boolean {
    if (this.#rest.length < 2) return false;
    const [first, second] = [this.#rest[0] as number, this.#rest[1] as number];
    const opcode = first & 0x0f;
    const fin = (first & 0x80) !== 0;
    const reserved = (first >> 4) & 7;
    const isControl = opcode >= CLOSE;
    const short = second & 0x7f;
    const inside = this.#message !== undefined;

    // What two bytes show is refused on two bytes.
    if (![0, TEXT, BINARY, CLOSE, PING, PONG].includes(opcode)) return this.#end(1002);
    if ((reserved & 3) !== 0) return this.#end(1002);
    const mayCompress = this.speaker === 'deflate' && (opcode === TEXT || opcode === BINARY);
    if (reserved !== 0 && !mayCompress) return this.#end(1002);
    if (isControl && (!fin || short > 125)) return this.#end(1002);
    if (opcode === CLOSE && short === 1) return this.#end(1002);
    if ((opcode === 0) !== inside && !isControl) return this.#end(1002);
    if ((second & 0x80) === 0) return this.#end(1002);

    const head = headOf(this.#rest);
    if (head === undefined) return false;
    if (!isControl && (this.#message?.length ?? 0) + head.length > MAX_MESSAGE_BYTES) return this.#end(1009);
    if (this.#rest.length < head.size + head.length) return false;
    const payload = unmasked(this.#rest.subarray(head.size - 4, head.size + head.length));
    this.#rest = this.#rest.subarray(head.size + head.length);
    if (isControl) return this.#control(opcode, payload);
    const message = (this.#message ??= { opcode, compressed: reserved === 4, parts: [], length: 0, fragments: 0 });
    message.parts.push(payload);
    message.length += payload.length;
    if (++message.fragments > MAX_FRAGMENTS) return this.#end(1009);
    // Its pieces are unpacked as they come, so a fault in one of them may show before the last has come.
    if (message.compressed && !fin) for (const code of [1007, 1009]) this.expected.mayEnd.add(code);
    if (!fin) return true;
    this.#message = undefined;
    return this.#complete(message.opcode, Buffer.concat(message.parts), message.compressed);
  }

  #end(code: number, byPeer = false): boolean {
    this.expected.end = { byPeer, code };
    return false;
  }

  #control(opcode: number, payload: Buffer): boolean {
    if (opcode === PING) this.expected.pongs.push(payload);
    if (opcode !== CLOSE) return true;
    if (payload.length === 0) return this.#end(1005, true);
    const code = payload.readUInt16BE();
    if (!mayBeSent(code)) return this.#end(1002);
    return textOf(payload.subarray(2)) === undefined ? this.#end(1007) : this.#end(code, true);
  }

  #complete(opcode: number, bytes: Buffer, compressed: boolean): boolean {
    const payload = compressed ? inflated(bytes) : bytes;
    if (typeof payload === 'number') {
      // What is too long before it turns out to be broken may be told for either.
      for (const code of [1007, 1009]) this.expected.mayEnd.add(code);
      return this.#end(payload);
    }
    if (opcode === BINARY) return this.#end(1003);
    const text = textOf(payload);
    if (text === undefined) return this.#end(1007);
    this.#text(text);
    return true;
  }

  /** What PROTOCOL.md says of a text message. */
  #text(text: string): void {
    const { expected } = this;
    if (this.speaker === 'anonymous' && /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text)) {
      this.#authenticates();
      if (this.identityChanged) expected.isLoose = true; // a token, or a bad frame when the first was good
      this.identityChanged = true;
      return;
    }
    const request = requestIn(text);
    if (request === undefined) return void expected.badFrames++;
    if (request.event === EVENT_OF_BARE_TOKEN) {
      this.#authenticates();
      if (this.speaker === 'anonymous') this.identityChanged = true;
    }
    if (request.id !== undefined) expected.requests.push({ id: request.id, event: request.event });
    else if (request.isBad) expected.badFrames++;
  }

  #authenticates(): void {
    for (const code of [3000, 3003, 4101]) this.expected.mayEnd.add(code);
  }
}

/** A request as far as it can be answered; undefined for what is a BAD_FRAME without an id. */
function requestIn(text: string): { event: string; id: string | undefined; isBad: boolean } | undefined {
  const value = parsed(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  if (depthOf(text) > MAX_JSON_DEPTH || isPoisoned(value)) return undefined;
  const { event, id } = value as { event?: unknown; id?: unknown };
  const isId = typeof id === 'string' ? id !== '' && id.length <= 64 : Number.isSafeInteger(id) && (id as number) >= 0;
  if (id !== undefined && !isId) return undefined;
  const isEvent = typeof event === 'string' && event !== '' && event.length <= 128;
  return { event: isEvent ? event : '', id: id === undefined ? undefined : JSON.stringify(id), isBad: !isEvent };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // what is no JSON is a bad frame, and no JSON is undefined
  }
}

function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (const bracket of text.replace(/"(?:[^"\\]|\\.)*"/gs, '').replace(/[^[\]{}]/g, '')) {
    depth += bracket === '[' || bracket === '{' ? 1 : -1;
    deepest = Math.max(deepest, depth);
  }
  return deepest;
}

function isPoisoned(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(([key, member]: [string, unknown]) => {
    if (key === '__proto__') return true;
    const isObject = typeof member === 'object' && member !== null;
    return (key === 'constructor' && isObject && Object.hasOwn(member, 'prototype')) || isPoisoned(member);
  });
}

/** Header size with the mask, and payload length; undefined while the header is not all there. */
function headOf(bytes: Buffer): { size: number; length: number } | undefined {
  if (bytes.length < 2) return undefined;
  const short = (bytes[1] as number) & 0x7f;
  const extra = short === 126 ? 2 : short === 127 ? 8 : 0;
  // A length that is too big is refused before the mask has come.
  if (bytes.length < 2 + extra) return undefined;
  const length = extra === 0 ? short : extra === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  return { size: 2 + extra + 4, length };
}

/** @param bytes the mask and what it hides */
function unmasked(bytes: Buffer): Buffer {
  const mask = bytes.subarray(0, 4);
  return Buffer.from(bytes.subarray(4).map((byte, i) => byte ^ (mask[i % 4] as number)));
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function textOf(bytes: Buffer): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** What is unpacked, or the close code that it gets (RFC 7692 §7.2.2). */
function inflated(bytes: Buffer): Buffer | number {
  try {
    const whole = Buffer.concat([bytes, Buffer.from([0, 0, 0xff, 0xff])]);
    return inflateRawSync(whole, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: MAX_MESSAGE_BYTES });
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE' ? 1009 : 1007;
  }
}

/** Codes that may stand in a close frame (RFC 6455 §7.4, with what IANA has registered since). */
function mayBeSent(code: number): boolean {
  return (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999);
}
