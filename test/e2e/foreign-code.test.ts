import { Catch, Global, Injectable, Logger, Module, UseFilters, UseGuards, UseInterceptors } from '@nestjs/common';
import type {
  CallHandler,
  CanActivate,
  ExceptionFilter,
  ExecutionContext,
  NestInterceptor,
  PipeTransform,
} from '@nestjs/common';
import { createParamDecorator } from '@nestjs/common';
import {
  ConnectedSocket,
  MessageBody,
  SubscribeMessage,
  WebSocketGateway,
  WebSocketServer,
  WsException,
} from '@nestjs/websockets';
import { IsInt, Validate, ValidatorConstraint } from 'class-validator';
import type { ValidatorConstraintInterface } from 'class-validator';
import type { Writable } from 'node:stream';
import { Observable } from 'rxjs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { WebSocket, WebSocketServer as Server } from 'ws';
import { Deadlines } from '../../src/authentication/deadlines.js';
import {
  AuditSink,
  Authenticator,
  ChannelAuthorizer,
  Authorize,
  FailureSink,
  OnWsEvent,
  UseConnectionGuards,
  WsClock,
  WsHealth,
  WsMonitor,
  WsSessions,
} from '../../src/index.js';
import type { AuthorizationRule, ConnectionGuard, PrincipalInit } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { ManualClock, TestApp } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import type { Frame } from '../support/client.js';
import { FAULT, FAULT_NAMES, FAULTS } from '../support/foreign.js';
import type { Fault } from '../support/foreign.js';
import { token } from '../support/tokens.js';
import { SessionRegistry } from '../../src/session/registry.js';

/** The call of foreign code that is at fault, and how. */
let faulty: { readonly call: string; readonly fault: Fault } | undefined;

/** What foreign code answers: what is right, unless it is the one at fault. */
function at<T>(call: string, answer: T): T {
  return faulty?.call === call ? (FAULTS[faulty.fault](answer) as T) : answer; // because a fault keeps to no type
}

@Injectable()
class Sink extends AuditSink {
  write(): void {
    return at('AuditSink.write', undefined);
  }
  override close(): Promise<void> {
    return at('AuditSink.close', Promise.resolve());
  }
}

@Global()
@Module({ providers: [{ provide: AuditSink, useClass: Sink }], exports: [AuditSink] })
class AuditModule {}

@Injectable()
class OwnAuthenticator extends Authenticator {
  authenticate(): PrincipalInit {
    return at('Authenticator.authenticate', { subject: 'ada', expiresAt: Date.now() + 86_400_000 });
  }
}

@Injectable()
class Door implements ConnectionGuard {
  canConnect(): boolean {
    return at('ConnectionGuard.canConnect', true);
  }
}

@Injectable()
class OwnAuthorizer extends ChannelAuthorizer {
  authorize(): boolean {
    return at('ChannelAuthorizer.authorize', true);
  }
}

@Injectable()
class Rule implements AuthorizationRule {
  authorize(): boolean {
    return at('AuthorizationRule.authorize', true);
  }
}

class Guard implements CanActivate {
  canActivate(): boolean {
    return at('CanActivate.canActivate', true);
  }
}

class Pipe implements PipeTransform {
  transform(value: unknown): unknown {
    return at('PipeTransform.transform', value);
  }
}

class Interceptor implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): ReturnType<NestInterceptor['intercept']> {
    return at('NestInterceptor.intercept', next.handle());
  }
}

@Catch(WsException)
class Filter implements ExceptionFilter {
  catch(): void {
    return at('ExceptionFilter.catch', undefined);
  }
}

const Parameter = createParamDecorator(() => at('parameter decorator', 1));

@ValidatorConstraint()
class Constraint implements ValidatorConstraintInterface {
  validate(): boolean {
    return at('ValidatorConstraintInterface.validate', true);
  }
}

class Dto {
  @IsInt() @Validate(Constraint) amount!: number;
}

const schema = {
  '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => at('StandardSchema.validate', { value }) },
};

const REJECTING = { '~standard': { version: 1, vendor: 'test', validate: FAULTS.rejects } };

@UseConnectionGuards(Door)
@WebSocketGateway()
class Gateway {
  @WebSocketServer() server!: Server;

  afterInit(server: Server): void {
    server.on('headers', () => at('server headers', undefined));
    server.on('close', () => at('server close', undefined));
    return at('afterInit', undefined);
  }

