import 'reflect-metadata';
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createWsTestingApp } from 'nestjs-ws-gateway/testing';
import type { WsTestingApp } from 'nestjs-ws-gateway/testing';
import { AppModule } from '../orders/app.module.js';

let t: WsTestingApp;
before(async () => void (t = await createWsTestingApp({ imports: [AppModule] })));
after(() => t.close());

test('places an order for a buyer', async () => {
  const ada = await t.connect({ sub: 'ada', roles: ['buyer'] });
  assert.deepEqual(await ada.request('order.place', { article: 'tea', amount: 1 }), { placedBy: 'ada', amount: 1 });
});

test('refuses an order of a stranger', async () => {
  const stranger = await t.connect();
  await assert.rejects(stranger.request('order.place', {}), { code: 'UNAUTHENTICATED' });
});
