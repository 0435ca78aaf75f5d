import { strict as assert } from 'node:assert';
import { createClient } from '../../../src/client/index.js';
import { createMockGateway } from '../../../src/client/testing.js';
import type { Shop } from './shop.js';

const gateway = createMockGateway<Shop>({ 'order.place': ({ amount }) => ({ number: amount }) });
const client = createClient<Shop>({ url: 'ws://mock', createSocket: gateway.createSocket });

export async function testOrders(): Promise<void> {
  assert.deepEqual(await client.request('order.place', { article: 'tea', amount: 3 }), { number: 3 });
  gateway.push('order.changed', { number: 3, state: 'sent' });
  gateway.drop(); // and refuse(), expire(), goSilent()
  client.close();
}
