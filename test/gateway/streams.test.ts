import { Catch, Injectable, Scope, UseFilters, UseInterceptors } from '@nestjs/common';
import type { CallHandler, ExceptionFilter, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { EventEmitter, on } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { interval, map, NEVER, Observable, Subject } from 'rxjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Public, Signal, WsSessions } from '../../src/index.js';
import { ByteBudget } from '../../src/session/byte-budget.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { FAULT } from '../support/foreign.js';
import { token } from '../support/tokens.js';

/** What the handlers have seen. */
let seen: string[] = [];
let release: (() => void)[] = [];
let pulled = 0;
let fault: () => unknown = () => undefined;
const emitter = new EventEmitter();
const values = new Subject<number>();

@Injectable()
class Doubles implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((value) => (typeof value === 'number' ? value * 2 : value)));
  }
}

@Catch()
class Shrugs implements ExceptionFilter {
  catch(error: Error): never {
    throw new Error(`filtered ${error.message}`);
  }
}

async function* count(to: number): AsyncGenerator<number> {
  try {
    for (let value = 1; value <= to; value++) {
      pulled++;
      yield value;
    }
  } finally {
    seen.push('returned');
  }
}

@WebSocketGateway()
class Streams {
  @SubscribeMessage('value') value(@MessageBody() data: unknown): unknown {
    return data ?? 'value';
  }
  @Public() @SubscribeMessage('never') never(): Observable<never> {
    return new Observable(() => {
      seen.push('subscribed');
      return () => seen.push('unsubscribed');
    });
  }
  @SubscribeMessage('shared') shared(): Observable<number> {
    return values;
  }
  @SubscribeMessage('late') async late(): Promise<Observable<number>> {
    await new Promise<void>((resolve) => release.push(resolve));
    return interval(1);
  }
  @SubscribeMessage('late-iterator') async lateIterator(): Promise<AsyncIterable<unknown>> {
    const events = on(emitter, 'event');
    await new Promise<void>((resolve) => release.push(resolve));
    return events;
  }
  @SubscribeMessage('late-value') async lateValue(): Promise<string> {
    await new Promise<void>((resolve) => release.push(resolve));
    return 'late';
  }
  @SubscribeMessage('count') count(@MessageBody() to: number): AsyncGenerator<number> {
    return count(to);
  }
  @SubscribeMessage('count-later') async countLater(@MessageBody() to: number): Promise<AsyncIterable<number>> {
    return count(to);
  }
  @UseInterceptors(Doubles) @SubscribeMessage('doubled') doubled(@MessageBody() to: number): AsyncGenerator<number> {
    return count(to);
  }
  @SubscribeMessage('stuck') async *stuck(): AsyncGenerator<number> {
    await new Promise<void>((resolve) => release.push(resolve));
    yield 1;
  }
  @SubscribeMessage('breaks') async *breaks(): AsyncGenerator<number> {
    yield 1;
    throw new Error('broke');
  }
  @UseFilters(Shrugs) @SubscribeMessage('filtered') async *filtered(): AsyncGenerator<number> {
    yield 1;
    throw new Error('broke');
  }
  @SubscribeMessage('bigint') bigint(): AsyncIterable<bigint> {
    return { [Symbol.asyncIterator]: () => ({ next: async () => ({ value: 1n }), return: async () => returned() }) };
  }
  @SubscribeMessage('iterator') iterator(@MessageBody() kind: string): AsyncIterable<unknown> {
    if (kind === 'asyncIterator') return { [Symbol.asyncIterator]: () => fault() as AsyncIterator<unknown> };
    const next = (): unknown => (kind === 'next' ? fault() : new Promise(() => undefined));
    if (kind === 'bare') return { [Symbol.asyncIterator]: () => ({ next }) as AsyncIterator<unknown> };
    return { [Symbol.asyncIterator]: () => ({ next, return: () => fault() }) as AsyncIterator<unknown> };
  }
  @SubscribeMessage('big') async *big(@MessageBody() size: number): AsyncGenerator<string> {
    for (;;) {
      pulled++;
      yield 'x'.repeat(size);
    }
  }
  @SubscribeMessage('ticks') async *ticks(@Signal() signal: AbortSignal): AsyncGenerator<number> {
    seen.push('began');
    for (let value = 1; ; value++) {
      yield value;
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
    }
  }
  @SubscribeMessage('signal') async signal(@Signal() signal: AbortSignal, @MessageBody() how: string): Promise<string> {
    seen.push('began');
    const aborted = new Promise<void>((resolve) => (signal.onabort = () => resolve()));
    if (how === 'throws') {
      signal.addEventListener('abort', () => {
        throw FAULT;
      });
      signal.addEventListener('abort', async () => {
        throw FAULT;
      });
      signal.addEventListener('abort', { handleEvent: () => seen.push('object') });
      const removed = (): void => void seen.push('removed');
      signal.addEventListener('abort', removed);
      signal.removeEventListener('abort', removed);
    }
    if (how === 'timer') await wait(600_000, undefined, { signal });
    await aborted;
    seen.push((signal.reason as Error).name);
    if (how === 'rejects') signal.throwIfAborted();
    if (how === 'fails') throw new Error('a fault of its own');
    return 'stopped';
  }
  @UseInterceptors(Doubles)
  @SubscribeMessage('signal-intercepted')
  async intercepted(@Signal() signal: AbortSignal): Promise<void> {
    await wait(600_000, undefined, { signal });
  }
  @Public() @SubscribeMessage('anonymous') anonymous(): Observable<never> {
    return NEVER;
  }
}

