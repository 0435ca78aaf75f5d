import { ConnectedSocket, MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { of } from 'rxjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  arrays,
  CurrentSession,
  Public,
  RateLimit,
  SubscribeBinary,
  UseProtocol,
  WsMonitor,
  WsSession,
  WsSessions,
} from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';

let received: Buffer[] = [];
let gates: (() => void)[] = [];

@WebSocketGateway({ path: '/audio' })
class Audio {
  @SubscribeBinary('audio') async part(
    @MessageBody() part: Buffer,
    @CurrentSession() session: WsSession,
  ): Promise<unknown> {
    received.push(part);
    if (part[0] === 1) throw new Error('broken');
    if (part[0] === 2) return { parts: received.length };
    if (part[0] === 3) return of(Buffer.from([3, 1]), Buffer.from([3, 2]));
    if (part[0] === 4) return void session.sendBinary(part);
    if (part[0] === 5) await new Promise<void>((resolve) => gates.push(resolve));
    return part;
  }
  @SubscribeMessage('one') one(): Buffer {
    return Buffer.from([7]);
  }
  @SubscribeMessage('later') async later(): Promise<Uint8Array> {
    return new Uint8Array([8]);
  }
  @SubscribeMessage('stream') async *stream(): AsyncGenerator<Buffer> {
    yield Buffer.from([1]);
    yield Buffer.from([2]);
  }
  @SubscribeMessage('big') async big(): Promise<Buffer> {
    return Buffer.alloc(1_500_000);
  }
  @SubscribeMessage('wrong') wrong(@CurrentSession() session: WsSession): boolean {
    return session.sendBinary('text' as never);
  }
  @SubscribeMessage('text') text(): string {
    return 'text';
  }
}

@WebSocketGateway({ path: '/open' })
class Open {
  @RateLimit({ limit: 2, perMs: 60_000 }) @Public() @SubscribeBinary() take(_: unknown, data: Buffer): Buffer {
    return data;
  }
}

@UseProtocol(arrays())
@WebSocketGateway({ path: '/arrays' })
class Arrays {
  @SubscribeBinary() take(@ConnectedSocket() _: unknown, @MessageBody() data: Buffer): number {
    return data.length;
  }
}

@WebSocketGateway({ path: '/none' })
class None {}

let test: TestApp;
let client: RawClient;
beforeAll(async () => {
  const limits = { maxMessageBytes: 10_000, maxOutboundBytes: 65_536 };
  test = await startApp({ gateways: [Audio, Open, Arrays, None], options: { limits } });
});
afterAll(stopApps);
beforeEach(async () => {
  [received, gates] = [[], []];
  test.log.lines.length = 0;
  client = await RawClient.connect(`${test.url}/audio`, { token: token() });
});
afterEach(async () => {
  for (const { socket } of test.app.get(WsSessions).find()) socket.terminate();
  await until(() => test.app.get(WsSessions).count() === 0);
});

const ask = async (...bytes: number[]): Promise<unknown> => {
  client.send(Buffer.from(bytes));
  const answer = await client.next();
  return typeof answer === 'string' ? (JSON.parse(answer) as unknown) : [...answer];
};

