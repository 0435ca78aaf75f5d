import { Body, Catch, Controller, Post, UseFilters, UseInterceptors } from '@nestjs/common';
import type { CallHandler, ExceptionFilter } from '@nestjs/common';
import {
  MessageBody,
  SubscribeMessage,
  WebSocketGateway,
  WebSocketServer as NestServer,
  WsException,
} from '@nestjs/websockets';
import { Transform, Type } from 'class-transformer';
import { IsObject, IsOptional, IsString, registerDecorator, ValidateNested } from 'class-validator';
import { Observable, of } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { WebSocket, WebSocketServer } from 'ws';
import { GatewayError, WsMonitor, WsSession, WsSessions } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { exchange, frame, handshake, openTcp, parseAnswer, sendRaw } from '../support/tcp.js';
import { token } from '../support/tokens.js';

/** Whatever would have ended the process. */
const deaths: unknown[] = [];
const note = (error: unknown): void => void deaths.push(error);

const traps: Record<string, () => unknown> = {
  'a WsException of nothing': () => new WsException(undefined as unknown as string),
  'a WsException of null': () => new WsException(null as unknown as string),
  'a WsException whose content throws': () =>
    new WsException({ get message(): string { throw new Error('getter'); } }), // prettier-ignore
  'a WsException that calls itself INTERNAL': () => new WsException({ code: 'INTERNAL', message: 'secret' }),
  'a Proxy that throws': () => new Proxy({}, { getPrototypeOf: () => { throw new Error('proxy'); } }), // prettier-ignore
  'a revoked Proxy': () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  'an Error whose stack throws': () => Object.defineProperty(new Error('secret'), 'stack', { get() { throw new Error('stack'); } }), // prettier-ignore
  'a GatewayError with a message that is none': () => Object.assign(new GatewayError('CONFLICT'), { message: 1n }),
  'a GatewayError with details that cannot be written': () => new GatewayError('CONFLICT', { details: 1n }),
  'a GatewayError with an endless wait': () => new GatewayError('CONFLICT', { retryAfterMs: Number.NaN }),
  nothing: () => undefined,
  'a symbol': () => Symbol('secret'),
};

class SubDto {
  @IsOptional() @IsString() name?: string;
  method(): void {}
}

class WideDto {
  @IsOptional() @IsObject() meta?: object;
  @IsOptional() @ValidateNested() @Type(() => SubDto) sub?: SubDto;
  @IsOptional() @ValidateNested({ each: true }) @Type(() => SubDto) items?: SubDto[];
  @IsOptional() @ValidateNested({ each: true }) @Type(() => SubDto) map?: Map<string, SubDto>;
  @IsOptional() @IsThing() thing?: unknown;
  @IsOptional() @ValidateNested({ each: true }) @Type(() => SubDto) grid?: SubDto[][];
  @IsOptional()
  @Transform(({ value }: { value: unknown }) => (Array.isArray(value) ? (value[0] as unknown) : value))
  @IsString()
  firstOf?: string;
  @IsOptional() @Transform(({ obj }: { obj: { raw: unknown } }) => obj.raw) @IsObject() raw?: object;
  get full(): string {
    return 'x';
  }
  @IsOptional() @IsString({ message: ({ value }) => `bad value ${String(value).toUpperCase()}` }) quoting?: string;
}

/** A rule of the application's whose message quotes the value. */
function IsThing(): PropertyDecorator {
  return (target, propertyName) =>
    registerDecorator({
      name: 'isThing',
      target: target.constructor,
      propertyName: propertyName as string,
      validator: { validate: () => false, defaultMessage: () => 'Text ($value) is no thing' },
    });
}

class WithoutRules {
  anything?: string;
}

const breakingTeardown = (values: Observable<unknown>): Observable<unknown> =>
  new Observable((subscriber) => {
    const subscription = values.subscribe((value) => subscriber.next(value));
    return () => {
      subscription.unsubscribe();
      throw new Error('teardown');
    };
  });

@Catch(RangeError)
class SwallowingFilter implements ExceptionFilter {
  catch(): void {}
}

@WebSocketGateway()
@UseFilters(SwallowingFilter)
class FilteredGateway {
  @SubscribeMessage('trap-filtered') trap(@MessageBody() name: string): never {
    throw traps[name]?.();
  }
}

@Controller()
class OrdersController {
  @Post('orders') create(@Body() got: unknown): object {
    return { got };
  }
}

