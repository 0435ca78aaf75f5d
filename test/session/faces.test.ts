import { Injectable } from '@nestjs/common';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, expect, it } from 'vitest';
import { CurrentSession, WsMetrics, WsSession, WsSessions } from '../../src/index.js';
import { SessionRegistry } from '../../src/session/registry.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

@Injectable()
class Baskets {
  constructor(readonly sessions: WsSessions) {}
}

@WebSocketGateway()
class BasketGateway {
  constructor(private readonly baskets: Baskets) {}

  @SubscribeMessage('add') add(@CurrentSession() session: WsSession<{ items?: number }>): unknown[] {
    session.state.items = (session.state.items ?? 0) + 1;
    const [found] = this.baskets.sessions.find({ subject: 'ada' });
    return [session instanceof WsSession, found === session, session.state.items];
  }
}

afterEach(stopApps);

it('sessions are instances of the class that applications see', async () => {
  const { url } = await startApp({ gateways: [BasketGateway], providers: [Baskets] });
  const client = await Client.connect(`${url}/ws`, { token: token() });
  await client.ask({ event: 'add', id: 1 });
  expect((await client.ask({ event: 'add', id: 2 })).data).toEqual([true, true, 2]);
});

it('what applications inject by a face is the working class', async () => {
  const { app } = await startApp();
  expect(app.get(WsSessions)).toBe(app.get(SessionRegistry));
  expect(app.get(WsSessions)).toBeInstanceOf(WsSessions);
  expect(app.get(WsMetrics)).toBeInstanceOf(WsMetrics);
});
