import { Injectable } from '@nestjs/common';
import { WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it } from 'vitest';
import { Authentication, Authenticator, WsSessions, WsTickets } from '../../src/index.js';
import type { PrincipalInit } from '../../src/index.js';
import { JwtVerifier } from '../../src/authentication/jwt/jwt-verifier.js';
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

/** What BearerGuard has of it: no session stands behind to ask once more. */
describe('without a session', () => {
  const settle = async (run: () => unknown): Promise<unknown> => {
    try {
      return (await run()) as unknown;
    } catch (error) {
      return (error as { code: string }).code;
    }
  };

  it('a revoked token, an expired one and a ticket of a revoked subject are refused', async () => {
    const { app, clock } = await startApp();
    const authentication = app.get(Authentication);
    const exp = Math.floor(clock.now() / 1000) + 100;
    const iat = exp - 200; // the clock of the test stands still, the real one goes on
    const [bearer, other] = [token({ iat, exp }), token({ iat, exp, sub: 'eve' })];
    const principal = await authentication.authenticate(bearer);
    expect(principal).toMatchObject({ subject: 'ada' });
    expect(await authentication.authenticate(other)).toMatchObject({ subject: 'eve' });
    const { ticket } = await app.get(WsTickets).issue(principal);
    await app.get(WsSessions).revoke({ subject: 'ada' });
    expect(await settle(() => authentication.authenticate(bearer))).toBe('SESSION_REVOKED');
    expect(await settle(() => authentication.authenticate(ticket, { source: 'ticket' }))).toBe('SESSION_REVOKED');
    clock.jump(106_000);
    expect(await settle(() => authentication.authenticate(other))).toBe('TOKEN_EXPIRED');
  });

  it('a token that an authenticator of the application knows is refused when it is revoked, by its own text too', async () => {
    @Injectable()
    class Keys extends Authenticator {
      override authenticate(key: string): PrincipalInit | Promise<PrincipalInit> {
        const known = { subject: 'robot', expiresAt: Date.now() + 60_000 };
        return key.startsWith('slow') ? Promise.resolve(known) : known;
      }
    }
    const { app, url } = await startApp({ providers: [{ provide: Authenticator, useClass: Keys }] });
    const authentication = app.get(Authentication);
    for (const key of ['slow-1', 'fast-1']) {
      const client = await Client.connect(`${url}/ws`, { token: key });
      const { data } = await client.ask({ event: 'session', id: 1 });
      await app.get(WsSessions).revoke({ sessionId: (data as { sessionId: string }).sessionId });
      expect(await settle(() => authentication.authenticate(key))).toBe('SESSION_REVOKED');
      expect(await settle(() => authentication.authenticate(`${key}0`))).toMatchObject({ subject: 'robot' });
    }
  });

  it('tokens are remembered, up to 5,000 of them, and long ones are not', async () => {
    const { app } = await startApp();
    const authentication = app.get(Authentication);
    const jwt = app.get(JwtVerifier, { strict: false });
    await authentication.authenticate(token({ filler: 'x'.repeat(2_048) }));
    expect(jwt.size).toBe(0);
    for (let i = 0; i < 5_010; i++) await authentication.authenticate(token({ jti: `${i}`, iat: 1 }));
    expect(jwt.size).toBe(5_000);
  });

  it('more than 8 KiB is no token', async () => {
    const { app } = await startApp();
    expect(await settle(() => app.get(Authentication).authenticate(token({ filler: 'x'.repeat(8_192) })))).toBe(
      'TOKEN_INVALID',
    );
  });
});