@WebSocketGateway()
class HostileGateway {
  @NestServer() server!: WebSocketServer;
  @SubscribeMessage('trap') trap(@MessageBody() name: string): never {
    throw traps[name]?.();
  }
  @SubscribeMessage('trap-async') async trapAsync(@MessageBody() name: string): Promise<never> {
    throw traps[name]?.();
  }
  @UseInterceptors({ intercept: (_: unknown, next: CallHandler) => next.handle() })
  @SubscribeMessage('trap-intercepted')
  trapIntercepted(@MessageBody() name: string): never {
    throw traps[name]?.();
  }
  @SubscribeMessage('count') async count(): Promise<void> {
    await new Promise(setImmediate);
    handled++;
  }
  @SubscribeMessage('gate') gate(): Promise<void> {
    return new Promise((resolve) => gates.push(resolve));
  }
  @SubscribeMessage('quiet') quiet(): Observable<never> {
    return new Observable(() => {
      subscribed++;
      return () => void subscribed--;
    });
  }
  @UseInterceptors({ intercept: (_: unknown, next: CallHandler) => next.handle() })
  @SubscribeMessage('quiet-intercepted')
  quietIntercepted(): Observable<never> {
    return this.quiet();
  }
  @SubscribeMessage('late') late(): Promise<never> {
    return new Promise((_, reject) => (fail = reject));
  }
  @SubscribeMessage('one') one(): Observable<number> {
    return of(1);
  }
  @SubscribeMessage('teardown') teardown(): Observable<unknown> {
    return breakingTeardown(of(1));
  }
  @SubscribeMessage('thenable') thenable(): object {
    // eslint-disable-next-line unicorn/no-thenable
    return { then: (resolve: (value: number) => void) => (resolve(1), resolve(2)) };
  }
  @SubscribeMessage('thenable-late') thenableLate(): object {
    // eslint-disable-next-line unicorn/no-thenable
    return { then: (resolve: (value: number) => void) => void setImmediate(resolve, 1) };
  }
  @SubscribeMessage('thenable-throwing') thenableThrowing(): object {
    // eslint-disable-next-line unicorn/no-thenable
    return { then: () => { throw new Error('then'); } }; // prettier-ignore
  }
  @SubscribeMessage('wide') wide(@MessageBody() dto: WideDto): unknown {
    return dto;
  }
  @SubscribeMessage('without-rules') without(@MessageBody() data: WithoutRules): unknown {
    return data;
  }
  @SubscribeMessage('close') close(client: WebSocket, [code, reason]: [number, string | null]): string {
    client.close(code, reason ?? undefined);
    return 'closed';
  }
  @SubscribeMessage('session-close') sessionClose(client: WebSocket, code: number): string {
    WsSession.of(client).close(code);
    return 'closed';
  }
  @SubscribeMessage('deaf') deaf(client: WebSocket): string {
    client.removeAllListeners();
    return 'deaf';
  }
}

let test: TestApp;
let client: Client;
let handled = 0;
let subscribed = 0;
const gates: (() => void)[] = [];
let fail: (error: Error) => void = () => undefined;

beforeEach(async () => {
  process.on('uncaughtException', note).on('unhandledRejection', note);
  test = await startApp({ gateways: [HostileGateway, FilteredGateway], controllers: [OrdersController] });
  client = await Client.connect(`${test.url}/ws`, { token: token() });
});

afterEach(async () => {
  await stopApps();
  await new Promise(setImmediate);
  process.off('uncaughtException', note).off('unhandledRejection', note);
  expect(deaths.splice(0)).toEqual([]);
});

const sessions = (): WsSessions => test.app.get(WsSessions);
const alive = async (): Promise<void> =>
  void expect(await client.ask({ event: 'ping', id: 'alive' })).toEqual({ event: 'pong', data: null, id: 'alive' });

