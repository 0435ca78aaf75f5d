import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Client } from '../support/client.js';
import { jwk, startKeyServer, stopKeyServers } from '../support/jwks.js';
import { shareService, startService, stopServices, stopSharedServices } from '../support/service.js';
import type { Service } from '../support/service.js';
import { keyPair, SECRET, signed, token } from '../support/tokens.js';

afterEach(stopServices);
afterEach(stopKeyServers);
afterAll(stopSharedServices);

const ORIGIN = 'https://app.example.com';
const admin = token({ sub: 'operator', scope: 'other ws-gateway:admin' });
const plain = token({ sub: 'ada' });

let service: Service;
const settings = {
  JWT_SECRET: SECRET,
  LOG_FORMAT: 'json',
  LOG_LEVEL: 'trace',
  AUTH_SOURCES: 'header,ticket,query,message',
  ALLOWED_ORIGINS: ORIGIN,
};
const start = async (environment: NodeJS.ProcessEnv = {}): Promise<Service> =>
  (service = await startService({ ...settings, ...environment }));

interface Answer {
  status: number;
  body: unknown;
  headers: Headers;
}

async function call(path: string, init: RequestInit & { bearer?: string } = {}): Promise<Answer> {
  const { bearer, ...rest } = init;
  const headers = { ...(init.headers as object), ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }) };
  const response = await fetch(`${service.http}${path}`, { ...rest, headers });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === '' ? '' : JSON.parse(text) };
}

const post = (path: string, body: unknown, bearer = admin): Promise<Answer> =>
  call(path, {
    method: 'POST',
    bearer,
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

const connect = (bearer: string): Promise<Client> => Client.connect(service.url, { token: bearer });

describe('the administration', () => {
  beforeEach(async () => void (await start()));

  it('is for tokens with the scope and for nobody else', async () => {
    for (const path of ['/admin/sessions', '/admin/revoke']) {
      const method = path === '/admin/revoke' ? 'POST' : 'GET';
      const none = await call(path, { method });
      expect(none).toMatchObject({ status: 401, body: { code: 'UNAUTHENTICATED' } });
      expect(none.headers.get('www-authenticate')).toBe('Bearer');
      expect(await call(path, { method, bearer: 'bad' })).toMatchObject({
        status: 401,
        body: { code: 'TOKEN_INVALID' },
      });
      const expired = token({ exp: 1, scope: 'ws-gateway:admin' });
      expect(await call(path, { method, bearer: expired })).toMatchObject({
        status: 401,
        body: { code: 'TOKEN_EXPIRED' },
      });
      expect(await call(path, { method, bearer: plain })).toMatchObject({ status: 403, body: { code: 'FORBIDDEN' } });
      expect(await call(`${path}?access_token=${admin}`, { method })).toMatchObject({ status: 401 });
    }
  });

  it('lists sessions page by page', async () => {
    for (const sub of ['ada', 'eve', 'ada']) await connect(token({ sub }));
    await Client.connect(service.url);
    const first = (await call('/admin/sessions?limit=3', { bearer: admin })).body as { items: object[]; next: string };
    expect(first.items).toMatchObject([{ subject: 'ada' }, { subject: 'eve' }, { subject: 'ada' }]);
    expect(first.items[0]).toEqual({
      id: expect.any(String) as string,
      subject: 'ada',
      clientAddress: '127.0.0.1',
      connectedAt: expect.any(Number) as number,
      expiresAt: expect.any(Number) as number,
    });
    const second = await call(`/admin/sessions?limit=3&cursor=${first.next}`, { bearer: admin });
    expect(second.body).toMatchObject({ items: [{ subject: null, expiresAt: null }] });
    expect(second.body).not.toHaveProperty('next');
    expect((await call('/admin/sessions?subject=eve', { bearer: admin })).body).toMatchObject({
      items: [{ subject: 'eve' }],
    });
  });

  it('revokes sessions and their tokens', async () => {
    const client = await connect(plain);
    const other = await connect(token({ sub: 'eve' }));
    expect(await post('/admin/revoke', { subject: 'ada' })).toMatchObject({ status: 200, body: { revoked: 1 } });
    expect((await client.closed).code).toBe(4410);
    expect((await (await connect(plain)).closed).reason).toBe('SESSION_REVOKED');
    expect(await other.ask({ event: 'ping' })).toMatchObject({ event: 'pong' });
    expect(await post('/admin/revoke', { sessionId: 'nobody' })).toMatchObject({ status: 200, body: { revoked: 0 } });
    // An operator's own token can be revoked as well.
    await post('/admin/revoke', { subject: 'operator' });
    expect(await post('/admin/revoke', { subject: 'x' })).toMatchObject({
      status: 401,
      body: { code: 'SESSION_REVOKED' },
    });
  });
});

describe('the administration, asked for what cannot be,', () => {
  beforeAll(async () => void (service = await shareService(settings)));

  it.each([
    'limit=0',
    'limit=1001',
    'limit=x',
    'cursor=!',
    'cursor=',
    'subject=',
    'other=1',
    'subject[a]=1',
    'limit=1&limit=2',
  ])('refuses the query %s', async (query) => {
    expect(await call(`/admin/sessions?${query}`, { bearer: admin })).toMatchObject({
      status: 400,
      body: { code: 'VALIDATION_FAILED', message: expect.any(String) as string },
    });
  });

  it.each([
    {},
    [],
    'x',
    '{',
    null,
    { subject: 1 },
    { role: 'x' },
    { subject: 'a', tokenId: 'b' },
    { issuedBefore: 'x' },
  ])('refuses to revoke by %j', async (body) => {
    expect(await post('/admin/revoke', body)).toMatchObject({ status: 400, body: { code: 'VALIDATION_FAILED' } });
  });

  it('takes no body without a bound', async () => {
    const { status, body } = await post('/admin/revoke', { subject: 'x'.repeat(20_000) });
    expect([status, body]).toMatchObject([413, { code: 'MESSAGE_TOO_BIG' }]);
  });
});

describe('tickets', () => {
  it('are made for a token, used once, and good for the page that asked', async () => {
    await start();
    const issued = await call('/tickets', { method: 'POST', bearer: plain });
    expect(issued).toMatchObject({ status: 201, body: { ticket: expect.any(String) as string } });
    expect(issued.headers.get('cache-control')).toBe('no-store');
    const { ticket, expiresAt } = issued.body as { ticket: string; expiresAt: number };
    expect(expiresAt - Date.now()).toBeLessThanOrEqual(30_000);
    const client = await Client.connect(`${service.url}?ticket=${ticket}`);
    expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'ada' } });
    expect((await (await Client.connect(`${service.url}?ticket=${ticket}`)).closed).reason).toBe('TOKEN_INVALID');

    const bound = (await call('/tickets', { method: 'POST', bearer: plain, headers: { origin: ORIGIN } })).body;
    const url = `${service.url}?ticket=${(bound as { ticket: string }).ticket}`;
    expect((await (await Client.connect(url)).closed).reason).toBe('TOKEN_INVALID');
  });

  it('need a token', async () => {
    await start();
    expect(await call('/tickets', { method: 'POST' })).toMatchObject({
      status: 401,
      body: { code: 'UNAUTHENTICATED' },
    });
  });

  it('are not made where they are no source', async () => {
    await start({ AUTH_SOURCES: 'header,message' });
    expect(await call('/tickets', { method: 'POST', bearer: plain })).toMatchObject({
      status: 404,
      body: { code: 'NOT_FOUND' },
    });
  });

  it('may be asked for by pages of the allowed origins and no others', async () => {
    await start();
    const preflight = (origin: string): Promise<Answer> =>
      call('/tickets', {
        method: 'OPTIONS',
        headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' },
      });
    expect((await preflight(ORIGIN)).headers.get('access-control-allow-origin')).toBe(ORIGIN);
    expect((await preflight('https://evil.example')).headers.get('access-control-allow-origin')).toBeNull();
  });
});

