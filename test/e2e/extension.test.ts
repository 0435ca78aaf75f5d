import { Injectable, Module } from '@nestjs/common';
import { ConnectedSocket, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { WebSocket } from 'ws';
import { afterEach, describe, expect, it } from 'vitest';
import {
  Authenticator,
  CurrentPrincipal,
  CurrentSession,
  GatewayError,
  JwtAuthenticator,
  UseConnectionGuards,
  WsFirewall,
  WsGatewayModule,
  WsMonitor,
  WsSessions,
} from '../../src/index.js';
import type {
  AuthenticationContext,
  AuthOptions,
  ConnectionAttempt,
  ConnectionGuard,
  Principal,
  PrincipalInit,
  WsSession,
} from '../../src/index.js';
import { resolveOptions } from '../../src/ws-gateway.options.js';
import { startApp, stopApps, until } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { token } from '../support/tokens.js';
import { SessionRegistry } from '../../src/session/registry.js';

afterEach(stopApps);

interface Cart {
  articles?: string[];
}

const seen: unknown[] = [];

@WebSocketGateway()
class CartGateway {
  handleConnection(@CurrentSession() session: WsSession<Cart>, @CurrentPrincipal() principal?: Principal): void {
    session.state.articles = [principal?.subject ?? 'nobody'];
  }
  handleDisconnect(
    @ConnectedSocket() socket: WebSocket,
    code: number,
    @CurrentSession() session: WsSession<Cart>,
  ): void {
    seen.push(socket === session.socket, code, session.state.articles);
  }
  @SubscribeMessage('add') add(@CurrentSession() session: WsSession<Cart>): string[] | undefined {
    session.state.articles?.push('tea');
    return session.state.articles;
  }
}

it('a session carries state of the application, and hooks take decorated parameters', async () => {
  const { url } = await startApp({ gateways: [CartGateway] });
  const client = await Client.connect(`${url}/ws`, { token: token() });
  expect(await client.ask({ event: 'add', id: 1 })).toMatchObject({ data: ['ada', 'tea'] });
  const other = await Client.connect(`${url}/ws`, { token: token({ sub: 'eve' }) });
  expect(await other.ask({ event: 'add', id: 1 })).toMatchObject({ data: ['eve', 'tea'] });
  await client.close();
  await until(() => seen.length > 0);
  expect(seen).toEqual([true, 1005, ['ada', 'tea']]);
});

describe('an Authenticator of the application', () => {
  @Injectable()
  class Keys {
    readonly known: Record<string, PrincipalInit> = {
      'key-1': { subject: 'robot', expiresAt: Date.now() + 3_600_000, scopes: ['read'] },
      'key-2': { subject: '', expiresAt: 1 },
      'key-3': { subject: 'robot', expiresAt: Infinity },
    };
  }

  let waiting: ((principal: PrincipalInit) => void)[] = [];

  @Injectable()
  class ApiKeys extends Authenticator {
    constructor(
      private readonly keys: Keys,
      private readonly jwt: JwtAuthenticator,
    ) {
      super();
    }

    override authenticate(
      key: string,
      { source, request }: AuthenticationContext,
    ): PrincipalInit | Promise<PrincipalInit> {
      seen.push(source, request?.url);
      if (key === 'slow') return new Promise((resolve) => waiting.push(resolve));
      if (key === 'broken') throw new Error('the database says hunter2');
      if (key.includes('.')) return Promise.resolve(this.jwt.authenticate(key));
      const found = this.keys.known[key];
      if (found === undefined) throw new GatewayError('TOKEN_INVALID');
      return Promise.resolve(found);
    }
  }

  const providers = [Keys, { provide: Authenticator, useClass: ApiKeys }];
  const start = (auth: Partial<AuthOptions> = {}): ReturnType<typeof startApp> => {
    seen.length = 0;
    waiting = [];
    return startApp({ providers, options: { auth } });
  };
  const sessionOf = async (client: Client): Promise<unknown> => (await client.ask({ event: 'session', id: 1 })).data;

  it('takes the place of JWT, and can ask it', async () => {
    const { url } = await start();
    expect(await sessionOf(await Client.connect(`${url}/ws`, { token: 'key-1' }))).toMatchObject({
      subject: 'robot',
      roles: [],
      scopes: ['read'],
    });
    expect(seen).toEqual(['header', '/ws']);
    expect(await sessionOf(await Client.connect(`${url}/ws`, { token: token() }))).toMatchObject({ subject: 'ada' });
    const byMessage = await Client.connect(`${url}/ws`);
    expect(await byMessage.ask({ event: 'auth', data: { token: 'key-1' }, id: 1 })).toMatchObject({ event: 'auth' });
    expect((await (await Client.connect(`${url}/ws`, { token: 'key-9' })).closed).reason).toBe('TOKEN_INVALID');
  });

  it('needs no auth.jwt', async () => {
    @Module({ imports: [WsGatewayModule.forRoot({ auth: {} })], providers })
    class AppModule {}
    const { NestFactory } = await import('@nestjs/core');
    const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false });
    await app.listen(0, '127.0.0.1');
    const url = (await app.getUrl()).replace('http', 'ws');
    expect(await sessionOf(await Client.connect(`${url}/ws`, { token: 'key-1' }))).toMatchObject({ subject: 'robot' });
    await app.close();
    expect(() => resolveOptions({ auth: {} })).toThrow('auth.jwt needs');
  });

  it.each(['broken', 'key-2', 'key-3'])(
    'that fails at %s ends the client with INTERNAL, and says why in the log only',
    async (key) => {
      const { url, log } = await start();
      const client = await Client.connect(`${url}/ws`, { token: key });
      expect(await client.closed).toEqual({ code: 1011, reason: 'INTERNAL' });
      expect(JSON.stringify(client.frames)).not.toMatch(/hunter2|principal/);
      expect(log.lines.at(-1)).toMatchObject({ code: 'INTERNAL', level: 'error' });
      await stopApps();
      const strict = await start({ reject: 'handshake' });
      expect(await refusal(`${strict.url}/ws`, { headers: { authorization: `Bearer ${key}` } })).toMatchObject({
        status: 500,
      });
    },
  );

  it('that does not answer in time is OVERLOADED, and what it says later does nothing', async () => {
    const { url, clock, app } = await start();
    const connecting = Client.connect(`${url}/ws`, { token: 'slow' });
    await until(() => waiting.length === 1);
    clock.advance(10_000);
    const client = await connecting;
    expect(await client.closed).toEqual({ code: 1013, reason: 'OVERLOADED' });
    waiting[0]?.({ subject: 'late', expiresAt: clock.now() + 1_000 });
    await new Promise(setImmediate);
    expect(app.get(WsSessions).count()).toBe(0);
  });

  it('whose peer has gone meanwhile leaves nothing behind', async () => {
    const { url, clock, app } = await start();
    const connecting = Client.connect(`${url}/ws`, { token: 'slow', handshakeTimeout: 50 });
    await until(() => waiting.length === 1);
    await expect(connecting).rejects.toThrow();
    waiting[0]?.({ subject: 'gone', expiresAt: clock.now() + 1_000 });
    await until(() => app.get(WsSessions).count() === 0);
  });

  it('is refused when a shutdown has begun meanwhile', async () => {
    const { url, clock, app } = await start();
    const connecting = refusal(`${url}/ws`, { headers: { authorization: 'Bearer slow' } });
    await until(() => waiting.length === 1);
    app.get(SessionRegistry).refusesNew = true;
    waiting[0]?.({ subject: 'late', expiresAt: clock.now() + 60_000 });
    expect(await connecting).toMatchObject({ status: 503, body: { code: 'SHUTTING_DOWN' } });
  });

  it('is refused when its address has been banned meanwhile', async () => {
    const { url, clock, app } = await start();
    const connecting = refusal(`${url}/ws`, { headers: { authorization: 'Bearer slow' } });
    await until(() => waiting.length === 1);
    await app.get(WsFirewall).ban({ address: '127.0.0.1' }, { forMs: 60_000 });
    waiting[0]?.({ subject: 'late', expiresAt: clock.now() + 60_000 });
    expect(await connecting).toMatchObject({ status: 403, body: { code: 'BANNED' } });
  });

  it('is told of once, where a dry run lets a banned address in', async () => {
    waiting = [];
    const { url, clock, app } = await startApp({ providers, options: { firewall: { dryRun: ['bans'] } } });
    const told: string[] = [];
    app.get(WsMonitor).on('admission', ({ code }) => told.push(code));
    await app.get(WsFirewall).ban({ address: '127.0.0.1' }, { forMs: 60_000 });
    const connecting = Client.connect(`${url}/ws`, { token: 'slow' });
    await until(() => waiting.length === 1);
    waiting[0]?.({ subject: 'late', expiresAt: clock.now() + 60_000 });
    expect(await sessionOf(await connecting)).toMatchObject({ subject: 'late' });
    expect(told).toEqual(['BANNED']);
  });

  describe('and refreshes that race', () => {
    const connected = async (): Promise<{ client: Client; test: Awaited<ReturnType<typeof startApp>> }> => {
      const test = await start();
      return { test, client: await Client.connect(`${test.url}/ws`, { token: token() }) };
    };

    it('are taken one after the other', async () => {
      const { client, test } = await connected();
      client.send({ event: 'auth', data: { token: 'slow' }, id: 1 });
      client.send({ event: 'auth', data: { token: 'slow' }, id: 2 });
      client.send({ event: 'session', id: 3 });
      await until(() => waiting.length === 1);
      waiting[0]?.({ subject: 'ada', expiresAt: test.clock.now() + 1_000_000 });
      expect(await client.next()).toMatchObject({ event: 'auth', id: 1 });
      await until(() => waiting.length === 2);
      waiting[1]?.({ subject: 'ada', expiresAt: test.clock.now() + 2_000_000 });
      expect(await client.next()).toMatchObject({ event: 'auth', id: 2 });
      expect(await client.next()).toMatchObject({ id: 3, data: { expiresAt: test.clock.now() + 2_000_000 } });
    });

    it('with the expiry lose: a session that has ended is not brought back', async () => {
      const test = await start();
      const exp = Math.floor(test.clock.now() / 1000) + 5;
      const client = await Client.connect(`${test.url}/ws`, { token: token({ exp }) });
      client.send({ event: 'auth', data: { token: 'slow' }, id: 1 });
      await until(() => waiting.length === 1);
      test.clock.advance(6_000);
      waiting[0]?.({ subject: 'ada', expiresAt: test.clock.now() + 60_000 });
      expect((await client.rest()).map(({ event }) => event)).toEqual(['auth.expiring', 'disconnect']);
      expect((await client.closed).reason).toBe('TOKEN_EXPIRED');
    });

    it('with a revocation lose', async () => {
      const { client, test } = await connected();
      client.send({ event: 'auth', data: { token: 'slow' }, id: 1 });
      await until(() => waiting.length === 1);
      expect((await test.app.get(WsSessions).revoke({ subject: 'ada' })).ended).toBe(1);
      waiting[0]?.({ subject: 'ada', expiresAt: test.clock.now() + 60_000 });
      expect((await client.rest()).map(({ event }) => event)).toEqual(['disconnect']);
      expect((await client.closed).reason).toBe('SESSION_REVOKED');
    });

    it('at the handshake with a revocation lose, too', async () => {
      const test = await start();
      const connecting = Client.connect(`${test.url}/ws`, { token: 'slow' });
      await until(() => waiting.length === 1);
      await test.app.get(WsSessions).revoke({ subject: 'ada' });
      waiting[0]?.({ subject: 'ada', expiresAt: test.clock.now() + 60_000 });
      expect((await (await connecting).closed).reason).toBe('SESSION_REVOKED');
    });
  });
});