describe('a binary message', () => {
  it('reaches its handler as a Buffer of its own, and a Buffer goes back', async () => {
    expect(await ask(0, 1, 2)).toEqual([0, 1, 2]);
    expect(received[0]?.buffer.byteLength).toBe(3);
    expect(await ask(4)).toEqual([4]);
    client.send('{"event":"text","id":1}');
    expect(await client.json()).toEqual({ event: 'text', data: 'text', id: 1 });
  });

  it('may be answered by what is no Buffer, by a stream, or by an exception', async () => {
    expect(await ask(2)).toEqual({ event: 'audio', data: { parts: 1 } });
    expect(await ask(3)).toEqual([3, 1]);
    expect(await client.next()).toEqual(Buffer.from([3, 2]));
    expect(await ask(1)).toMatchObject({ event: 'exception', data: { code: 'INTERNAL' } });
    expect(test.log.lines).toMatchObject([{ code: 'INTERNAL', event: 'audio' }]);
  });

  it('waits for its turn as a text does, and stays binary', async () => {
    client.send(Buffer.from([5]));
    await until(() => gates.length === 1);
    for (let i = 0; i < 20; i++) client.send(Buffer.from([5, i]));
    await until(() => gates.length === 16);
    while (gates.length > 0 || received.length < 21) {
      for (const open of gates.splice(0)) open();
      await new Promise(setImmediate);
    }
    const answers: unknown[] = [];
    for (let i = 0; i < 21; i++) answers.push((await client.next()).length);
    expect(answers).toEqual([1, ...Array.from({ length: 20 }, () => 2)]);
  });

  it('stands behind the guard, the size, the rate limit and the metrics', async () => {
    const stranger = await RawClient.connect(`${test.url}/audio`);
    stranger.send(Buffer.from([0]));
    expect(await stranger.json()).toMatchObject({ event: 'exception', data: { code: 'UNAUTHENTICATED' } });
    expect(received).toEqual([]);
    const events: unknown[] = [];
    const off = test.app.get(WsMonitor).on('message', ({ event }) => void events.push(event));
    const open = await RawClient.connect(`${test.url}/open`);
    for (const byte of [1, 2]) {
      open.send(Buffer.from([byte]));
      expect(await open.next()).toEqual(Buffer.from([byte]));
    }
    open.send(Buffer.from([3]));
    expect(await open.json()).toMatchObject({ event: 'exception', data: { code: 'RATE_LIMITED' } });
    off();
    expect(events).toEqual(['binary', 'binary', 'binary']);
    client.send(Buffer.alloc(10_001));
    expect((await client.closed).code).toBe(1009);
  });

  it('counts in the budget of messages, over which it is RATE_LIMITED and then the end', async () => {
    const limits = { messagesPerSecond: 1, messageBurst: 3 };
    const { url } = await startApp({ gateways: [Audio], options: { limits } });
    const peer = await RawClient.connect(`${url}/audio`, { token: token() });
    for (let i = 0; i < 3; i++) {
      peer.send(Buffer.from([0]));
      expect(await peer.next()).toEqual(Buffer.from([0]));
    }
    for (let i = 0; i < 4; i++) peer.send(Buffer.from([0]));
    const texts = (await peer.rest()).map((message) => (JSON.parse(message.toString()) as { data: unknown }).data);
    expect(texts).toMatchObject(Array.from({ length: texts.length }, () => ({ code: 'RATE_LIMITED' })));
    expect((await peer.closed).code).toBe(4129);
  });

  it('goes beside the events of another protocol', async () => {
    const peer = await RawClient.connect(`${test.url}/arrays`, { token: token() });
    expect(await peer.ask(Buffer.alloc(5))).toEqual(['binary', 5]);
    expect(await peer.ask(['ping'])).toEqual(['pong', null]);
  });

  it('is 1003 where no method takes it', async () => {
    const peer = await RawClient.connect(`${test.url}/none`, { token: token() });
    peer.send(Buffer.from([1]));
    expect(await peer.rest()).toHaveLength(1);
    expect(await peer.closed).toEqual({ code: 1003, reason: 'UNSUPPORTED_DATA' });
  });
});

describe('a Buffer that a handler of an event returns', () => {
  it.each([
    ['one', 7],
    ['later', 8],
  ])('is a binary message, after which a request with an id has its reply: %s', async (event, byte) => {
    client.send({ event, id: 1 });
    expect(await client.next()).toEqual(Buffer.from([byte]));
    expect(await client.json()).toEqual({ event, data: null, id: 1 });
    client.send({ event });
    expect(await client.next()).toEqual(Buffer.from([byte]));
    expect(await client.ask({ event: 'text', id: 2 })).toMatchObject({ id: 2 });
  });

  it('is a value of a stream', async () => {
    client.send({ event: 'stream', id: 1 });
    expect([await client.next(), await client.next()]).toEqual([Buffer.from([1]), Buffer.from([2])]);
    expect(await client.json()).toEqual({ event: 'stream', id: 1, done: true });
  });

  it('waits, with its reply, while the peer is behind with its reading', async () => {
    client.send({ event: 'text', id: 0 });
    await client.next();
    client.socket.pause();
    for (let id = 1; id <= 8; id++) client.send({ event: 'big', id });
    const [session] = test.app.get(WsSessions).find();
    await until(() => (session?.socket.bufferedAmount ?? 0) > 65_536);
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    client.socket.resume();
    const ids: unknown[] = [];
    for (let id = 1; id <= 8; id++) {
      expect(await client.next()).toHaveLength(1_500_000);
      ids.push(((await client.json()) as { id: number }).id);
      test.clock.advance(250);
    }
    expect(ids).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(session?.phase).toBe('open');
  });
});

it('session.sendBinary() takes bytes, and says so where the session has ended', async () => {
  expect(await client.ask({ event: 'wrong', id: 1 })).toMatchObject({ data: { code: 'INTERNAL' } });
  const [session] = test.app.get(WsSessions).find();
  expect(session?.sendBinary(Buffer.from([1]))).toBe(true);
  session?.close(1000);
  expect(session?.sendBinary(Buffer.from([1]))).toBe(false);
});

it('two methods for the binary messages of a path stop the start', async () => {
  @WebSocketGateway({ path: '/audio' })
  class Also {
    @SubscribeBinary() take(): void {}
  }
  await expect(startApp({ gateways: [Audio, Also] })).rejects.toThrow('Also takes binary messages at /audio');
});
