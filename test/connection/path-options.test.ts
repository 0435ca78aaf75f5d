import { Injectable } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { NEVER } from 'rxjs';
import type { Observable } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import {
  Authenticator,
  GatewayError,
  Public,
  RawGateway,
  UseConnectionGuards,
  WsSessions,
  WsTickets,
} from '../../src/index.js';
import type {
  AuthenticationContext,
  ConnectionAttempt,
  PathOptions,
  PrincipalInit,
  WsGatewayOptions,
} from '../../src/index.js';
import { Disconnects } from '../../src/connection/disconnects.js';
import { SessionRegistry } from '../../src/session/registry.js';
import { resolveOptions, WsGatewayOptionsError } from '../../src/ws-gateway.options.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { SECRET, token } from '../support/tokens.js';

const jwt = { secret: SECRET };
const ORIGIN = 'https://app.example.com';

/** What is wrong with options that have these for the path `/media`, or for others. */
function problemsOf(paths: Record<string, unknown>, rest: object = {}): readonly string[] {
  try {
    resolveOptions({ auth: { jwt }, ...rest, paths });
  } catch (error) {
    if (error instanceof WsGatewayOptionsError) return error.problems;
    throw error;
  }
  return [];
}

afterEach(stopApps);

describe('options of a path', () => {
  it('are checked as those of the module are, all at once and by their full names', () => {
    const problems = problemsOf({
      '/media': {
        limits: { maxMessageBytes: 0, maxOutboundBytesTotal: 1, typo: 1 },
        heartbeat: { intervalMs: '5' },
        auth: { sources: ['cookies'], anonymous: 1, jwt: {} },
        firewall: { origins: ['app.example.com'], deny: [] },
        shutdown: {},
      },
      '/a b': {},
      '/x': 1,
    });
    expect(problems).toEqual([
      'paths["/media"].shutdown is not an option',
      'paths["/media"].limits.typo is not an option',
      'paths["/media"].limits.maxOutboundBytesTotal is one for all paths: set limits.maxOutboundBytesTotal',
      'paths["/media"].limits.maxMessageBytes must be an integer from 1 to 16777216, got 0',
      'paths["/media"].heartbeat.intervalMs must be an integer from 1 to 3600000, got "5"',
      'paths["/media"].auth.jwt is one for all paths: set auth.jwt',
      expect.stringMatching(/^paths\["\/media"\]\.auth\.sources must be a list of header, /),
      'paths["/media"].auth.anonymous must be true or false, got 1',
      'paths["/media"].firewall.deny is one for all paths: set firewall.deny',
      expect.stringMatching(/^paths\["\/media"\]\.firewall\.origins must hold origins as /),
      'paths["/a b"] must be the path of a gateway, without space, "?" or "#"',
      'paths["/x"] must be an object, got a number',
    ]);
  });

  it.each([
    [{ media: {}, '/media/': {} }, 'paths["/media/"] is "/media" once more'],
    [
      { '/media': { auth: { sources: ['cookie'] } } },
      'paths["/media"].auth.sources has cookie, so auth.cookie must name',
    ],
    [
      { '/media': { auth: { sources: [{ cookie: 'sid' }] } } },
      'paths["/media"].firewall.origins must list the origins that may connect, since paths["/media"].auth.sources has "cookie:sid"',
    ],
    [
      { '/media': { auth: { sources: [] } } },
      'paths["/media"].auth.sources must name one or more where auth.anonymous',
    ],
    [
      { '/media': { auth: { anonymous: false } } },
      'paths["/media"].auth.sources must name one or more where auth.anonymous is false',
      { auth: { sources: [], anonymous: true } },
    ],
    [
      { '/media': { auth: { sources: ['basic'] } } },
      'paths["/media"].auth.sources has basic, which is no bearer token',
    ],
    [
      { '/media': { limits: { maxOutboundBytes: 268_435_456 } } },
      'paths["/media"].limits.maxOutboundBytes must be at most limits.maxOutboundBytesTotal, 1048576, got 268435456',
      { limits: { maxOutboundBytesTotal: 1_048_576 } },
    ],
    [
      { '/media': { limits: { maxMessageBytes: 2_000_000 } } },
      'paths["/media"].limits.maxMessageBytes must be at most limits.maxReceivingBytesTotal, 1048576, got 2000000',
      { limits: { maxReceivingBytesTotal: 1_048_576 } },
    ],
    [
      { '/media': { firewall: { origins: ['*'] } } },
      'paths["/media"].firewall.origins must not have "*", since auth.sources has "cookie", which a browser sends',
      { auth: { jwt, sources: ['cookie'], cookie: 'sid' }, firewall: { origins: [ORIGIN] } },
    ],
    [
      { '/media': { auth: { sources: ['certificate'] } } },
      'firewall.dryRun must not have "origins", as true has, since paths["/media"].auth.sources has "certificate"',
      { firewall: { dryRun: true } },
    ],
    [
      { '/media': { auth: { sources: ['header'] } } },
      'auth.jwt needs a secret or a publicKey',
      { auth: { sources: ['certificate'] } },
    ],
  ])('have to fit each other and the rest: %j', (paths, problem, rest: object = {}) => {
    const problems = problemsOf(paths, rest);
    expect(problems.join()).toContain(problem);
  });

  it('may leave a path that is for strangers alone without sources', () => {
    expect(problemsOf({ '/media': { auth: { sources: [], anonymous: true } } })).toEqual([]);
  });

  it('may be weaker than what the module could have', () => {
    const paths = { '/media': { auth: { sources: [{ cookie: 'sid' }] }, firewall: { origins: [ORIGIN] } } };
    const rest = { auth: { jwt, sources: ['header'] }, firewall: { origins: ['*'] } };
    expect(problemsOf(paths, rest).join()).toContain('provide an Authenticator'); // and nothing about Origins
    expect(problemsOf({ 'media/': {}, '/__proto__': { limits: { maxStreams: 1 } } })).toEqual([]);
  });
});

