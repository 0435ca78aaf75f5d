import {
  Catch,
  createParamDecorator,
  ExecutionContext,
  Inject,
  Injectable,
  ParseIntPipe,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import type {
  ArgumentsHost,
  CallHandler,
  CanActivate,
  ExceptionFilter,
  NestInterceptor,
  PipeTransform,
  Provider,
} from '@nestjs/common';
import { APP_GUARD, APP_INTERCEPTOR, APP_PIPE, REQUEST } from '@nestjs/core';
import {
  ConnectedSocket,
  MessageBody,
  SubscribeMessage,
  WebSocketGateway,
  WsException,
  BaseWsExceptionFilter,
} from '@nestjs/websockets';
import { Type } from 'class-transformer';
import { IsEmail, IsInt, IsOptional, IsString, ValidateNested } from 'class-validator';
import { concat, delay, EMPTY, from, map, NEVER, Observable, of, range, tap, throwError } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { CurrentPrincipal, CurrentSession, Public, Roles, Scopes, WsSession } from '../../src/index.js';
import type { Principal } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import type { Frame } from '../support/client.js';
import { token } from '../support/tokens.js';

class ItemDto {
  @IsInt() count!: number;
  @IsEmail() email!: string;
}

class OrderDto {
  @IsString() name!: string;
  @ValidateNested({ each: true }) @Type(() => ItemDto) items!: ItemDto[];
  @IsOptional() @ValidateNested() @Type(() => ItemDto) extra?: ItemDto;
  @IsOptional() @IsString({ message: 'got $value' }) quoting?: string;
}

const schema = z.strictObject({ user: z.strictObject({ email: z.email(), tags: z.array(z.string()).optional() }) });

const trace: string[] = [];

class BaseGateway {
  @SubscribeMessage('inherited') inherited(): string {
    return 'from the base class';
  }
}

@WebSocketGateway()
class LaneGateway extends BaseGateway {
  readonly greeting = 'hello';

  @SubscribeMessage('this') self(): string {
    return this.greeting;
  }
  @SubscribeMessage('value') value(@MessageBody() data: unknown): unknown {
    return data;
  }
  @SubscribeMessage('async') async later(@MessageBody() data: unknown): Promise<unknown> {
    return data;
  }
  @SubscribeMessage('undefined') nothing(): void {}
  @SubscribeMessage('null') nul(): null {
    return null;
  }
  @SubscribeMessage('response') response(): object {
    return { event: 'renamed', data: 1 };
  }
  @SubscribeMessage('not-response') notResponse(): object {
    return { event: 'renamed', data: 1, more: 2 };
  }
  @SubscribeMessage('stream') stream(): Observable<number> {
    return range(1, 3);
  }
  @SubscribeMessage('slow-stream') async slow(): Promise<Observable<number>> {
    return from([1, 2]).pipe(delay(1));
  }
  @SubscribeMessage('empty') empty(): Observable<never> {
    return EMPTY;
  }
  @SubscribeMessage('breaking') breaking(): Observable<number> {
    return concat(
      of(1),
      throwError(() => new WsException('broke')),
    );
  }
  @SubscribeMessage('never-stream') never(): Observable<never> {
    return NEVER;
  }
  @SubscribeMessage('bigint-stream') bigints(): Observable<bigint> {
    return of(1n);
  }
  @SubscribeMessage('key') key(@MessageBody('name') name: unknown, @MessageBody('constructor') ctor: unknown): unknown {
    return { name, ctor: ctor === undefined };
  }
  @SubscribeMessage('key-dto') keyDto(@MessageBody('item') item: ItemDto): unknown {
    return item.count;
  }
  @SubscribeMessage('socket') socket(@ConnectedSocket() socket: object, @CurrentSession() session: WsSession): boolean {
    return WsSession.of(socket) === session && session.socket === socket;
  }
  @SubscribeMessage('who') who(@CurrentPrincipal() { subject }: Principal): string {
    return subject;
  }
  @SubscribeMessage('plain') plain(client: object, data: unknown): unknown {
    return [WsSession.of(client).principal?.subject, data];
  }
  @SubscribeMessage('plain-dto') plainDto(_: object, data: ItemDto): unknown {
    return data instanceof ItemDto;
  }
  @SubscribeMessage('order') order(@MessageBody() order: OrderDto): unknown {
    return [order instanceof OrderDto, order.items[0] instanceof ItemDto, order.items.length];
  }
  @SubscribeMessage('schema') schema(@MessageBody({ schema }) data: z.infer<typeof schema>): unknown {
    return data.user.email;
  }
  @Public() @SubscribeMessage('public') open(): string {
    return 'open';
  }
  @Roles('a', 'b') @SubscribeMessage('roles') roles(): string {
    return 'in';
  }
  @Scopes('x', 'y') @SubscribeMessage('scopes') scopes(): string {
    return 'in';
  }
  @SubscribeMessage('throw') throws(): never {
    throw new WsException('thrown');
  }
}

@Injectable()
class NoopInterceptor implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle();
  }
}

