import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import {
  Fingerprints,
  Sealed,
  WsGatewayOptionsError,
  WsFirewall,
  WsGatewayReload,
  WsSeal,
  WsSessions,
  WsTickets,
} from '../../src/index.js';
import type { ReloadReport, WsGatewayOptions } from '../../src/index.js';
import { IsString } from 'class-validator';
import { Deadlines } from '../../src/authentication/deadlines.js';
import { startApp, stopApps, UNLIMITED, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { jwk, startKeyServer, stopKeyServers } from '../support/jwks.js';
import { keyPair, SECRET, signed, token } from '../support/tokens.js';

const NEW_SECRET = 'another-secret-for-tests-of-32-bytes-or-more';

class SecretDto {
  @Sealed()
  @IsString()
  iban!: string;
}

let release: (() => void)[] = [];

@WebSocketGateway()
class TestGateway {
  @SubscribeMessage('echo')
  echo(@MessageBody() data: unknown): unknown {
    return { event: 'echo', data };
  }

  @SubscribeMessage('wait')
  wait(): Promise<string> {
    return new Promise((resolve) => release.push(() => resolve('waited')));
  }

  @SubscribeMessage('sealed')
  sealed(@MessageBody() { iban }: SecretDto): string {
    return iban;
  }
}

const key = (kid: string, byte: number): string => `${kid}:${Buffer.alloc(32, byte).toString('base64url')}`;
const sealing = { keys: key('a', 1) };
const base: WsGatewayOptions = { auth: { jwt: { secret: SECRET } }, sealing };

afterEach(async () => {
  release = [];
  await stopApps();
  await stopKeyServers();
});

async function start(
  options: WsGatewayOptions = base,
): Promise<TestApp & { reload: Pick<WsGatewayReload, 'replace' | 'options'> }> {
  const test = await startApp({ gateways: [TestGateway], options });
  const reload = test.app.get(WsGatewayReload);
  // Without the budgets, as startApp() starts it.
  const replace = (next: WsGatewayOptions): Promise<ReloadReport> =>
    reload.replace({
      ...next,
      firewall: { ...UNLIMITED.firewall, ...next.firewall },
      limits: { ...UNLIMITED.limits, ...next.limits },
    });
  return { ...test, reload: { replace, options: reload.options } };
}

const connect = ({ url }: TestApp, bearer = token(), rest: object = {}): Promise<Client> =>
  Client.connect(`${url}/ws`, { token: bearer, ...rest });

describe('keys', () => {
  it('are replaced: sessions stay, old tokens are good no longer, also those that were remembered', async () => {
    const test = await start();
    const client = await connect(test);
    await client.ask({ event: 'echo', data: 1, id: 1 });
    expect(await test.reload.replace({ ...base, auth: { jwt: { secret: NEW_SECRET } } })).toEqual({
      changed: ['auth.jwt'],
      needRestart: [],
    });
    expect(await client.ask({ event: 'echo', data: 2, id: 2 })).toMatchObject({ data: 2 });
    expect((await (await connect(test)).closed).reason).toBe('TOKEN_INVALID');
    const fresh = await connect(test, token({}, NEW_SECRET));
    expect(await fresh.ask({ event: 'echo', data: 3, id: 3 })).toMatchObject({ data: 3 });
  });

  it('overlap while both are named', async () => {
    const test = await start({ ...base, auth: { jwt: { secrets: { old: SECRET } } } });
    await test.reload.replace({ ...base, auth: { jwt: { secrets: { old: SECRET, new: NEW_SECRET } } } });
    for (const bearer of [signed({}, { kid: 'old' }), signed({}, { kid: 'new', key: NEW_SECRET })]) {
      expect(await (await connect(test, bearer)).ask({ event: 'echo', data: 1, id: 1 })).toMatchObject({ data: 1 });
    }
  });

  it('that were fetched are not fetched again', async () => {
    const { privateKey, publicKey } = keyPair('ec');
    const keys = await startKeyServer({ keys: [jwk(publicKey, 'k')] });
    const jwt = { jwksUri: keys.uri, issuer: false, audience: false } as const;
    const bearer = signed({}, { key: privateKey, algorithm: 'ES256', kid: 'k' });
    const test = await start({ ...base, auth: { jwt } });
    await (await connect(test, bearer)).ask({ event: 'echo', data: 1, id: 1 });
    const before = keys.requests;
    await test.reload.replace({ ...base, auth: { jwt: { ...jwt, audience: 'other' } } });
    expect((await (await connect(test, bearer)).closed).reason).toBe('TOKEN_INVALID');
    await test.reload.replace({ ...base, auth: { jwt } });
    await (await connect(test, bearer)).ask({ event: 'echo', data: 1, id: 1 });
    expect(keys.requests).toBe(before);
  });

  it('judge a token that has waited for the old ones', async () => {
    const { privateKey, publicKey } = keyPair('ec');
    const asked: ServerResponse[] = [];
    const http = createServer((_, response) => void asked.push(response)).listen(0, '127.0.0.1');
    await once(http, 'listening');
    const jwksUri = `http://127.0.0.1:${(http.address() as AddressInfo).port}/`;
    const test = await start({ ...base, auth: { jwt: { jwksUri, issuer: false, audience: false } } });
    const waiting = connect(test, signed({}, { key: privateKey, algorithm: 'ES256', kid: 'k' }));
    await until(() => asked.length > 0 && test.app.get(Deadlines).size > 0);
    await test.reload.replace(base);
    for (const response of asked) response.end(JSON.stringify({ keys: [jwk(publicKey, 'k')] }));
    expect((await (await waiting).closed).reason).toBe('TOKEN_INVALID');
    http.close();
  });

  it('of sealed fields and fingerprints are rotated', async () => {
    const test = await start({ ...base, fingerprints: { keys: key('f', 3) } });
    const [seal, fingerprints] = [test.app.get(WsSeal), test.app.get(Fingerprints)];
    const client = await connect(test);
    const old = await seal.seal('by the old', { event: 'sealed', subject: 'ada' });
    const before = fingerprints.of('subject', 'ada');
    const next = {
      ...base,
      sealing: { keys: `${key('b', 2)},${key('a', 1)}` },
      fingerprints: { keys: `${key('g', 4)},${key('f', 3)}` },
    };
    expect((await test.reload.replace(next)).changed).toEqual(['fingerprints.keys', 'sealing.keys']);
    const sealed = await seal.seal('by the new', { event: 'sealed', subject: 'ada' });
    for (const [iban, expected] of [
      [old, 'by the old'],
      [sealed, 'by the new'],
    ]) {
      // prettier-ignore
      expect(await client.ask({ event: 'sealed', data: { iban }, id: 1 })).toMatchObject({ data: expected });
    }
    expect(fingerprints.of('subject', 'ada')).toMatch(/^g\./);
    expect(fingerprints.matches('subject', 'ada', before)).toBe(true);
    await test.reload.replace({ ...next, sealing: { keys: key('b', 2) } });
    expect(await client.ask({ event: 'sealed', data: { iban: old }, id: 2 })).toMatchObject({
      data: { code: 'VALIDATION_FAILED' },
    });
  });

  it('of sealed fields are not taken away', async () => {
    const test = await start();
    await expect(test.reload.replace({ auth: base.auth })).rejects.toThrow('sealing.keys can be rotated');
    expect(test.app.get(WsSeal).isReady).toBe(true);
  });
});

describe('limits', () => {
  it.each([false, true])(
    'of messages are those of sessions that are there, too; compressed: %s',
    async (compression) => {
      const perMessageDeflate = compression && { threshold: 0 };
      const options = { ...base, compression: compression && { thresholdBytes: 0 }, limits: { maxMessageBytes: 200 } };
      const test = await start(options);
      const client = await connect(test, token(), { perMessageDeflate });
      await client.ask({ event: 'echo', data: 'x'.repeat(100), id: 1 });
      await test.reload.replace({ ...options, limits: { maxMessageBytes: 10_000 } });
      expect(await client.ask({ event: 'echo', data: 'x'.repeat(5_000), id: 2 })).toMatchObject({ id: 2 });
      const fresh = await connect(test, token(), { perMessageDeflate });
      expect(await fresh.ask({ event: 'echo', data: 'x'.repeat(5_000), id: 2 })).toMatchObject({ id: 2 });
      await test.reload.replace(options);
      for (const each of [client, fresh, await connect(test, token(), { perMessageDeflate })]) {
        each.send({ event: 'echo', data: 'x'.repeat(5_000) });
        expect((await each.closed).code).toBe(1009);
      }
    },
  );

  it('of fragments are, too', async () => {
    const test = await start();
    const client = await connect(test);
    await client.ask({ event: 'echo', data: 1, id: 1 });
    await test.reload.replace({ ...base, limits: { maxFragments: 2 } });
    for (const part of ['{"event"', ':"ping"', ',"id":']) client.socket.send(part, { fin: false });
    expect((await client.closed).code).toBe(1009);
  });

  it('of depth, bad frames and time are, too', async () => {
    const test = await start();
    const client = await connect(test);
    const slow = await connect(test);
    slow.send({ event: 'wait', id: 1 });
    await slow.ask({ event: 'ping' });
    await test.reload.replace({
      ...base,
      limits: { maxJsonDepth: 2, maxBadFrames: 1, handlerTimeoutMs: 1_000 },
      shutdown: { drainMs: 2_000 },
    });
    test.clock.advance(1_500);
    expect(await slow.next()).toMatchObject({ event: 'exception', id: 1, data: { code: 'HANDLER_TIMEOUT' } });
    expect(await client.ask({ event: 'echo', data: [[1]], id: 1 })).toMatchObject({ data: { code: 'BAD_FRAME' } });
    expect(await client.closed).toMatchObject({ code: 4400 });
    expect(test.reload.options.shutdown.drainMs).toBe(2_000);
  });

  it('of sessions, tickets and authentication are', async () => {
    const test = await start();
    await test.reload.replace({
      ...base,
      auth: { ...base.auth, maxSessionsPerSubject: 1, tickets: { ttlMs: 1_000 }, timeoutMs: 1_000 },
    });
    const first = await connect(test);
    await connect(test);
    expect((await first.closed).reason).toBe('SESSION_REPLACED');
    const principal = { subject: 'ada', roles: [], scopes: [], claims: {}, expiresAt: test.clock.now() + 60_000 };
    expect((await test.app.get(WsTickets).issue(principal)).expiresAt).toBe(test.clock.now() + 1_000);
    const anonymous = await Client.connect(`${test.url}/ws`);
    test.clock.advance(1_250);
    expect((await anonymous.closed).reason).toBe('AUTH_TIMEOUT');
  });
});

describe('lists', () => {
  it('of origins are those of the next handshake', async () => {
    const test = await start();
    const origin = 'https://app.example.com';
    expect(await refusal(`${test.url}/ws`, { origin })).toMatchObject({ status: 403 });
    await test.reload.replace({ ...base, firewall: { origins: [origin] } });
    const client = await connect(test, token(), { origin });
    await test.reload.replace(base);
    expect(await client.ask({ event: 'echo', data: 1, id: 1 })).toMatchObject({ data: 1 });
    expect(await refusal(`${test.url}/ws`, { origin })).toMatchObject({ status: 403 });
  });
});

describe('the firewall', () => {
  it('has the lists of the options from the next handshake on, and those that the application has set otherwise', async () => {
    const test = await start();
    const firewall = test.app.get(WsFirewall);
    const client = await connect(test);
    expect((await test.reload.replace({ ...base, firewall: { deny: ['127.0.0.1'] } })).changed).toEqual([
      'firewall.deny',
    ]);
    expect(await refusal(`${test.url}/ws`)).toMatchObject({ status: 403, body: { code: 'IP_FORBIDDEN' } });
    expect(await client.ask({ event: 'echo', data: 1, id: 1 })).toMatchObject({ data: 1 });
    await test.reload.replace(base);
    await connect(test);
    await firewall.setLists({ deny: ['192.0.2.1'] });
    await test.reload.replace({ ...base, firewall: { exempt: ['192.0.2.2'] } });
    expect(firewall.lists).toEqual({ allow: [], deny: ['192.0.2.1'], exempt: ['192.0.2.2'] });
  });

  it('trusts other proxies, and has other caps and budgets', async () => {
    const test = await start();
    const client = await connect(test);
    await client.ask({ event: 'echo', data: 1, id: 1 });
    await test.reload.replace({
      ...base,
      firewall: { trustProxy: 1, maxConnections: 2 },
      limits: { messagesPerSecond: 1, messageBurst: 2 },
    });
    for (const id of [1, 2]) expect(await client.ask({ event: 'echo', data: 2, id })).toMatchObject({ data: 2 });
    expect(await client.ask({ event: 'echo', data: 3, id: 3 })).toMatchObject({ data: { code: 'RATE_LIMITED' } });
    await connect(test, token(), { headers: { 'x-forwarded-for': '192.0.2.7' } });
    expect(test.app.get(WsSessions).count({ clientAddress: '192.0.2.7' })).toBe(1);
    expect(await refusal(`${test.url}/ws`)).toMatchObject({ status: 503, body: { code: 'OVERLOADED' } });
  });
});

describe('options that are not valid', () => {
  it('change nothing, and are all named', async () => {
    const test = await start();
    const before = structuredClone(test.reload.options.limits);
    const bad = {
      auth: { jwt: { secret: NEW_SECRET } },
      sealing,
      limits: { maxMessageBytes: 100, maxJsonDepth: 1 },
      firewall: { origins: ['nonsense'] },
    };
    const error: unknown = await test.reload.replace(bad).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(WsGatewayOptionsError);
    const names = (error as WsGatewayOptionsError).problems.map((problem) => problem.split(' ', 1)[0]);
    expect(names.toSorted()).toEqual(['firewall.origins', 'limits.maxJsonDepth']);
    expect(test.reload.options.limits).toEqual(before);
    expect(await (await connect(test)).ask({ event: 'echo', data: 'x'.repeat(200), id: 1 })).toMatchObject({ id: 1 });
    expect((await test.reload.replace(base)).changed).toEqual([]);
  });

  it('are those, too, that do not fit what takes a restart', async () => {
    const origins = ['https://app.example.com'];
    const auth = { ...base.auth, sources: ['cookie'], cookie: 'token' } as const;
    const test = await start({ ...base, auth, firewall: { origins } });
    await expect(test.reload.replace(base)).rejects.toThrow('firewall.origins must list the origins');
    expect(test.reload.options.firewall.origins).toEqual(origins);
  });
});

it('says what takes a restart, and leaves it as it was', async () => {
  const test = await start();
  const next: WsGatewayOptions = {
    ...base,
    path: '/other',
    auth: { ...base.auth, sources: ['query'], refreshLeadMs: 1_000 },
    compression: true,
    errors: { event: 'error' },
    heartbeat: { intervalMs: 5_000 },
  };
  const needRestart = ['auth.sources', 'compression', 'errors.event', 'path'];
  const changed = ['auth.refreshLeadMs', 'heartbeat.intervalMs'];
  expect(await test.reload.replace(next)).toEqual({ changed, needRestart });
  const client = await connect(test);
  expect(await client.ask({ event: 'nothing', id: 1 })).toMatchObject({ event: 'exception' });
  expect(await test.reload.replace(next)).toEqual({ changed: [], needRestart });
});

it('takes what is left out for its default, and a default that is written for none', async () => {
  const test = await start({ ...base, limits: { maxBadFrames: 3 } });
  expect((await test.reload.replace({ ...base, limits: { maxMessageBytes: 65_536 } })).changed).toEqual([
    'limits.maxBadFrames',
  ]);
  expect(test.reload.options.limits.maxBadFrames).toBe(10);
});

it('is not fooled by an application that changes its own object', async () => {
  const secrets: Record<string, string> = { a: SECRET };
  const options = { ...base, auth: { jwt: { secrets } } };
  const test = await start(options);
  secrets.b = NEW_SECRET;
  expect((await test.reload.replace(options)).changed).toEqual(['auth.jwt']);
});

it('does one after the other, and a failed one stands in the way of none', async () => {
  const test = await start();
  const results = await Promise.allSettled([
    test.reload.replace({ ...base, limits: { maxBadFrames: 1 } }),
    test.reload.replace({ ...base, limits: { maxBadFrames: 0 } }),
    test.reload.replace({ ...base, limits: { maxBadFrames: 3 } }),
  ]);
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(test.reload.options.limits.maxBadFrames).toBe(3);
});

describe('under load', () => {
  it('no session is dropped and no request goes without its answer', async () => {
    const jwt = (...kids: string[]): WsGatewayOptions['auth'] => ({
      jwt: { secrets: Object.fromEntries(kids.map((kid) => [kid, `${kid} ${SECRET}`])) },
    });
    const bearer = (n: number, subject: string): string =>
      signed({ sub: subject }, { kid: `k${n}`, key: `k${n} ${SECRET}` });
    const test = await start({ ...base, auth: jwt('k0') });
    const clients = await Promise.all(Array.from({ length: 20 }, (_, n) => connect(test, bearer(0, `s${n}`))));
    let over = false;
    let newest = 0;
    let answers = 0;
    const busy = clients.map(async (client, n) => {
      for (let id = 1; !over; id++) {
        const refresh = id % 10 === 0;
        const request = refresh
          ? { event: 'auth', data: { token: bearer(newest, `s${n}`) } }
          : { event: 'echo', data: id };
        expect(await client.ask({ ...request, id })).toMatchObject({ event: request.event, id });
        answers++;
      }
    });
    const arriving = (async () => {
      while (!over) {
        const client = await connect(test, bearer(newest, 'guest'));
        await client.ask({ event: 'echo', data: 1, id: 1 });
        await client.close();
        answers++;
      }
    })();
    for (let n = 1; n <= 30; n++) {
      // As a rotation goes: the new key beside the old one first, tokens of the new one then, the old key away last.
      await test.reload.replace({ ...base, auth: jwt(`k${n - 1}`, `k${n}`), limits: { maxMessageBytes: 1_000 + n } });
      newest = n;
      const enough = answers + 100;
      await until(() => answers >= enough);
      const bad = { ...base, auth: jwt('k0'), limits: { maxMessageBytes: 0 } };
      await expect(test.reload.replace(bad)).rejects.toThrow('maxMessageBytes');
    }
    over = true;
    await Promise.all([...busy, arriving]);
    expect(clients.every(({ socket }) => socket.readyState === socket.OPEN)).toBe(true);
    expect(test.log.lines.filter(({ level }) => level !== 'debug')).toEqual([]);
  });
});
