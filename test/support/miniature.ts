import { Global, Module } from '@nestjs/common';
import type { DynamicModule, INestApplication, Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { SystemClock } from '../../src/base/clock.js';
import { ERRORS, FailureSink, WsClock, WsMonitor, WsSessions } from '../../src/index.js';
import type { ErrorSpec } from '../../src/index.js';
import { FAILURE_KINDS } from '../../src/monitoring/ws-monitor.js';
import { until } from './app.js';
import { closeFrame, encodeFrame } from './frames.js';
import { VIOLATIONS } from './hostile-messages.js';
import type { Hostile } from './hostile-messages.js';
import { Peer } from './peer.js';
import type { ServerFrame } from './peer.js';
import { handshake } from './tcp.js';

/** How long a server under attack may take for an answer, in milliseconds. */
const PATIENCE_MS = 5_000;

/** Time for the budget of a witness between two attacks, in milliseconds. */
const RESPITE_MS = 200;

/** More messages than any session has a budget for. */
const FLOOD = 600;

@Global()
@Module({ providers: [{ provide: FailureSink, useValue: { write: () => undefined } }], exports: [FailureSink] })
class QuietModule {
  static of(application: Type): DynamicModule {
    return { module: QuietModule, imports: [application] };
  }
}

/** That of the system, which a test can put forward. */
class HastyClock extends SystemClock {
  #ahead = 0;

  override now(): number {
    return super.now() + this.#ahead;
  }

  override monotonic(): number {
    return super.monotonic() + this.#ahead;
  }

  jump(ms: number): void {
    this.#ahead += ms;
  }
}

/** An application of `test/apps` as it is, with its own options. */
export class Miniature {
  readonly url: string;
  readonly port: number;
  /** Codes of the failures that were reported, by the address that they are about; that a client has left is none. */
  readonly reported = new Map<string | undefined, string[]>();
  readonly #deaths: unknown[] = [];
  readonly #noteDeath = (error: unknown): void => void this.#deaths.push(error);

  private constructor(
    readonly app: INestApplication,
    readonly clock: HastyClock,
  ) {
    this.port = (app.getHttpServer().address() as AddressInfo).port;
    this.url = `ws://127.0.0.1:${this.port}`;
    app.get(WsMonitor).on([...FAILURE_KINDS], ({ clientAddress, code }) => {
      if ((ERRORS as Record<string, ErrorSpec>)[code]?.isEnd === true) return;
      this.reported.set(clientAddress, [...(this.reported.get(clientAddress) ?? []), code]);
    });
    process.on('uncaughtException', this.#noteDeath).on('unhandledRejection', this.#noteDeath);
  }

  static async start(application: Type): Promise<Miniature> {
    const clock = new HastyClock();
    const testing = Test.createTestingModule({ imports: [QuietModule.of(application)] });
    const module = await testing.overrideProvider(WsClock).useValue(clock).compile();
    const app = module.createNestApplication({ logger: false });
    await app.listen(0, '127.0.0.1');
    return new Miniature(app, clock);
  }

  get sessions(): WsSessions {
    return this.app.get(WsSessions);
  }

  /** @throws AssertionError where anything would have ended the process */
  async stop(): Promise<void> {
    await this.app.close();
    process.off('uncaughtException', this.#noteDeath).off('unhandledRejection', this.#noteDeath);
    expect(this.#deaths).toEqual([]);
  }
}

/** What an application is attacked by, and how it is known that it serves meanwhile. */
export interface Siege {
  readonly miniature: () => Miniature;
  /** The path and the header lines of the n-th attacker, none of whom is banned for another. */
  readonly attacker: (n: number) => { readonly path: string; readonly headers?: string[] };
  readonly hostile: readonly Hostile[];
  /** A message as it should be. */
  readonly probe: Buffer;
  /** True for what answers the probe. */
  readonly isServed: (message: string | Buffer) => boolean;
  /** True for what tells a client of this wire that its message was refused. */
  readonly isRefusal: (message: string | Buffer) => boolean;
  /** The hostile messages that this wire has no answer for: the log has a line of them. */
  readonly unanswerable?: RegExp;
  /** Those that are legitimate on this wire. */
  readonly harmless?: RegExp;
  /** Has a client of the application's own served. */
  readonly witness: () => Promise<unknown>;
}

/** What the server has written to an attacker. */
interface Aftermath {
  readonly messages: (string | Buffer)[];
  readonly close: { readonly code: number; readonly reason: string } | undefined;
  /** Codes that were reported of its address. */
  readonly reported: readonly string[];
}

const NONE = /^$/;

let attackers = 0;

/** Attacks, each by a connection from an address of its own. To be called within `describe()`. */
export function withstands(siege: Siege): void {
  const { hostile, isRefusal, unanswerable = NONE, harmless = NONE } = siege;

  it.each(VIOLATIONS)('closes for $name by $code', async ({ bytes, code }) => {
    const { close, reported } = await attack(siege, bytes);
    expect(close).toEqual({ code: ERRORS[code].close, reason: code });
    expect(reported).toEqual([code]);
  });

  it.each(hostile)('outlives $name', async ({ name, bytes }) => {
    const { messages, close, reported } = await attack(siege, bytes);
    const isRefused = messages.some(isRefusal);
    const isClosed = close !== undefined && (ERRORS as Record<string, ErrorSpec>)[close.reason]?.close === close.code;
    expect(isClosed || close?.code === 1000).toBe(true);
    const told = reported.length === 0 ? 'nothing' : isRefused || isClosed ? 'a refusal' : 'a line of the log';
    const silence = harmless.test(name) ? 'nothing' : unanswerable.test(name) && 'a line of the log';
    const expected = silence || 'a refusal';
    expect([told, messages]).toEqual([expected, messages]); // the messages are for who reads the failure
  });

  it('ends a flood by RATE_LIMITED', async () => {
    const { close } = await attack(siege, Buffer.concat(Array<Buffer>(FLOOD).fill(siege.probe)));
    expect(close).toEqual({ code: ERRORS.RATE_LIMITED.close, reason: 'RATE_LIMITED' });
  });

  it.each([
    ['a frame', encodeFrame({ opcode: 1, payload: 'x', declared: 100n })],
    ['a header', Buffer.from([0x81])],
    ['a message', encodeFrame({ opcode: 2, payload: 'x', fin: false })],
  ])('forgets a client that leaves within %s', async (_, bytes) => {
    const { sessions } = siege.miniature();
    const peer = await connected(siege, () => undefined);
    const address = peer.socket.localAddress;
    const isThere = (): boolean => sessions.find().some(({ clientAddress }) => clientAddress === address);
    expect(isThere()).toBe(true);
    await peer.write(bytes);
    peer.socket.resetAndDestroy();
    await until(() => !isThere());
    await siege.witness();
  });
}

/** A hostile client: its frames, the probe, and a close, while the witness is served. */
async function attack(siege: Siege, bytes: Buffer): Promise<Aftermath> {
  siege.miniature().clock.jump(RESPITE_MS);
  const served = siege.witness();
  const messages: (string | Buffer)[] = [];
  let close: Aftermath['close'];
  let isServed = false;
  const peer = await connected(siege, (frame) => {
    if (frame.kind === 'close') close = frame;
    if (frame.kind !== 'text' && frame.kind !== 'binary') return;
    const message = frame.kind === 'text' ? frame.text : frame.payload;
    if (siege.isServed(message)) isServed = true;
    else messages.push(message);
  });
  const address = peer.socket.localAddress;
  await peer.write(bytes);
  await peer.write(siege.probe);
  await peer.until(() => isServed || close !== undefined, PATIENCE_MS);
  if (close === undefined) await peer.write(closeFrame(1000));
  await peer.until(() => close !== undefined, PATIENCE_MS);
  peer.socket.destroy();
  await served;
  await siege.witness();
  const { reported } = siege.miniature();
  return {
    messages,
    close: close && { code: close.code, reason: close.reason },
    reported: reported.get(address) ?? [],
  };
}

async function connected(siege: Siege, onFrame: (frame: ServerFrame) => void): Promise<Peer> {
  const n = ++attackers;
  const { path, headers } = siege.attacker(n);
  const peer = await Peer.open(siege.miniature().port, onFrame, `127.0.${2 + (n >> 8)}.${n & 255}`);
  await peer.write(Buffer.from(handshake(path, headers)));
  await peer.until(() => peer.isUpgraded || peer.isClosed, PATIENCE_MS);
  expect(peer.head).toContain('101 Switching Protocols');
  return peer;
}