@WebSocketGateway({ path: '/media' })
class MediaGateway {
  handleConnection(): void {}

  handleDisconnect(): Promise<void> {
    return new Promise(() => undefined);
  }

  @SubscribeMessage('hang') hang(): Promise<never> {
    return new Promise(() => undefined);
  }

  @SubscribeMessage('stream') stream(): Observable<never> {
    return NEVER;
  }
}

@WebSocketGateway()
class PlainGateway {
  handleDisconnect(): Promise<void> {
    return new Promise(() => undefined);
  }

  @SubscribeMessage('hang') hang(): Promise<never> {
    return new Promise(() => undefined);
  }

  @SubscribeMessage('stream') stream(): Observable<never> {
    return NEVER;
  }

  @Public() @SubscribeMessage('hello') hello(): string {
    return 'hello';
  }
}

const principal = (subject: string): PrincipalInit => ({ subject, expiresAt: Date.now() + 3_600_000 });

const gateways = [MediaGateway, PlainGateway];
const start = (media: PathOptions, rest: Partial<WsGatewayOptions> = {}, more: object = {}): Promise<TestApp> =>
  startApp({ gateways, options: { ...rest, paths: { '/media': media } }, ...more });
const codeOf = ({ data }: { data?: unknown }): unknown => (data as { code?: string } | undefined)?.code;

it.each([
  ['/meda', 'paths["/meda"] is the path of no gateway: there are gateways at /media, /ws'],
  ['/media/:id', 'paths["/media/:id"] is the path of no gateway'],
])('options of %s, which no gateway serves, stop the start', async (path, problem) => {
  await expect(startApp({ gateways, options: { paths: { [path]: {} } } })).rejects.toThrow(problem);
});

