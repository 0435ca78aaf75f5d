import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { closeFrame, encodeFrame, textFrame } from './frames.js';
import { startTarget } from './target.js';
import type { Target } from './target.js';
import { handshake, openTcp } from './tcp.js';
import { SECRET } from './tokens.js';

const MIB = 1_048_576;

/** `test/apps/hostile-target.mjs` with these options over the defaults. `null` is `Infinity`, as in any JSON file. */
export function startHostileTarget(options: object = {}, flags: readonly string[] = []): Promise<Target> {
  return startTarget('hostile-target.mjs', { JWT_SECRET: SECRET, OPTIONS: JSON.stringify(options) }, flags);
}

/** What a target holds, in bytes. */
export interface Memory {
  /** On the heap and beside it. What the allocator keeps for later is in `rss` only. */
  readonly held: number;
  readonly rss: number;
  /** Sessions that are registered. */
  readonly sessions: number;
  /** CPU time that it has used. */
  readonly cpuMs: number;
}

let questions = 0;

/** @param collects after a full garbage collection, which takes its time */
export async function memoryOf({ process: child }: Target, collects = true): Promise<Memory> {
  const id = ++questions;
  child.send({ id, collects });
  for (;;) {
    const [memory] = (await once(child, 'message')) as [Memory & { id: number }]; // because the target says nothing else
    if (memory.id === id) return memory;
  }
}

/** What a witness has seen. */
export interface Testimony {
  readonly asked: number;
  readonly answered: number;
  readonly slowestMs: number;
  /** The close code, when its session did not last. */
  readonly closed?: number;
}

/** A well-behaved client in a process of its own, which asks one question after the other until it is stopped. */
export class Witness {
  private constructor(private readonly process: ChildProcess) {}

  /** @param everyMs the pause between an answer and the next question: a budget of 50 messages a second is enough for it */
  static async start({ port }: Target, token: string, everyMs = 25): Promise<Witness> {
    const program = new URL('./witness.mjs', import.meta.url).pathname;
    const child = fork(program, [`ws://127.0.0.1:${port}/ws`, token, String(everyMs)], { execArgv: [] });
    await once(child, 'message');
    return new Witness(child);
  }

  /** Waits for the last answer. */
  async stop(): Promise<Testimony> {
    const told = once(this.process, 'message');
    this.process.send('stop');
    const [testimony] = (await told) as [Testimony]; // because the witness says nothing else after 'open'
    return testimony;
  }
}

/** A raw TCP connection without manners. */
export class Attacker {
  readonly closed: Promise<void>;
  isClosed = false;

  private constructor(readonly socket: Socket) {
    socket.setNoDelay(true);
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.isClosed = true;
        resolve();
      });
    });
  }

  /** A connection that has sent nothing yet. What comes is read and dropped. */
  static async connect({ port }: Target): Promise<Attacker> {
    const attacker = new Attacker(await openTcp(port));
    attacker.socket.resume();
    return attacker;
  }

  /** A session: after the 101. */
  static async open(target: Target, extra: string[] = []): Promise<Attacker> {
    const attacker = new Attacker(await openTcp(target.port));
    attacker.socket.write(handshake('/ws', extra));
    await once(attacker.socket, 'data');
    attacker.socket.resume();
    return attacker;
  }

  /** Writes as fast as the server reads. @returns false when the server has cut the connection */
  async write(bytes: Buffer | string): Promise<boolean> {
    if (this.isClosed || !this.socket.writable) return false;
    if (!this.socket.write(bytes)) {
      await new Promise<void>((resolve) => {
        this.socket.once('drain', resolve);
        void this.closed.then(resolve);
      });
    }
    return !this.isClosed;
  }

  /** Writes the same again and again. @returns false when the server has cut the connection */
  async repeat(bytes: Buffer, times: number): Promise<boolean> {
    for (let i = 0; i < times; i++) if (!(await this.write(bytes))) return false;
    return true;
  }

  end(): void {
    this.socket.destroy();
  }
}

