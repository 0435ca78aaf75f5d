import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Client, refusal } from '../support/client.js';
import { shareService, startService, stopServices, stopSharedServices } from '../support/service.js';
import type { Service } from '../support/service.js';
import { SECRET, token } from '../support/tokens.js';

let service: Service;
const environment = { JWT_SECRET: SECRET, LOG_FORMAT: 'json' };
afterEach(stopServices);
afterAll(stopSharedServices);

const admin = token({ sub: 'operator', scope: 'ws-gateway:admin' });

async function call(
  method: string,
  query = '',
  body?: unknown,
  bearer = admin,
): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${service.http}/admin/bans${query}`, {
    method,
    headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
}

describe('the bans of the service', () => {
  beforeEach(async () => void (service = await startService(environment)));

  it('are made, listed and lifted by an operator', async () => {
    const client = await Client.connect(service.url, { token: token() });
    const made = await call('POST', '', { subject: 'ada', forMs: 60_000, reason: 'spam' });
    expect(made).toMatchObject({ status: 201, body: { subject: 'ada', reason: 'spam' } });
    expect((await client.closed).reason).toBe('BANNED');
    expect((await call('POST', '', { address: '203.0.113.5', forMs: 1_000 })).status).toBe(201);
    expect(await call('GET')).toMatchObject({
      status: 200,
      body: { items: [{ subject: 'ada', until: expect.any(Number) as number }, { address: '203.0.113.5' }] },
    });
    const page = await call('GET', '?limit=1');
    expect(page.body).toMatchObject({ items: [{ subject: 'ada' }], next: expect.any(String) as string });
    const { next } = page.body as { next: string };
    const last = await call('GET', `?limit=1&cursor=${next}`);
    expect(last.body).toEqual({ items: [expect.objectContaining({ address: '203.0.113.5' })] });
    expect(await call('DELETE', '?subject=ada')).toEqual({ status: 204, body: undefined });
    expect((await call('DELETE', '?address=203.0.113.5')).status).toBe(204);
    expect(await call('DELETE', '?subject=ada')).toMatchObject({ status: 404, body: { code: 'NOT_FOUND' } });
    await Client.connect(service.url, { token: token() });
  });

  it('of an address keep it out', async () => {
    await call('POST', '', { address: '127.0.0.1', forMs: 60_000 });
    expect(await refusal(service.url)).toMatchObject({ status: 403, body: { code: 'BANNED' } });
  });

  it('are not everybody’s to make', async () => {
    for (const [method, body] of [['GET'], ['POST', { subject: 'x', forMs: 1 }], ['DELETE']] as [string, unknown][]) {
      expect(await call(method, '', body, token())).toMatchObject({ status: 403, body: { code: 'FORBIDDEN' } });
      expect(await call(method, '', body, 'bad')).toMatchObject({ status: 401, body: { code: 'TOKEN_INVALID' } });
    }
  });
});

describe('the bans of the service, which stay as they are,', () => {
  beforeAll(async () => void (service = await shareService(environment)));

  it.each([
    {},
    { subject: 'x' },
    { subject: 'x', forMs: 0 },
    { subject: 'x', forMs: '1' },
    { subject: 'x', address: '::1', forMs: 1 },
    { address: 'x', forMs: 1 },
    { address: '10.0.0.0/8', forMs: 1 },
    { subject: 'x', forMs: 1, more: 1 },
  ])('are not made by %j', async (body) => {
    expect(await call('POST', '', body)).toMatchObject({ status: 400, body: { code: 'VALIDATION_FAILED' } });
  });
});
