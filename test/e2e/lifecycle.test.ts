import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { OnGatewayConnection, OnGatewayDisconnect } from '@nestjs/websockets';
import type { IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { WebSocket } from 'ws';
import { GatewayError, WsSession, WsSessions } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

/** What the hooks of the gateways do; set by each test. */
const hooks: {
  connect?: (socket: WebSocket, request: IncomingMessage) => unknown;
  disconnect?: (code: unknown) => unknown;
} = {};
const events: string[] = [];

@WebSocketGateway()
class HookedGateway implements OnGatewayConnection, OnGatewayDisconnect {
  handleConnection(socket: WebSocket, request: IncomingMessage): unknown {
    events.push('connected');
    return hooks.connect?.(socket, request);
  }
  handleDisconnect(_: WebSocket, code?: unknown): unknown {
    events.push('disconnected');
    return hooks.disconnect?.(code);
  }
  @SubscribeMessage('hello') hello(): string {
    events.push('hello');
    return 'hello';
  }
}

@WebSocketGateway()
class SecondGateway implements OnGatewayConnection {
  handleConnection(): void {
    events.push('second');
  }
}

const gateways = [HookedGateway, SecondGateway];

beforeEach(() => {
  events.length = 0;
  delete hooks.connect;
  delete hooks.disconnect;
});
afterEach(stopApps);

describe('handleConnection', () => {
  it('gets the native socket and the request, once for each gateway of the path', async () => {
    const { url } = await startApp({ gateways });
    let seen: unknown[] = [];
    hooks.connect = (socket, request) => (seen = [WsSession.of(socket).principal?.subject, request.url]);
    const client = await Client.connect(`${url}/ws?x=1`, { token: token() });
    await client.ask({ event: 'hello' });
    expect(seen).toEqual(['ada', '/ws?x=1']);
    expect(events).toEqual(['connected', 'second', 'hello']);
  });

  it('holds the frames until it has settled, and they keep their order', async () => {
    const { url } = await startApp({ gateways });
    let release: () => void = () => undefined;
    hooks.connect = () => new Promise<void>((resolve) => (release = resolve)).then(() => events.push('settled'));
    const client = await Client.connect(`${url}/ws`, { token: token() });
    for (let id = 0; id < 5; id++) client.send({ event: 'hello', id });
    await expect.poll(() => events).toContain('second');
    expect(events).not.toContain('hello');
    release();
    for (let id = 0; id < 5; id++) expect(await client.next()).toMatchObject({ id });
    expect(events.indexOf('settled')).toBeLessThan(events.indexOf('hello'));
  });

  it.each([
    ['throws', () => { throw new Error('secret'); }], // prettier-ignore
    ['rejects', () => Promise.reject(new Error('secret'))],
    ['rejects with nothing', () => Promise.reject(undefined as unknown as Error)],
  ])('that %s ends that one session with INTERNAL and 1011', async (_, connect) => {
    const { url, log, app } = await startApp({ gateways });
    hooks.connect = connect;
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const frames = await client.rest();
    expect(frames).toEqual([
      { event: 'disconnect', data: { code: 'INTERNAL', message: 'Internal error', closeCode: 1011, reconnect: true } },
    ]);
    expect(await client.closed).toEqual({ code: 1011, reason: 'INTERNAL' });
    expect(log.lines).toHaveLength(1);
    expect(log.lines[0]).toMatchObject({
      kind: 'connection',
      level: 'error',
      incidentId: expect.any(String) as string,
    });
    delete hooks.connect;
    const next = await Client.connect(`${url}/ws`, { token: token() });
    expect(await next.ask({ event: 'hello', id: 1 })).toMatchObject({ data: 'hello' });
    expect(app.get(WsSessions).count()).toBe(1);
  });

  it('may refuse with a code of its own', async () => {
    const { url } = await startApp({ gateways });
    hooks.connect = () => { throw new GatewayError('TENANT_UNKNOWN'); }; // prettier-ignore
    const client = await Client.connect(`${url}/ws`, { token: token() });
    expect(await client.closed).toEqual({ code: 4400, reason: 'TENANT_UNKNOWN' });
  });

  it('that never settles ends the session when its time is over', async () => {
    const { url, clock } = await startApp({ gateways });
    hooks.connect = () => new Promise(() => undefined);
    const client = await Client.connect(`${url}/ws`, { token: token() });
    await expect.poll(() => events).toContain('second');
    clock.advance(30_250);
    expect(await client.closed).toEqual({ code: 1011, reason: 'INTERNAL' });
  });

  it('that closes the native socket says goodbye first', async () => {
    const { url } = await startApp({ gateways });
    hooks.connect = (socket) => socket.close(4001, 'MAINTENANCE');
    const client = await Client.connect(`${url}/ws`, { token: token() });
    expect(await client.rest()).toMatchObject([
      { event: 'disconnect', data: { code: 'MAINTENANCE', closeCode: 4001 } },
    ]);
    expect(await client.closed).toEqual({ code: 4001, reason: 'MAINTENANCE' });
  });
});

describe('handleDisconnect', () => {
  it('comes after handleConnection, with the close code', async () => {
    const { url } = await startApp({ gateways });
    let code: unknown;
    hooks.disconnect = (given) => (code = given);
    const client = await Client.connect(`${url}/ws`, { token: token() });
    client.socket.close(4321);
    await expect.poll(() => events).toContain('disconnected');
    expect(code).toBe(4321);
  });

  it('waits for a handleConnection that is still running', async () => {
    const { url } = await startApp({ gateways });
    let release: () => void = () => undefined;
    hooks.connect = () => new Promise<void>((resolve) => (release = resolve)).then(() => events.push('settled'));
    const client = await Client.connect(`${url}/ws`, { token: token() });
    await expect.poll(() => events).toContain('second');
    client.socket.terminate();
    release();
    await expect.poll(() => events).toContain('disconnected');
    expect(events.indexOf('settled')).toBeLessThan(events.indexOf('disconnected'));
  });

  it.each([
    ['throws', () => { throw new Error('bye'); }], // prettier-ignore
    ['rejects', () => Promise.reject(new Error('bye'))],
  ])('that %s is one line of the log and nothing else', async (_, disconnect) => {
    const { url, log, app } = await startApp({ gateways });
    hooks.disconnect = disconnect;
    const client = await Client.connect(`${url}/ws`, { token: token() });
    await client.close();
    await expect.poll(() => log.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
    expect(log.lines.at(-1)).toMatchObject({ code: 'INTERNAL', event: 'handleDisconnect' });
    expect(app.get(WsSessions).count()).toBe(0);
  });
});

describe('a session', () => {
  it('leaves nothing behind when it ends', async () => {
    const { url, app } = await startApp({ gateways });
    const clients = await Promise.all(
      Array.from({ length: 50 }, (_, index) => Client.connect(`${url}/ws`, { token: token({ sub: `user-${index}` }) })),
    );
    const sessions = app.get(WsSessions);
    expect(sessions.count()).toBe(50);
    expect(sessions.find({ subject: 'user-7' })).toHaveLength(1);
    expect(sessions.count({ clientAddress: '127.0.0.1' })).toBe(50);
    for (const [index, { socket }] of clients.entries()) {
      if (index % 2 === 0) socket.terminate();
      else socket.close();
    }
    await expect.poll(() => sessions.count()).toBe(0);
  });

  it('cannot be had of another socket', () => {
    expect(() => WsSession.of({})).toThrow(TypeError);
  });

  it('gets what is broadcast, in order with what else it is sent, and strangers do not', async () => {
    const { url, app } = await startApp({ gateways, options: { compression: true } });
    const open = async (options: object): Promise<Client> => {
      const client = await Client.connect(`${url}/ws`, options);
      await client.ask({ event: 'ping' });
      return client;
    };
    const ada = await open({ token: token() });
    const bob = await open({ token: token({ sub: 'bob' }), perMessageDeflate: true });
    const stranger = await open({});
    const sessions = app.get(WsSessions);
    sessions.find({ subject: 'ada' })[0]?.send('first', 1);
    expect(sessions.broadcast('news', { text: 'é'.repeat(40_000) })).toBe(2);
    expect(sessions.broadcast('news', 2, { subject: 'bob' })).toBe(1);
    expect(await ada.next()).toEqual({ event: 'first', data: 1 });
    expect(await ada.next()).toEqual({ event: 'news', data: { text: 'é'.repeat(40_000) } });
    expect(await bob.next()).toMatchObject({ event: 'news' });
    expect(await bob.next()).toEqual({ event: 'news', data: 2 });
    expect(await stranger.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong', id: 1 });
    expect(() => sessions.broadcast('news', 1n)).toThrow(TypeError);
  });

  it('can push, and says whether it still could', async () => {
    const { url, app } = await startApp({ gateways });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    await client.ask({ event: 'hello' });
    const session = app.get(WsSessions).find()[0] as WsSession;
    expect(session.send('news', { a: 1 })).toBe(true);
    expect(await client.next()).toEqual({ event: 'news', data: { a: 1 } });
    session.close('FORBIDDEN');
    expect(session.send('news', 1)).toBe(false);
    expect(await client.closed).toEqual({ code: 3003, reason: 'FORBIDDEN' });
  });
});
