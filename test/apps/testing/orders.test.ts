import { afterAll, beforeAll, expect, it } from 'vitest';
import { createWsTestingApp } from 'nestjs-ws-gateway/testing';
import type { WsTestingApp } from 'nestjs-ws-gateway/testing';
import { AppModule } from '../orders/app.module.js';

let t: WsTestingApp;
beforeAll(async () => void (t = await createWsTestingApp({ imports: [AppModule] })));
afterAll(() => t.close());

it('places an order for a buyer', async () => {
  const ada = await t.connect({ sub: 'ada', roles: ['buyer'] });
  expect(await ada.request('order.place', { article: 'tea', amount: 1 })).toEqual({ placedBy: 'ada', amount: 1 });
});

it('says what is wrong with an order', async () => {
  const ada = await t.connect({ roles: ['buyer'] });
  await expect(ada.request('order.place', { article: 'tea', amount: 0 })).rejects.toMatchObject({
    code: 'VALIDATION_FAILED',
    details: [{ path: 'amount' }],
  });
  expect(t.failures).toContainEqual(expect.objectContaining({ code: 'VALIDATION_FAILED', event: 'order.place' }));
});

it('ends the session with its token', async () => {
  const bob = await t.connect({ sub: 'bob' });
  await t.clock.advance(30_000);
  expect(await bob.next('auth.expiring')).toMatchObject({ data: { expiresAt: t.clock.now() + 30_000 } });
  await t.clock.advance(30_000);
  expect(await bob.closed).toMatchObject({ code: 4101, disconnect: { code: 'TOKEN_EXPIRED', reconnect: true } });
});

it('refuses an origin that is not its own', async () => {
  expect(await t.refused({ origin: 'https://evil.test' })).toMatchObject({ status: 403, code: 'ORIGIN_FORBIDDEN' });
});
