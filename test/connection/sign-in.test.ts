import { afterEach, describe, expect, it } from 'vitest';
import { GatewayError, WsFirewall, WsSessions } from '../../src/index.js';
import type { AuthOptions } from '../../src/index.js';
import type { ConnectionAttempt, ConnectionGuard } from '../../src/authentication/connection-guard.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import type { Frame } from '../support/client.js';
import { token } from '../support/tokens.js';
import { SessionRegistry } from '../../src/session/registry.js';

afterEach(stopApps);

type Guard = (attempt: ConnectionAttempt) => boolean | Promise<boolean>;

/** Lets in who has no principal yet, and asks `guard` about the others. */
const start = (guard?: Guard, auth: Partial<AuthOptions> = {}): Promise<TestApp> => {
  const canConnect: Guard = (attempt) => attempt.principal === undefined || guard === undefined || guard(attempt);
  const connectionGuards: ConnectionGuard[] = guard === undefined ? [] : [{ canConnect }];
  return startApp({ options: { auth: { ...auth, connectionGuards }, heartbeat: { intervalMs: 3_600_000 } } });
};

const ask = (client: Client, bearer: string): Promise<Frame> =>
  client.ask({ event: 'auth', data: { token: bearer }, id: 1 });

const outcomeOf = ({ event, data }: Frame): string =>
  event === 'disconnect' || event === 'exception' ? (data as { code: string }).code : 'in';

/** Every way in which a principal comes into a session; each says `in`, or the code that says why not. */
const DOORS: Record<string, (test: TestApp, bearer: string) => Promise<string>> = {
  handshake: async ({ url }, bearer) => {
    const client = await Client.connect(`${url}/ws`, { token: bearer });
    client.send({ event: 'ping', id: 1 });
    return outcomeOf(await client.next());
  },
  message: async ({ url }, bearer) => outcomeOf(await ask(await Client.connect(`${url}/ws`), bearer)),
  'bare message': async ({ url }, bearer) => {
    const client = await Client.connect(`${url}/ws`);
    client.send(bearer);
    return outcomeOf(await client.next());
  },
  refresh: async ({ url }, bearer) => {
    const client = await Client.connect(`${url}/ws`, { token: token({ jti: 'first', roles: ['first'] }) });
    return outcomeOf(await ask(client, bearer));
  },
};

/** What can say no, in the order in which it is asked. */
describe.each(Object.entries(DOORS))('at the door "%s"', (door, come) => {
  it('who is not revoked, expired, banned, turned away or too many comes in', async () => {
    expect(await come(await start(() => true), token())).toBe('in');
  });

  it('a revoked token stays outside, and no guard is asked about it', async () => {
    const asked: unknown[] = [];
    const test = await start(({ principal }) => {
      asked.push(principal?.claims.jti);
      return true;
    });
    await test.app.get(WsSessions).revoke({ tokenId: 'bad' });
    expect(await come(test, token({ jti: 'bad' }))).toBe('SESSION_REVOKED');
    expect(asked).not.toContain('bad');
  });

  it('a guard that says no is heard', async () => {
    const test = await start(({ principal }) => principal?.roles.includes('bad') === false);
    expect(await come(test, token({ roles: ['bad'] }))).toBe('FORBIDDEN');
    expect(test.app.get(WsSessions).count({ subject: 'ada' })).toBe(0);
  });

  it.each([
    ['revoked', 'SESSION_REVOKED', ({ app }: TestApp) => app.get(WsSessions).revoke({ tokenId: 'bad' })],
    ['expired', 'TOKEN_EXPIRED', ({ clock }: TestApp) => clock.jump(120_000)],
    ['banned', 'BANNED', ({ app }: TestApp) => app.get(WsFirewall).ban({ subject: 'ada' }, { forMs: 3_600_000 })],
  ])('a token that is %s while a guard is asked stays outside', async (_, code, happen) => {
    let test: TestApp | undefined;
    test = await start(async ({ principal }) => {
      if (principal?.claims.jti === 'bad') happen(test as TestApp); // because it has started by then
      await Promise.resolve();
      return true;
    });
    const exp = Math.floor(test.clock.now() / 1000) + 60;
    // A ban of the subject ends its session at once: then there is nothing left to refresh.
    expect(await come(test, token({ jti: 'bad', exp }))).toBe(code);
    expect(test.app.get(WsSessions).count({ subject: 'ada' })).toBe(0);
  });

  it.skipIf(door === 'refresh')('a banned subject stays outside, and no guard is asked about it', async () => {
    let asked = 0;
    const test = await start(() => ++asked > 0);
    await test.app.get(WsFirewall).ban({ subject: 'ada' }, { forMs: 60_000 });
    expect(await come(test, token())).toBe('BANNED');
    expect(asked).toBe(0);
  });

  it.skipIf(door === 'refresh')('one session too many stays outside', async () => {
    const test = await start(() => true, { maxSessionsPerSubject: 1, onSessionLimit: 'refuse-new' });
    expect(await come(test, token())).toBe('in');
    expect(await come(test, token())).toBe('SESSION_LIMIT');
  });
});

