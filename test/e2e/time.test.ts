import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Public, WsFirewall, WsMonitor, WsSessions } from '../../src/index.js';
import { TicketOffice } from '../../src/authentication/ticket-office.js';
import type { BanEvent } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { jwk, startKeyServer, stopKeyServers } from '../support/jwks.js';
import { keyPair, signed, token } from '../support/tokens.js';

@WebSocketGateway()
class TimeGateway {
  @Public() @SubscribeMessage('echo') echo(): string {
    return 'here';
  }
  @SubscribeMessage('slow') slow(): Promise<string> {
    return new Promise((resolve) => (answer = resolve));
  }
}

let answer: (value: string) => void = () => undefined;
let test: TestApp;

const FIREWALL = { handshakesPerSecondPerAddress: 20, handshakeBurstPerAddress: 40, ban: { violations: 20 } };
const LIMITS = { messagesPerSecond: 50, messagesPerSecondPerSubject: 200, bytesPerSecond: 1_048_576 };

beforeEach(async () => {
  test = await startApp({ gateways: [TimeGateway], options: { firewall: FIREWALL, limits: LIMITS } });
});
afterEach(stopApps);
afterEach(stopKeyServers);

const seconds = (): number => Math.floor(test.clock.now() / 1_000);
const fresh = (claims = {}): string => token({ iat: seconds(), exp: seconds() + 3_600, ...claims });
const join = (claims = {}): Promise<Client> => Client.connect(`${test.url}/ws`, { token: fresh(claims) });
/** The code with which a subject is turned away; undefined when it is let in. */
const ending = async (claims: object): Promise<string | undefined> => {
  const client = await join(claims);
  const { event, data } = await client.ask({ event: 'echo', id: 1 });
  client.socket.terminate();
  return event === 'disconnect' ? (data as { code: string }).code : undefined;
};
const pings = (client: Client): number[] => {
  const at: number[] = [];
  client.socket.on('ping', () => at.push(test.clock.monotonic()));
  return at;
};

describe.each([-1_500, -5_000, -60_000, 60_000])('a time of day that is set by %d ms', (ms) => {
  it('costs no client its messages', async () => {
    const client = await join();
    for (let i = 0; i < 200; i++) {
      if (i === 20) test.clock.set(ms);
      test.clock.advance(25); // 40 a second: within the rate of 50
      expect(await client.ask({ event: 'echo', id: i })).toMatchObject({ data: 'here' });
    }
  });

  it('lets newcomers in', async () => {
    await join();
    test.clock.set(ms);
    for (let i = 0; i < 60; i++) {
      test.clock.advance(60); // 16 a second: within the rate of 20
      (await join({ sub: `s${i}` })).socket.close();
    }
  });

  it('neither answers for handlers nor keeps a late one', async () => {
    const client = await join();
    client.send({ event: 'slow', id: 1 });
    await client.ask({ event: 'echo', id: 2 });
    test.clock.set(ms);
    test.clock.advance(20_000);
    answer('in time');
    expect(await client.next()).toMatchObject({ id: 1, data: 'in time' });
    client.send({ event: 'slow', id: 3 });
    await client.ask({ event: 'echo', id: 4 });
    test.clock.set(ms);
    for (let i = 5; i < 10; i++) {
      test.clock.advance(5_000);
      expect(await client.ask({ event: 'echo', id: i })).toMatchObject({ id: i }); // its pongs are read, too
    }
    test.clock.advance(5_250);
    expect(await client.next()).toMatchObject({ id: 3, data: { code: 'HANDLER_TIMEOUT' } });
  });

  it('ends who does not authenticate after ten seconds, and not before', async () => {
    const client = await Client.connect(`${test.url}/ws`);
    test.clock.set(ms);
    test.clock.advance(9_000);
    expect(await client.ask({ event: 'echo', id: 1 })).toMatchObject({ data: 'here' });
    test.clock.advance(1_250);
    expect((await client.closed).reason).toBe('AUTH_TIMEOUT');
  });

  it('changes nothing of pings, and ends who does not answer', async () => {
    const client = await join();
    const at = pings(client);
    const silent = await join({ sub: 'eve' });
    silent.socket.pong = () => undefined;
    test.clock.set(ms);
    const begun = test.clock.monotonic();
    test.clock.advance(26_000);
    await until(() => at.length === 1);
    expect(at[0]! - begun).toBeGreaterThanOrEqual(25_000);
    await client.ask({ event: 'echo', id: 1 });
    test.clock.set(ms);
    test.clock.advance(10_000);
    expect((await silent.closed).reason).toBe('NO_PONG');
    expect(await client.ask({ event: 'echo', id: 2 })).toMatchObject({ data: 'here' });
  });

  it('neither lifts a ban nor prolongs it, of an address or of a subject', async () => {
    const firewall = test.app.get(WsFirewall);
    await firewall.ban({ address: '127.0.0.1' }, { forMs: 30_000 });
    await firewall.ban({ subject: 'eve' }, { forMs: 40_000 });
    test.clock.set(ms);
    test.clock.advance(29_000);
    expect(firewall.bans()).toHaveLength(2);
    expect(await refusal(`${test.url}/ws`)).toMatchObject({
      headers: { 'retry-after': '1' },
      body: { code: 'BANNED' },
    });
    test.clock.advance(1_000);
    expect(firewall.bans()).toMatchObject([{ subject: 'eve' }]);
    expect(await ending({})).toBeUndefined();
    expect(await ending({ sub: 'eve' })).toBe('BANNED');
    test.clock.advance(10_000);
    expect(await ending({ sub: 'eve' })).toBeUndefined();
    expect(firewall.bans()).toEqual([]);
  });

  it('leaves a ticket its time', async () => {
    const tickets = test.app.get(TicketOffice, { strict: false });
    const principal = { subject: 'ada', roles: [], scopes: [], claims: {}, expiresAt: test.clock.now() + 600_000 };
    const [early, late] = [await tickets.issue(principal), await tickets.issue(principal)];
    test.clock.set(ms);
    test.clock.jump(29_999);
    expect(tickets.redeem(early.ticket, {})).toMatchObject({ subject: 'ada' });
    test.clock.jump(1);
    expect(() => tickets.redeem(late.ticket, {})).toThrow();
  });

  it('keeps published keys as old as they may be, and new ones are looked for', async () => {
    const [old, young] = [keyPair('rsa'), keyPair('rsa')];
    const server = await startKeyServer({ keys: [jwk(old.publicKey, 'old')] });
    test = await startApp({
      gateways: [TimeGateway],
      options: { auth: { jwt: { jwksUri: server.uri, issuer: 'them', audience: 'us' } } },
    });
    const come = (key = old, kid = 'old'): Promise<Client> => {
      const claims = { iat: seconds(), exp: seconds() + 3_600, iss: 'them', aud: 'us' };
      const bearer = signed(claims, { key: key.privateKey, algorithm: 'RS256', kid });
      return Client.connect(`${test.url}/ws`, { token: bearer });
    };
    await (await come()).ask({ event: 'echo', id: 1 });
    expect(server.requests).toBe(1);
    test.clock.set(ms);
    server.answer = { keys: [jwk(old.publicKey, 'old'), jwk(young.publicKey, 'young')] };
    expect(await (await come(young, 'young')).ask({ event: 'echo', id: 1 })).toMatchObject({ data: 'here' });
    expect(server.requests).toBe(2);
    test.clock.set(ms);
    test.clock.jump(599_999);
    await (await come()).ask({ event: 'echo', id: 1 });
    expect(server.requests).toBe(2);
    test.clock.jump(1);
    await (await come()).ask({ event: 'echo', id: 1 });
    await until(() => server.requests === 3);
  });
});