/** Many small things as one write, as a sender without delay would have them on the wire. */
function batch(size: number, make: (i: number) => Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0, length = 0; length < size; i++) {
    const part = make(i);
    parts.push(part);
    length += part.length;
  }
  return Buffer.concat(parts);
}

/**
 * What a single hostile client can do. Each resolves when it has done its worst, with the connections still open as far as
 * the server has left them; whoever calls ends them.
 */
export type Attack = (target: Target, token: string) => Promise<Attacker[]>;

const bearer = (token: string): string[] => [`Authorization: Bearer ${token}`];
const request = (event: string, data: unknown): Buffer => textFrame(JSON.stringify({ event, data, id: 1 }));

/** Asks for 32 MiB and reads nothing of it. */
export const neverReads: Attack = async (target, token) => {
  const attacker = await Attacker.open(target, bearer(token));
  attacker.socket.pause();
  await attacker.repeat(request('large', 65_536), 512);
  return [attacker];
};

/** Has the longest messages held by handlers that do not answer, and as many more sent as the server takes. */
export const neverAnswered: Attack = async (target, token) => {
  const attacker = await Attacker.open(target, bearer(token));
  const message = request('slow', 'x'.repeat(65_000));
  for (let i = 0; i < 256 && attacker.socket.write(message); i++); // no wait: the server stops reading
  return [attacker];
};

/** Sends the head of a handshake a line at a time, on many connections, and never ends it. */
export const slowHeaders: Attack = async (target) => {
  const attackers = await Promise.all(Array.from({ length: 200 }, () => Attacker.connect(target)));
  const lines = handshake('/ws').split('\r\n').slice(0, -2);
  for (const line of lines) await Promise.all(attackers.map((attacker) => attacker.write(`${line}\r\n`)));
  return attackers;
};

/** Begins a frame of the longest size, sends half of it in single bytes, and is silent. */
export const halfFrame: Attack = async (target, token) => {
  const attacker = await Attacker.open(target, bearer(token));
  await attacker.write(encodeFrame({ opcode: 1, payload: 'x'.repeat(100), declared: 65_000n }));
  await attacker.repeat(Buffer.from('x'), 3_000);
  return [attacker];
};

/** Fragments of a byte, without end. */
export const tinyFragments: Attack = async (target, token) => {
  const attacker = await Attacker.open(target, bearer(token));
  await attacker.write(encodeFrame({ opcode: 1, payload: 'x', fin: false }));
  const fragment = encodeFrame({ opcode: 0, payload: 'x', fin: false });
  await attacker.repeat(batch(7_000, () => fragment), 200); // prettier-ignore
  return [attacker];
};

/**
 * Few fragments of a byte, each in a chunk that is otherwise filled with pongs: what keeps a view of the chunk keeps all of
 * it.
 */
export const spreadFragments: Attack = async (target, token) => {
  const attacker = await Attacker.open(target, bearer(token));
  const first = encodeFrame({ opcode: 1, payload: '{"event":"ping"}', fin: false });
  const fragment = encodeFrame({ opcode: 0, payload: ' ', fin: false });
  const pong = encodeFrame({ opcode: 10, payload: 'p'.repeat(125) });
  const whole = [first, ...Array<Buffer>(900).fill(fragment), pong, encodeFrame({ opcode: 0 })];
  await attacker.write(Buffer.concat([...whole, first])); // a message that is complete, before the one that never is
  await attacker.repeat(Buffer.concat([fragment, batch(64_000, () => pong)]), 900); // prettier-ignore
  return [attacker];
};

/** Pings, as fast as they go out; the pongs are read. */
export const pingFlood: Attack = async (target, token) => {
  const attacker = await Attacker.open(target, bearer(token));
  const ping = encodeFrame({ opcode: 9, payload: 'p'.repeat(125) });
  await attacker.repeat(batch(65_536, () => ping), 1_000); // prettier-ignore
  return [attacker];
};

