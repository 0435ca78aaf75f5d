import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { APP_GUARD, APP_INTERCEPTOR } from '@nestjs/core';
import type { CanActivate, INestApplication, NestInterceptor } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsString } from 'class-validator';
import { map } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { WsConsoleModule } from '../../src/console/index.js';
import type { WsConsoleOptions } from '../../src/console/index.js';
import { ConsoleData } from '../../src/console/console-data.js';
import type { Failures, LiveHistory, LiveTick } from '../../src/console/wire.js';
import { GatewayError, RateLimit, Roles, WsFirewall, WsGatewayModule } from '../../src/index.js';
import type { AdminEvent, WsGatewayOptions } from '../../src/index.js';
import { createWsTestingApp } from '../../src/testing/index.js';
import type { TestClaims, WsTestClient, WsTestingApp, WsTestingOptions } from '../../src/testing/index.js';
import { SECRET } from '../support/tokens.js';

class Note {
  @IsString() text!: string;
}

@WebSocketGateway()
class Notes {
  @Roles('staff')
  @RateLimit({ limit: 5, perMs: 60_000 })
  @SubscribeMessage('note')
  note(@MessageBody() { text }: Note): string {
    return text;
  }

  @SubscribeMessage('broken')
  broken(): never {
    throw new Error('no such table');
  }

  @SubscribeMessage('own')
  own(@MessageBody() _data: Note): never {
    throw new GatewayError('SOLD_OUT');
  }
}

const page = ((): URL => {
  const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-page-'));
  mkdirSync(join(folder, 'assets'));
  writeFileSync(join(folder, 'index.html'), '<!doctype html><title>page</title>');
  writeFileSync(join(folder, 'assets/app-1.js'), 'script');
  writeFileSync(join(folder, 'assets/app-1.js.gz'), gzipSync('script'));
  return pathToFileURL(`${folder}/`);
})();

const ADMIN = { sub: 'root', scopes: ['ws-gateway:admin'] };
let t: WsTestingApp;

interface Setup extends WsTestingOptions {
  readonly console?: WsConsoleOptions;
  readonly options?: Omit<WsGatewayOptions, 'auth'>;
  readonly providers?: object[];
}

async function start({ console = {}, options = {}, providers = [], ...testing }: Setup = {}): Promise<WsTestingApp> {
  t = await createWsTestingApp(
    {
      imports: [
        WsGatewayModule.forRoot({ auth: { jwt: { secret: SECRET } }, ...options }),
        WsConsoleModule.forRoot({ page, ...console }),
      ],
      providers: [Notes, ...(providers as never[])],
    },
    testing,
  );
  return t;
}
afterEach(() => t?.close());

