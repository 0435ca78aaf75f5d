import { Injectable } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsInt } from 'class-validator';
import { of } from 'rxjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  Public,
  RateLimit,
  Roles,
  UseProtocol,
  WsMonitor,
  WsProtocol,
  WsSession,
  WsSessions,
} from '../../src/index.js';
import type { Decoded, Encoded, ExceptionData, FailedRequest, Reply } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { FAULT, FAULTS } from '../support/foreign.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';

type Call = 'decode' | 'reply' | 'push' | 'exception' | 'disconnect';

/** What a method of the protocol does instead of its job. */
let faulty: { readonly call: Call; readonly how: () => unknown } | undefined;

function at<T>(call: Call, answer: () => T): T {
  return faulty?.call === call ? (faulty.how() as T) : answer(); // because a fault keeps to no type
}

@Injectable()
class Prefix {
  readonly text = '>';
}

/** `id event data`, in words. */
@Injectable()
class Words extends WsProtocol {
  override readonly subprotocols = ['words.v2', 'words.v1'];

  constructor(private readonly prefix: Prefix) {
    super();
  }
  decode(message: string | Buffer, isBinary: boolean, session: WsSession): Decoded {
    return at('decode', () => {
      if (isBinary) return { event: 'bytes', data: { bytes: message.length }, id: 'b' };
      if (message === '') return undefined;
      if (message.toString().startsWith('many')) {
        return Array.from({ length: Number(message.slice(4)) }, (_, id) => ({ event: 'double', data: { n: id }, id }));
      }
      const [id = '', event = '', data] = message.toString().split(' ');
      if (event === 'bad') throw new Error(`no such words: ${session.id}`);
      return { event, data: data === undefined ? undefined : { n: Number(data) }, id };
    });
  }
  reply({ event, data, id, done, isStream, isCancelled }: Reply): Encoded | undefined {
    return at('reply', () => {
      if (data === 'silence') return undefined;
      if (data === 'bytes') return Buffer.from([1, 2]);
      const flags = [isStream && 'stream', done && 'done', isCancelled && 'cancelled'].filter(Boolean).join(' ');
      return `${this.prefix.text} ${id} ${event} ${JSON.stringify(data)} ${flags}`.trim();
    });
  }
  push(event: string, data: unknown): Encoded | undefined {
    return at('push', () => `! ${event} ${JSON.stringify(data)}`);
  }
  exception({ code }: ExceptionData, { id, event }: FailedRequest): Encoded | undefined {
    return at('exception', () => `? ${id} ${event} ${code}`);
  }
  disconnect({ code }: { code: string }, session: WsSession | undefined): Encoded | undefined {
    return at('disconnect', () => `. ${code} ${session === undefined ? 'stranger' : 'session'}`);
  }
}

class Numbered {
  @IsInt() n!: number;
}

@UseProtocol(Words)
@WebSocketGateway({ path: '/words' })
class WordsGateway {
  @SubscribeMessage('double') double(@MessageBody() { n }: Numbered): number {
    return n * 2;
  }
  @SubscribeMessage('later') async later(@MessageBody() { n }: Numbered): Promise<number> {
    return n;
  }
  @SubscribeMessage('stream') stream(): unknown {
    return of(1, 2);
  }
  @SubscribeMessage('silence') silence(): string {
    return 'silence';
  }
  @SubscribeMessage('out') out(): string {
    return 'bytes';
  }
  @SubscribeMessage('bytes') bytes(@MessageBody() data: unknown): unknown {
    return data;
  }
  @Roles('admin') @SubscribeMessage('admin') admin(): number {
    return 1;
  }
  @RateLimit({ limit: 1, perMs: 60_000 }) @SubscribeMessage('once') once(): number {
    return 1;
  }
  @Public() @SubscribeMessage('open') open(): number {
    return 1;
  }
}

@WebSocketGateway({ path: '/words' })
class MoreWords {
  @SubscribeMessage('more') more(): string {
    return 'more';
  }
}