it('options of a path with parameters are under the path as its gateway writes it', async () => {
  @WebSocketGateway({ path: 'ocpp/:version/:station' })
  class StationGateway {}
  const paths = { 'ocpp/:version/:station': { limits: { maxMessageBytes: 50 } } };
  const { url } = await startApp({ gateways: [StationGateway], options: { paths } });
  const station = await Client.connect(`${url}/ocpp/1.6/CS1`, { token: token() });
  station.send({ event: 'ping', data: 'x'.repeat(50) });
  expect(await station.closed).toMatchObject({ code: 1009 });
});

describe('limits.handlerTimeoutMs of a path', () => {
  it.each([
    [1_000, '/media', '/ws'],
    [30_000, '/ws', '/media'],
  ])('is %d ms, whichever request came first', async (handlerTimeoutMs, first, second) => {
    const limits = { handlerTimeoutMs: 10_000 };
    const { url, clock } = await start(
      { limits: { handlerTimeoutMs } },
      { limits, heartbeat: { intervalMs: 3_600_000 } },
    );
    const connect = (path: string): Promise<Client> => Client.connect(url + path, { token: token() });
    const [late, early] = [await connect(second), await connect(first)];
    for (const client of [late, early]) client.send({ event: 'hang', id: 1 });
    for (const client of [late, early]) await client.ask({ event: 'ping', id: 2 });
    clock.advance(Math.min(handlerTimeoutMs, 10_000));
    expect(codeOf(await early.next())).toBe('HANDLER_TIMEOUT');
    expect(await late.ask({ event: 'ping', id: 3 })).toMatchObject({ id: 3 });
    clock.advance(30_000);
    expect(codeOf(await late.next())).toBe('HANDLER_TIMEOUT');
  });

  it('is that of its handleDisconnect, too', async () => {
    const { app, url, clock } = await start(
      { limits: { handlerTimeoutMs: 1_000 } },
      { limits: { handlerTimeoutMs: 10_000 } },
    );
    const disconnects = app.get(Disconnects);
    for (const path of ['/ws', '/media']) await (await Client.connect(url + path, { token: token() })).close();
    await until(() => disconnects.size === 2);
    clock.advance(1_000);
    expect(disconnects.size).toBe(1);
    clock.advance(9_000);
    expect(disconnects.size).toBe(0);
  });
});

