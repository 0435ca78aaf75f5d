import { createServer } from 'node:http';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { NestFactory } from '@nestjs/core';
import type { INestApplication } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hasBrowser, withPage } from '../support/browser.js';
import { Client } from '../support/client.js';
import { startService, stopServices } from '../support/service.js';
import { SECRET, signed, token } from '../support/tokens.js';
import { AccountModule } from './account/account.module.js';

describe('the account application of the README', () => {
  const OLD = 'the-old-secret-of-32-bytes-or-more';
  const NEW = 'the-new-secret-of-32-bytes-or-more';
  let app: INestApplication;
  let http: string;
  beforeEach(async () => {
    app = await NestFactory.create(AccountModule, { logger: false });
    await app.listen(0, '127.0.0.1');
    http = await app.getUrl();
  });
  afterEach(() => app.close());

  const connect = (bearer: string): Promise<Client> =>
    Client.connect(`${http.replace('http', 'ws')}/ws`, { token: bearer });
  const post = async (path: string, bearer: string): Promise<unknown> =>
    (await fetch(`${http}/account/${path}`, { method: 'POST', headers: { authorization: `Bearer ${bearer}` } })).json();

  it('takes tokens of the old and the new key, and shows an order to its owner', async () => {
    for (const [kid, key] of [
      ['2026-07', OLD],
      ['2026-11', NEW],
    ] as const) {
      const client = await connect(signed({ aud: 'shop' }, { key, kid }));
      expect(await client.ask({ event: 'order.show', data: { order: 1 }, id: 1 })).toMatchObject({
        data: { order: 1, owner: 'ada' },
      });
      expect(await client.ask({ event: 'order.show', data: { order: 2 }, id: 2 })).toMatchObject({
        data: { code: 'FORBIDDEN' },
      });
    }
  });

  it('gives tickets, and ends every session when the password changes', async () => {
    const bearer = signed({ aud: 'shop' }, { key: NEW, kid: '2026-11' });
    const { ticket } = (await post('ticket', bearer)) as { ticket: string };
    const client = await Client.connect(`${http.replace('http', 'ws')}/ws?ticket=${ticket}`);
    expect(await client.ask({ event: 'opening-hours', id: 1 })).toMatchObject({ data: '9 to 5' });
    expect(await post('password', bearer)).toEqual({ ended: 1 });
    expect((await client.closed).reason).toBe('SESSION_REVOKED');
    expect((await (await connect(bearer)).closed).reason).toBe('SESSION_REVOKED');
  });
});

afterEach(stopServices);

describe.runIf(hasBrowser())('a page in a browser', () => {
  it('of an allowed origin buys a ticket and connects with it', async () => {
    const pages = createServer((request, response) => {
      request.resume(); // it reports to where it came from
      response.setHeader('content-type', 'text/html; charset=utf-8');
      response.end(readFileSync(new URL('account/page.html', import.meta.url)));
    }).listen(0, '127.0.0.1');
    await once(pages, 'listening');
    const origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
    const { http } = await startService({
      JWT_SECRET: SECRET,
      AUTH_SOURCES: 'header,ticket',
      ALLOWED_ORIGINS: origin,
    });
    const query = new URLSearchParams({ gateway: http, token: token(), report: `${origin}/report` });
    await withPage(`${origin}/?${query}`, (page) => page.waitForFunction("document.title === 'session ada'"));
    pages.closeAllConnections();
    pages.close();
  });
});