@WebSocketGateway()
class Plain {
  @SubscribeMessage('double') double(@MessageBody() { n }: Numbered): number {
    return n * 2;
  }
}

let test: TestApp;
let client: RawClient;
beforeAll(async () => {
  test = await startApp({
    gateways: [WordsGateway, MoreWords, Plain],
    providers: [Prefix, Words],
    options: { limits: { messageBurst: 50, maxBadFrames: 1_000 }, auth: { timeoutMs: 60_000 } },
  });
});
afterAll(stopApps);
beforeEach(async () => {
  client = await RawClient.connect(`${test.url}/words`, { token: token(), protocols: ['words.v1'] });
  test.log.lines.length = 0;
});
afterEach(async () => {
  faulty = undefined;
  for (const { socket } of test.app.get(WsSessions).find()) socket.terminate();
  await until(() => test.app.get(WsSessions).count() === 0);
});

const ask = async (words: string | Buffer): Promise<string | Buffer> => {
  client.send(words);
  return client.next();
};
const log = (): string[] => test.log.lines.map(({ code, event }) => (event === undefined ? code : `${code} ${event}`));

describe('a protocol of the application', () => {
  it('reads requests and writes replies, for all gateways of its path', async () => {
    expect(await ask('1 double 4')).toBe('> 1 double 8');
    expect(await ask('2 later 4')).toBe('> 2 later 4');
    expect(await ask('3 more')).toBe('> 3 more "more"');
    expect(await ask('4 ping')).toBe('> 4 pong null');
    const plain = await Client.connect(`${test.url}/ws`, { token: token() });
    expect(await plain.ask({ event: 'double', data: { n: 2 }, id: 1 })).toEqual({ event: 'double', data: 4, id: 1 });
    await plain.close();
  });

  it('writes a stream, its end, and the end of one that is cancelled', async () => {
    client.send('1 stream');
    expect([await client.next(), await client.next(), await client.next()]).toEqual([
      '> 1 stream 1 stream',
      '> 1 stream 2 stream',
      '> 1 stream undefined stream done',
    ]);
  });

  it('may say nothing, and may write bytes', async () => {
    client.send('1 silence');
    client.send('');
    expect(await ask('2 out')).toEqual(Buffer.from([1, 2]));
    expect(await ask(Buffer.from([0, 0, 0]))).toBe('> b bytes {"bytes":3}');
    expect(log()).toEqual([]);
  });

  it('writes the exceptions of guard, pipe, rules, budget and handler', async () => {
    expect(await ask('1 admin')).toBe('? 1 admin FORBIDDEN');
    expect(await ask('2 double x')).toBe('? 2 double VALIDATION_FAILED');
    expect(await ask('3 nothing')).toBe('? 3 undefined UNKNOWN_EVENT');
    expect(await ask('4 once')).toBe('> 4 once 1');
    expect(await ask('5 once')).toBe('? 5 once RATE_LIMITED');
    const stranger = await RawClient.connect(`${test.url}/words`);
    stranger.send('1 double 1');
    expect(await stranger.next()).toBe('? 1 undefined UNAUTHENTICATED');
    stranger.send('2 open');
    expect(await stranger.next()).toBe('> 2 open 1');
    stranger.send('a.b.c');
    expect(await stranger.next()).toContain('BAD_FRAME');
    stranger.socket.terminate();
  });

  it('writes pushes and broadcasts, once for each language', async () => {
    const plain = await Client.connect(`${test.url}/ws`, { token: token() });
    const [session] = test.app.get(WsSessions).find();
    expect(session?.send('news', { a: 1 })).toBe(true);
    expect(await client.next()).toBe('! news {"a":1}');
    expect(test.app.get(WsSessions).broadcast('all', 1)).toBe(2);
    expect(await client.next()).toBe('! all 1');
    expect(await plain.next()).toEqual({ event: 'all', data: 1 });
    await plain.close();
  });

  it('writes the end of a session, and of one that never began', async () => {
    test.app.get(WsSessions).find()[0]?.close('CONFLICT');
    expect(await client.rest()).toEqual(['. CONFLICT session']);
    expect((await client.closed).code).toBe(4400);
    const bad = await RawClient.connect(`${test.url}/words`, { token: 'bad' });
    expect(await bad.rest()).toEqual(['. TOKEN_INVALID stranger']);
    expect((await bad.closed).code).toBe(3000);
  });

  it('may find several requests in a message, each of which costs as much as one that comes alone', async () => {
    client.send('many3');
    expect([await client.next(), await client.next(), await client.next()]).toEqual([
      '> 0 double 0',
      '> 1 double 2',
      '> 2 double 4',
    ]);
  });

  it('is metered, and told of in events, as the envelope is', async () => {
    const events: unknown[] = [];
    const off = test.app.get(WsMonitor).on('message', ({ event, ok }) => void events.push([event, ok]));
    await ask('1 double 4');
    await ask('2 double x');
    off();
    expect(events).toEqual([
      ['double', true],
      ['double', false],
    ]);
  });
});

