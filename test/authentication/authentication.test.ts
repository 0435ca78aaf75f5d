import { Injectable } from '@nestjs/common';
import { WebSocketGateway } from '@nestjs/websockets';
import { afterEach, expect, it } from 'vitest';
import { Authenticator } from '../../src/index.js';
import type { PrincipalInit } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

afterEach(stopApps);

let connections = 0;

@WebSocketGateway()
class CountingGateway {
  handleConnection(): void {
    connections++;
  }
}

@Injectable()
class Expired extends Authenticator {
  override authenticate(): PrincipalInit {
    return { subject: 'robot', expiresAt: Date.now() - 1_000 };
  }
}

it('a principal that an authenticator of the application gives out after its expiry opens no session', async () => {
  const providers = [{ provide: Authenticator, useClass: Expired }];
  const { url } = await startApp({ gateways: [CountingGateway], providers });
  const client = await Client.connect(`${url}/ws`, { token: 'key' });
  expect(await client.next()).toMatchObject({ event: 'disconnect', data: { code: 'TOKEN_EXPIRED' } });
  expect(connections).toBe(0);
  const byMessage = await Client.connect(`${url}/ws`);
  expect(await byMessage.ask({ event: 'auth', data: { token: 'key' }, id: 1 })).toMatchObject({
    event: 'exception',
    data: { code: 'TOKEN_EXPIRED' },
  });
});

it.each([1e300, Date.now() + 3_600_000, 8.64e12])('exp %d is no time in seconds', async (exp) => {
  const { url } = await startApp();
  const client = await Client.connect(`${url}/ws`);
  client.send({ event: 'auth', data: { token: token({ exp }) }, id: 1 });
  expect(await client.next()).toMatchObject({ event: 'exception', data: { code: 'TOKEN_INVALID' } });
});
