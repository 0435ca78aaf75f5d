import { ValidationPipe } from '@nestjs/common';
import type { INestApplication, PipeTransform, Provider, Type } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Test } from '@nestjs/testing';
import type { AddressInfo } from 'node:net';
import { startApp } from '../../support/app.js';
import { Client } from '../../support/client.js';
import type { Frame } from '../../support/client.js';
import { token } from '../../support/tokens.js';

/** What most applications write in their main file. */
export const usualPipe = (): PipeTransform => new ValidationPipe({ transform: true, whitelist: true });

/** Why an answer differs, and what this module's is. */
export interface Difference {
  readonly because: string;
  readonly ours: readonly Frame[];
}

/** One message, and how many answers it has. */
export interface Case {
  readonly name: string;
  readonly event: string;
  readonly data?: unknown;
  readonly differs?: Difference;
}

const MARK = 'parity.mark';

/** Answers when all that was sent before it has been answered. */
@WebSocketGateway()
class MarkGateway {
  @SubscribeMessage(MARK)
  async mark(): Promise<object> {
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    return { event: MARK, data: null };
  }
}

interface Setup {
  readonly gateways: Type[];
  readonly providers?: Provider[];
  readonly pipes?: () => PipeTransform[];
  /** Forgets what the last handler left behind. */
  readonly reset?: () => void;
}

/** The same gateways on stock Nest and on this module. */
export class Both {
  private constructor(
    private readonly stockApp: INestApplication,
    private readonly stock: Client,
    private readonly ours: Client,
    private readonly reset: () => void,
  ) {}

  static async start({ gateways, providers = [], pipes = () => [], reset = () => undefined }: Setup): Promise<Both> {
    const all = [...gateways, MarkGateway];
    const testing = await Test.createTestingModule({ providers: [...all, ...providers] }).compile();
    const stockApp = testing.createNestApplication({ logger: false });
    stockApp.useWebSocketAdapter(new WsAdapter(stockApp));
    stockApp.useGlobalPipes(...pipes());
    await stockApp.listen(0, '127.0.0.1');
    const { port } = stockApp.getHttpServer().address() as AddressInfo;
    const { url } = await startApp({
      gateways: all,
      providers,
      before: (app) => app.useGlobalPipes(...pipes()),
      options: {
        limits: { messageBurst: 10_000, messagesPerSecond: 10_000 },
        firewall: { ban: { violations: 100_000 } },
      },
    });
    return new Both(
      stockApp,
      await Client.connect(`ws://127.0.0.1:${port}/`),
      await Client.connect(`${url}/ws`, { token: token() }),
      reset,
    );
  }

  /** The answers of each to the same message. */
  async ask({ event, data }: Case): Promise<{ stock: Frame[]; ours: Frame[] }> {
    this.reset();
    const stock = await answersOf(this.stock, { event, data });
    this.reset();
    return { stock, ours: await answersOf(this.ours, { event, data }) };
  }

  async stop(): Promise<void> {
    await this.stock.close();
    await this.stockApp.close();
  }
}

async function answersOf(client: Client, message: object): Promise<Frame[]> {
  const answers: Frame[] = [];
  client.send(message);
  client.send({ event: MARK });
  for (;;) {
    const frame = await client.next();
    if (frame.event === MARK) return answers;
    answers.push(frame);
  }
}

/** An exception without its words: the module has a code, details and advice beside what Nest says. */
export const withoutWords = (frames: readonly Frame[]): unknown[] =>
  frames.map((frame) => (frame.event === 'exception' ? { event: 'exception' } : frame));