describe('a connection guard at an auth', () => {
  it('sees the upgrade, and the principal that has come since', async () => {
    const seen: unknown[] = [];
    const { url } = await start(({ request, path, clientAddress, principal }) => {
      seen.push(request.headers['x-from'], path, clientAddress, principal?.subject);
      return true;
    });
    const client = await Client.connect(`${url}/ws`, { headers: { 'x-from': 'here' } });
    expect(outcomeOf(await ask(client, token()))).toBe('in');
    expect(seen).toEqual(['here', '/ws', '127.0.0.1', 'ada']);
  });

  it('that says no ends the session, after the answer to the request', async () => {
    const { url, log } = await start(() => false);
    const client = await Client.connect(`${url}/ws`);
    expect(await ask(client, token())).toMatchObject({ event: 'exception', id: 1, data: { code: 'FORBIDDEN' } });
    expect(await client.next()).toMatchObject({ event: 'disconnect', data: { code: 'FORBIDDEN', closeCode: 3003 } });
    expect(log.lines).toEqual([expect.objectContaining({ code: 'FORBIDDEN', reason: 'connection guard Object' })]);
  });

  it('says no with a code of its own', async () => {
    const { url } = await start(() => {
      throw new GatewayError('PLAN_ENDED', { message: 'Pay first' });
    });
    const client = await Client.connect(`${url}/ws`);
    expect(await ask(client, token())).toMatchObject({ data: { code: 'PLAN_ENDED', message: 'Pay first' } });
    expect(await client.next()).toMatchObject({ event: 'disconnect', data: { code: 'PLAN_ENDED', closeCode: 4400 } });
  });

  it('that fails leaves the session as it was, and is asked again', async () => {
    let fails = true;
    const { url } = await start(() => {
      if (fails) throw new Error('the database is away');
      return true;
    });
    const client = await Client.connect(`${url}/ws`);
    expect(outcomeOf(await ask(client, token()))).toBe('INTERNAL');
    expect(outcomeOf(await client.ask({ event: 'session', id: 2 }))).toBe('UNAUTHENTICATED');
    fails = false;
    expect(outcomeOf(await ask(client, token()))).toBe('in');
  });

  it('that does not answer is waited for no longer than auth.timeoutMs', async () => {
    let isAsked = false;
    const { url, clock } = await start(
      () => {
        isAsked = true;
        return new Promise(() => undefined);
      },
      { anonymous: true },
    );
    const client = await Client.connect(`${url}/ws`);
    client.send({ event: 'auth', data: { token: token() }, id: 1 });
    await until(() => isAsked);
    clock.advance(10_250);
    expect(await client.next()).toMatchObject({ event: 'exception', id: 1, data: { code: 'OVERLOADED' } });
    expect(outcomeOf(await client.ask({ event: 'ping', id: 2 }))).toBe('in');
  });

  it('is asked about a refresh with other claims, and about no other', async () => {
    const asked: unknown[] = [];
    const { url } = await start(({ principal }) => {
      asked.push(principal?.roles);
      return principal?.roles.includes('bad') !== true;
    });
    const client = await Client.connect(`${url}/ws`, { token: token({ roles: ['one'], jti: '1' }) });
    expect(outcomeOf(await ask(client, token({ roles: ['one'], jti: '2', iat: 1 })))).toBe('in');
    expect(asked).toEqual([['one']]);
    expect(outcomeOf(await ask(client, token({ roles: ['two'], jti: '3' })))).toBe('in');
    expect(outcomeOf(await ask(client, token({ roles: ['two'], tenant: 'x', jti: '4' })))).toBe('in');
    expect(asked).toEqual([['one'], ['two'], ['two']]);
    expect(outcomeOf(await ask(client, token({ roles: ['bad'] })))).toBe('FORBIDDEN');
    expect((await client.closed).code).toBe(3003);
  });

  it('is not asked about who has gone meanwhile, who has no session then', async () => {
    let answer: ((answer: boolean) => void) | undefined;
    const test = await start(() => new Promise((resolve) => (answer = resolve)));
    const client = await Client.connect(`${test.url}/ws`);
    client.send({ event: 'auth', data: { token: token() }, id: 1 });
    await until(() => answer !== undefined);
    client.socket.terminate();
    await until(() => test.app.get(WsSessions).count() === 0);
    answer?.(true);
    await new Promise(setImmediate);
    expect(test.app.get(WsSessions).count({ subject: 'ada' })).toBe(0);
    expect(test.app.get(SessionRegistry).size).toBe(0);
  });

  it('is what the upgrade is kept for: without one it is not', async () => {
    for (const guard of [undefined, (): boolean => true]) {
      const test = await start(guard);
      const client = await Client.connect(`${test.url}/ws`, { token: token() });
      await client.ask({ event: 'ping', id: 1 });
      const [session] = test.app.get(SessionRegistry).find();
      expect(session?.request === undefined).toBe(guard === undefined);
    }
  });
});