describe('what an application throws', () => {
  it.each(Object.keys(traps))('%s is one coded exception', async (name) => {
    for (const event of ['trap', 'trap-async', 'trap-intercepted', 'trap-filtered']) {
      const answer = await client.ask({ event, data: name, id: event });
      expect(answer).toMatchObject({
        event: 'exception',
        id: event,
        data: { status: 'error', message: expect.any(String) as string },
      });
      expect(JSON.stringify(answer)).not.toMatch(/secret|null/);
    }
    await alive();
    expect(test.log.lines).toHaveLength(4);
  });

  it('after its peer has left is in the log', async () => {
    client.send({ event: 'late', id: 1 });
    await alive();
    await client.close();
    fail(new Error('the database is down'));
    await expect.poll(() => test.log.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
    expect(test.log.lines.find(({ level }) => level === 'error')).toMatchObject({
      code: 'INTERNAL',
      event: 'late',
      stack: expect.stringContaining('database') as string,
    });
  });

  it('in a listener of the log ends nothing', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    test.app.get(WsMonitor).subscribe(() => { throw new Error('listener'); }); // prettier-ignore
    expect(await client.ask({ event: 'nope', id: 1 })).toMatchObject({ data: { code: 'UNKNOWN_EVENT' } });
    expect(warned).toHaveBeenCalledOnce();
    warned.mockRestore();
    await alive();
  });

  it('in the teardown of a stream is one line of the log, and the session goes', async () => {
    expect(await client.ask({ event: 'teardown', id: 1 })).toMatchObject({ data: 1 });
    client.socket.terminate();
    await expect.poll(() => sessions().count()).toBe(0);
    expect(test.log.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
  });

  it('in a listener of the server, even later, ends that one session', async () => {
    const { server } = test.app.get(HostileGateway);
    server.once('connection', () => Promise.reject(new Error('async listener')));
    const unlucky = await Client.connect(`${test.url}/ws`, { token: token() });
    expect(await unlucky.closed).toEqual({ code: 1011, reason: 'INTERNAL' });
    await alive();
  });
});

describe('what an application returns', () => {
  it.each(['thenable', 'thenable-late'])('as %s is answered once', async (event) => {
    expect(await client.ask({ event, id: 1 })).toEqual({ event, data: 1, id: 1 });
    await alive();
  });

  it('as a thenable that throws is INTERNAL, once', async () => {
    expect(await client.ask({ event: 'thenable-throwing', id: 1 })).toMatchObject({
      data: { code: 'INTERNAL' },
      id: 1,
    });
    test.clock.advance(20_000);
    await alive();
  });

  it('as streams that end at once are answered in order, however many are pipelined', async () => {
    const late = await Client.connect(`${test.url}/ws`);
    late.socket.send(token());
    for (let id = 0; id < 3_000; id++) late.send({ event: 'one', id });
    await late.next();
    for (let id = 0; id < 3_000; id++) {
      expect(await late.next()).toEqual({ event: 'one', data: 1, id });
      expect(await late.next()).toEqual({ event: 'one', id, done: true });
    }
  });
});

describe('what an application does to the socket', () => {
  it.each([
    [4001, 'MAINTENANCE', 'MAINTENANCE', false],
    [4123, 'come back later', 'CLOSED', true],
    [1008, 'Policy violation', 'CLOSED', false],
    [1002, undefined, 'CLOSED', false],
    [1011, undefined, 'CLOSED', true],
    [1000, undefined, 'CLOSED', false],
  ])('close(%j, %j) says goodbye as %s', async (closeCode, reason, code, reconnect) => {
    client.send({ event: 'close', data: [closeCode, reason] });
    const message = code === 'CLOSED' && reason !== undefined ? reason : 'Closed by the application';
    expect((await client.rest()).at(-1)).toEqual({
      event: 'disconnect',
      data: { code, message, closeCode, reconnect },
    });
    expect(await client.closed).toEqual({ code: closeCode, reason: reason ?? code });
  });

  it.each([999, 1004, 1005, 1006, 5_000, 2_000])(
    'close(%j) fails and leaves the session as it was',
    async (closeCode) => {
      expect(await client.ask({ event: 'close', data: [closeCode], id: 1 })).toMatchObject({
        data: { code: 'INTERNAL' },
      });
      expect(await client.ask({ event: 'session-close', data: closeCode, id: 2 })).toMatchObject({
        data: { code: 'INTERNAL' },
      });
      await alive();
    },
  );

  it('a reason that is too long fails and leaves the session as it was', async () => {
    const data = [4000, 'x'.repeat(124)];
    expect(await client.ask({ event: 'close', data, id: 1 })).toMatchObject({ data: { code: 'INTERNAL' } });
    await alive();
  });

  it('removeAllListeners() neither opens a hole nor keeps the session', async () => {
    expect(await client.ask({ event: 'deaf', id: 1 })).toMatchObject({ data: 'deaf' });
    await alive();
    client.socket.send(Buffer.from([0xff, 0xfe]), { binary: false });
    expect(await client.closed).toEqual({ code: 1007, reason: 'INVALID_UTF8' });
    await expect.poll(() => sessions().count()).toBe(0);
  });
});

describe('what a stranger sends', () => {
  it('after a bad token ends nothing but its own connection', async () => {
    for (const bytes of [
      Buffer.from('ff8000000000', 'hex'),
      frame(0x81, Buffer.from([0xff])),
      frame(0x82, 'x'),
      frame(0x81, '{}'),
    ]) {
      const { texts, close } = await sendRaw(test.port, bytes, ['Authorization: Bearer x']);
      expect(texts.map((text) => (JSON.parse(text) as { data: { code: string } }).data.code)).toEqual([
        'TOKEN_INVALID',
      ]);
      expect(close).toEqual({ code: 3000, reason: 'TOKEN_INVALID' });
    }
    await alive();
  });

  it('after a bad token without ever closing is cut, and holds up no shutdown', async () => {
    const socket = await openTcp(test.port);
    socket.write(handshake('/ws', ['Authorization: Bearer x']));
    await new Promise((resolve) => socket.once('data', resolve));
    test.clock.advance(5_250);
    await new Promise((resolve) => socket.once('close', resolve));
    await alive();
  });

  it.each<object>([
    { meta: { constructor: 'x' } },
    { constructor: 'x' },
    { toString: 1 },
    { sub: { constructor: 5 } },
    { items: [{ name: 'a', valueOf: 1 }] },
    { meta: { deep: { toString: 'x' } } },
    { sub: [] },
    { sub: [{ name: 'a' }] },
    { items: { name: 'a' } },
    { full: 'injected' },
    { sub: { method: 1 } },
  ])('as a payload that no validator sees through, %j, is VALIDATION_FAILED', async (data) => {
    const answer = await client.ask({ event: 'wide', data, id: 1 });
    expect(answer).toMatchObject({
      data: { code: 'VALIDATION_FAILED', details: [{ path: expect.any(String) as string }] },
    });
    expect(test.log.lines.every(({ level }) => level === 'warn')).toBe(true);
  });

  it('never comes back, not even as the key of a map or in an own message', async () => {
    for (const data of [
      { map: { EVIL: { name: 5 } } },
      { quoting: [1, 'EVIL'] },
      { quoting: { evil: 'evil' } },
      { thing: 'evil' },
    ]) {
      const answer = await client.ask({ event: 'wide', data, id: 1 });
      expect(answer).toMatchObject({ data: { code: 'VALIDATION_FAILED' } });
      expect(JSON.stringify(answer)).not.toMatch(/evil/i);
    }
  });

  it.each<object>([
    { grid: [[{ name: 'a' }], [{ name: 'b' }]] },
    { firstOf: ['a'] },
    { raw: { toString: 'x' } },
    { meta: { a: [1, { b: null }] } },
  ])('that is unusual and legitimate, %j, is not refused', async (data) => {
    expect(await client.ask({ event: 'wide', data, id: 1 })).toMatchObject({ event: 'wide', id: 1 });
  });

  it('before it closes is handled, however much waits for its turn', async () => {
    client.together(() => {
      for (let i = 0; i < 100; i++) client.send({ event: 'count' });
      client.socket.close();
    });
    await client.closed;
    await expect.poll(() => handled).toBe(100);
    expect(sessions().count()).toBe(0);
  });

  it.each(['quiet', 'quiet-intercepted'])('before it closes leaves no stream behind, not even %s', async (event) => {
    const before = handled;
    client.together(() => {
      for (let i = 0; i < 16; i++) client.send({ event: 'gate' });
      for (let i = 0; i < 40; i++) client.send({ event });
      client.send({ event: 'count' });
      client.socket.close();
    });
    await client.closed;
    await expect.poll(() => sessions().count()).toBe(0);
    for (const open of gates.splice(0)) open();
    await expect.poll(() => handled - before).toBe(1);
    await expect.poll(() => subscribed).toBe(0);
  });

  it('for a class without rules is passed on as it came', async () => {
    expect(await client.ask({ event: 'without-rules', data: { x: [1] }, id: 1 })).toMatchObject({ data: { x: [1] } });
  });

  it('as an upgrade behind a request that is not answered yet is cut off', async () => {
    const server = test.app.getHttpServer();
    server.prependOnceListener('request', (request: { url: string }) => (request.url = '/never'));
    test.app
      .getHttpAdapter()
      .getInstance()
      .get('/never', () => undefined);
    const answer = await exchange(test.port, `GET /slow HTTP/1.1\r\nHost: x\r\n\r\n${handshake()}`);
    expect(answer).not.toContain('101 Switching');
  });

  it('as an offer of another protocol is plain HTTP', async () => {
    const request =
      'GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n';
    expect(parseAnswer(await exchange(test.port, request)).head).toContain('404 not found');
    expect(parseAnswer(await exchange(test.port, request.replace('/nothing', '/ws')))).toMatchObject({ status: 400 });
    const post = request
      .replace('GET /nothing', 'POST /orders')
      .replace(/\r\n\r\n$/, '\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}');
    expect(await exchange(test.port, post)).toContain('{"got":{"a":1}}');
  });
});
