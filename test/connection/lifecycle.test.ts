import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, expect, it } from 'vitest';
import { CurrentSession } from '../../src/index.js';
import type { WsSession } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

afterEach(stopApps);

let connected: string[] = [];

@WebSocketGateway()
class FirstGateway {
  handleConnection(@CurrentSession() session: WsSession): void {
    connected.push('first');
    if (session.principal?.subject === 'eve') session.close('NO_EVE');
  }
}

@WebSocketGateway()
class SecondGateway {
  handleConnection(): void {
    connected.push('second');
  }
  @SubscribeMessage('any') any(): string {
    return 'in';
  }
}

it('no gateway is told of a session that is refused, nor the next one of a session that the first has ended', async () => {
  connected = [];
  const options = { auth: { maxSessionsPerSubject: 1, onSessionLimit: 'refuse-new' } } as const;
  const { url } = await startApp({ gateways: [FirstGateway, SecondGateway], options });
  const ada = await Client.connect(`${url}/ws`, { token: token() });
  expect(await ada.ask({ event: 'any', id: 1 })).toMatchObject({ data: 'in' });
  expect(connected.splice(0)).toEqual(['first', 'second']);
  const again = await Client.connect(`${url}/ws`, { token: token() });
  expect((await again.closed).reason).toBe('SESSION_LIMIT');
  expect(connected).toEqual([]);
  const eve = await Client.connect(`${url}/ws`, { token: token({ sub: 'eve' }) });
  expect((await eve.closed).reason).toBe('NO_EVE');
  expect(connected).toEqual(['first']);
});
