import { afterEach, expect, it } from 'vitest';
import { WsGatewayAdapter } from '../../src/connection/adapter.js';
import type { ConnectionContext } from '../../src/connection/context.js';
import { WsSessions } from '../../src/index.js';
import type { Principal } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

afterEach(stopApps);

const heartbeat = { intervalMs: 3_600_000 };

it('a session that has closed is not kept for its next question', async () => {
  const auth = { revalidate: () => true, revalidateEveryMs: 86_400_000 };
  const { url, app } = await startApp({ options: { auth } });
  const adapter = app.get(WsGatewayAdapter, { strict: false });
  const { revalidation } = (adapter as unknown as { context: ConnectionContext }).context; // because nothing else shows it
  const client = await Client.connect(`${url}/ws`, { token: token() });
  await client.ask({ event: 'ping', id: 1 });
  expect(revalidation.size).toBe(1);
  await client.close();
  await until(() => app.get(WsSessions).count() === 0);
  expect(revalidation.size).toBe(0);
});

it('an answer that comes too late is not taken for that to the next question', async () => {
  const answers: ((answer: boolean) => void)[] = [];
  const revalidate = (): Promise<boolean> => new Promise((resolve) => answers.push(resolve));
  const { url, clock } = await startApp({ options: { auth: { revalidate, revalidateEveryMs: 1_000 }, heartbeat } });
  const client = await Client.connect(`${url}/ws`, { token: token() });
  await client.ask({ event: 'ping', id: 1 });
  clock.advance(1_250);
  expect(answers).toHaveLength(1);
  clock.advance(32_000); // given up after 30 s, and asked again
  expect(answers).toHaveLength(2);
  answers[0]?.(true);
  await new Promise(setImmediate);
  answers[1]?.(false);
  await new Promise(setImmediate);
  client.send({ event: 'ping', id: 2 });
  expect((await client.next()).event).toBe('disconnect');
});

it('a question that fails with what cannot be looked at leaves session and process alone', async () => {
  const trap = (): never => {
    throw new Error('hands off');
  };
  const revalidate = (): never => {
    throw new Proxy({}, { getPrototypeOf: trap, get: trap });
  };
  const { url, clock, log } = await startApp({
    options: { auth: { revalidate, revalidateEveryMs: 1_000 }, heartbeat },
  });
  const client = await Client.connect(`${url}/ws`, { token: token() });
  await client.ask({ event: 'ping', id: 1 });
  for (let round = 0; round < 2; round++) {
    clock.advance(1_250);
    await new Promise(setImmediate);
  }
  expect(await client.ask({ event: 'ping', id: 2 })).toMatchObject({ event: 'pong' });
  expect(log.lines.filter(({ event }) => event === 'auth.revalidate')).toHaveLength(2);
});

it('a session that refreshes itself again and again is asked about all the same', async () => {
  let asked = 0;
  const revalidate = (): boolean => ++asked < 2;
  const { url, clock } = await startApp({ options: { auth: { revalidate, revalidateEveryMs: 60_000 }, heartbeat } });
  const bearer = token();
  const client = await Client.connect(`${url}/ws`, { token: bearer });
  for (let minute = 0; minute < 2; minute++) {
    for (let time = 0; time < 2; time++) {
      expect(await client.ask({ event: 'auth', data: { token: bearer }, id: time })).toMatchObject({ event: 'auth' });
      clock.advance(30_250);
    }
    await new Promise(setImmediate);
    expect(asked).toBe(minute + 1);
  }
  expect(await client.next()).toMatchObject({ event: 'disconnect', data: { code: 'SESSION_REVOKED' } });
});

it('an answer changes roles and scopes and nothing else, and the token can still be revoked', async () => {
  const revalidate = (principal: Principal): Principal => ({
    ...principal,
    subject: 'root',
    expiresAt: principal.expiresAt * 2,
    roles: ['other'],
  });
  const { url, clock, app } = await startApp({
    options: { auth: { revalidate, revalidateEveryMs: 1_000 }, heartbeat },
  });
  const bearer = token({ roles: ['one'] });
  const client = await Client.connect(`${url}/ws`, { token: bearer });
  const before = (await client.ask({ event: 'session', id: 1 })).data as { sessionId: string };
  clock.advance(1_250);
  await new Promise(setImmediate);
  expect((await client.ask({ event: 'session', id: 2 })).data).toEqual({ ...before, roles: ['other'] });
  expect((await app.get(WsSessions).revoke({ sessionId: before.sessionId })).ended).toBe(1);
  const again = await Client.connect(`${url}/ws`, { token: bearer });
  again.send({ event: 'ping', id: 1 });
  expect(await again.next()).toMatchObject({ event: 'disconnect', data: { code: 'SESSION_REVOKED' } });
});