  handleConnection(socket: WebSocket): void {
    for (const event of ['close', 'message', 'ping', 'pong', 'error']) {
      socket.on(event, () => at(`socket.on ${event}`, undefined));
    }
    socket.addEventListener('close', () => at('socket.addEventListener', undefined));
    socket.onmessage = () => at('socket.onmessage', undefined);
    return at('handleConnection', undefined);
  }

  handleDisconnect(): void {
    return at('handleDisconnect', undefined);
  }

  @SubscribeMessage('handler') handler(): number {
    return at('handler', 1);
  }
  @Authorize(Rule) @SubscribeMessage('rule class') ruleClass(): number {
    return 1;
  }
  @Authorize(() => at('rule function', true)) @SubscribeMessage('rule function') ruleFunction(): number {
    return 1;
  }
  @UseGuards(new Guard()) @SubscribeMessage('guard') guard(): number {
    return 1;
  }
  @UseInterceptors(new Interceptor()) @SubscribeMessage('interceptor') interceptor(): number {
    return 1;
  }
  @SubscribeMessage('pipe') pipe(@MessageBody(new Pipe()) { amount }: { amount: number }): number {
    return amount;
  }
  @SubscribeMessage('parameter') parameter(@Parameter() amount: number): number {
    return amount;
  }
  @UseFilters(new Filter()) @SubscribeMessage('filter') filter(): number {
    throw new WsException('no');
  }
  @SubscribeMessage('constraint') constraint(@MessageBody() { amount }: Dto): number {
    return amount;
  }
  @SubscribeMessage('schema') schema(@MessageBody({ schema } as never) { amount }: { amount: number }): number {
    return amount;
  }
  @SubscribeMessage('two') two(
    @MessageBody({ schema: REJECTING } as never) first: object,
    @MessageBody() second: Dto,
    @MessageBody({ schema: REJECTING } as never) third: object,
  ): object[] {
    return [first, second, third];
  }
  @SubscribeMessage('no observable') noObservable(): object {
    return { lift: () => undefined, subscribe: () => undefined };
  }
  @SubscribeMessage('teardown') teardown(): Observable<number> {
    return new Observable((subscriber) => {
      setImmediate(() => {
        subscriber.next(1);
        subscriber.complete();
      });
      return () => at('TeardownLogic', undefined);
    });
  }
  @SubscribeMessage('json') json(): object {
    return { toJSON: () => at('toJSON', 1) };
  }
  @SubscribeMessage('send') send(@ConnectedSocket() socket: WebSocket): number {
    socket.send('{"event":"native"}', () => at('socket.send callback', undefined));
    return 1;
  }
  @SubscribeMessage('probe') probe(@ConnectedSocket() socket: WebSocket): number {
    socket.ping('', false, () => at('socket.ping callback', undefined));
    return 1;
  }
}

class Listener {
  @OnWsEvent('admitted') onAdmitted(): void {
    return at('@OnWsEvent', undefined);
  }
}

/** What the log, and the warnings of the process, say. */
const lines: string[] = [];
const deaths: unknown[] = [];
const died = (error: unknown): void => void deaths.push(error);

let shared: TestApp;
const setup = {
  gateways: [Gateway],
  imports: [AuditModule],
  providers: [
    Listener,
    Door,
    Rule,
    { provide: Authenticator, useClass: OwnAuthenticator },
    { provide: ChannelAuthorizer, useClass: OwnAuthorizer },
  ],
  options: {
    auth: { revalidate: () => at('auth.revalidate', true), revalidateEveryMs: 60_000 },
    heartbeat: { intervalMs: 300_000 },
    channels: { rules: [{ pattern: 'room.*', subscribe: true, publish: true, presence: 'query' as const }] },
  },
};

beforeAll(() => void process.on('uncaughtException', died).on('unhandledRejection', died));
afterAll(() => void process.off('uncaughtException', died).off('unhandledRejection', died));

beforeEach(() => {
  vi.spyOn(process, 'emitWarning').mockImplementation((message) => void lines.push(String(message)));
});
afterEach(async () => {
  faulty = undefined;
  await settle();
  vi.restoreAllMocks();
  lines.length = 0;
  expect(deaths.splice(0)).toEqual([]);
});

