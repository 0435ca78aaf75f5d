import { Controller, Get, Post } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocketServer } from 'ws';
import { WsSessions } from '../../src/index.js';
import { Firewall } from '../../src/firewall/firewall.js';
import { FirewallSockets } from '../../src/firewall/socket-quota.js';
import { resolveOptions } from '../../src/ws-gateway.options.js';
import { OVER_TLS, startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { hasOpenssl, localTls } from '../support/certificates.js';
import { Client, fetchFrom } from '../support/client.js';
import { exchange, handshake, openTcp, parseAnswer, reset } from '../support/tcp.js';
import { SECRET, token } from '../support/tokens.js';

@WebSocketGateway()
class OrdersGateway {
  @SubscribeMessage('where') where(): string {
    return 'orders';
  }
}

@Controller()
class PagesController {
  @Get('page') page(): string {
    return 'a page';
  }
}

const peers: Socket[] = [];

afterEach(async () => {
  for (const peer of peers.splice(0)) peer.destroy();
  await stopApps();
});

/** A TCP connection, of which nothing is known but that it was accepted or cut. */
async function dial(port: number, localAddress = '127.0.0.1'): Promise<Socket> {
  const peer = connect({ port, host: '127.0.0.1', localAddress });
  peers.push(peer);
  peer.on('error', () => undefined); // resets are part of what is tested
  await once(peer, 'connect');
  peer.resume();
  return peer;
}

const sizes = ({ app }: TestApp): number[] => {
  const { sockets, connections } = app.get(Firewall);
  return [sockets.size, sockets.ranges, connections.size];
};

const others = (test: TestApp): Server => test.app.getHttpServer() as Server;

describe('sockets count from the moment they are accepted', () => {
  const few = { maxSocketsPerAddress: 3, maxConnectionsPerAddress: 2 };

  it('of one address up to their number, whether they say something or not', async () => {
    const test = await startApp({ gateways: [OrdersGateway], options: { firewall: few } });
    const silent = [];
    for (let i = 0; i < 3; i++) silent.push(await dial(test.port));
    await until(() => sizes(test)[0] === 3);
    await once(await dial(test.port), 'close');
    expect(test.log.lines).toMatchObject([
      { kind: 'upgrade', code: 'TOO_MANY_CONNECTIONS', clientAddress: '127.0.0.1', level: 'warn' },
    ]);
    expect(test.log.lines[0]?.message).toContain('firewall.trustProxy');
    const elsewhere = await Client.connect(`${test.url}/ws`, { token: token(), localAddress: '127.0.0.2' });
    expect(await elsewhere.ask({ event: 'where', id: 1 })).toMatchObject({ data: 'orders' });
    silent[0]?.destroy();
    await until(() => sizes(test)[0] === 2);
    const here = await Client.connect(`${test.url}/ws`, { token: token() });
    expect(await here.ask({ event: 'where', id: 1 })).toMatchObject({ data: 'orders' });
  });

  it('plain HTTP that is kept alive and refused upgrades as well, sessions not', async () => {
    const test = await startApp({ controllers: [PagesController], options: { firewall: few } });
    for (let i = 0; i < 2; i++) await Client.connect(`${test.url}/ws`, { token: token() });
    expect(sizes(test)).toEqual([0, 0, 2]);
    const alive = await openTcp(test.port);
    alive.write('GET /page HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(alive, 'data');
    const refused = await openTcp(test.port);
    refused.pause(); // so that it does not see the end, and lingers
    refused.write(handshake('/ws'));
    await until(() => test.log.lines[0]?.status === 429);
    await openTcp(test.port);
    await until(() => sizes(test)[0] === 3);
    await once(await dial(test.port), 'close');
    for (const peer of [alive, refused]) peer.destroy();
  });

  it('an application that serves HTTP with keep-alive keeps its connections', async () => {
    const test = await startApp({ controllers: [PagesController] });
    const visitors = await Promise.all(Array.from({ length: 60 }, () => openTcp(test.port)));
    for (let round = 0; round < 3; round++) {
      for (const visitor of visitors) visitor.write('GET /page HTTP/1.1\r\nHost: x\r\n\r\n');
      await Promise.all(visitors.map((visitor) => once(visitor, 'data')));
      test.clock.advance(11_000);
    }
    expect(visitors.some(({ destroyed }) => destroyed)).toBe(false);
    for (const visitor of visitors) visitor.destroy();
  });

  it('of a proxy that is trusted by a number of their own', async () => {
    const firewall = { ...few, maxSocketsPerProxy: 5, trustProxy: ['127.0.0.9'] };
    const test = await startApp({ options: { firewall } });
    for (let i = 0; i < 5; i++) await dial(test.port, '127.0.0.9');
    await until(() => sizes(test)[0] === 5);
    await once(await dial(test.port, '127.0.0.9'), 'close');
    expect(test.log.lines[0]?.message).toContain('firewall.maxSocketsPerProxy');
    for (let i = 0; i < 3; i++) await dial(test.port);
    await once(await dial(test.port), 'close');
  });

  it('of all addresses together: the longest silent makes room, and otherwise the newcomer goes', async () => {
    const test = await startApp({ options: { firewall: { maxSockets: 3 } } });
    const silent: Socket[] = [];
    for (let i = 0; i < 3; i++) silent.push(await dial(test.port, `127.0.0.${i + 2}`));
    await until(() => sizes(test)[0] === 3);
    for (let i = 0; i < 5; i++) await once(await dial(test.port), 'close');
    // One line a second, however many there are.
    expect(test.log.lines.map(({ code, clientAddress }) => [code, clientAddress])).toEqual([
      ['OVERLOADED', '127.0.0.1'],
    ]);
    test.clock.advance(2_000);
    const client = await Client.connect(`${test.url}/ws`, { token: token() });
    expect(await client.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
    await until(() => silent[0]?.destroyed === true);
    expect(silent.map(({ destroyed }) => destroyed)).toEqual([true, false, false]);
  });

  it('and in a dry run all come in, with a word for each that would not', async () => {
    const test = await startApp({ options: { firewall: { ...few, maxSockets: 3, dryRun: ['connections'] } } });
    const all = [];
    for (let i = 0; i < 6; i++) all.push(await dial(test.port));
    await until(() => sizes(test)[0] === 6);
    expect(all.some(({ destroyed }) => destroyed)).toBe(false);
  });
});

describe('the ways in which a socket ends', () => {
  const ends: Record<string, (test: TestApp) => Promise<unknown>> = {
    'silent, by the peer': async ({ port }) => (await dial(port)).end(),
    'silent, by a reset': async ({ port }) => (await dial(port)).resetAndDestroy(),
    'silent, by its deadline': async ({ port }) => dial(port),
    'silent within TLS, by its deadline': async ({ port }) => openTcp(port),
    'in the middle of its headers': async ({ port }) => (await openTcp(port)).end('GET /ws HT'),
    'with what is no HTTP': async ({ port }) => exchange(port, 'nonsense\r\n\r\n'),
    'with plain HTTP': async ({ port }) => exchange(port, 'GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'),
    'with plain HTTP at a gateway': async ({ port }) => exchange(port, 'GET /ws HTTP/1.1\r\nHost: x\r\n\r\n'),
    'after an offer of h2c': async ({ port }) => {
      const peer = await openTcp(port);
      peer.write('GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n');
      await once(peer, 'data');
      peer.destroy();
    },
    'refused and gone': async ({ port }) => exchange(port, handshake('/nowhere')),
    'refused and reset': async ({ port }) => {
      const peer = await openTcp(port);
      peer.write(handshake('/nowhere'));
      await once(peer, 'data');
      reset(peer);
    },
    'refused, and it never closes': async ({ port }) => {
      const peer = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      peers.push(peer);
      peer.on('error', () => undefined); // a cut is what is waited for
      peer.write(handshake('/nowhere'));
    },
    'with a bad token': async ({ url }) => (await Client.connect(`${url}/ws`, { token: 'bad' })).closed,
    'with a bad token, and it never closes': async ({ port }) => {
      const peer = await openTcp(port);
      peer.write(handshake('/ws', ['Authorization: Bearer bad']));
    },
    'of a session that closes': async ({ url }) => (await Client.connect(`${url}/ws`, { token: token() })).close(),
    'of a session that is cut': async ({ url }) =>
      (await Client.connect(`${url}/ws`, { token: token() })).socket.terminate(),
    'of a session that breaks the protocol': async ({ port }) =>
      exchange(port, `${handshake('/ws')}${'\xff'.repeat(20)}`),
    'reset in the handshake': async ({ port }) => {
      const peer = await openTcp(port);
      peer.write(handshake('/ws'));
      reset(peer);
    },
    'unclaimed, by its deadline': async ({ port }) => (await openTcp(port)).write(handshake('/unclaimed')),
    'unclaimed, by a reset': async ({ port }) => {
      const peer = await openTcp(port);
      peer.write(handshake('/unclaimed'));
      setImmediate(() => reset(peer));
    },
    'claimed by another listener': async ({ port }) => exchange(port, handshake('/claimed')),
    'cut by another listener': async ({ port }) => exchange(port, handshake('/cut')),
    'ended by another listener, and it never closes': async ({ port }) => {
      const peer = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      peers.push(peer);
      peer.on('error', () => undefined); // a cut is what is waited for
      peer.write(handshake('/end'));
    },
  };
  const raw = ['refused, and it never closes', 'ended by another listener, and it never closes'];

  it.each(Object.keys(ends).filter((way) => !OVER_TLS || !raw.includes(way)))('%s: uncounted once', async (way) => {
    const test = await startApp({ options: { firewall: { trustProxy: false }, limits: { maxBadFrames: 1 } } });
    if (/listener|unclaimed/.test(way)) {
      others(test).on('upgrade', (request: { url: string }, socket: Duplex) => {
        if (request.url === '/claimed') socket.end('HTTP/1.1 299 Mine\r\n\r\n');
        if (request.url === '/cut') socket.destroy();
        if (request.url === '/end') socket.end();
      });
    }
    const { sockets } = test.app.get(Firewall);
    const balance = { entered: 0, left: 0 };
    const { enter, leave } = FirewallSockets.prototype;
    sockets.enter = (address) => (balance.entered++, enter.call(sockets, address));
    sockets.leave = (address) => (balance.left++, leave.call(sockets, address));
    await (ends[way] as (test: TestApp) => Promise<unknown>)(test);
    await until(() => balance.entered === 1);
    while (balance.left === 0 || sizes(test)[2] !== 0) {
      test.clock.advance(250);
      await new Promise(setImmediate);
    }
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    test.clock.advance(30_000);
    expect([balance, sizes(test)]).toEqual([{ entered: 1, left: 1 }, [0, 0, 0]]);
  });
});

describe('beside another upgrade listener', () => {
  const withListener = async (listener: (request: { url: string }, socket: Duplex) => void): Promise<TestApp> => {
    const test = await startApp({ gateways: [OrdersGateway] });
    others(test).on('upgrade', listener);
    return test;
  };

  it('an upgrade without an answer is NOT_FOUND after ten seconds, and before it is left alone', async () => {
    let upgrades = 0;
    const test = await withListener(() => void upgrades++);
    const peer = await openTcp(test.port);
    peer.write(handshake('/nowhere'));
    let answer = '';
    peer.on('data', (chunk: Buffer) => (answer += chunk.toString()));
    await until(() => upgrades === 1);
    expect([others(test).listenerCount('upgrade'), sizes(test)[0]]).toEqual([2, 1]);
    test.clock.advance(9_500);
    const client = await Client.connect(`${test.url}/ws`, { token: token() });
    await client.ask({ event: 'where', id: 1 }); // an answer to the peer would have come before this one
    expect(answer).toBe('');
    test.clock.advance(750);
    await once(peer, 'close');
    expect(parseAnswer(answer)).toMatchObject({ status: 404, body: { code: 'NOT_FOUND' } });
  });

  it('one that is written to late is that listener’s, for as long as it likes', async () => {
    let theirs: Duplex | undefined;
    const test = await withListener((_, socket) => (theirs = socket));
    const peer = await openTcp(test.port);
    peer.write(handshake('/other'));
    await until(() => theirs !== undefined);
    test.clock.advance(8_000);
    theirs?.write('HTTP/1.1 101 Mine\r\n\r\n');
    await once(peer, 'data');
    test.clock.advance(60_000);
    theirs?.write('more');
    expect(String((await once(peer, 'data'))[0])).toBe('more');
    expect(sizes(test)[0]).toBe(0);
    theirs?.destroy();
  });

  it('one that is reset ends nothing, and 300 of them do not hold up the end', async () => {
    let upgrades = 0;
    const test = await withListener(() => void upgrades++);
    const all = await Promise.all(Array.from({ length: 300 }, () => openTcp(test.port)));
    for (const peer of all) peer.write(handshake('/nowhere'));
    await until(() => upgrades === 300);
    expect(sizes(test)[0]).toBe(300);
    for (const peer of all.slice(0, 100)) reset(peer);
    const client = await Client.connect(`${test.url}/ws`, { token: token() });
    expect(await client.ask({ event: 'where', id: 1 })).toMatchObject({ data: 'orders' });
    await test.app.close();
    expect(sizes(test)).toEqual([0, 0, 0]);
  });

  it('a WebSocket server of the application’s at a path of its own works beside ours', async () => {
    const test = await startApp({ gateways: [OrdersGateway] });
    const theirs = new WebSocketServer({ noServer: true });
    others(test).on('upgrade', (request, socket, head) => {
      if (request.url !== '/graphql') return;
      theirs.handleUpgrade(request, socket, head, (ws) => ws.on('message', (data) => ws.send(data.toString())));
    });
    const client = await Client.connect(`${test.url}/graphql`);
    test.clock.advance(60_000);
    expect(await client.ask({ id: 1 })).toEqual({ id: 1 });
    const ours = await Client.connect(`${test.url}/ws`, { token: token() });
    expect(await ours.ask({ event: 'where', id: 1 })).toMatchObject({ data: 'orders' });
    for (const ws of theirs.clients) ws.terminate();
  });
});

it('silent connections, also those that come while the server closes, do not hold it up', async () => {
  const test = await startApp();
  for (let i = 0; i < 20; i++) await dial(test.port);
  await until(() => sizes(test)[0] === 20);
  const closed = test.app.close();
  connect(test.port, '127.0.0.1').on('error', () => undefined); // refused, or cut
  await closed;
  expect(sizes(test)[0]).toBe(0);
});

it('Upgrade: h2c again and again on one connection leaves nothing behind', async () => {
  const test = await startApp({ controllers: [PagesController] });
  let seen: Duplex | undefined;
  others(test).on(OVER_TLS ? 'secureConnection' : 'connection', (socket: Duplex) => (seen = socket));
  const peer = await openTcp(test.port);
  const listeners = (): number => {
    const names = seen?.eventNames() ?? [];
    return names.reduce((sum, name) => sum + (seen?.listenerCount(name) ?? 0), 0);
  };
  const ask = async (): Promise<number> => {
    peer.write('GET /page HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n');
    expect(String((await once(peer, 'data'))[0])).toContain('a page');
    return listeners();
  };
  const first = await ask();
  for (let i = 0; i < 100; i++) await ask();
  expect(await ask()).toBe(first);
  expect(sizes(test)[0]).toBe(1);
  peer.destroy();
});

describe.runIf(hasOpenssl())('over TLS', () => {
  it('a peer that says nothing in the handshake is cut after ten seconds, and counts until then', async () => {
    const { cert, key } = localTls().server;
    const test = await startApp({ https: { cert, key }, options: { firewall: { maxSocketsPerAddress: 5 } } });
    const silent = await dial(test.port);
    const halfway = await dial(test.port);
    halfway.write(Buffer.from('16030100', 'hex'));
    await until(() => sizes(test)[0] === 2);
    const session = await Client.connect(`${test.url}/ws`, { token: token(), ca: localTls().ca });
    test.clock.advance(9_750);
    expect([silent.destroyed, halfway.destroyed]).toEqual([false, false]);
    const cut = Promise.all([once(silent, 'close'), once(halfway, 'close')]);
    test.clock.advance(500);
    await cut;
    expect(await session.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
    expect(sizes(test)).toEqual([0, 0, 1]);
  });
});

describe.each([{ fastify: false }, { fastify: true }])('on $fastify for fastify, plain HTTP', ({ fastify }) => {
  @WebSocketGateway({ path: '/' })
  class RootGateway {
    @SubscribeMessage('where') where(): string {
      return 'root';
    }
  }

  @Controller()
  class HomeController {
    @Get() home(): string {
      return 'home';
    }
    @Post('ws') posted(): string {
      return 'posted';
    }
  }

  const start = (setup: Parameters<typeof startApp>[0] = {}): Promise<TestApp> =>
    startApp({ fastify, gateways: [OrdersGateway, RootGateway], controllers: [HomeController], ...setup });

  it('at a gateway’s path is the application’s where it has a route, and 426 where it has none', async () => {
    const test = await start();
    expect(await (await fetchFrom(test.url, '/')).text()).toBe('home');
    expect(await (await fetchFrom(test.url, '/ws', { method: 'POST' })).text()).toBe('posted');
    const upgradeRequired = await fetchFrom(test.url, '/ws');
    expect(upgradeRequired.status).toBe(426);
    expect([upgradeRequired.headers.get('upgrade'), await upgradeRequired.json()]).toEqual([
      'websocket',
      { code: 'UPGRADE_REQUIRED', message: 'This is a WebSocket endpoint' },
    ]);
    expect((await fetchFrom(test.url, '/', { method: 'POST' })).status).toBe(426);
    const missing = await fetchFrom(test.url, '/nothing');
    expect([missing.status, await missing.json()]).toEqual([404, expect.objectContaining({ statusCode: 404 })]);
    const client = await Client.connect(`${test.url}/`, { token: token() });
    expect(await client.ask({ event: 'where', id: 1 })).toMatchObject({ data: 'root' });
  });

  it('that offers h2c at such a path is answered as without the offer', async () => {
    const test = await start();
    const offer = 'HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n';
    expect(await exchange(test.port, `GET / ${offer}`)).toContain('home');
    expect(parseAnswer(await exchange(test.port, `GET /ws ${offer}`))).toMatchObject({ status: 400 });
  });

  it('under a global prefix as well', async () => {
    const test = await start({ before: (app) => app.setGlobalPrefix('api') });
    expect(await (await fetchFrom(test.url, '/api')).text()).toBe('home');
    expect((await fetchFrom(test.url, '/ws')).status).toBe(426);
    expect((await fetchFrom(test.url, '/')).status).toBe(426);
  });

  it('with headers that are too large is 431, as ever, and nonsense 400', async () => {
    const { port } = await start();
    const large = await exchange(port, `GET / HTTP/1.1\r\nHost: x\r\nCookie: ${'x'.repeat(20_000)}\r\n\r\n`);
    expect(large).toContain('HTTP/1.1 431 ');
    expect(await exchange(port, 'nonsense\r\n\r\n')).toContain('HTTP/1.1 400 ');
  });

  it('that takes too long to arrive is 408', async () => {
    const before = (app: TestApp['app']): void => {
      const server = app.getHttpServer() as Server & { headersTimeout: number };
      server.headersTimeout = 10;
      // Node looks every thirty seconds; what it finds then is emitted like this.
      const late = Object.assign(new Error('Request timeout'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' });
      const event = OVER_TLS ? 'secureConnection' : 'connection';
      server.on(event, (socket: Socket) => setTimeout(() => server.emit('clientError', late, socket), 50));
    };
    const { port } = await start({ before });
    expect(await exchange(port, 'GET / HTTP/1.1\r\nHo')).toContain('HTTP/1.1 408 ');
  });

  it('that an application answers itself when it is no HTTP is left to it', async () => {
    const before = (app: TestApp['app']): void => {
      const answer = (_: Error, socket: Duplex): void => void socket.end('HTTP/1.1 499 Mine\r\n\r\n');
      if (!fastify) (app.getHttpServer() as Server).on('clientError', answer);
    };
    const { port } = await start({ before });
    expect(await exchange(port, 'nonsense\r\n\r\n')).toContain(fastify ? 'HTTP/1.1 400 ' : 'HTTP/1.1 499 Mine');
  });
});

describe('IPv6', () => {
  const trustProxy = ['127.0.0.1'];
  const from = (test: TestApp, address: string): Promise<Client> =>
    Client.connect(`${test.url}/ws`, { token: token(), headers: { 'x-forwarded-for': address } });

  it.each([
    [
      '/56',
      { maxConnectionsPer56: 3 },
      (i: number) => `2001:db8:7:${(0x1200 + i).toString(16)}::1`,
      '2001:db8:7:1300::1',
    ],
    [
      '/48',
      { maxConnectionsPer56: 1, maxConnectionsPer48: 3 },
      (i: number) => `2001:db8:7:${(i * 256).toString(16)}::1`,
      '2001:db8:8::1',
    ],
  ] as const)('is counted by %s, too: one customer does not fill the process', async (_, caps, inside, outside) => {
    const test = await startApp({ options: { firewall: { ...caps, maxConnectionsPerAddress: 1, trustProxy } } });
    const first = await from(test, inside(0));
    for (let i = 1; i < 3; i++) await from(test, inside(i));
    await expect(from(test, inside(3))).rejects.toThrow('429');
    await from(test, outside);
    await first.close();
    await until(() => test.app.get(WsSessions).count() === 3);
    await from(test, inside(3));
  });

  it('of a whole /48 leaves nine tenths of the process to others, by default', () => {
    const { maxConnections, maxConnectionsPer48 } = resolveOptions({ auth: { jwt: { secret: SECRET } } }).firewall;
    expect(maxConnectionsPer48).toBe(maxConnections / 10);
  });
});
