import { Injectable } from '@nestjs/common';
import { afterEach, expect, it } from 'vitest';
import { Authenticator, WsSessions } from '../../src/index.js';
import type { PrincipalInit } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';
import { SessionRegistry } from '../../src/session/registry.js';

afterEach(stopApps);

it('a refresh by another subject ends the session, and makes nobody of it', async () => {
  const { url, app } = await startApp();
  const client = await Client.connect(`${url}/ws`, { token: token() });
  client.send({ event: 'auth', data: { token: token({ sub: 'eve', roles: ['admin'] }) }, id: 1 });
  const frames = await client.rest();
  expect(frames).toMatchObject([
    { event: 'exception', data: { code: 'FORBIDDEN' }, id: 1 },
    { event: 'disconnect', data: { code: 'FORBIDDEN', closeCode: 3003, reconnect: false } },
  ]);
  expect(await client.closed).toEqual({ code: 3003, reason: 'FORBIDDEN' });
  expect(app.get(WsSessions).count({ subject: 'eve' })).toBe(0);
});

it('an auth that is answered when its anonymous session has ended makes nobody of it', async () => {
  let answer: ((principal: PrincipalInit) => void) | undefined;
  @Injectable()
  class Slow extends Authenticator {
    override authenticate(): Promise<PrincipalInit> {
      return new Promise((resolve) => (answer = resolve));
    }
  }
  const { url, app, clock } = await startApp({
    providers: [{ provide: Authenticator, useClass: Slow }],
    options: { auth: { timeoutMs: 60_000 } },
  });
  const sessions = app.get(SessionRegistry);
  const client = await Client.connect(`${url}/ws`);
  client.send({ event: 'auth', data: { token: 'key' }, id: 1 });
  await until(() => answer !== undefined);
  const session = sessions.find()[0];
  session?.close(1000);
  expect(session?.isLive).toBe(false);
  answer?.({ subject: 'late', expiresAt: clock.now() + 60_000 });
  await client.closed;
  expect(session?.principal).toBeUndefined();
  await until(() => sessions.size === 0);
});
