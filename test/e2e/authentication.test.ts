import { createHmac, generateKeyPairSync } from 'node:crypto';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { JwtService } from '@nestjs/jwt';
import { afterEach, describe, expect, it } from 'vitest';
import { Public, Roles } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { exchangeUpgrade } from '../support/tcp.js';
import { SECRET, token } from '../support/tokens.js';

@WebSocketGateway()
class DoorsGateway {
  @Public() @SubscribeMessage('open') open(): string {
    return 'come in';
  }
  @SubscribeMessage('closed') closed(): string {
    return 'hello';
  }
}

const gateways = [DoorsGateway];
afterEach(stopApps);

const seconds = ({ clock }: TestApp): number => Math.floor(clock.now() / 1000);

describe('a token at the handshake', () => {
  it('by header authenticates, and no auth frame is pushed', async () => {
    const { url } = await startApp({ gateways });
    const client = await Client.connect(`${url}/ws`, { token: token({ roles: ['a', 'b'], scope: 'x y' }) });
    const answer = await client.ask({ event: 'session', id: 1 });
    expect(answer).toEqual({
      event: 'session',
      id: 1,
      data: {
        sessionId: expect.any(String) as string,
        subject: 'ada',
        expiresAt: expect.any(Number) as number,
        roles: ['a', 'b'],
        scopes: ['x', 'y'],
        connectedAt: expect.any(Number) as number,
      },
    });
    expect(client.frames).toHaveLength(1);
  });

  it('by subprotocol authenticates, and the token is never echoed', async () => {
    const { url } = await startApp({ gateways });
    const both = await Client.connect(`${url}/ws`, { protocols: ['ws-gateway.v1', `bearer.${token()}`] });
    expect(both.socket.protocol).toBe('ws-gateway.v1');
    expect(await both.ask({ event: 'closed', id: 1 })).toEqual({ event: 'closed', data: 'hello', id: 1 });
  });

  it('alone as the subprotocol is accepted, and none is selected', async () => {
    const { port } = await startApp({ gateways });
    const head = await exchangeUpgrade(port, [`Sec-WebSocket-Protocol: bearer.${token()}`]);
    expect(head).toContain('101 Switching Protocols');
    expect(head.toLowerCase()).not.toContain('sec-websocket-protocol');
  });

  it('by the first source present decides, and a bad one never falls through', async () => {
    const { url } = await startApp({ gateways });
    const bad = await Client.connect(`${url}/ws`, { token: 'bad', protocols: ['ws-gateway.v1', `bearer.${token()}`] });
    expect((await bad.closed).reason).toBe('TOKEN_INVALID');
    const empty = await Client.connect(`${url}/ws`, { headers: { authorization: 'Bearer ' } });
    expect((await empty.closed).reason).toBe('TOKEN_INVALID');
  });

  it('in another scheme counts as absent', async () => {
    const { url } = await startApp({ gateways });
    const client = await Client.connect(`${url}/ws`, { headers: { authorization: 'Basic YTpi' } });
    expect(await client.ask({ event: 'open', id: 1 })).toEqual({ event: 'open', data: 'come in', id: 1 });
  });

  it('is refused with 401 when auth.reject is handshake', async () => {
    const { url } = await startApp({ gateways, options: { auth: { reject: 'handshake' } } });
    const bad = { headers: { authorization: 'Bearer bad' } };
    expect(await refusal(`${url}/ws`, bad)).toMatchObject({ status: 401, body: { code: 'TOKEN_INVALID' } });
    const expired = { headers: { authorization: `Bearer ${token({ exp: 1 })}` } };
    expect(await refusal(`${url}/ws`, expired)).toMatchObject({ status: 401, body: { code: 'TOKEN_EXPIRED' } });
  });
});

