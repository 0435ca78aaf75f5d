import { Injectable } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { interval, map } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import {
  Authenticator,
  CurrentSession,
  GatewayError,
  Public,
  Roles,
  WsGatewayModule,
  WsSession,
  WsSessions,
} from '../../src/index.js';
import type { PrincipalInit, WsGatewayOptions } from '../../src/index.js';
import { createWsTestingApp, WsRefusedError } from '../../src/testing/index.js';
import type { WsTestingApp, WsTestingOptions } from '../../src/testing/index.js';
import { localTls, hasOpenssl } from '../support/certificates.js';
import { SECRET, token } from '../support/tokens.js';

@Injectable()
class Greeting {
  text = 'Hello';
}

@WebSocketGateway()
class Gateway {
  constructor(
    private readonly sessions: WsSessions,
    private readonly greeting: Greeting,
  ) {}

  @SubscribeMessage('greet')
  greet(@CurrentSession() { principal }: WsSession): string {
    return `${this.greeting.text}, ${principal?.subject}`;
  }

  @Roles('staff')
  @SubscribeMessage('announce')
  announce(@MessageBody() data: unknown): number {
    return this.sessions.broadcast('news', data);
  }

  @SubscribeMessage('fail')
  fail(): void {
    throw new GatewayError('ORDER_CLOSED', { details: { left: 0 }, retryable: true, retryAfterMs: 7 });
  }

  @SubscribeMessage('count')
  count() {
    return interval(1).pipe(map((n) => n + 1));
  }

  @Public()
  @SubscribeMessage('silence')
  silence(): Promise<never> {
    return new Promise(() => undefined);
  }
}

let t: WsTestingApp;

async function start(
  options: Omit<WsGatewayOptions, 'auth'> & { auth?: Partial<WsGatewayOptions['auth']> } = {},
  testing: WsTestingOptions = {},
  providers: object[] = [],
): Promise<WsTestingApp> {
  const auth = { jwt: { secret: SECRET }, ...options.auth };
  t = await createWsTestingApp(
    {
      imports: [WsGatewayModule.forRoot({ ...options, auth })],
      providers: [Gateway, Greeting, ...(providers as never[])],
    },
    testing,
  );
  return t;
}
afterEach(() => t.close());

class Keys extends Authenticator {
  override readonly kinds = ['bearer'] as const;
  authenticate(): PrincipalInit {
    return { subject: 'by key', expiresAt: Date.now() + 3_600_000 };
  }
}

describe('createWsTestingApp()', () => {
  it('gives clients that need no keys, whatever the application reads', async () => {
    await start({ auth: { sources: ['cookie'], cookie: 'sid' }, firewall: { origins: ['https://app.test'] } });
    const ada = await t.connect({ sub: 'ada' });
    expect(await ada.request('greet')).toBe('Hello, ada');
    expect(await t.refused({ token: token() })).toMatchObject({ status: 401, code: 'UNAUTHENTICATED' });
  });

  it('leaves the tokens of the application, and its authenticator, as they are', async () => {
    await start();
    expect(await (await t.connect(undefined, { token: token({ sub: 'eve' }) })).request('greet')).toBe('Hello, eve');
    await t.close();
    await start({}, {}, [{ provide: Authenticator, useClass: Keys }]);
    expect(await (await t.connect(undefined, { token: 'any' })).request('greet')).toBe('Hello, by key');
    expect(await (await t.connect({ sub: 'ada' })).request('greet')).toBe('Hello, ada');
  });

  it('overrides providers', async () => {
    await start({}, { override: (builder) => builder.overrideProvider(Greeting).useValue({ text: 'Bye' }) });
    expect(await (await t.connect({})).request('greet')).toBe('Bye, ada');
  });

  it.runIf(hasOpenssl())('runs on Fastify, under another path, in TLS', async () => {
    const { cert, key } = localTls().server;
    await start(
      { path: '/socket' },
      { create: (module) => module.createNestApplication(new FastifyAdapter({ https: { cert, key } } as object)) },
    );
    expect(t.url).toMatch(/^wss:\/\/127\.0\.0\.1:\d+\/socket$/);
    expect(await (await t.connect({ sub: 'ada' })).request('greet')).toBe('Hello, ada');
  });

  it('takes a token of its own in a message, and revokes it like any other', async () => {
    await start();
    const ada = await t.connect();
    const ticket = t.token({ sub: 'ada', scopes: ['orders'] });
    expect(await ada.request('auth', { token: ticket })).toMatchObject({ subject: 'ada' });
    expect(t.sessions.find()[0]?.principal?.scopes).toEqual(['orders']);
    await t.sessions.revoke({ subject: 'ada' });
    expect(await ada.closed).toMatchObject({ code: 4410, disconnect: { code: 'SESSION_REVOKED' } });
    await expect(t.connect(undefined, { token: ticket })).rejects.toThrow('4410 SESSION_REVOKED');
  });

  it('moves the time by its clock, while clients answer pings', async () => {
    await start({ heartbeat: { intervalMs: 5_000, timeoutMs: 2_000 } });
    const ada = await t.connect({ sub: 'ada', exp: Math.ceil(t.clock.now() / 1_000) + 600 });
    await t.clock.advance(500_000);
    expect(await ada.request('greet')).toBe('Hello, ada');
    await t.clock.advance(71_000);
    expect(await ada.next('auth.expiring')).toMatchObject({ event: 'auth.expiring' });
    t.clock.set(60_000);
    await t.clock.advance(250);
    expect((await ada.closed).disconnect?.code).toBe('TOKEN_EXPIRED');
  });

  it('keeps failures', async () => {
    await start();
    const ada = await t.connect({ sub: 'ada' });
    await expect(ada.request('announce')).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(t.failures).toEqual([expect.objectContaining({ kind: 'request', code: 'FORBIDDEN', subject: 'ada' })]);
  });

  it('drains as a stop does', async () => {
    await start();
    const ada = await t.connect({});
    await t.drain();
    expect(await ada.closed).toMatchObject({ code: 1012, disconnect: { code: 'SHUTTING_DOWN', reconnect: true } });
    expect(await t.refused()).toMatchObject({ status: 503, code: 'SHUTTING_DOWN' });
  });

  it('closes with a handler that never answers, twice', async () => {
    await start();
    const ada = await t.connect({});
    ada.send({ event: 'silence', id: 1 });
    await ada.settled();
    await t.close();
    await t.close();
    expect((await ada.closed).code).toBe(1_000);
  });
});

