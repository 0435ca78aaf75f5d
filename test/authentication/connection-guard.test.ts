import { afterEach, expect, it } from 'vitest';
import { Deadlines } from '../../src/authentication/deadlines.js';
import type { ConnectionGuard } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

afterEach(stopApps);

const start = (canConnect: () => unknown): Promise<TestApp> =>
  startApp({ options: { auth: { connectionGuards: [{ canConnect } as ConnectionGuard] } } });

it.each([1, 'true', {}, undefined, null])('a guard lets in by true and by nothing else: %j', async (answer) => {
  const { url } = await start(() => answer);
  const client = await Client.connect(`${url}/ws`, { token: token() });
  expect(await client.next()).toMatchObject({ event: 'disconnect', data: { code: 'FORBIDDEN' } });
});

it('a guard that does not answer is waited for no longer than auth.timeoutMs, and its late failure is nobody’s', async () => {
  let fail: ((error: Error) => void) | undefined;
  const { url, app, clock } = await start(() => new Promise((_, reject) => (fail = reject)));
  const connecting = Client.connect(`${url}/ws`, { token: token() });
  await until(() => fail !== undefined);
  clock.advance(10_000);
  expect(await (await connecting).next()).toMatchObject({ event: 'disconnect', data: { code: 'OVERLOADED' } });
  fail?.(new Error('late'));
  await new Promise(setImmediate); // an unhandled rejection would fail the run
  expect(app.get(Deadlines, { strict: false }).size).toBe(0);
});