describe('a token as a message', () => {
  it('in an auth request authenticates', async () => {
    const { url } = await startApp({ gateways });
    const client = await Client.connect(`${url}/ws`);
    expect(await client.ask({ event: 'closed', id: 1 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
    const exp = Math.floor(Date.now() / 1000) + 100;
    expect(await client.ask({ event: 'auth', data: { token: token({ exp }) }, id: 2 })).toEqual({
      event: 'auth',
      data: { sessionId: expect.any(String) as string, subject: 'ada', expiresAt: exp * 1000 },
      id: 2,
    });
    expect(await client.ask({ event: 'closed', id: 3 })).toEqual({ event: 'closed', data: 'hello', id: 3 });
  });

  it('bare authenticates', async () => {
    const { url } = await startApp({ gateways });
    const client = await Client.connect(`${url}/ws`);
    expect(await client.ask(token())).toMatchObject({ event: 'auth', data: { subject: 'ada' } });
    const again = await client.ask(token());
    expect(again).toMatchObject({ event: 'exception', data: { code: 'BAD_FRAME' } });
  });

  it('holds back what was sent right behind it until it is settled', async () => {
    const { url } = await startApp({ gateways });
    const client = await Client.connect(`${url}/ws`);
    client.send({ event: 'auth', data: { token: token() }, id: 1 });
    for (let id = 2; id < 10; id++) client.send({ event: 'closed', id });
    const answers = [];
    for (let id = 1; id < 10; id++) answers.push(await client.next());
    expect(answers.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(answers.slice(1).every(({ event }) => event === 'closed')).toBe(true);
  });

  it.each([undefined, {}, { token: 1 }, { token: null }, 'x', [], { token: 'x', more: 1 }])(
    'in the shape %j is VALIDATION_FAILED, and session and deadline go on',
    async (data) => {
      const { url, clock } = await startApp({ gateways });
      const client = await Client.connect(`${url}/ws`);
      expect(await client.ask({ event: 'auth', data, id: 1 })).toMatchObject({
        data: { code: 'VALIDATION_FAILED' },
        id: 1,
      });
      expect(await client.ask({ event: 'open', id: 2 })).toMatchObject({ data: 'come in' });
      clock.advance(10_250);
      expect((await client.closed).reason).toBe('AUTH_TIMEOUT');
    },
  );

  it('is no way in when message is not among the sources', async () => {
    const { url } = await startApp({ gateways, options: { auth: { sources: ['header'], anonymous: true } } });
    const client = await Client.connect(`${url}/ws`);
    expect(await client.ask({ event: 'auth', data: { token: token() }, id: 1 })).toMatchObject({
      data: { code: 'UNAUTHENTICATED' },
    });
    expect(await client.ask(token())).toMatchObject({ data: { code: 'BAD_FRAME' } });
  });
});

it('a handler that says both public and roles is closed', async () => {
  @WebSocketGateway()
  class ContradictingGateway {
    @Public() @Roles('admin') @SubscribeMessage('both') both(): string {
      return 'open';
    }
  }
  const { url } = await startApp({ gateways: [ContradictingGateway] });
  const client = await Client.connect(`${url}/ws`);
  expect(await client.ask({ event: 'both', id: 1 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
});

describe('an anonymous session', () => {
  it('may call public events and ping, and stays only when anonymous is on', async () => {
    const { url, clock } = await startApp({ gateways, options: { auth: { anonymous: true } } });
    const client = await Client.connect(`${url}/ws`);
    clock.advance(20_000);
    expect(await client.ask({ event: 'ping', id: 1 })).toEqual({ event: 'pong', data: null, id: 1 });
    expect(await client.ask({ event: 'open', id: 2 })).toEqual({ event: 'open', data: 'come in', id: 2 });
    expect(await client.ask({ event: 'session', id: 3 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
  });

  it('is not charged for asking: UNAUTHENTICATED is no bad frame', async () => {
    const { url } = await startApp({ gateways });
    const client = await Client.connect(`${url}/ws`);
    for (let id = 0; id < 30; id++) {
      expect(await client.ask({ event: 'nope', id })).toMatchObject({ data: { code: 'UNAUTHENTICATED' }, id });
    }
  });
});

describe('expiry', () => {
  it('is announced once ahead of time, and ends the session at exp', async () => {
    const test = await startApp({ gateways, options: { auth: { refreshLeadMs: 5_000 } } });
    const exp = seconds(test) + 15;
    const client = await Client.connect(`${test.url}/ws`, { token: token({ exp }) });
    await client.ask({ event: 'ping' });
    test.clock.advance(exp * 1000 - 5_000 - test.clock.now() - 1);
    expect(client.frames).toHaveLength(1);
    test.clock.advance(300);
    expect(await client.next()).toEqual({ event: 'auth.expiring', data: { expiresAt: exp * 1000 } });
    test.clock.advance(exp * 1000 - test.clock.now() + 250);
    expect((await client.rest()).map(({ event }) => event)).toEqual(['disconnect']);
    expect(await client.closed).toEqual({ code: 4101, reason: 'TOKEN_EXPIRED' });
  });

  it('is announced right away when less than the lead is left', async () => {
    const test = await startApp({ gateways });
    const exp = seconds(test) + 10;
    const client = await Client.connect(`${test.url}/ws`, { token: token({ exp }) });
    await client.ask({ event: 'ping' });
    test.clock.advance(250);
    expect(await client.next()).toEqual({ event: 'auth.expiring', data: { expiresAt: exp * 1000 } });
  });

  it('of a token let in within the tolerance comes at exp plus the tolerance', async () => {
    const test = await startApp({ gateways });
    const client = await Client.connect(`${test.url}/ws`, { token: token({ exp: seconds(test) - 2 }) });
    expect(await client.ask({ event: 'closed', id: 1 })).toMatchObject({ data: 'hello' });
    test.clock.advance(3_500);
    expect((await client.closed).reason).toBe('TOKEN_EXPIRED');
  });

  it('stops a request that comes before the sweep', async () => {
    const test = await startApp({ gateways });
    const client = await Client.connect(`${test.url}/ws`, { token: token({ exp: seconds(test) + 2 }) });
    await client.ask({ event: 'closed' });
    test.clock.jump(3_000);
    client.send({ event: 'closed', id: 1 });
    expect((await client.rest()).map(({ data }) => (data as { code: string }).code)).toEqual([
      'TOKEN_EXPIRED',
      'TOKEN_EXPIRED',
    ]);
  });

  it('is moved by a refresh in place, which is announced anew', async () => {
    const test = await startApp({ gateways, options: { auth: { refreshLeadMs: 2_000 } } });
    const client = await Client.connect(`${test.url}/ws`, { token: token({ exp: seconds(test) + 5 }) });
    await client.ask({ event: 'ping' });
    const exp = seconds(test) + 12;
    const refreshed = await client.ask({ event: 'auth', data: { token: token({ exp, roles: ['new'] }) }, id: 1 });
    expect(refreshed).toMatchObject({ event: 'auth', data: { expiresAt: exp * 1000 } });
    test.clock.advance(8_000);
    expect(await client.ask({ event: 'session', id: 2 })).toMatchObject({ data: { roles: ['new'] } });
    test.clock.advance(3_000);
    expect(await client.next()).toMatchObject({ event: 'auth.expiring', data: { expiresAt: exp * 1000 } });
  });

  it('comes at once with a bad token in a refresh', async () => {
    const { url } = await startApp({ gateways });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    client.send({ event: 'auth', data: { token: 'a.b.c' }, id: 1 });
    expect((await client.rest()).map(({ event }) => event)).toEqual(['exception', 'disconnect']);
    expect(await client.closed).toEqual({ code: 3000, reason: 'TOKEN_INVALID' });
  });
});

describe('a token is refused', () => {
  const b64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  /** Signed as it stands, whatever it says. */
  const forge = (header: object, payload: unknown): string => {
    const body = `${b64(header)}.${b64(payload)}`;
    return `${body}.${createHmac('sha256', SECRET).update(body).digest('base64url')}`;
  };
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: 'ada', exp: now + 100 };
  const hs256 = { alg: 'HS256', typ: 'JWT' };

  it.each([
    ['with another secret', token({}, 'another-secret-of-at-least-32-bytes!')],
    ['without a signature', `${b64({ alg: 'none' })}.${b64(claims)}.`],
    ['with alg none and a signature', forge({ alg: 'none' }, claims)],
    [
      'with an algorithm that is not configured',
      new JwtService({}).sign(claims, { secret: SECRET, algorithm: 'HS512' }),
    ],
    ['without exp', token({ exp: undefined })],
    ['with exp as text', forge(hs256, { ...claims, exp: String(claims.exp) })],
    ['with an infinite exp', `${b64(hs256)}.${Buffer.from('{"sub":"ada","exp":1e999}').toString('base64url')}`],
    ['without sub', token({ sub: undefined })],
    ['with an empty sub', token({ sub: '' })],
    ['with sub as a fraction', forge(hs256, { ...claims, sub: 1.5 })],
    ['with sub as a number that is not exact', forge(hs256, { ...claims, sub: 2 ** 53 })],
    ['with sub as an object', forge(hs256, { ...claims, sub: { toString: 'ada' } })],
    ['with nbf ahead', token({ nbf: now + 60 })],
    ['issued in the future', forge(hs256, { ...claims, iat: now + 60 })],
    ['with a critical header', forge({ ...hs256, crit: ['b64'] }, claims)],
    ['whose payload is an array', forge(hs256, [claims])],
    ['whose payload is text', forge(hs256, 'ada')],
    ['longer than 8 KiB', token({ filler: 'x'.repeat(8_192) })],
    ['cut short', token().slice(0, -2)],
    ['that is no token', 'x'],
  ])('%s', async (_, bad) => {
    const { url } = await startApp({ gateways });
    const signed =
      bad.split('.').length === 2 ? `${bad}.${createHmac('sha256', SECRET).update(bad).digest('base64url')}` : bad;
    const client = await Client.connect(`${url}/ws`, { token: signed });
    expect(await client.closed).toEqual({ code: 3000, reason: 'TOKEN_INVALID' });
  });

  it('never for a sub that is a whole number: it counts as its decimal string', async () => {
    const { url } = await startApp({ gateways });
    for (const sub of [0, 1, -7, 2 ** 53 - 1]) {
      const client = await Client.connect(`${url}/ws`, { token: forge(hs256, { ...claims, sub }) });
      expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: String(sub) } });
    }
  });

  it('again when it is known and has expired since, and is remembered by its whole text', async () => {
    const test = await startApp({ gateways });
    const known = token({ exp: seconds(test) + 20 });
    const first = await Client.connect(`${test.url}/ws`, { token: known });
    expect(await first.ask({ event: 'closed', id: 1 })).toMatchObject({ data: 'hello' });
    const forged = `${known.slice(0, known.lastIndexOf('.'))}.${'A'.repeat(43)}`;
    expect((await (await Client.connect(`${test.url}/ws`, { token: forged })).closed).reason).toBe('TOKEN_INVALID');
    test.clock.jump(26_000);
    expect((await (await Client.connect(`${test.url}/ws`, { token: known })).closed).reason).toBe('TOKEN_EXPIRED');
  });

  it('without a word of it in the log', async () => {
    const { url, log } = await startApp({ gateways });
    const bad = `${b64(hs256)}.${Buffer.from('ada@example.org').toString('base64url')}.AAAA`;
    const client = await Client.connect(`${url}/ws`);
    client.send(bad);
    await client.closed;
    expect(JSON.stringify(log.lines)).not.toContain('ada@');
    expect(log.lines[0]).toMatchObject({ code: 'TOKEN_INVALID', reason: 'malformed' });
  });

  it('of another issuer or audience, when they are configured', async () => {
    const { url } = await startApp({
      gateways,
      options: { auth: { jwt: { secret: SECRET, issuer: 'https://id.test', audience: ['ws', 'other'] } } },
    });
    for (const wrong of [
      {},
      { iss: 'https://id.test' },
      { iss: 'https://id.test', aud: 'http' },
      { iss: 'evil', aud: 'ws' },
    ]) {
      const client = await Client.connect(`${url}/ws`, { token: token(wrong) });
      expect((await client.closed).reason).toBe('TOKEN_INVALID');
    }
    const right = await Client.connect(`${url}/ws`, { token: token({ iss: 'https://id.test', aud: ['x', 'ws'] }) });
    expect(await right.ask({ event: 'closed', id: 1 })).toMatchObject({ data: 'hello' });
  });

  it('signed by HMAC with the public key as the secret', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    const { url } = await startApp({ gateways, options: { auth: { jwt: { publicKey: pem } } } });
    const body = `${b64(hs256)}.${b64(claims)}`;
    const confused = `${body}.${createHmac('sha256', pem).update(body).digest('base64url')}`;
    expect((await (await Client.connect(`${url}/ws`, { token: confused })).closed).reason).toBe('TOKEN_INVALID');
    const genuine = new JwtService({}).sign(claims, { privateKey, algorithm: 'RS256' });
    const client = await Client.connect(`${url}/ws`, { token: genuine });
    expect(await client.ask({ event: 'closed', id: 1 })).toMatchObject({ data: 'hello' });
  });
});