@Injectable()
class NoopGuard implements CanActivate {
  canActivate(): boolean {
    return true;
  }
}

@Injectable()
class NoopPipe implements PipeTransform {
  transform(value: unknown): unknown {
    return value;
  }
}

const lanes: [string, Provider[]][] = [
  ['called directly', []],
  ['through an interceptor of the application', [{ provide: APP_INTERCEPTOR, useClass: NoopInterceptor }]],
  ['through a guard of the application', [{ provide: APP_GUARD, useClass: NoopGuard }]],
  ['through a pipe of the application', [{ provide: APP_PIPE, useClass: NoopPipe }]],
];

beforeEach(() => void (trace.length = 0));
afterEach(stopApps);

describe.each(lanes)('a handler %s', (_, providers) => {
  let test: TestApp;
  let client: Client;
  const start = async (claims = {}): Promise<void> => {
    const heartbeat = { intervalMs: 3_600_000 }; // tests that move the clock leave no time for a pong
    test = await startApp({ gateways: [LaneGateway], providers, options: { heartbeat } });
    client = await Client.connect(`${test.url}/ws`, { token: token(claims) });
  };
  beforeEach(() => start());
  const ask = (event: string, data?: unknown): Promise<Frame> => client.ask({ event, data, id: 'i' });
  const code = async (event: string, data?: unknown): Promise<unknown> =>
    ((await ask(event, data)).data as { code?: string }).code;

  it('answers with what it returned, under the id', async () => {
    for (const event of ['value', 'async']) {
      for (const data of [1, 'x', true, [1], { a: null }, 0, '', false]) {
        expect(await ask(event, data)).toEqual({ event, data, id: 'i' });
      }
    }
    expect(await ask('this')).toEqual({ event: 'this', data: 'hello', id: 'i' });
    expect(await ask('inherited')).toMatchObject({ data: 'from the base class' });
  });

  it('answers undefined and null with null when there was an id, and with nothing otherwise', async () => {
    for (const event of ['undefined', 'null']) {
      expect(await ask(event)).toEqual({ event, data: null, id: 'i' });
      client.send({ event });
    }
    expect(await ask('value', 'next')).toMatchObject({ data: 'next' });
  });

  it('sends a WsResponse under its own event, and only that', async () => {
    expect(await ask('response')).toEqual({ event: 'renamed', data: 1, id: 'i' });
    expect(await ask('not-response')).toEqual({
      event: 'not-response',
      data: { event: 'renamed', data: 1, more: 2 },
      id: 'i',
    });
  });

  it('streams an Observable: its values, then done', async () => {
    expect(await ask('stream')).toEqual({ event: 'stream', data: 1, id: 'i' });
    expect([await client.next(), await client.next(), await client.next()]).toEqual([
      { event: 'stream', data: 2, id: 'i' },
      { event: 'stream', data: 3, id: 'i' },
      { event: 'stream', id: 'i', done: true },
    ]);
    expect(await ask('slow-stream')).toMatchObject({ data: 1 });
    expect(await client.next()).toMatchObject({ data: 2 });
    expect(await client.next()).toEqual({ event: 'slow-stream', id: 'i', done: true });
    expect(await ask('empty')).toEqual({ event: 'empty', id: 'i', done: true });
    client.send({ event: 'stream' });
    expect([await client.next(), await client.next(), await client.next()].map(({ data, id }) => [data, id])).toEqual([
      [1, undefined],
      [2, undefined],
      [3, undefined],
    ]);
  });

  it('ends a stream that breaks with an exception, and one that cannot be written too', async () => {
    expect(await ask('breaking')).toMatchObject({ data: 1, id: 'i' });
    expect(await client.next()).toMatchObject({
      event: 'exception',
      data: { code: 'APPLICATION_ERROR', message: 'broke' },
      id: 'i',
    });
    expect(await code('bigint-stream')).toBe('INTERNAL');
    expect(await ask('value', 1)).toMatchObject({ data: 1 });
  });

  it('has a limit of streams, each of which has answered in time when its handler has returned it', async () => {
    for (let id = 0; id < 64; id++) client.send({ event: 'never-stream', ...(id % 2 === 0 && { id }) });
    await ask('value');
    expect(await code('never-stream')).toBe('RATE_LIMITED');
    test.clock.advance(31_000);
    expect(await code('never-stream')).toBe('RATE_LIMITED');
    expect(await ask('value', 1)).toMatchObject({ data: 1 });
  });

  it('reads its parameters as Nest does', async () => {
    expect(await ask('key', { name: 'ada' })).toMatchObject({ data: { name: 'ada', ctor: true } });
    for (const data of [undefined, null, 1, 'text'])
      expect(await ask('key', data)).toMatchObject({ data: { ctor: true } });
    expect(await ask('socket')).toMatchObject({ data: true });
    expect(await ask('who')).toMatchObject({ data: 'ada' });
    expect(await ask('plain', { a: 1 })).toMatchObject({ data: ['ada', { a: 1 }] });
  });

  it('gets an instance of its DTO, nested ones included', async () => {
    const items = [{ count: 1, email: 'a@example.com' }];
    expect(await ask('order', { name: 'x', items })).toMatchObject({ data: [true, true, 1] });
    expect(await ask('plain-dto', items[0])).toMatchObject({ data: true });
    expect(await ask('key-dto', { item: items[0], other: 1 })).toMatchObject({ data: 1 });
  });

  it('refuses what does not fit the DTO, with paths of declared properties and no word of the client', async () => {
    const { data } = await ask('order', {
      name: 1,
      items: [{ count: 'secret-count', email: 'secret-mail', 'secret-nested': 1 }],
      'secret-key': 1,
      quoting: ['secret-quoted'],
    });
    const { details, code: refusal } = data as { code: string; details: { path: string; rule: string }[] };
    expect(refusal).toBe('VALIDATION_FAILED');
    expect(details.map(({ path, rule }) => [path, rule])).toEqual([
      ['', 'unknownProperty'],
      ['name', 'isString'],
      ['items.0', 'unknownProperty'],
      ['items.0.count', 'isInt'],
      ['items.0.email', 'isEmail'],
      ['quoting', 'isString'],
    ]);
    expect(JSON.stringify(data)).not.toContain('secret');
    expect(await code('plain-dto', {})).toBe('VALIDATION_FAILED');
    expect(await ask('key-dto', { item: { count: 1 } })).toMatchObject({
      data: { code: 'VALIDATION_FAILED', details: [{ path: 'item.email' }] },
    });
    expect(await code('order', { name: 'x', items: [], constructor: 1 })).toBe('VALIDATION_FAILED');
  });

  it('keeps a refusal short, however long the payload', async () => {
    const items = Array.from({ length: 2_000 }, () => ({}));
    const { data } = await ask('order', { name: 'x', items });
    expect((data as { details: unknown[] }).details).toHaveLength(50);
  });

  it('refuses what does not fit a Standard Schema, on the same terms', async () => {
    expect(await ask('schema', { user: { email: 'a@example.com' } })).toMatchObject({ data: 'a@example.com' });
    const { data } = await ask('schema', { user: { email: 'secret', tags: [1], 'secret-key': 1 }, 'secret-other': 1 });
    const { details, code: refusal } = data as { code: string; details: { path: string; rule: string }[] };
    expect(refusal).toBe('VALIDATION_FAILED');
    expect(details.map(({ path, rule }) => `${path}:${rule}`).toSorted()).toEqual([
      ':unknownProperty',
      'user.email:invalid_format',
      'user.tags.0:invalid_type',
      'user:unknownProperty',
    ]);
    expect(JSON.stringify(data)).not.toContain('secret');
  });

  it('is closed unless opened, and asks for roles and scopes', async () => {
    const stranger = await Client.connect(`${test.url}/ws`);
    expect(await stranger.ask({ event: 'public', id: 1 })).toMatchObject({ data: 'open' });
    expect(await stranger.ask({ event: 'value', id: 2 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
    expect(await code('roles')).toBe('FORBIDDEN');
    expect(await code('scopes')).toBe('FORBIDDEN');
    await stopApps();
    await start({ roles: ['b'], scope: 'x y z' });
    expect(await ask('roles')).toMatchObject({ data: 'in' });
    expect(await ask('scopes')).toMatchObject({ data: 'in' });
  });

  it('that throws is told under the id', async () => {
    expect(await ask('throw')).toMatchObject({ event: 'exception', data: { message: 'thrown' }, id: 'i' });
  });

  it('has one line of the log for each failure', async () => {
    await ask('throw');
    await ask('order', {});
    await ask('roles');
    expect(test.log.lines.map(({ code: logged, event }) => [logged, event])).toEqual([
      ['APPLICATION_ERROR', 'throw'],
      ['VALIDATION_FAILED', 'order'],
      ['FORBIDDEN', 'roles'],
    ]);
  });
});

const Twice = createParamDecorator((_: unknown, context: ExecutionContext) => {
  const { type, pattern } = { type: context.getType(), pattern: context.switchToWs().getPattern() };
  return `${type}:${pattern}:${context.getClass().name}.${context.getHandler().name}`;
});

const step = (name: string): NestInterceptor & CanActivate & PipeTransform => ({
  intercept: (_, next) => {
    trace.push(`${name} in`);
    return next.handle().pipe(tap(() => trace.push(`${name} out`)));
  },
  canActivate: () => trace.push(name) > 0,
  transform: (value: unknown, { type }) => {
    if (type === 'body') trace.push(name);
    return value;
  },
});

@Catch(WsException)
class HandlingFilter implements ExceptionFilter {
  catch(exception: WsException, host: ArgumentsHost): void {
    trace.push(`filter ${exception.message} ${String(host.switchToWs().getPattern())}`);
  }
}

@Catch(RangeError)
class RethrowingFilter implements ExceptionFilter {
  catch(): never {
    throw new WsException({ code: 'OUT_OF_RANGE', message: 'Out of range', limit: 3 });
  }
}

@WebSocketGateway()
@UseGuards(step('class guard'))
@UseInterceptors(step('class interceptor'))
@UsePipes(step('class pipe'))
@UseFilters(new HandlingFilter(), RethrowingFilter)
class EnhancedGateway {
  @UseGuards(step('guard'))
  @UseInterceptors(step('interceptor'))
  @UsePipes(step('pipe'))
  @SubscribeMessage('order')
  order(@MessageBody(step('own pipe')) item: ItemDto): string {
    trace.push(item instanceof ItemDto ? 'handler' : 'handler without DTO');
    return 'done';
  }
  @UseGuards({ canActivate: () => false })
  @SubscribeMessage('no')
  no(): string {
    return 'never';
  }
  @UseGuards({ canActivate: () => of(true) })
  @UseInterceptors({ intercept: (_: unknown, next: CallHandler) => next.handle().pipe(map((value) => `<${value}>`)) })
  @SubscribeMessage('mapped')
  mapped(@Twice() twice: string): string {
    return twice;
  }
  @UseInterceptors({ intercept: () => of('cached') })
  @SubscribeMessage('cached')
  cached(): string {
    return 'never';
  }
  @SubscribeMessage('stream') stream(): Observable<number> {
    return range(1, 2);
  }
  @SubscribeMessage('one') one(): Observable<number> {
    return of(1);
  }
  @SubscribeMessage('ws') ws(): never {
    throw new WsException('handled');
  }
  @UseFilters(new BaseWsExceptionFilter())
  @SubscribeMessage('stock-filter')
  stockFilter(@MessageBody() item: ItemDto): ItemDto {
    return item;
  }
  @SubscribeMessage('range') range(): never {
    throw new RangeError('3');
  }
  @SubscribeMessage('other') other(): never {
    throw new TypeError('x');
  }
  @SubscribeMessage('int') int(@MessageBody('n', ParseIntPipe) n: number): number {
    return n + 1;
  }
}

let made = 0;

@Injectable({ scope: Scope.REQUEST })
class PerClient {
  readonly number = ++made;
  constructor(@Inject(REQUEST) readonly client: object) {}
}

@WebSocketGateway({ path: '/scoped' })
class ScopedGateway {
  constructor(readonly perClient: PerClient) {}
  handleConnection(client: object): void {
    trace.push(`connected ${this.perClient.client === client}`);
  }
  @SubscribeMessage('number') number(@MessageBody() data: unknown): unknown {
    return [this.perClient.number, data];
  }
  @Roles('none') @SubscribeMessage('closed') closed(): void {}
  @SubscribeMessage('order') order(@MessageBody() dto: ItemDto): boolean {
    return dto instanceof ItemDto;
  }
}

describe('enhancers of the application', () => {
  let test: TestApp;
  let client: Client;
  beforeEach(async () => {
    test = await startApp({
      gateways: [EnhancedGateway, ScopedGateway],
      providers: [
        PerClient,
        { provide: APP_GUARD, useValue: step('global guard') },
        { provide: APP_INTERCEPTOR, useValue: step('global interceptor') },
        { provide: APP_PIPE, useValue: step('global pipe') },
      ],
    });
    client = await Client.connect(`${test.url}/ws`, { token: token() });
  });
  const ask = (event: string, data?: unknown): Promise<Frame> => client.ask({ event, data, id: 'i' });

  it('run in the order of Nest, inside of ours', async () => {
    expect(await ask('order', { count: 1, email: 'a@example.com' })).toMatchObject({ data: 'done' });
    expect(trace).toEqual([
      'global guard',
      'class guard',
      'guard',
      'global interceptor in',
      'class interceptor in',
      'interceptor in',
      'global pipe',
      'class pipe',
      'pipe',
      'own pipe',
      'handler',
      'interceptor out',
      'class interceptor out',
      'global interceptor out',
    ]);
  });

  it('are not reached by a session that may not call, nor pipes by a payload that does not fit', async () => {
    const stranger = await Client.connect(`${test.url}/ws`);
    expect(await stranger.ask({ event: 'order', id: 1 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
    expect(trace).toEqual([]);
    expect(await ask('order', {})).toMatchObject({ data: { code: 'VALIDATION_FAILED' } });
    expect(trace).not.toContain('global pipe');
  });

  it('are not in the way of the events of the contract', async () => {
    expect(await ask('session')).toMatchObject({ event: 'session' });
    expect(await ask('ping')).toMatchObject({ event: 'pong' });
    expect(trace).toEqual([]);
  });

  it('say no as FORBIDDEN, and see the context of Nest', async () => {
    expect(await ask('no')).toMatchObject({ data: { code: 'FORBIDDEN', message: 'Not allowed' } });
    expect(await ask('mapped')).toMatchObject({ data: '<ws:mapped:EnhancedGateway.mapped>' });
    expect(await ask('cached')).toEqual({ event: 'cached', data: 'cached', id: 'i' });
  });

  it('do not turn a value into a stream, nor a stream into a value', async () => {
    expect(await ask('stream')).toMatchObject({ data: 1 });
    expect([await client.next(), await client.next()]).toEqual([
      { event: 'stream', data: 2, id: 'i' },
      { event: 'stream', id: 'i', done: true },
    ]);
    expect(await ask('one')).toEqual({ event: 'one', data: 1, id: 'i' });
    expect(await client.next()).toEqual({ event: 'one', id: 'i', done: true });
  });

  it('handle errors by their filters, and a request with an id still has its answer', async () => {
    expect(await ask('ws')).toMatchObject({ event: 'exception', data: { code: 'APPLICATION_ERROR' }, id: 'i' });
    expect(trace).toContain('filter handled ws');
    client.send({ event: 'ws' });
    expect(await ask('range')).toMatchObject({
      data: { code: 'OUT_OF_RANGE', message: 'Out of range', details: { limit: 3 } },
    });
    expect(await ask('other')).toMatchObject({ data: { code: 'INTERNAL' } });
    // Without an id the requests of a session may overtake one another.
    expect(test.log.lines.map(({ code }) => code).toSorted()).toEqual([
      'APPLICATION_ERROR',
      'APPLICATION_ERROR',
      'INTERNAL',
      'OUT_OF_RANGE',
    ]);
  });

  it('refuse with a pipe of Nest as VALIDATION_FAILED', async () => {
    expect(await ask('int', { n: '41' })).toMatchObject({ data: 42 });
    expect(await ask('int', { n: 'x' })).toMatchObject({
      data: { code: 'VALIDATION_FAILED', details: [{ path: '' }] },
    });
  });

  it('leave the filter of Nest out where it is put on a gateway as it is: it would send the payload back', async () => {
    expect(await ask('stock-filter', { email: 'secret' })).toMatchObject({
      data: { code: 'VALIDATION_FAILED', details: [{ path: 'count' }, { path: 'email' }] },
    });
    client.send({ event: 'stock-filter', data: { email: 'secret' } });
    expect(JSON.stringify(await client.next())).not.toContain('secret');
  });

  it('of request scope are made once for each client', async () => {
    const first = await Client.connect(`${test.url}/scoped`, { token: token() });
    const second = await Client.connect(`${test.url}/scoped`, { token: token() });
    const numberOf = async (asking: Client): Promise<number> =>
      ((await asking.ask({ event: 'number', data: 'd', id: 1 })).data as [number])[0];
    const [a, b] = [await numberOf(first), await numberOf(second)];
    expect(a).not.toBe(b);
    expect(await numberOf(first)).toBe(a);
    expect(trace).toContain('connected true');
    expect(await first.ask({ event: 'closed', id: 2 })).toMatchObject({ data: { code: 'FORBIDDEN' } });
    expect(await first.ask({ event: 'order', data: {}, id: 3 })).toMatchObject({ data: { code: 'VALIDATION_FAILED' } });
  });
});

@WebSocketGateway()
@UseInterceptors(NoopInterceptor)
class EndlessGateway {
  @SubscribeMessage('open') open(): Observable<number> {
    return concat(of(0), NEVER);
  }
  @SubscribeMessage('all-at-once') allAtOnce(): Observable<number> {
    return range(1, Number.MAX_SAFE_INTEGER);
  }
}

describe('a stream that an interceptor hands on', () => {
  it('is let go of when there are too many, also where it would never let the process go on', async () => {
    const test = await startApp({ gateways: [EndlessGateway], options: { limits: { maxStreams: 1 } } });
    const client = await Client.connect(`${test.url}/ws`, { token: token() });
    expect(await client.ask({ event: 'open', id: 1 })).toMatchObject({ data: 0 });
    expect(await client.ask({ event: 'all-at-once', id: 2 })).toMatchObject({ data: { code: 'RATE_LIMITED' } });
    expect(await client.ask({ event: 'ping', id: 3 })).toMatchObject({ event: 'pong' });
  });
});