/** The same without reading the pongs. */
export const pingsUnread: Attack = async (target, token) => {
  const attacker = await Attacker.open(target, bearer(token));
  attacker.socket.pause();
  for (let i = 0; i < 20_000; i++) {
    if (!(await attacker.write(encodeFrame({ opcode: 9, payload: 'p'.repeat(125) })))) break;
  }
  return [attacker];
};

/** Pongs that nobody asked for, 32 MiB of them. */
export const pongFlood: Attack = async (target, token) => {
  const attacker = await Attacker.open(target, bearer(token));
  const pong = encodeFrame({ opcode: 10 });
  await attacker.repeat(batch(65_536, () => pong), 512); // prettier-ignore
  return [attacker];
};

/** Frames that claim to be as long as can be written, with something behind them. */
export const hugeLengths: Attack = async (target, token) => {
  const attackers: Attacker[] = [];
  for (const declared of [65_537n, 1n << 31n, (1n << 53n) - 1n, (1n << 64n) - 1n]) {
    const attacker = await Attacker.open(target, bearer(token));
    await attacker.write(encodeFrame({ opcode: 2, declared, lengthBits: 64 }));
    await attacker.repeat(Buffer.alloc(65_536), 16);
    attackers.push(attacker);
  }
  return attackers;
};

/** JSON as deep, and as full of what has to be looked at twice, as a message can hold. */
export const deepJson: Attack = async (target, token) => {
  const bodies = [
    '['.repeat(65_000),
    `{"event":"echo","data":${'['.repeat(30)}${'{},'.repeat(20_000)}`,
    `{"event":"echo","data":[${'{"a":[]},'.repeat(7_000)}{"\\u005f_proto__":1}]}`,
    `{"event":"echo","data":"${'\\u0061'.repeat(10_000)}"}`,
    `{"event":"echo","data":[${'"__proto__",'.repeat(5_000)}"__proto__"]}`,
  ];
  const attackers: Attacker[] = [];
  for (const body of bodies) {
    const attacker = await Attacker.open(target, bearer(token));
    await attacker.repeat(textFrame(body), 40);
    attackers.push(attacker);
  }
  return attackers;
};

/** Closes as RFC 6455 has it, and never lets go of the TCP connection. */
export const closeWithoutEnd: Attack = async (target, token) => {
  const attackers = await Promise.all(Array.from({ length: 100 }, () => Attacker.open(target, bearer(token))));
  await Promise.all(attackers.map((attacker) => attacker.write(closeFrame(1000))));
  return attackers;
};

/** Sends messages as fast as they are read. */
export const messageFlood: Attack = async (target, token) => {
  const attacker = await Attacker.open(target, bearer(token));
  const message = request('echo', null);
  await attacker.repeat(batch(65_536, () => message), 1_000); // prettier-ignore
  return [attacker];
};

/** Connects, shakes hands and is gone, two thousand times. */
export const handshakeFlood: Attack = async (target) => {
  await inTurns(2_000, 20, async () => {
    const attacker = await Attacker.connect(target);
    await attacker.write(handshake('/ws'));
    attacker.end();
  });
  return [];
};

/** A bad token with every handshake: no two are alike, so that none is remembered. */
export const badTokens: Attack = async (target) => {
  await inTurns(2_000, 20, async () => {
    const attacker = await Attacker.connect(target);
    await attacker.write(handshake('/ws', bearer(`${'e30'}.${randomBytes(300).toString('base64url')}.x`)));
    await once(attacker.socket, 'data').catch(() => undefined); // cut, which will do
    attacker.end();
  });
  return [];
};

/** Up to `width` at once, `count` in all. */
async function inTurns(count: number, width: number, run: () => Promise<void>): Promise<void> {
  let left = count;
  const lane = async (): Promise<void> => {
    while (left-- > 0) await run();
  };
  await Promise.all(Array.from({ length: width }, lane));
}

/** The most that one hostile client may make the server hold, in bytes. */
export const MAX_HELD = 16 * MIB;
