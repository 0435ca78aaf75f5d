import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it } from 'vitest';
import { GatewayError, WsSessions } from '../../src/index.js';
import type { AuthOptions, Principal } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

let release: (() => void) | undefined;

@WebSocketGateway()
class SlowGateway {
  @SubscribeMessage('slow') async slow(): Promise<string> {
    await new Promise<void>((resolve) => (release = resolve));
    return 'late';
  }
}

afterEach(stopApps);

// Where time is moved by minutes at once, nobody has a chance to answer a ping.
const heartbeat = { intervalMs: 3_600_000 };
const start = (auth: Partial<AuthOptions>): Promise<TestApp> =>
  startApp({ gateways: [SlowGateway], options: { auth, heartbeat } });
const connect = ({ url }: TestApp, sub = 'ada'): Promise<Client> =>
  Client.connect(`${url}/ws`, { token: token({ sub, jti: String(Math.random()) }) });
const ping = async (client: Client): Promise<unknown> => (await client.ask({ event: 'ping', id: 1 })).event;

describe('a subject with one session too many', () => {
  it('loses its oldest', async () => {
    const test = await start({ maxSessionsPerSubject: 2 });
    const [first, second] = [await connect(test), await connect(test)];
    const eve = await connect(test, 'eve');
    const third = await connect(test);
    expect(await first?.next()).toMatchObject({
      event: 'disconnect',
      data: { code: 'SESSION_REPLACED', closeCode: 4409, reconnect: false },
    });
    for (const client of [second, third, eve]) expect(await ping(client as Client)).toBe('pong');
  });

  it('is refused the new one, by the handshake and by auth, where the options say so', async () => {
    const test = await start({ maxSessionsPerSubject: 1, onSessionLimit: 'refuse-new' });
    const first = await connect(test);
    expect(await (await connect(test)).closed).toEqual({ code: 4429, reason: 'SESSION_LIMIT' });
    const byMessage = await Client.connect(`${test.url}/ws`);
    byMessage.send({ event: 'auth', data: { token: token() }, id: 7 });
    const frames = await byMessage.rest();
    expect(frames[0]).toMatchObject({ event: 'exception', id: 7, data: { code: 'SESSION_LIMIT' } });
    expect(frames[1]).toMatchObject({ event: 'disconnect', data: { closeCode: 4429, reconnect: false } });
    expect(await first.ask({ event: 'auth', data: { token: token() }, id: 1 })).toMatchObject({ event: 'auth' });
    expect(await ping(await connect(test, 'eve'))).toBe('pong');
    await first.close();
    await until(() => test.app.get(WsSessions).count({ subject: 'ada' }) === 0);
    expect(await ping(await connect(test))).toBe('pong');
  });

  it('has as many as it likes without a limit', async () => {
    const test = await start({ maxSessionsPerSubject: Infinity });
    const clients = await Promise.all(Array.from({ length: 150 }, () => connect(test)));
    expect(test.app.get(WsSessions).count({ subject: 'ada' })).toBe(150);
    expect(await Promise.all(clients.map(ping))).toEqual(Array(150).fill('pong'));
  });
});

it('a token that expires while a handler runs ends the session, and its answer goes nowhere', async () => {
  const test = await start({});
  const exp = Math.floor(test.clock.now() / 1000) + 5;
  const client = await Client.connect(`${test.url}/ws`, { token: token({ exp }) });
  client.send({ event: 'slow', id: 1 });
  await until(() => release !== undefined);
  test.clock.advance(5_250);
  release?.();
  expect((await client.rest()).map(({ event }) => event)).toEqual(['auth.expiring', 'disconnect']);
  expect(test.log.lines.filter(({ level }) => level !== 'debug')).toMatchObject([{ code: 'TOKEN_EXPIRED' }]);
});