describe('requests that one message holds', () => {
  it('are over the budget one by one', async () => {
    const { url } = await startApp({
      gateways: [WordsGateway],
      providers: [Prefix, Words],
      options: { limits: { messagesPerSecond: 1, messageBurst: 5 } },
    });
    const peer = await RawClient.connect(`${url}/words`, { token: token() });
    peer.send('many8');
    const frames: unknown[] = [];
    for (let i = 0; i < 8; i++) frames.push((await peer.next()).toString());
    expect(frames).toEqual([
      ...[0, 1, 2, 3, 4].map((id) => `> ${id} double ${id * 2}`),
      ...[5, 6, 7].map((id) => `? ${id} undefined RATE_LIMITED`),
    ]);
    peer.send('many8');
    expect((await peer.rest()).at(-1)).toBe('. RATE_LIMITED session');
    expect((await peer.closed).code).toBe(4129);
  });
});

describe('a protocol at fault', () => {
  it.each([
    ['throws', FAULTS.throws, 'BAD_FRAME'],
    ['throws what throws when inspected', () => thrown(new Proxy({}, { get: FAULTS.throws })), 'BAD_FRAME'],
    ['rejects', FAULTS.rejects, 'INTERNAL'],
    ['hangs', FAULTS.hangs, 'INTERNAL'],
    ['returns a text', () => 'text', 'INTERNAL'],
    ['returns no event', () => ({}), 'BAD_FRAME'],
    ['returns an event that is no text', () => ({ event: 1, id: 7 }), 'BAD_FRAME'],
    ['returns a getter that throws', () => Object.defineProperty({}, 'event', { get: FAULTS.throws }), 'BAD_FRAME'],
    ['returns a list of no objects', () => [1], 'INTERNAL'],
  ])('whose decode() %s is answered by its exception', async (_, how, code) => {
    faulty = { call: 'decode', how };
    expect(await ask('1 double 1')).toMatch(new RegExp(`^\\? (undefined|7) undefined ${code}$`));
    expect(log()).toEqual([code]);
    faulty = undefined;
    expect(await ask('2 double 1')).toBe('> 2 double 2');
  });

  it.each([
    ['throws', FAULTS.throws],
    ['rejects', FAULTS.rejects],
    ['returns a number', () => 1],
  ])('whose reply() %s is INTERNAL for the request', async (_, how) => {
    faulty = { call: 'reply', how };
    expect(await ask('1 double 1')).toBe('? 1 double INTERNAL');
    expect(await ask('2 later 1')).toBe('? 2 later INTERNAL');
    expect(await ask('3 stream')).toBe('? 3 stream INTERNAL');
    expect(log()).toEqual(['INTERNAL double', 'INTERNAL later', 'INTERNAL stream']);
  });

  it.each([
    ['throws', FAULTS.throws],
    ['rejects', FAULTS.rejects],
    ['returns an object', () => ({})],
  ])('whose exception() or disconnect() %s says nothing, and the log has it', async (_, how) => {
    faulty = { call: 'exception', how };
    client.send('1 admin');
    await until(() => test.log.lines.length === 2);
    expect(log()).toEqual(['INTERNAL protocol.exception', 'FORBIDDEN admin']);
    faulty = { call: 'disconnect', how };
    test.app.get(WsSessions).find()[0]?.close('CONFLICT');
    expect(await client.rest()).toEqual([]);
    expect((await client.closed).reason).toBe('CONFLICT');
    expect(log().slice(2)).toEqual(['INTERNAL protocol.disconnect', 'CONFLICT']);
  });

  it('whose push() throws fails the call of the application, and what the session pushes by itself is in the log', async () => {
    faulty = { call: 'push', how: FAULTS.throws };
    const sessions = test.app.get(WsSessions);
    expect(() => sessions.find()[0]?.send('news', 1)).toThrow(FAULT);
    expect(() => sessions.broadcast('news', 1)).toThrow(FAULT);
    const exp = Math.floor(test.clock.now() / 1_000) + 20;
    await RawClient.connect(`${test.url}/words`, { token: token({ exp }) });
    test.clock.advance(1_000);
    expect(log()).toEqual(['INTERNAL protocol.push']);
  });
});