@WebSocketGateway({ path: '/scoped' })
@Injectable({ scope: Scope.REQUEST })
class Scoped {
  @SubscribeMessage('signal') async signal(@Signal() signal: AbortSignal): Promise<void> {
    await wait(600_000, undefined, { signal });
  }
}

const returned = (): IteratorResult<never> => {
  seen.push('returned');
  return { done: true, value: undefined as never };
};

let test: TestApp;
let client: Client;
const deaths: unknown[] = [];
const died = (error: unknown): void => void deaths.push(error);
beforeAll(async () => {
  process.on('uncaughtException', died).on('unhandledRejection', died);
  test = await startApp({ gateways: [Streams, Scoped], options: { limits: { maxOutboundBytes: 65_536 } } });
});
afterAll(async () => {
  await stopApps();
  process.off('uncaughtException', died).off('unhandledRejection', died);
});
beforeEach(async () => {
  [seen, release, pulled] = [[], [], 0];
  test.log.lines.length = 0;
  client = await Client.connect(`${test.url}/ws`, { token: token() });
});
afterEach(async () => {
  client.socket.terminate();
  await until(() => test.app.get(WsSessions).count() === 0);
  expect(deaths).toEqual([]);
});

const errors = (): unknown[] => test.log.lines.filter(({ level }) => level === 'error').map(({ code }) => code);
const cancel = (id: unknown): void => client.send({ event: 'cancel', data: { id }, id: 'of the cancel' });

