import { NestFactory } from '@nestjs/core';
import type { INestApplication } from '@nestjs/common';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';
import { AppModule } from './orders/app.module.js';

const secret = 'change-me-to-32-bytes-or-more-of-randomness';
let app: INestApplication;
let url: string;

beforeEach(async () => {
  app = await NestFactory.create(AppModule, { logger: false });
  await app.listen(0, '127.0.0.1');
  url = `ws://127.0.0.1:${(app.getHttpServer() as { address(): AddressInfo }).address().port}/ws`;
});
afterEach(() => app.close());

describe('the orders application of the README', () => {
  it('places an order for a buyer, and tells everybody else why not', async () => {
    const buyer = await Client.connect(url, { token: token({ roles: ['buyer'] }, secret) });
    expect(await buyer.ask({ event: 'order.place', data: { article: 'tea', amount: 2 }, id: 1 })).toEqual({
      event: 'order.place',
      data: { placedBy: 'ada', amount: 2 },
      id: 1,
    });
    expect(await buyer.ask({ event: 'order.place', data: { article: 'sold-out', amount: 1 }, id: 2 })).toMatchObject({
      event: 'exception',
      data: { code: 'ORDER_CLOSED', message: 'Nothing left of it' },
    });
    expect(await buyer.ask({ event: 'order.place', data: { article: 'tea', amount: 0 }, id: 3 })).toMatchObject({
      data: { code: 'VALIDATION_FAILED', details: [{ path: 'amount', rule: 'isPositive' }] },
    });
    const other = await Client.connect(url, { token: token({}, secret) });
    expect(await other.ask({ event: 'order.place', data: {}, id: 4 })).toMatchObject({ data: { code: 'FORBIDDEN' } });
    const stranger = await Client.connect(url);
    expect(await stranger.ask({ event: 'articles', id: 5 })).toMatchObject({ data: ['tea', 'coffee'] });
    await Promise.all([buyer, other, stranger].map((client) => client.close()));
  });
});