/** A rejection that nobody handles shows after a turn of the event loop. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
}

/** Lines of what was not foreseen, and warnings; clean ends and refusals are no news here. */
function told(): string[] {
  const failures = shared.log.lines.filter(({ level }) => level === 'error');
  return [...failures.map(({ code, event }) => (event === undefined ? code : `${code} ${event}`)), ...lines];
}

/** The shared application, with a clean log, and a client of it. */
async function connect(): Promise<Client> {
  return Client.connect(`${shared.url}/ws`, { token: 'opaque' });
}

describe('foreign code at a message', () => {
  beforeAll(async () => void (shared = await startApp(setup)));
  afterAll(stopApps);
  beforeEach(() => void (shared.log.lines.length = 0));

  const data = { amount: 1 };
  const CHECKS = new Set(['ValidatorConstraintInterface.validate', 'StandardSchema.validate']);
  it.each(
    [
      ['handler', 'handler', 1],
      ['AuthorizationRule.authorize', 'rule class', 1],
      ['rule function', 'rule function', 1],
      ['CanActivate.canActivate', 'guard', 1],
      ['NestInterceptor.intercept', 'interceptor', 1],
      ['PipeTransform.transform', 'pipe', 1],
      ['parameter decorator', 'parameter', 1],
      ['ExceptionFilter.catch', 'filter', 'APPLICATION_ERROR'],
      ['ValidatorConstraintInterface.validate', 'constraint', 'VALIDATION_FAILED'], // class-validator takes native promises only
      ['StandardSchema.validate', 'schema', 1],
    ].flatMap(([call, event, right]) => FAULT_NAMES.map((fault) => ({ call, event, right, fault }))),
  )('$call that $fault has one answer and one line', async ({ call, event, right, fault }) => {
    const client = await connect();
    faulty = { call: String(call), fault };
    client.send({ event, data, id: 1 });
    const answer = client.next();
    if (fault === 'hangs') {
      await settleAt(client);
      shared.clock.advance(30_000);
    }
    // What a payload makes throw is a payload that does not fit.
    const code = CHECKS.has(String(call)) ? 'VALIDATION_FAILED' : 'INTERNAL';
    const expected = fault === 'hangs' ? 'HANDLER_TIMEOUT' : isFault(fault) ? code : right;
    expect(codeOf(await answer)).toEqual(expected);
    const isOurs = expected === 'HANDLER_TIMEOUT' || expected === 'INTERNAL';
    expect(told()).toEqual(isOurs ? [`${expected} ${event}`] : []);
    faulty = undefined;
    expect(await client.ask({ event: 'handler', id: 2 })).toEqual({ event: 'handler', data: 1, id: 2 });
    await client.close();
  });
});

describe('foreign code at a message', () => {
  beforeAll(async () => void (shared = await startApp(setup)));
  afterAll(stopApps);
  beforeEach(() => void (shared.log.lines.length = 0));

  it.each(
    [
      { event: 'subscribe', data: { channel: 'room.1' } },
      { event: 'subscribe', data: { channels: [{ channel: 'room.1' }] } },
      { event: 'publish', data: { channel: 'room.1' } },
      { event: 'presence', data: { channel: 'room.1' } },
    ].flatMap(({ event, data }) => FAULT_NAMES.map((fault) => ({ event, data, fault }))),
  )(
    'ChannelAuthorizer.authorize that $fault at $event has one answer, a line of its own and one of the request',
    async ({ event, data, fault }) => {
      const client = await connect();
      faulty = { call: 'ChannelAuthorizer.authorize', fault };
      client.send({ event, data, id: 1 });
      const answer = client.next();
      if (fault === 'hangs') {
        await settleAt(client);
        shared.clock.advance(5_000);
      }
      const text = JSON.stringify(await answer);
      const isAnswered = fault === 'answers twice';
      expect(text.includes('UNAVAILABLE')).toBe(!isAnswered);
      expect(text.includes(FAULT.message)).toBe(false);
      expect(told()).toEqual(isAnswered ? [] : ['INTERNAL ChannelAuthorizer.authorize', `UNAVAILABLE ${event}`]);
      faulty = undefined;
      expect(await client.ask({ event: 'handler', id: 2 })).toEqual({ event: 'handler', data: 1, id: 2 });
      await client.close();
    },
  );

  it('has one answer where two parameters fail, one of them at once', async () => {
    const client = await connect();
    faulty = { call: 'ValidatorConstraintInterface.validate', fault: 'throws' };
    expect(codeOf(await client.ask({ event: 'two', data: { amount: 1 }, id: 1 }))).toBe('VALIDATION_FAILED');
    await settle();
    expect(told()).toEqual([]);
    await client.close();
  });

  it('has one answer where what it returns looks like an Observable and is none', async () => {
    const client = await connect();
    expect(codeOf(await client.ask({ event: 'no observable', id: 1 }))).toBe('INTERNAL');
    shared.clock.advance(60_000);
    expect(await client.ask({ event: 'handler', id: 2 })).toMatchObject({ id: 2, data: 1 });
    expect(told()).toEqual(['INTERNAL no observable']);
    await client.close();
  });

  it('has one answer and one line where the end of its stream throws', async () => {
    const client = await connect();
    faulty = { call: 'TeardownLogic', fault: 'throws' };
    expect(await client.ask({ event: 'teardown', id: 1 })).toMatchObject({ id: 1, data: 1 });
    expect(await client.next()).toMatchObject({ id: 1, done: true });
    await settleAt(client);
    expect(told()).toEqual(['INTERNAL teardown']);
    await client.close();
  });

  it('is INTERNAL where what it returns cannot be serialised', async () => {
    const client = await connect();
    faulty = { call: 'toJSON', fault: 'throws' };
    expect(codeOf(await client.ask({ event: 'json', id: 1 }))).toBe('INTERNAL');
    expect(told()).toEqual(['INTERNAL json']);
    await client.close();
  });
});