describe('cancel', () => {
  it('ends an Observable with done, unsubscribes from it, and has no answer', async () => {
    client.send({ event: 'never', id: 1 });
    client.send({ event: 'shared', id: 2 });
    await client.ask({ event: 'value', id: 3 });
    cancel(1);
    expect(await client.next()).toEqual({ event: 'never', id: 1, done: true });
    expect(seen).toEqual(['subscribed', 'unsubscribed']);
    cancel('1');
    cancel(2);
    expect(await client.next()).toEqual({ event: 'shared', id: 2, done: true });
    expect(values.observed).toBe(false);
    expect(await client.ask({ event: 'value', id: 4 })).toMatchObject({ id: 4 });
    expect(test.log.lines).toEqual([]);
  });

  it('makes room for other streams', async () => {
    for (let round = 0; round < 3; round++) {
      for (let id = 0; id < 64; id++) client.send({ event: 'never', id });
      for (let id = 0; id < 64; id++) cancel(id);
      for (let id = 0; id < 64; id++) expect(await client.next()).toEqual({ event: 'never', id, done: true });
    }
  });

  it.each([[{ id: 'unknown' }], [{ id: null }], [{}], [[]], ['text'], [null], [undefined], [{ id: { deep: [] } }]])(
    'of %j is silence, and no bad frame',
    async (data) => {
      for (let i = 0; i < 20; i++) client.send({ event: 'cancel', data, id: 'c' });
      expect(await client.ask({ event: 'value', id: 1 })).toMatchObject({ id: 1 });
      expect(test.log.lines).toEqual([]);
    },
  );

  it('needs no session', async () => {
    const stranger = await Client.connect(`${test.url}/ws`);
    stranger.send({ event: 'anonymous', id: 1 });
    stranger.send({ event: 'cancel', data: { id: 1 } });
    expect(await stranger.next()).toEqual({ event: 'anonymous', id: 1, done: true });
    stranger.socket.terminate();
  });

  it('of a request whose handler has yet to return leaves no stream of it', async () => {
    client.send({ event: 'late', id: 1 });
    client.send({ event: 'late-iterator', id: 2 });
    client.send({ event: 'late-value', id: 3 });
    for (const id of [1, 2, 3]) cancel(id);
    await client.ask({ event: 'value', id: 4 });
    expect(emitter.listenerCount('event')).toBe(1);
    for (const go of release) go();
    expect([await client.next(), await client.next(), await client.next()]).toEqual([
      { event: 'late', id: 1, done: true },
      { event: 'late-iterator', id: 2, done: true },
      { event: 'late-value', data: 'late', id: 3 },
    ]);
    expect(emitter.listenerCount('event')).toBe(0);
  });

  it.each([
    ['answers', async () => returned(), []],
    ['throws', thrown, ['INTERNAL']],
    ['rejects', () => Promise.reject(FAULT), ['INTERNAL']],
    ['hangs', () => new Promise(() => undefined), []],
    ['is missing', 'bare', []],
  ])('returns an iterator whose return() %s', async (_, how, lines) => {
    fault = how as typeof fault;
    client.send({ event: 'iterator', data: how, id: 1 });
    cancel(1);
    expect(await client.next()).toEqual({ event: 'iterator', id: 1, done: true });
    expect(await client.ask({ event: 'value', id: 2 })).toMatchObject({ id: 2 });
    expect(errors()).toEqual(lines);
  });

  it('charges for an iterator that runs on, until it has come to its end', async () => {
    const { handling } = test.app.get(ByteBudget);
    client.send({ event: 'stuck', id: 1 });
    await until(() => release.length === 1);
    cancel(1);
    expect(await client.next()).toEqual({ event: 'stuck', id: 1, done: true });
    await client.ask({ event: 'value', id: 2 });
    expect(test.app.get(ByteBudget).handling).toBeGreaterThan(handling);
    release[0]?.();
    await until(() => test.app.get(ByteBudget).handling === handling);
  });

  it('aborts the signal of the handler, which may answer, throw its reason, or fail', async () => {
    const ask = async (how: string): Promise<unknown> => {
      client.send({ event: 'signal', data: how, id: how });
      cancel(how);
      return client.next();
    };
    expect(await ask('answers')).toEqual({ event: 'signal', data: 'stopped', id: 'answers' });
    expect(await ask('rejects')).toEqual({ event: 'signal', id: 'rejects', done: true });
    expect(await ask('timer')).toEqual({ event: 'signal', id: 'timer', done: true });
    expect(errors()).toEqual([]);
    expect(await ask('fails')).toMatchObject({ data: { code: 'INTERNAL' }, id: 'fails' });
    expect(errors()).toEqual(['INTERNAL']);
  });

  it('aborts the signal of a generator, of an intercepted handler and of one of request scope', async () => {
    expect(await client.ask({ event: 'ticks', id: 1 })).toMatchObject({ data: 1 });
    cancel(1);
    expect(await client.next()).toEqual({ event: 'ticks', id: 1, done: true });
    client.send({ event: 'signal-intercepted', id: 2 });
    cancel(2);
    expect(await client.next()).toEqual({ event: 'signal-intercepted', id: 2, done: true });
    const scoped = await Client.connect(`${test.url}/scoped`, { token: token() });
    scoped.send({ event: 'signal', id: 3 });
    scoped.send({ event: 'cancel', data: { id: 3 } });
    expect(await scoped.next()).toEqual({ event: 'signal', id: 3, done: true });
    await scoped.close();
    expect(test.log.lines.filter(({ code }) => code !== 'CLOSED')).toEqual([]);
  });

  it('does not let a listener of the signal end the process', async () => {
    client.send({ event: 'signal', data: 'throws', id: 1 });
    cancel(1);
    expect(await client.next()).toMatchObject({ data: 'stopped', id: 1 });
    await until(() => errors().length === 2);
    expect(seen).toEqual(['began', 'object', 'AbortError']);
    expect(test.log.lines.map(({ code, event }) => `${code} ${event}`)).toEqual(['INTERNAL signal', 'INTERNAL signal']);
  });
});

function thrown(): never {
  throw FAULT;
}