describe('auth of a path', () => {
  it('has its own time to authenticate', async () => {
    const { url, clock } = await start({ auth: { timeoutMs: 1_000 } });
    const [media, other] = [await Client.connect(`${url}/media`), await Client.connect(`${url}/ws`)];
    clock.advance(1_000);
    expect((await media.closed).reason).toBe('AUTH_TIMEOUT');
    expect(await other.ask({ event: 'hello', id: 1 })).toMatchObject({ data: 'hello' });
    clock.advance(9_000);
    expect((await other.closed).reason).toBe('AUTH_TIMEOUT');
  });

  it('gives an Authenticator and connection guards that time, also where others wait for longer', async () => {
    let asked = 0;
    class Silent extends Authenticator {
      override authenticate(): Promise<never> {
        asked++;
        return new Promise(() => undefined);
      }
    }
    @UseConnectionGuards({ canConnect: () => new Promise<never>(() => void asked++) })
    @WebSocketGateway({ path: '/guarded' })
    class GuardedGateway {}
    const paths = {
      '/media': { auth: { timeoutMs: 1_000 } },
      '/guarded': { auth: { timeoutMs: 2_000, anonymous: true } },
    };
    const providers = [{ provide: Authenticator, useClass: Silent }];
    const { url, clock } = await startApp({ gateways: [...gateways, GuardedGateway], providers, options: { paths } });
    const attempts = ['/ws', '/media', '/guarded'].map((path) =>
      path === '/guarded' ? Client.connect(url + path) : Client.connect(url + path, { token: 'x' }),
    );
    await until(() => asked === 3);
    clock.advance(1_000);
    expect((await (await attempts[1])?.closed)?.reason).toBe('OVERLOADED');
    clock.advance(1_000);
    expect((await (await attempts[2])?.closed)?.reason).toBe('OVERLOADED');
    clock.advance(8_000);
    expect((await (await attempts[0])?.closed)?.reason).toBe('OVERLOADED');
  });

  it('is closed where the module is open to strangers', async () => {
    const auth = { jwt, anonymous: true };
    const { app, url, clock } = await start({ auth: { anonymous: false, sources: ['header'] } }, { auth });
    expect(await (await Client.connect(`${url}/ws`)).ask({ event: 'hello', id: 1 })).toMatchObject({ data: 'hello' });
    expect(await refusal(`${url}/media`)).toMatchObject({ status: 401 });
    const media = await Client.connect(`${url}/media`, { token: token() });
    expect(await media.ask({ event: 'auth', data: { token: token() }, id: 1 })).toMatchObject({
      data: { subject: 'ada' },
    });
    clock.advance(20_000);
    expect(app.get(WsSessions).count({ subject: 'ada' })).toBe(1);
  });

  it('takes no first message, enveloped or bare, where its sources have none', async () => {
    const auth = { sources: ['header'], anonymous: true } as const;
    const { url } = await start({ auth }, { heartbeat: { intervalMs: 3_600_000 } });
    const media = await Client.connect(`${url}/media`);
    expect(codeOf(await media.ask({ event: 'auth', data: { token: token() }, id: 1 }))).toBe('UNAUTHENTICATED');
    expect(codeOf(await media.ask(token()))).toBe('BAD_FRAME');
    const other = await Client.connect(`${url}/ws`);
    expect(await other.ask(token())).toMatchObject({ data: { subject: 'ada' } });
  });

  it('has sources whose credentials the Authenticator judges, and no other path has', async () => {
    const seen: string[] = [];
    @Injectable()
    class Keys extends Authenticator {
      override readonly kinds = ['header'] as const;

      override authenticate(credential: string, { source }: AuthenticationContext): PrincipalInit {
        seen.push(source);
        if (credential !== 'right') throw new GatewayError('TOKEN_INVALID');
        return principal('device');
      }
    }
    const providers = [{ provide: Authenticator, useClass: Keys }];
    const { url } = await start(
      { auth: { sources: [{ header: 'x-api-key' }], reject: 'handshake' } },
      {},
      { providers },
    );
    const headers = { 'x-api-key': 'right' };
    const device = await Client.connect(`${url}/media`, { headers });
    expect(await device.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'device' } });
    expect(await refusal(`${url}/media`, { headers: { 'x-api-key': 'wrong' } })).toMatchObject({ status: 401 });
    const other = await Client.connect(`${url}/ws`, { headers });
    expect(codeOf(await other.ask({ event: 'session', id: 1 }))).toBe('UNAUTHENTICATED');
    expect(seen).toEqual(['header:x-api-key', 'header:x-api-key']);
  });

  it('stops the start where the Authenticator leaves out the kind of its source', async () => {
    class Bearers extends Authenticator {
      override readonly kinds = ['bearer'] as const;

      override authenticate(): PrincipalInit {
        return principal('x');
      }
    }
    const providers = [{ provide: Authenticator, useClass: Bearers }];
    const started = start({ auth: { sources: ['basic'] }, firewall: { origins: [ORIGIN] } }, {}, { providers });
    await expect(started).rejects.toThrow(
      'paths["/media"].auth.sources has basic, and the kinds of Bearers have no basic',
    );
  });

  it('keeps the parameters that hold its credentials out of the log', async () => {
    class Keys extends Authenticator {
      override authenticate(): never {
        throw new Error('no store at https://keys.test/?key=hunter2&other=1');
      }
    }
    const providers = [{ provide: Authenticator, useClass: Keys }];
    const { url, log } = await start({ auth: { sources: [{ query: 'key' }] } }, {}, { providers });
    await (
      await Client.connect(`${url}/media?key=x`)
    ).closed;
    const lines = JSON.stringify(log.lines);
    expect(lines).toContain('other=1');
    expect(lines).not.toContain('hunter2');
  });

  it('needs the cookie and its Origin together on its own path alone', async () => {
    class Cookies extends Authenticator {
      override authenticate(): PrincipalInit {
        return principal('page');
      }
    }
    const media = { auth: { sources: [{ cookie: 'sid' }] }, firewall: { origins: [ORIGIN] } };
    const providers = [{ provide: Authenticator, useClass: Cookies }];
    const { url } = await start(media, {}, { providers });
    const cookie = { cookie: 'sid=1' };
    const page = await Client.connect(`${url}/media`, { headers: { ...cookie, origin: ORIGIN } });
    expect(await page.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'page' } });
    for (const headers of [cookie, { ...cookie, origin: 'https://evil.test' }])
      expect(await refusal(`${url}/media`, { headers })).toMatchObject({ status: 403 });
    const other = await Client.connect(`${url}/ws`, { headers: cookie });
    expect(codeOf(await other.ask({ event: 'session', id: 1 }))).toBe('UNAUTHENTICATED');
  });

  it('lets a connection guard name the principal, or a ticket, on its own path alone', async () => {
    const guard = { canConnect: ({ principal: known }: ConnectionAttempt) => known ?? principal('signed') };
    @UseConnectionGuards(guard)
    @WebSocketGateway({ path: '/signed' })
    class SignedGateway {}
    const paths = { '/signed': { auth: { sources: ['guard'] } }, '/media': { auth: { sources: ['ticket'] } } } as const;
    const { app, url } = await startApp({ gateways: [...gateways, SignedGateway], options: { paths } });
    const signed = await Client.connect(`${url}/signed`);
    expect(await signed.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'signed' } });
    const { ticket } = await app.get(WsTickets).issue({ ...principal('ticketed'), roles: [], scopes: [], claims: {} });
    const elsewhere = await Client.connect(`${url}/ws?ticket=${ticket}`);
    expect(codeOf(await elsewhere.ask({ event: 'session', id: 1 }))).toBe('UNAUTHENTICATED');
    const media = await Client.connect(`${url}/media?ticket=${ticket}`);
    expect(await media.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'ticketed' } });
    expect(await refusal(`${url}/media`, { headers: { authorization: `Bearer ${token()}` } })).toMatchObject({
      status: 401,
    });
  });

  it('asks for TLS where certificates are its source, whatever other ports speak', async () => {
    const started = startApp({
      gateways,
      https: undefined,
      options: { paths: { '/media': { auth: { sources: ['certificate'] } } } },
    });
    if (process.env.TEST_TLS === '1') return void (await started);
    await expect(started).rejects.toThrow(
      `paths["/media"].auth.sources has 'certificate', so the HTTP server has to speak TLS`,
    );
  });

  it('makes a raw gateway possible that the sources of the module would not, and the other way round', async () => {
    @RawGateway()
    @WebSocketGateway({ path: '/raw' })
    class Raw {
      handleConnection(socket: {
        on(event: string, listener: (data: Buffer) => void): void;
        send(data: string): void;
      }): void {
        socket.on('message', (data) => socket.send(JSON.stringify({ heard: String(data) })));
      }
    }
    const options = (auth: Partial<WsGatewayOptions['auth']>, raw: PathOptions['auth']): WsGatewayOptions => ({
      auth: { jwt, ...auth },
      paths: { '/raw': { auth: raw } },
    });
    const { url } = await startApp({
      gateways: [Raw],
      options: options({ sources: ['message'] }, { anonymous: true }),
    });
    const client = await Client.connect(`${url}/raw`);
    expect(await client.ask('hi')).toEqual({ heard: 'hi' });
    const closed = startApp({ gateways: [Raw], options: options({}, { sources: ['message'] }) });
    await expect(closed).rejects.toThrow('cannot authenticate by a first message');
  });
});