it('revives no revoked token when the time of day is set forward and back again', async () => {
  const bearer = token({ jti: 'gone', iat: seconds(), exp: seconds() + 3_600 });
  await test.app.get(WsSessions).revoke({ tokenId: 'gone' });
  test.clock.advance(20_000);
  test.clock.set(2 * 86_400_000 - 60_000); // past all that the revocation is kept for
  test.clock.advance(20_000);
  test.clock.set(-2 * 86_400_000 + 60_000);
  test.clock.advance(20_000);
  const client = await Client.connect(`${test.url}/ws`, { token: bearer });
  expect(await client.closed).toMatchObject({ reason: 'SESSION_REVOKED' });
});

it('tells of each ban that has run its time, once, and of none that was lifted', async () => {
  const [firewall, told] = [test.app.get(WsFirewall), [] as BanEvent[]];
  test.app.get(WsMonitor).on('ban', (event) => void told.push(event));
  await firewall.ban({ address: '192.0.2.1' }, { forMs: 5_000 });
  await firewall.ban({ subject: 'eve' }, { forMs: 5_000 });
  await firewall.ban({ subject: 'mallory' }, { forMs: 5_000 });
  await firewall.unban({ subject: 'mallory' });
  test.clock.advance(60_000);
  expect(told.filter(({ action }) => action === 'expired')).toEqual([
    { kind: 'ban', action: 'expired', target: { address: '192.0.2.1' }, enforced: true },
    { kind: 'ban', action: 'expired', target: { subject: 'eve' }, enforced: true },
  ]);
});

it('ends a flood of bytes also where messages have no limit of their own', async () => {
  const limits = { messagesPerSecond: Infinity, messageBurst: 20, bytesPerSecond: 65_536, maxMessageBytes: 65_536 };
  test = await startApp({ gateways: [TimeGateway], options: { limits } });
  const client = await join();
  const large = { event: 'echo', data: 'x'.repeat(60_000) };
  for (let i = 0; i < 21; i++) client.send(large);
  expect((await client.closed).reason).toBe('RATE_LIMITED');
  const patient = await join();
  for (let i = 0; i < 40; i++) {
    test.clock.jump(500); // half of them are too many
    patient.send({ ...large, id: i });
    await patient.next();
  }
  expect(patient.socket.readyState).toBe(patient.socket.OPEN);
});