describe('the signal of a handler', () => {
  it('is aborted when the peer has gone', async () => {
    client.send({ event: 'signal', data: 'rejects', id: 1 });
    client.send({ event: 'ticks' });
    await until(() => seen.length === 2);
    client.socket.terminate();
    await until(() => seen.includes('AbortError'));
    await until(() => test.app.get(WsSessions).count() === 0);
    expect(errors()).toEqual([]);
  });

  it('is aborted when the session is ended here', async () => {
    client.send({ event: 'signal', data: 'rejects', id: 1 });
    await until(() => seen.length === 1);
    test.app.get(WsSessions).find()[0]?.close(1000);
    await until(() => seen.includes('AbortError'));
    expect(await client.rest()).toMatchObject([{ event: 'disconnect' }]);
    expect(errors()).toEqual([]);
  });

  it('is aborted with HANDLER_TIMEOUT when its time is over', async () => {
    client.send({ event: 'signal', data: 'rejects', id: 1 });
    await until(() => seen.length === 1);
    test.clock.advance(30_000);
    expect(await client.next()).toMatchObject({ data: { code: 'HANDLER_TIMEOUT' }, id: 1 });
    await until(() => seen.includes('GatewayError'));
    expect(await client.ask({ event: 'value', id: 2 })).toMatchObject({ id: 2 });
  });
});

describe('an AsyncIterable of a handler', () => {
  it.each([
    ['count', 1],
    ['count-later', 1],
    ['doubled', 2],
  ])('is a stream: %s', async (event, factor) => {
    client.send({ event, data: 3, id: 1 });
    for (const value of [1, 2, 3]) expect(await client.next()).toEqual({ event, data: value * factor, id: 1 });
    expect(await client.next()).toEqual({ event, id: 1, done: true });
    client.send({ event, data: 1 });
    expect(await client.next()).toEqual({ event, data: factor });
    expect(await client.ask({ event: 'value', id: 2 })).toMatchObject({ id: 2 });
    expect(seen).toEqual(['returned', 'returned']);
  });

  it('that breaks, or cannot be written, ends in its exception', async () => {
    expect(await client.ask({ event: 'breaks', id: 1 })).toMatchObject({ data: 1 });
    expect(await client.next()).toMatchObject({ event: 'exception', data: { code: 'INTERNAL' }, id: 1 });
    expect(await client.ask({ event: 'bigint', id: 2 })).toMatchObject({ data: { code: 'INTERNAL' }, id: 2 });
    expect(seen).toEqual(['returned']);
    expect(await client.ask({ event: 'filtered', id: 3 })).toMatchObject({ data: 1 });
    expect(await client.next()).toMatchObject({ data: { code: 'INTERNAL' }, id: 3 });
    expect(test.log.lines.at(-1)?.stack).toContain('filtered broke');
  });

  it.each([
    ['asyncIterator', thrown],
    ['asyncIterator', () => undefined],
    ['next', thrown],
    ['next', () => Promise.reject(FAULT)],
    ['next', () => undefined],
    ['next', () => 1],
  ])('whose %s is at fault, %s, has one answer', async (kind, how) => {
    fault = how;
    expect(await client.ask({ event: 'iterator', data: kind, id: 1 })).toMatchObject({
      data: { code: 'INTERNAL' },
      id: 1,
    });
    expect(await client.ask({ event: 'value', id: 2 })).toMatchObject({ id: 2 });
    expect(errors()).toEqual(['INTERNAL']);
  });

  it('is pulled no further than the peer reads', async () => {
    client.send({ event: 'count', data: 1, id: 1 });
    await until(() => pulled === 1);
    client.socket.pause();
    for (let id = 2; id < 10; id++) client.send({ event: 'big', data: 16_384, id });
    let before = -1;
    await until(() => {
      const isSteady = before === pulled && pulled > 9;
      before = pulled;
      return isSteady && [...test.app.get(WsSessions).find()].some(({ socket }) => socket.bufferedAmount > 65_536);
    });
    const held = pulled;
    test.clock.advance(1_000);
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    expect(pulled - held).toBeLessThanOrEqual(8);
    const [session] = test.app.get(WsSessions).find();
    expect(session?.socket.bufferedAmount).toBeLessThan(3 * 65_536);
    client.socket.resume();
    await until(() => pulled > held + 64);
    expect(session?.phase).toBe('open');
  });

  it('without an end leaves others their turn', async () => {
    client.send({ event: 'big', data: 1 });
    const other = await Client.connect(`${test.url}/ws`, { token: token() });
    expect(await other.ask({ event: 'value', id: 1 })).toMatchObject({ id: 1 });
    await other.close();
    client.send({ event: 'count', data: 1, id: 2 });
    while ((await client.next()).id !== 2);
  });

  it('goes on for longer than a handler has to answer', async () => {
    client.send({ event: 'ticks', id: 1 });
    client.send({ event: 'never', id: 2 });
    expect(await client.next()).toMatchObject({ data: 1 });
    test.clock.advance(31_000);
    cancel(2);
    expect(await client.next()).toEqual({ event: 'never', id: 2, done: true });
  });
});