describe('WsTestClient', () => {
  it('throws what the gateway answers', async () => {
    await start();
    const ada = await t.connect({});
    await expect(ada.request('fail')).rejects.toMatchObject({
      code: 'ORDER_CLOSED',
      details: { left: 0 },
      retryable: true,
      retryAfterMs: 7,
    });
    expect(ada.frames('exception')).toHaveLength(1);
    expect(ada.untaken).toEqual([]);
  });

  it('reads a stream, and cancels it', async () => {
    await start();
    const ada = await t.connect({});
    const values: number[] = [];
    for await (const value of ada.stream<number>('count')) {
      values.push(value);
      if (value === 3) break;
    }
    expect(values).toEqual([1, 2, 3]);
    await ada.settled();
    expect(ada.frames('count').at(-1)).toMatchObject({ done: true });
    expect(ada.untaken).toEqual([]);
  });

  it('has what another client caused when it has settled', async () => {
    await start();
    const [ada, bob] = [await t.connect({ roles: ['staff'] }), await t.connect({ sub: 'bob' })];
    await ada.request('announce', 'tea');
    await bob.settled();
    expect(bob.frames('news')).toEqual([{ event: 'news', data: 'tea' }]);
    await ada.request('announce', 'coffee');
    expect(await bob.next('news')).toMatchObject({ data: 'tea' });
    expect(await bob.next('news')).toMatchObject({ data: 'coffee' });
  });

  it('says what came instead of what it waits for', async () => {
    await start();
    const bob = await t.connect({ sub: 'bob' });
    await bob.request('greet');
    await expect(bob.next('news', { timeoutMs: 20 })).rejects.toThrow(
      'Waited 20 ms for "news". The last frames: {"event":"greet","data":"Hello, bob"',
    );
    const waiting = bob.next('news');
    await t.sessions.revoke({ subject: 'bob' });
    await expect(waiting).rejects.toThrow('The connection ended (4410 SESSION_REVOKED) before "news" came');
    await expect(bob.request('greet')).rejects.toThrow('The connection ended');
    await expect(bob.settled()).rejects.toThrow('The connection ended');
  });

  it('is refused with the code of the answer', async () => {
    await start();
    const refused = t.connect({}, { origin: 'https://evil.test' });
    await expect(refused).rejects.toBeInstanceOf(WsRefusedError);
    expect(await t.refused({ path: '/nowhere' })).toMatchObject({ status: 404, code: 'NOT_FOUND' });
    await expect(t.refused()).rejects.toThrow('The handshake was accepted');
  });
});