describe('foreign code at a connection', () => {
  beforeAll(async () => void (shared = await startApp(setup)));
  afterAll(stopApps);
  beforeEach(() => void (shared.log.lines.length = 0));

  it.each(
    [
      ['handleConnection', 30_000, 'INTERNAL'],
      ['ConnectionGuard.canConnect', 10_000, 'OVERLOADED'],
      ['Authenticator.authenticate', 10_000, 'OVERLOADED'],
    ].flatMap(([call, ms, late]) => FAULT_NAMES.map((fault) => ({ call, ms, late, fault }))),
  )('$call that $fault ends it with a code and one line, or does not matter', async ({ call, ms, late, fault }) => {
    faulty = { call: String(call), fault };
    const opening = connect();
    if (fault === 'hangs') {
      await until(() => shared.app.get(Deadlines).size + shared.app.get(SessionRegistry).size > 0);
      await settle();
      shared.clock.advance(Number(ms));
    }
    const client = await opening;
    client.send({ event: 'handler', id: 1 });
    const frame = await client.next();
    const code = fault === 'hangs' ? late : 'INTERNAL';
    expect(codeOf(frame)).toEqual(fault === 'answers twice' ? 1 : code);
    expect(shared.log.lines.map((line) => line.code)).toEqual(fault === 'answers twice' ? [] : [code]);
    client.socket.close();
    const closeCode = code === 'INTERNAL' ? 1011 : 1013;
    expect((await client.closed).code).toBe(fault === 'answers twice' ? 1005 : closeCode);
  });

  it.each(FAULT_NAMES)('handleDisconnect that %s has one line', async (fault) => {
    const client = await connect();
    await client.ask({ event: 'handler', id: 1 });
    faulty = { call: 'handleDisconnect', fault };
    await client.close();
    await until(() => shared.app.get(SessionRegistry).size === 0);
    await settle();
    shared.clock.advance(30_000);
    expect(told()).toEqual(fault === 'answers twice' ? [] : ['INTERNAL handleDisconnect']);
  });

  it.each(FAULT_NAMES)('auth.revalidate that %s leaves the session open and has one line', async (fault) => {
    const client = await connect();
    await client.ask({ event: 'handler', id: 1 });
    faulty = { call: 'auth.revalidate', fault };
    shared.clock.advance(60_000);
    await settle();
    if (fault === 'hangs') {
      await client.ask({ event: 'handler', id: 2 });
      shared.clock.advance(30_000);
    }
    expect(told()).toEqual(fault === 'answers twice' ? [] : ['INTERNAL auth.revalidate']);
    faulty = undefined;
    expect(await client.ask({ event: 'handler', id: 2 })).toMatchObject({ data: 1 });
    await client.close();
  });

  const provoke: Record<string, (client: Client) => Promise<unknown>> = {
    'socket.on message': (client) => client.ask({ event: 'handler', id: 1 }),
    'socket.onmessage': (client) => client.ask({ event: 'handler', id: 1 }),
    'socket.on ping': settleAt,
    'socket.on pong': (client) => client.ask({ event: 'probe', id: 1 }),
    'socket.ping callback': (client) => client.ask({ event: 'probe', id: 1 }),
    'socket.send callback': (client) => client.ask({ event: 'send', id: 1 }),
    'socket.on close': (client) => client.close(),
    'socket.addEventListener': (client) => client.close(),
    'socket.on error': async (client) => {
      (client.socket as unknown as { _socket: Writable })._socket.write(Buffer.from([0xff, 0])); // because ws sends nothing broken
      await client.closed;
    },
  };
  it.each(Object.keys(provoke).flatMap((call) => FAULT_NAMES.map((fault) => ({ call, fault }))))(
    '$call that $fault has one line, and the other listeners hear of the event',
    async ({ call, fault }) => {
      const client = await connect();
      await client.ask({ event: 'handler', id: 1 });
      faulty = { call, fault };
      await provoke[call]?.(client);
      if (client.socket.readyState === client.socket.OPEN) {
        await settleAt(client);
        faulty = undefined;
        client.socket.close();
      }
      await client.closed;
      await until(() => shared.app.get(SessionRegistry).size === 0);
      await settle();
      const event =
        { 'socket.addEventListener': 'close', 'socket.onmessage': 'message' }[call] ?? call.split(/[. ]/)[1];
      const name = call.startsWith('socket.on ') ? call.slice('socket.on '.length) : event;
      expect([...new Set(told())]).toEqual(isFault(fault) ? [`INTERNAL socket.${name}`] : []);
    },
  );

  it('a listener of the server for headers that throws refuses the upgrade', async () => {
    faulty = { call: 'server headers', fault: 'throws' };
    const refused = await refusal(`${shared.url}/ws`, { headers: { authorization: 'Bearer opaque' } });
    expect(refused).toMatchObject({ status: 500, body: { code: 'INTERNAL' } });
    expect(told()).toEqual(['INTERNAL']);
  });

  it.each(FAULT_NAMES.filter((name) => name !== 'throws'))(
    'a listener of the server for headers that %s changes nothing',
    async (fault) => {
      faulty = { call: 'server headers', fault };
      const client = await connect();
      expect(await client.ask({ event: 'handler', id: 1 })).toMatchObject({ data: 1 });
      expect(told()).toHaveLength(isFault(fault) ? 1 : 0);
      await client.close();
    },
  );

  it('keeps its place for a listener that is taken away', async () => {
    const client = await connect();
    await client.ask({ event: 'handler', id: 1 });
    const [session] = shared.app.get(WsSessions).find();
    const heard: string[] = [];
    const listener = (): void => void heard.push('function');
    const object = { handleEvent: (): void => void heard.push('object') };
    const socket = session?.socket as unknown as WebSocket;
    for (const one of [listener, listener, object]) socket.addEventListener('close', one as never);
    socket.addEventListener('message', listener);
    socket.removeEventListener('message', listener);
    await client.ask({ event: 'handler', id: 2 });
    expect(heard).toEqual([]);
    await client.close();
    await until(() => heard.length > 1);
    expect(heard).toEqual(['function', 'object']);
  });
});