describe('revalidation', () => {
  const every = 60_000;

  it('asks about each session, again and again, and ends what may not go on', async () => {
    const asked: string[] = [];
    const banned = new Set<string>();
    const revalidate = (principal: Principal): boolean => {
      asked.push(principal.subject);
      return !banned.has(principal.subject);
    };
    const test = await start({ revalidate, revalidateEveryMs: every });
    const [ada, eve] = [await connect(test), await connect(test, 'eve')];
    test.clock.advance(every - 1_000);
    expect(asked).toEqual([]);
    test.clock.advance(1_250);
    expect(asked).toEqual(['ada', 'eve']);
    await new Promise(setImmediate);
    banned.add('eve');
    test.clock.advance(every + 250);
    expect(await eve.closed).toEqual({ code: 4410, reason: 'SESSION_REVOKED' });
    expect(asked).toEqual(['ada', 'eve', 'ada', 'eve']);
    expect(await ping(ada)).toBe('pong');
    await ada.close();
    await until(() => test.app.get(WsSessions).count() === 0);
    test.clock.advance(3 * every);
    expect(asked).toHaveLength(4);
  });

  it('may change roles and scopes', async () => {
    const revalidate = (principal: Principal): Principal => ({ ...principal, roles: ['demoted'] });
    const test = await start({ revalidate, revalidateEveryMs: every });
    const client = await Client.connect(`${test.url}/ws`, { token: token({ roles: ['admin'] }) });
    test.clock.advance(every + 250);
    await new Promise(setImmediate);
    expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({
      data: { subject: 'ada', roles: ['demoted'] },
    });
  });

  it.each([
    ['throws', (): boolean => expect.fail('the database says hunter2')],
    ['returns nothing', (): boolean => undefined as unknown as boolean],
  ])('that %s lets the session go on, and the log says so', async (_, revalidate) => {
    const test = await start({ revalidate, revalidateEveryMs: every });
    const client = await connect(test);
    for (let round = 1; round < 3; round++) {
      test.clock.advance(every + 250);
      await new Promise(setImmediate);
      expect(await ping(client)).toBe('pong');
      expect(
        test.log.lines.filter(({ code, event }) => code === 'INTERNAL' && event === 'auth.revalidate'),
      ).toHaveLength(round);
    }
  });

  it('that throws a code ends the session with it', async () => {
    const revalidate = (): never => {
      throw new GatewayError('ACCOUNT_CLOSED');
    };
    const test = await start({ revalidate, revalidateEveryMs: every });
    const client = await connect(test);
    test.clock.advance(every + 250);
    expect((await client.closed).reason).toBe('ACCOUNT_CLOSED');
  });

  it('asks about no more than 32 at once, and gives up on one that is not answered', async () => {
    let asked = 0;
    const revalidate = (): Promise<boolean> => {
      asked++;
      return new Promise(() => undefined);
    };
    const test = await start({ revalidate, revalidateEveryMs: every });
    for (let i = 0; i < 40; i++) await connect(test, `s${i}`);
    test.clock.advance(every + 250);
    expect(asked).toBe(32);
    test.clock.advance(30_000);
    expect(asked).toBe(40);
    expect(test.app.get(WsSessions).count()).toBe(40);
  });

  it('that is answered after a refresh says nothing of the new principal', async () => {
    const answers: ((answer: Principal) => void)[] = [];
    let asked: Principal | undefined;
    const revalidate = (principal: Principal): Promise<Principal> => {
      asked = principal;
      return new Promise((resolve) => answers.push(resolve));
    };
    const test = await start({ revalidate, revalidateEveryMs: every });
    const client = await Client.connect(`${test.url}/ws`, { token: token({ roles: ['old'] }) });
    test.clock.advance(every + 250);
    await client.ask({ event: 'auth', data: { token: token({ roles: ['new'] }) }, id: 1 });
    answers[0]?.({ ...(asked as Principal), roles: ['stale'] });
    await new Promise(setImmediate);
    expect(await client.ask({ event: 'session', id: 2 })).toMatchObject({ data: { roles: ['new'] } });
  });
});
