import { once } from 'node:events';
import { WebSocketGateway, WebSocketServer } from '@nestjs/websockets';
import type { Server } from 'ws';
import { afterEach, describe, expect, it } from 'vitest';
import { WsSessions } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { handshake, openTcp } from '../support/tcp.js';
import { token } from '../support/tokens.js';
import { SessionRegistry } from '../../src/session/registry.js';

afterEach(stopApps);

const event = async (client: Client): Promise<unknown> => (await client.ask({ event: 'ping', id: 1 })).event;

/** A client that reads and never answers, so that its session stays half closed. */
async function connectSilent({ port }: TestApp, bearer: string): Promise<() => void> {
  const socket = await openTcp(port);
  socket.write(handshake('/ws', [`Authorization: Bearer ${bearer}`]));
  await once(socket, 'data');
  socket.resume();
  return () => socket.destroy();
}

describe('a session that has ended and whose peer does not close', () => {
  it('takes no place of its subject', async () => {
    const test = await startApp({ options: { auth: { maxSessionsPerSubject: 1, onSessionLimit: 'refuse-new' } } });
    const sessions = test.app.get(WsSessions);
    const leave = await connectSilent(test, token({ jti: '1' }));
    expect((await sessions.revoke({ tokenId: '1' })).ended).toBe(1);
    expect(sessions.count({ subject: 'ada' })).toBe(0);
    expect(await event(await Client.connect(`${test.url}/ws`, { token: token({ jti: '2' }) }))).toBe('pong');
    leave();
  });

  it('is not what is replaced', async () => {
    const test = await startApp({ options: { auth: { maxSessionsPerSubject: 1 } } });
    const leave = await connectSilent(test, token({ jti: '1' }));
    const second = await Client.connect(`${test.url}/ws`, { token: token({ jti: '2' }) });
    expect(await event(second)).toBe('pong'); // the silent one has been replaced, and is still there
    const third = await Client.connect(`${test.url}/ws`, { token: token({ jti: '3' }) });
    expect((await second.next()).data).toMatchObject({ code: 'SESSION_REPLACED' });
    expect(await event(third)).toBe('pong');
    leave();
  });

  it('gets no broadcast', async () => {
    const test = await startApp();
    const sessions = test.app.get(WsSessions);
    const leave = await connectSilent(test, token({ jti: '1' }));
    expect(sessions.broadcast('news', 1)).toBe(1);
    await sessions.revoke({ tokenId: '1' });
    expect(sessions.count()).toBe(0);
    expect(sessions.broadcast('news', 2)).toBe(0);
    leave();
  });
});

it('who is turned away is never among the clients of the server', async () => {
  @WebSocketGateway()
  class ServerGateway {
    @WebSocketServer() server!: Server;
  }
  const test = await startApp({ gateways: [ServerGateway] });
  const leave = await connectSilent(test, 'bad');
  expect(test.app.get(ServerGateway).server.clients.size).toBe(0);
  leave();
});

it('a session remembers no more than 32 tokens of before its refreshes', async () => {
  const { app, url } = await startApp();
  const client = await Client.connect(`${url}/ws`, { token: token({ jti: 'first' }) });
  for (let id = 0; id < 40; id++) {
    await client.ask({ event: 'auth', data: { token: token({ jti: `${id}` }) }, id });
  }
  await until(() => app.get(WsSessions).count() === 1);
  expect(app.get(SessionRegistry).find()[0]?.tokens).toHaveLength(33);
});

it('a broadcast to a subject goes to nobody else, and no table keeps what has gone', async () => {
  const { app, url } = await startApp();
  const sessions = app.get(SessionRegistry);
  const clients = [];
  for (const sub of ['ada', 'ada', 'eve']) {
    const client = await Client.connect(`${url}/ws`, { token: token({ sub }) });
    await client.ask({ event: 'ping', id: 1 });
    clients.push(client);
  }
  expect(sessions.broadcast('news', 'for ada', { subject: 'ada' })).toBe(2);
  expect(sessions.broadcast('news', 'for nobody', { subject: 'ada', clientAddress: '10.0.0.1' })).toBe(0);
  for (const client of clients) {
    const { event: name } = await client.ask({ event: 'ping', id: 2 });
    expect(name).toBe(client === clients[2] ? 'pong' : 'news');
    await client.close();
  }
  await until(() => sessions.count() === 0);
  expect(sessions.size).toBe(0);
});