describe('foreign code that watches', () => {
  afterEach(stopApps);

  /** Starts an application, does all that is watched, and stops it. */
  async function live(more: Partial<typeof setup> & { before?: (app: TestApp['app']) => void } = {}): Promise<void> {
    shared = await startApp({ ...setup, ...more });
    const client = await connect();
    expect(await client.ask({ event: 'handler', id: 1 })).toEqual({ event: 'handler', data: 1, id: 1 });
    const refused = await refusal(`${shared.url}/ws`, { origin: 'https://evil.example' });
    expect(refused).toMatchObject({ status: 403, body: { code: 'ORIGIN_FORBIDDEN' } });
    const closing = shared.app.close();
    expect((await client.rest()).map(codeOf)).toEqual(['SHUTTING_DOWN']);
    await until(() => shared.app.get(SessionRegistry).size === 0);
    await settle();
    shared.clock.advance(5_000);
    await closing;
  }

  it.each(
    ['AuditSink.write', '@OnWsEvent', 'WsMonitor.on', 'FailureSink.write', 'server close'].flatMap((call) =>
      FAULT_NAMES.map((fault) => ({ call, fault })),
    ),
  )('$call that $fault changes nothing, and is told', async ({ call, fault }) => {
    faulty = { call, fault };
    const before = (app: TestApp['app']): void => {
      app.get(WsMonitor).on('upgrade', () => at('WsMonitor.on', undefined));
      if (call === 'FailureSink.write') app.get(FailureSink).write = () => at('FailureSink.write', undefined);
    };
    await live({ before });
    const first = {
      'AuditSink.write': 'AuditSink.write() failed',
      '@OnWsEvent': 'A listener of WsMonitor threw at "admitted"',
      'WsMonitor.on': 'A listener of WsMonitor threw at "upgrade"',
      'FailureSink.write': 'FailureSink.write() failed',
      'server close': 'A listener of a WebSocketServer threw at "close"',
    }[call];
    expect(lines[0]).toBe(isFault(fault) ? first : undefined);
  });

  it.each(FAULT_NAMES)('AuditSink.close() that %s does not hold the shutdown', async (fault) => {
    faulty = { call: 'AuditSink.close', fault };
    await live();
    expect(told()).toEqual(fault === 'answers twice' ? [] : ['AuditSink.close() failed']);
  });

  it.each(FAULT_NAMES)('a check of WsHealth that %s is a finding, and told once', (fault) => {
    faulty = { call: 'HealthCheck', fault };
    const health = new WsHealth();
    health.add(() => at('HealthCheck', undefined));
    const reason = fault === 'throws' ? 'a check threw' : 'a check gave no answer';
    expect(health.readiness()).toEqual({ ready: false, reasons: [reason], warnings: [] });
    expect(lines).toEqual(['A check of WsHealth failed']);
  });

  it.each(FAULT_NAMES)('a function of auth.claims that %s is INTERNAL, in one line', async (fault) => {
    faulty = { call: 'ClaimNames', fault };
    const auth = { claims: { roles: () => at('ClaimNames', ['buyer']) } };
    shared = await startApp({ options: { auth } });
    const client = await Client.connect(`${shared.url}/ws`, { token: token() });
    expect((await client.rest()).map(codeOf)).toEqual(['INTERNAL']);
    expect(told()).toEqual(['INTERNAL']);
  });

  it.each(FAULT_NAMES.filter(isFault))(
    'afterInit that %s stops the start with the name of its gateway',
    async (fault) => {
      faulty = { call: 'afterInit', fault };
      await expect(startApp(setup)).rejects.toThrow('Gateway.afterInit() failed: a fault of foreign code');
    },
  );

  it('an afterInit that answers twice is waited for', async () => {
    faulty = { call: 'afterInit', fault: 'answers twice' };
    await live();
    expect(told()).toEqual([]);
  });

  it('an afterInit that hangs is waited for, but not for ever', async () => {
    faulty = { call: 'afterInit', fault: 'hangs' };
    const warned = vi.spyOn(Logger.prototype, 'warn');
    let clock: ManualClock | undefined;
    let isStarted = false;
    const starting = startApp({ ...setup, before: (app) => (clock = app.get<ManualClock>(WsClock)) });
    void starting.then(() => (isStarted = true));
    await expect.poll(() => clock?.taskCount).toBe(1);
    expect(isStarted).toBe(false);
    clock?.advance(10_000);
    shared = await starting;
    const about = warned.mock.calls.flat().filter((line) => String(line).includes('afterInit'));
    expect(about).toEqual(['Gateway.afterInit() has not settled in 10 s; the start goes on without it']);
    const client = await connect();
    expect(await client.ask({ event: 'handler', id: 1 })).toMatchObject({ data: 1 });
    await client.close();
  });
});

/** Those that end in an error. */
function isFault(fault: Fault): boolean {
  return fault !== 'hangs' && fault !== 'answers twice';
}

function codeOf({ data }: Frame): unknown {
  return (data as { code?: string } | null)?.code ?? data;
}

/** Resolves when what the client has sent is being handled. */
async function settleAt(client: Client): Promise<void> {
  client.socket.ping();
  await new Promise((resolve) => client.socket.once('pong', resolve));
  await settle();
}