const base = (): string => t.url.replace(/^ws/, 'http').replace(/\/ws$/, '');
const get = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${base()}${path}`, { headers, redirect: 'manual' });
const open = (claims: TestClaims = ADMIN, path = '/ws-console/socket'): Promise<WsTestClient> =>
  t.connect(claims, { path });

class Denying implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

class Wrapping implements NestInterceptor {
  intercept: NestInterceptor['intercept'] = (_, next) => next.handle().pipe(map((data: unknown) => ({ data })));
}

const denying = [
  { provide: APP_GUARD, useClass: Denying },
  { provide: APP_INTERCEPTOR, useClass: Wrapping },
];

describe.each([
  ['express', {}],
  ['fastify', { create: (module) => module.createNestApplication(new FastifyAdapter() as never) }],
] as [string, WsTestingOptions][])('the page on %s', (_, framework) => {
  it('is served with its headers, under a prefix and behind guards that deny', async () => {
    await start({ ...framework, providers: denying, before: (app) => void app.setGlobalPrefix('api') });
    const answer = await get('/api/ws-console/');
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain('<title>page</title>');
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': expect.stringContaining("require-trusted-types-for 'script'") as string,
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
      'cache-control': 'no-cache',
    });
    const moved = await get('/api/ws-console');
    expect([moved.status, moved.headers.get('location')]).toEqual([308, 'ws-console/']);
    expect(await (await get('/api/ws-console/config.json')).json()).toEqual({
      title: 'ws-gateway',
      page: '/api/ws-console/',
      socket: '/ws-console/socket',
      via: 'message',
    });
    expect(await (await open()).request('ws-gateway.about')).toMatchObject({ who: expect.any(String) as string });
  });

  it('signs in as the path of its socket asks for', async () => {
    const paths = { '/ws-console/socket': { auth: { sources: ['subprotocol'] } } } as const;
    await start({ ...framework, options: { paths } });
    expect(await (await get('/ws-console/config.json')).json()).toMatchObject({ via: 'subprotocol' });
  });

  it('wins over headers that the application has set before', async () => {
    const before = (app: INestApplication): void => {
      const set = (_request: unknown, response: ServerResponse, next: () => void): void => {
        response.setHeader('Content-Security-Policy', "script-src 'unsafe-inline'");
        next();
      };
      app.use(set);
    };
    await start({ ...framework, before });
    expect((await get('/ws-console/')).headers.get('content-security-policy')).toMatch(/^default-src 'none'/);
  });

  it('serves what was built, zipped and for ever, and nothing else', async () => {
    await start({ ...framework, console: { path: '/' } });
    const zipped = await get('/assets/app-1.js', { 'accept-encoding': 'gzip, br' });
    expect(zipped.headers.get('content-encoding')).toBe('gzip');
    expect(zipped.headers.get('cache-control')).toContain('immutable');
    expect(await zipped.text()).toBe('script');
    expect((await get('/assets/app-1.js', { 'accept-encoding': 'identity' })).headers.get('content-encoding')).toBe(
      null,
    );
    expect((await get('/')).status).toBe(200);
    expect((await get('/config.json')).status).toBe(200);
    for (const path of ['/assets/../index.html.gz', '/assets/%2e%2e/package.json', '/assets/none.js', '/elsewhere'])
      expect([path, (await get(path)).status]).toEqual([path, 404]);
    expect((await fetch(`${base()}/`, { method: 'POST' })).status).toBe(404);
  });
});

describe('the data of the console', () => {
  it('needs the scope, and is on a path of its own', async () => {
    await start();
    const ada = await open({ sub: 'ada' });
    await expect(ada.request('ws-gateway.about')).rejects.toMatchObject({ code: 'FORBIDDEN' });
    const root = await t.connect(ADMIN);
    await expect(root.request('ws-gateway.about')).rejects.toMatchObject({ code: 'UNKNOWN_EVENT' });
  });

  it('shows the last minutes, then each second', async () => {
    await start();
    const [staff, root] = [await t.connect({ sub: 'ada', roles: ['staff'] }), await open()];
    await staff.request('note', { text: 'a' });
    await expect(staff.request('note', { text: 1 })).rejects.toMatchObject({ code: 'VALIDATION_FAILED' });
    await t.refused({ origin: 'https://evil.test' });
    await t.clock.advance(1_000);
    const live = root.stream<LiveHistory | LiveTick>('ws-gateway.live');
    const { value: history } = (await live.next()) as { value: LiveHistory };
    expect(history.series.open).toEqual([2]);
    expect(history.series.messagesIn).toEqual([2]);
    expect(history.series.p99[0]).toBeGreaterThan(0);
    expect(history.series.loopDelay).toEqual([null]); // measured while a console looks on
    expect(history.codes).toEqual({
      refusals: { ORIGIN_FORBIDDEN: [1] },
      exceptions: { VALIDATION_FAILED: [1] },
      closes: {},
    });
    await t.clock.advance(1_000);
    const { value: tick } = (await live.next()) as { value: LiveTick };
    expect(tick).toMatchObject({
      kind: 'tick',
      at: t.clock.now(),
      values: { messagesIn: 0, p99: null, loopDelay: expect.any(Number) as number },
      codes: { refusals: {} },
    });
    await live.return();
  });

  it('does not count itself', async () => {
    await start();
    const root = await open();
    for (let i = 0; i < 5; i++) await root.request('ws-gateway.about');
    await t.clock.advance(1_000);
    const { value } = (await root.stream<LiveHistory>('ws-gateway.live').next()) as { value: LiveHistory };
    expect(value.series.messagesIn).toEqual([0]);
    const events = await root.request<{ event: string }[]>('ws-gateway.events');
    expect(events.map(({ event }) => event)).toEqual(['note', 'broken', 'own']);
  });

  it('shows failures as the log has them, in batches that say what they left out', async () => {
    await start({ options: { privacy: { subject: 'masked', address: 'masked' } } });
    const root = await open();
    const ada = await t.connect({ sub: 'ada' });
    const failures = root.stream<Failures>('ws-gateway.failures');
    expect((await failures.next()).value).toEqual({ rows: [], dropped: 0 });
    await expect(ada.request('broken')).rejects.toMatchObject({ code: 'INTERNAL' });
    await t.clock.advance(250);
    const { value } = (await failures.next()) as { value: Failures };
    expect(value.rows).toEqual([
      expect.objectContaining({
        code: 'INTERNAL',
        event: 'broken',
        subject: 'a***',
        clientAddress: '127.0.0.0/24',
        cause: expect.stringContaining('no such table') as string,
        incidentId: expect.any(String) as string,
      }),
    ]);
    expect(value.rows[0]).not.toHaveProperty('stack');
    for (let i = 0; i < 60; i++) await ada.request('own', { text: 'a' }).catch(() => undefined);
    await t.clock.advance(250);
    expect((await failures.next()).value).toMatchObject({ dropped: 10, rows: { length: 50 } });
  });

  it('lists sessions by pages and ends one; the audit hears of it', async () => {
    await start();
    const acts: AdminEvent[] = [];
    t.events.on('admin', (event) => acts.push(event));
    const [ada, root] = [await t.connect({ sub: 'ada' }), await open()];
    await root.stream('ws-gateway.live').next();
    const list = await root.request<{ items: { id: string; path: string }[]; total: number }>('ws-gateway.sessions', {
      subject: 'ada',
    });
    expect(list).toMatchObject({
      total: 1,
      items: [{ subject: 'ada', path: '/ws', clientAddress: '127.0.0.1', inFlight: 0 }],
    });
    const [{ id = '' } = {}] = list.items;
    expect(await root.request('ws-gateway.sessions.end', { sessionId: id })).toEqual({ ended: 1 });
    expect((await ada.closed).disconnect?.code).toBe('SESSION_REVOKED');
    expect(acts.map(({ act, actor }) => [act, actor])).toEqual([
      ['console.open', 'root'],
      ['sessions.revoke', 'root'],
    ]);
  });

  it('sets and lifts bans, and shows what is refused', async () => {
    await start({ options: { firewall: { dryRun: ['origins'] } } });
    const root = await open();
    await (await t.connect({}, { origin: 'https://evil.test' })).close();
    await root.request('ws-gateway.ban', { subject: 'eve', forMs: 60_000, reason: 'spam' });
    await expect(root.request('ws-gateway.ban', { address: 'nowhere', forMs: 1 })).rejects.toMatchObject({
      code: 'VALIDATION_FAILED',
    });
    const state = await root.request<{ bans: { id: string }[] }>('ws-gateway.firewall');
    expect(state).toMatchObject({
      bans: [{ kind: 'subject', target: 'eve', reason: 'spam' }],
      dryRuns: [{ rule: 'origins', count: 1 }],
    });
    await root.request('ws-gateway.unban', { id: state.bans[0]?.id });
    expect(t.app.get(WsFirewall, { strict: false }).bans()).toEqual([]);
  });

  it('shows what events ask for', async () => {
    await start();
    const [note] = await (await open()).request<object[]>('ws-gateway.events');
    expect(note).toMatchObject({
      event: 'note',
      path: '/ws',
      isPublic: false,
      roles: [['staff']],
      limit: { limit: 5, perMs: 60_000 },
      example: { text: 'text' },
    });
  });

  it('shows rooms and nodes', async () => {
    await start();
    const root = await open();
    expect(await root.request('ws-gateway.rooms')).toMatchObject({
      rooms: 0,
      state: 'single',
      nodes: [{ isHere: true, sessions: 1 }],
    });
  });

  it('mints tokens only where the application gives them away', async () => {
    await start();
    const claims = { sub: 'ada', roles: ['staff'], scope: '', seconds: 60 };
    await expect((await open()).request('ws-gateway.mint', claims)).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await t.close();
    await start({ console: { mint: ({ sub }) => `token of ${sub}` } });
    expect(await (await open()).request('ws-gateway.mint', claims)).toEqual({ token: 'token of ada' });
  });

  it('is for three consoles at a time', async () => {
    await start();
    const consoles = await Promise.all([1, 2, 3].map(() => open()));
    const streams = consoles.map((console) => console.stream('ws-gateway.live'));
    await Promise.all(streams.map((stream) => stream.next()));
    const fourth = await open();
    await expect(fourth.stream('ws-gateway.live').next()).rejects.toMatchObject({ code: 'CONSOLE_LIMIT' });
    await consoles[0]?.close();
    await fourth.settled();
    expect(await fourth.stream('ws-gateway.live').next()).toMatchObject({ done: false });
  });

  it('holds at most a megabyte of history', async () => {
    await start();
    const { history } = t.app.get(ConsoleData, { strict: false });
    const ada = await t.connect({ sub: 'ada' });
    for (let code = 0; code < 300; code++) {
      t.events.emit({ kind: 'request', level: 'warn', code: `OWN_${code}`, message: 'no' });
      t.events.emit({ kind: 'connection', level: 'warn', code: `OWN_${code}`, message: 'no', sessionId: 's' });
      t.events.emit({ kind: 'upgrade', level: 'warn', code: `OWN_${code}`, message: 'no' });
      history.sample();
    }
    for (let i = 0; i < 900; i++) history.sample();
    expect(history.bytes).toBeLessThan(600_000);
    await ada.close();
    const { value } = (await (await open()).stream<LiveHistory>('ws-gateway.live').next()) as { value: LiveHistory };
    expect(Object.keys(value.codes.closes)).toContain('OTHER');
    expect(value.series.open).toHaveLength(900);
  });
});