describe('each other limit of a path', () => {
  const stream = { event: 'stream', id: 2 };
  const small = { event: 'ping', id: 1, data: 'x'.repeat(900) };

  /** What a client does, and how the log says that the limit is low, with the code of a close. */
  const rows: [PathOptions['limits'], string, (client: Client, test: TestApp) => void | Promise<void>][] = [
    [
      { maxFragments: 2 },
      'MESSAGE_TOO_BIG 1009',
      ({ socket }) => ['a', 'b', 'c'].forEach((part, index) => socket.send(part, { fin: index === 2 })),
    ],
    [{ maxBadFrames: 1 }, 'BAD_FRAME 4400', (client) => ['x', 'y'].forEach((bad) => client.send(bad))],
    [{ maxJsonDepth: 2 }, 'BAD_FRAME', (client) => client.send({ event: 'ping', data: [[1]], id: 1 })],
    [{ maxStreams: 1 }, 'RATE_LIMITED', (client) => [stream, { ...stream, id: 3 }].forEach((one) => client.send(one))],
    [
      { bytesPerSecond: 1_000, maxMessageBytes: 1_000 },
      'RATE_LIMITED',
      (client) => [small, small].forEach((one) => client.send(one)),
    ],
    [
      { messageBurst: 1, messagesPerSecond: 1 },
      'RATE_LIMITED',
      (client) => [small, small].forEach((one) => client.send(one)),
    ],
    [
      { messageTimeoutMs: 1_000 },
      'STALLED 4108',
      async ({ socket }, { app, clock }) => {
        socket.send('{"event":', { fin: false });
        const [session] = app.get(SessionRegistry).find();
        await until(() => (session?.socket.receiving ?? 0) > 0);
        for (let i = 0; i < 8; i++) clock.advance(250);
        socket.send('"ping"}');
      },
    ],
    [
      { maxOutboundBytes: 1_000_000 },
      'SLOW_CONSUMER 4113',
      ({ socket }, { app }) => {
        socket.pause();
        for (const session of app.get(WsSessions).find())
          for (let i = 0; i < 20; i++) session.send('big', 'x'.repeat(1_000_000));
        socket.resume();
      },
    ],
  ];

  it.each(rows)('%j is in force there, and nowhere else', async (limits, end, act) => {
    const rest = { limits: { maxOutboundBytes: 100_000_000 }, heartbeat: { intervalMs: 3_600_000 } };
    for (const path of ['/media', '/ws']) {
      const test = await start({ limits }, rest);
      const client = await Client.connect(test.url + path, { token: token() });
      const isThere = (): boolean =>
        test.log.lines.some(({ code, closeCode = '' }) => `${code} ${closeCode}`.trim() === end);
      await act(client, test);
      client.send({ event: 'ping', id: 9 });
      await until(() => isThere() || client.frames.some(({ id }) => id === 9));
      expect([path, isThere()]).toEqual([path, path === '/media']);
      await stopApps();
    }
  });
});

it('the totals hold for the sessions of all paths together', async () => {
  const { app, url, clock, log } = await start(
    { limits: { maxOutboundBytes: 24_000_000 } },
    { limits: { maxOutboundBytesTotal: 24_000_000 }, heartbeat: { intervalMs: 3_600_000 } },
  );
  const sessions = app.get(WsSessions);
  const reader = await Client.connect(`${url}/ws`, { token: token() });
  for (const [sub, count] of Object.entries({ most: 23, less: 15 })) {
    const sloth = await Client.connect(`${url}/media`, { token: token({ sub }) });
    sloth.socket.pause();
    for (let i = 0; i < count; i++)
      for (const session of sessions.find({ subject: sub })) session.send('big', 'x'.repeat(1_000_000));
  }
  expect(sessions.count()).toBe(3); // each is within the bound of its path
  clock.advance(250);
  await until(() => sessions.count() === 2);
  expect(log.lines.filter(({ code }) => code === 'SLOW_CONSUMER')).toMatchObject([{ subject: 'most' }]);
  expect(await reader.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
});