describe('keys', () => {
  it('come from JWKS_URI, and the log says clearly when they cannot', async () => {
    const pair = keyPair('ec');
    const keys = await startKeyServer({ keys: [jwk(pair.publicKey, 'k')] });
    const whose = { JWT_ISSUER: 'https://id.test', JWT_AUDIENCE: 'false' };
    await start({ JWT_SECRET: '', JWKS_URI: `${keys.uri}?secret=hunter2`, ...whose });
    const bearer = signed({ iss: 'https://id.test' }, { key: pair.privateKey, algorithm: 'ES256', kid: 'k' });
    expect(await (await connect(bearer)).ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'ada' } });
    await keys.stop();
    const stranger = await connect(
      signed({ iss: 'https://id.test' }, { key: pair.privateKey, algorithm: 'ES256', kid: 'other' }),
    );
    expect((await stranger.closed).reason).toBe('OVERLOADED');
    await expect
      .poll(service.output)
      .toContain(`The keys at ${keys.uri} cannot be fetched (ECONNREFUSED); the keys known so far still serve`);
    expect(service.output()).not.toContain('hunter2');
  });

  it('come from a file with several issuers and sources', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'ws-gateway-')), 'config.json');
    const auth = {
      jwt: { issuers: [{ issuer: 'https://one.test', secrets: { a: SECRET } }] },
      sources: ['cookie', 'header'],
      cookie: 'session',
      maxSessionsPerSubject: null,
    };
    writeFileSync(path, JSON.stringify({ auth }));
    await start({ JWT_SECRET: '', AUTH_SOURCES: '', WS_GATEWAY_CONFIG: path });
    const bearer = signed({ iss: 'https://one.test' }, { kid: 'a' });
    const client = await Client.connect(service.url, { headers: { cookie: `session=${bearer}`, origin: ORIGIN } });
    expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'ada' } });
  });
});

it('no token, ticket or cookie is in anything that a run prints', async () => {
  await start({ AUTH_SOURCES: 'header,subprotocol,cookie,ticket,query,message', AUTH_COOKIE: 'session' });
  const secrets = [token({ jti: 'a' }), token({ jti: 'b' }, 'x'.repeat(40)), 'not-a-token-hunter2'];
  for (const secret of secrets) {
    const encoded = encodeURIComponent(secret);
    await connect(secret);
    await Client.connect(service.url, { protocols: ['ws-gateway.v1', `bearer.${secret}`] });
    await Client.connect(service.url, { headers: { cookie: `session=${secret}`, origin: ORIGIN } });
    await Client.connect(`${service.url}?ticket=${encoded}`);
    await Client.connect(`${service.url}?access_token=${encoded}`);
    await (await Client.connect(service.url)).ask({ event: 'auth', data: { token: secret }, id: 1 });
    for (const path of [`/nowhere?access_token=${encoded}`, `/ws?ticket=${encoded}`, '/tickets', '/admin/sessions'])
      await call(path, { bearer: secret });
  }
  const { ticket } = (await call('/tickets', { method: 'POST', bearer: plain })).body as { ticket: string };
  await Client.connect(`${service.url}?ticket=${ticket}`);
  service.process.kill('SIGTERM');
  await service.exited;
  for (const secret of [...secrets, ticket, plain, SECRET]) {
    expect(service.output()).not.toContain(secret);
    expect(service.output()).not.toContain(secret.split('.').at(-1));
  }
  expect(service.output()).toContain('TOKEN_INVALID');
});