describe('a connection guard', () => {
  @Injectable()
  class Tenants {
    readonly open = new Set(['one']);
  }

  @Injectable()
  class TenantGuard implements ConnectionGuard {
    constructor(private readonly tenants: Tenants) {}

    async canConnect({ request, principal, path, clientAddress }: ConnectionAttempt): Promise<boolean> {
      await Promise.resolve();
      seen.push([principal?.subject, path, clientAddress]);
      const tenant = new URL(request.url ?? '', 'ws://x').searchParams.get('tenant') ?? '';
      if (tenant === 'gone') throw new GatewayError('TENANT_GONE');
      if (tenant === 'broken') throw new Error('hunter2');
      return this.tenants.open.has(tenant);
    }
  }

  let connections = 0;

  @UseConnectionGuards(TenantGuard)
  @WebSocketGateway({ path: '/tenants' })
  class TenantGateway {
    handleConnection(): void {
      connections++;
    }
  }

  @WebSocketGateway()
  class OtherGateway {}

  const setup = { gateways: [TenantGateway, OtherGateway], providers: [Tenants] };

  it('decides once at the upgrade, with the request and the principal', async () => {
    const { url, log } = await startApp(setup);
    seen.length = connections = 0;
    const client = await Client.connect(`${url}/tenants?tenant=one`, { token: token() });
    expect(await client.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
    expect(seen).toEqual([['ada', '/tenants', '127.0.0.1']]);
    const refused = await Client.connect(`${url}/tenants?tenant=two`, { token: token() });
    expect(await refused.closed).toEqual({ code: 3003, reason: 'FORBIDDEN' });
    expect(JSON.stringify(refused.frames)).not.toContain('Tenant');
    expect(log.lines.at(-1)).toMatchObject({ code: 'FORBIDDEN', reason: 'connection guard TenantGuard' });
    expect((await (await Client.connect(`${url}/tenants?tenant=gone`)).closed).reason).toBe('TENANT_GONE');
    expect((await (await Client.connect(`${url}/tenants?tenant=broken`)).closed).reason).toBe('INTERNAL');
    expect(connections).toBe(1);
    await (await Client.connect(`${url}/ws?tenant=two`)).close();
  });

  it('refuses with 403 where bad tokens are refused at the handshake', async () => {
    const { url } = await startApp({ ...setup, options: { auth: { reject: 'handshake' } } });
    expect(await refusal(`${url}/tenants`)).toMatchObject({ status: 403, body: { code: 'FORBIDDEN' } });
  });

  it('of the options stands before every path, and is asked after the token only', async () => {
    const asked: unknown[] = [];
    const guard: ConnectionGuard = {
      canConnect: ({ path }) => {
        asked.push(path);
        return false;
      },
    };
    const { url } = await startApp({ ...setup, options: { auth: { connectionGuards: [guard] } } });
    for (const path of ['/ws', '/tenants']) {
      expect((await (await Client.connect(`${url}${path}?tenant=one`)).closed).reason).toBe('FORBIDDEN');
      expect((await (await Client.connect(`${url}${path}`, { token: 'bad' })).closed).reason).toBe('TOKEN_INVALID');
    }
    expect(asked).toEqual(['/ws', '/tenants']);
    const options = { auth: { jwt: { secret: 'x'.repeat(32) }, connectionGuards: [{}] } };
    expect(() => resolveOptions(options)).toThrow('auth.connectionGuards must be');
  });
});