function thrown(error: unknown): never {
  throw error;
}

describe('subprotocols', () => {
  it('are selected as the client prefers them, and are no duty', async () => {
    const both = await RawClient.connect(`${test.url}/words`, {
      protocols: ['x', 'words.v1', 'words.v2', `bearer.${token()}`],
    });
    expect(both.socket.protocol).toBe('words.v1');
    both.send('1 double 1');
    expect(await both.next()).toBe('> 1 double 2');
    both.socket.terminate();
    const none = await RawClient.connect(`${test.url}/words`, { token: token() });
    expect(none.socket.protocol).toBe('');
    none.socket.terminate();
  });

  it.each([
    [
      ['mqtt', 'x'.repeat(100)],
      'The subprotocols offered are mqtt, one of 100 characters; this path speaks words.v2, words.v1',
      '/words',
    ],
    [
      ['a', 'b', 'c', 'd', 'e', 'f', 'g'],
      'The subprotocols offered are a, b, c, d, e, 2 more; this path speaks words.v2, words.v1',
      '/words',
    ],
    [['mqtt'], 'The subprotocols offered are mqtt; this path speaks ws-gateway.v1', '/ws'],
  ])('%j are refused with both names', async (protocols, message, path) => {
    expect(await refusal(`${test.url}${path}`, { protocols })).toMatchObject({
      status: 400,
      body: { code: 'BAD_UPGRADE', message },
    });
    expect(test.log.lines).toMatchObject([{ code: 'BAD_UPGRADE', message }]);
  });
});

describe('the start', () => {
  const gatewayWith = (protocol: unknown): new () => object => {
    @UseProtocol(protocol as never)
    @WebSocketGateway({ path: '/words' })
    class Other {}
    return Other;
  };
  const { decode, reply, push, exception, disconnect } = Words.prototype;
  const methods = { decode, reply, push, exception, disconnect };

  it.each([
    ['lacks a method', { ...methods, push: undefined, reply: 1 }, 'The protocol of Other has no reply, no push'],
    ['has subprotocols that none can be', { ...methods, subprotocols: ['a b'] }, 'no list of tokens'],
    ['has subprotocols that are no list', { ...methods, subprotocols: 'words' }, 'no list of tokens'],
    ['is another than that of a gateway at the same path', { ...methods }, 'has another protocol at /words'],
  ])('is stopped by a protocol that %s', async (_, protocol, problem) => {
    const gateways = [WordsGateway, gatewayWith(protocol)];
    await expect(startApp({ gateways, providers: [Prefix, Words] })).rejects.toThrow(problem);
  });

  it('makes a protocol that is no provider, once for a path', async () => {
    const { url } = await startApp({ gateways: [WordsGateway, gatewayWith(Words)], providers: [Prefix] });
    const peer = await RawClient.connect(`${url}/words`, { token: token() });
    peer.send('1 double 1');
    expect(await peer.next()).toBe('> 1 double 2');
  });
});
