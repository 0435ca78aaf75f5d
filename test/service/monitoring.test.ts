import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { AUDIT_KEY, auditPath, recordsOf } from '../support/audit.js';
import { Client, refusal } from '../support/client.js';
import { samplesOf, valueOf } from '../support/metrics.js';
import { run, startService, stopServices } from '../support/service.js';
import type { Service } from '../support/service.js';
import { SECRET, token } from '../support/tokens.js';

afterEach(stopServices);

const environment = { JWT_SECRET: SECRET, LOG_FORMAT: 'json', LOG_LEVEL: 'trace' };
const operator = token({ sub: 'operator', scope: 'ws-gateway:admin' });
const scraper = token({ sub: 'prometheus', scope: 'ws-gateway:metrics' });

const get = (service: Service, path: string, bearer?: string, accept?: string): Promise<Response> =>
  fetch(`${service.http}${path}`, {
    headers: {
      ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
      ...(accept !== undefined && { accept }),
    },
  });

const revoke = (service: Service, filter: object, bearer = operator): Promise<Response> =>
  fetch(`${service.http}/admin/revoke`, {
    method: 'POST',
    headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
    body: JSON.stringify(filter),
  });

async function stop({ process: child, exited }: Service): Promise<void> {
  child.kill('SIGTERM');
  expect(await exited).toBe(0);
}

describe('/metrics', () => {
  it('is for tokens with the scope, in the format that is asked for', async () => {
    const service = await startService(environment);
    expect((await get(service, '/metrics')).status).toBe(401);
    expect((await get(service, '/metrics', operator)).status).toBe(403);
    const client = await Client.connect(service.url, { token: token() });
    await client.ask({ event: 'message', data: { text: 'hi' }, id: 1 });
    const answer = await get(service, '/metrics', scraper);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const samples = samplesOf(await answer.text());
    expect(valueOf(samples, 'ws_gateway_messages_total', { event: 'message' })).toBe(1);
    expect(valueOf(samples, 'ws_gateway_sessions', { phase: 'open' })).toBe(1);
    expect(samples.some(({ name }) => name === 'process_resident_memory_bytes')).toBe(true);
    const open = await get(service, '/metrics', scraper, 'application/openmetrics-text; version=1.0.0');
    expect(open.headers.get('content-type')).toContain('application/openmetrics-text');
    expect(await open.text()).toMatch(/# EOF\n$/);
  });

  it('is for everybody with METRICS_PUBLIC, and for nobody when metrics are off', async () => {
    const open = await startService({ ...environment, METRICS_PUBLIC: 'true' });
    expect((await get(open, '/metrics')).status).toBe(200);
    const config = `${auditPath()}.json`;
    const { writeFileSync } = await import('node:fs');
    writeFileSync(config, JSON.stringify({ monitoring: { metrics: false } }));
    const off = await startService({ ...environment, METRICS_PUBLIC: 'true', WS_GATEWAY_CONFIG: config });
    expect((await get(off, '/metrics')).status).toBe(404);
  });
});

describe('the audit', () => {
  it('tells who was let in, refused, denied and revoked, and what administrators did', async () => {
    const path = auditPath();
    const service = await startService({ ...environment, AUDIT_LOG_FILE: path, AUDIT_KEY });
    const ada = await Client.connect(service.url, { token: token() });
    await ada.ask({ event: 'auth', data: { token: token() }, id: 1 });
    const eve = await Client.connect(service.url);
    await eve.ask({ event: 'session', id: 1 });
    await eve.ask(token({ sub: 'eve' }));
    await (
      await Client.connect(service.url, { token: 'bad' })
    ).closed;
    await refusal(service.url, { origin: 'https://elsewhere.example' });
    expect((await revoke(service, { subject: 'ada' })).status).toBe(200);
    await ada.closed;
    expect((await revoke(service, { subject: 'eve' }, token())).status).toBe(401);
    expect((await revoke(service, { subject: 'eve' }, token({ sub: 'mallory' }))).status).toBe(403);
    await get(service, '/admin/sessions?subject=eve', operator);
    await stop(service);
    const records = recordsOf(path).map(({ type, code, subject, actor, event }) => [type, code, subject, actor, event]);
    expect(records).toEqual([
      ['started', undefined, undefined, undefined, undefined],
      ['admitted', undefined, 'ada', undefined, undefined],
      ['authenticated', undefined, 'ada', undefined, undefined],
      ['admitted', undefined, undefined, undefined, undefined],
      ['denied', 'UNAUTHENTICATED', undefined, undefined, 'session'],
      ['authenticated', undefined, 'eve', undefined, undefined],
      ['refused', 'TOKEN_INVALID', undefined, undefined, undefined],
      ['refused', 'ORIGIN_FORBIDDEN', undefined, undefined, undefined],
      ['revoked', undefined, 'ada', undefined, undefined],
      ['revoked', 'SESSION_REVOKED', 'ada', undefined, undefined],
      ['admin', undefined, 'ada', 'operator', 'sessions.revoke'],
      ['refused', 'SESSION_REVOKED', undefined, undefined, undefined],
      ['denied', 'FORBIDDEN', 'mallory', undefined, undefined],
      ['admin', undefined, 'eve', 'operator', 'sessions.list'],
      ['ended', 'SHUTTING_DOWN', 'eve', undefined, undefined],
      ['stopped', undefined, undefined, undefined, undefined],
    ]);
    const verify = run(['audit', 'verify', path], { AUDIT_KEY });
    expect(await verify.exited).toBe(0);
    const head = /head: (\w{64})/.exec(verify.output())?.[1] ?? 'none';
    expect(service.output()).toContain(`"auditHead":"${head}"`);
  });

  it('has the address of the client, not of the proxy that is trusted', async () => {
    const path = auditPath();
    const service = await startService({ ...environment, TRUST_PROXY: '127.0.0.1', AUDIT_LOG_FILE: path });
    const behind = { 'x-forwarded-for': '203.0.113.9' };
    await refusal(service.url, { headers: behind, origin: 'https://elsewhere.example' });
    await refusal(service.url.replace('/ws', '/nowhere'), { headers: behind });
    await (
      await Client.connect(service.url, { headers: behind, token: 'bad' })
    ).closed;
    for (const bearer of [operator, token({ sub: 'mallory' })]) {
      const headers = { ...behind, authorization: `Bearer ${bearer}` };
      await fetch(`${service.http}/admin/sessions`, { headers });
    }
    await stop(service);
    const seen = recordsOf(path).filter(({ type }) => type !== 'started' && type !== 'stopped');
    expect(seen.map(({ type, clientAddress }) => [type, clientAddress])).toEqual([
      ['refused', '203.0.113.9'],
      ['refused', '203.0.113.9'],
      ['refused', '203.0.113.9'],
      ['admin', '203.0.113.9'],
      ['denied', '203.0.113.9'],
    ]);
  });

  it('stops the start with one line when its file is in use', async () => {
    const path = auditPath();
    await startService({ ...environment, AUDIT_LOG_FILE: path });
    const { exited, output } = run([], { ...environment, PORT: '0', AUDIT_LOG_FILE: path });
    expect(await exited).toBe(1);
    expect(output()).toContain('AUDIT_LOG_FILE: ');
  });

  it('ends in order when the port is taken', async () => {
    const path = auditPath();
    const { http } = await startService(environment);
    const { exited } = run([], { ...environment, PORT: new URL(http).port, AUDIT_LOG_FILE: path });
    expect(await exited).toBe(1);
    expect(recordsOf(path).map(({ type }) => type)).toEqual(['started', 'stopped']);
  });
});

describe('personal data', () => {
  it('no secret of a whole run is in what it writes', async () => {
    const [path, errors] = [auditPath(), auditPath()];
    const service = await startService({
      ...environment,
      AUDIT_LOG_FILE: path,
      AUDIT_KEY,
      ERROR_LOG_FILE: errors,
      LOG_PERSONAL_DATA: 'pseudonym',
      LOG_PSEUDONYM_KEY: 'a-key-for-pseudonyms-of-at-least-32-bytes',
      AUTH_SOURCES: 'header,subprotocol,query,ticket,message',
    });
    const subject = 'ada.lovelace@example.org';
    const claims = { sub: subject, roles: ['secret-role'], scope: 'ws-gateway:admin' };
    const jwt = token(claims);
    const forged = token(claims, 'another-secret-of-at-least-32-bytes!');
    const expired = token({ ...claims, exp: 1 });
    const ticket = await fetch(`${service.http}/tickets`, {
      method: 'POST',
      headers: { authorization: `Bearer ${jwt}` },
    });
    const { ticket: oneTime } = (await ticket.json()) as { ticket: string };

    const client = await Client.connect(service.url, { token: jwt });
    await client.ask({ event: 'email', data: { email: 'secret-mail' }, id: 1 });
    await client.ask({ event: 'email', data: { email: 'grace.hopper@example.org' }, id: 2 });
    await client.ask({ event: 'message', data: { text: 'secret-text' }, id: 3 });
    await client.ask({ event: 'secret-event', data: 'secret-data', id: 'secret-id', meta: 'secret-meta' });
    await client.ask({ event: 'echo', data: { nested: 'secret-nested' }, id: 4 });
    await client.ask('{"event":"message","data":"secret-half');
    await client.ask({ event: 'auth', data: { token: jwt }, id: 5 });
    client.send({ event: 'auth', data: { token: forged }, id: 6 });
    await client.closed;
    for (const bad of [forged, expired]) {
      await (
        await Client.connect(service.url, { token: bad })
      ).closed;
      await (
        await Client.connect(`${service.url}?access_token=${bad}`)
      ).closed;
      await (
        await Client.connect(service.url, { protocols: ['ws-gateway.v1', `bearer.${bad}`] })
      ).closed;
      const anonymous = await Client.connect(service.url);
      anonymous.send(bad);
      await anonymous.closed;
      await refusal(`${service.url}x?access_token=${bad}`);
    }
    await (await Client.connect(`${service.url}?ticket=${oneTime}`)).close();
    await (
      await Client.connect(`${service.url}?ticket=${oneTime}`)
    ).closed;
    expect((await revoke(service, { subject }, jwt)).status).toBe(200);
    expect((await revoke(service, { subject: 'x' }, jwt)).status).toBe(401);
    await stop(service);

    const written = [service.output(), readFileSync(path, 'utf8'), readFileSync(errors, 'utf8')];
    const secrets = [
      ...[jwt, forged, expired].flatMap((one) => [one, ...one.split('.').slice(1)]),
      oneTime,
      SECRET,
      AUDIT_KEY,
      'a-key-for-pseudonyms',
      'secret-',
      'ada.lovelace',
      'grace.hopper',
      'example.org',
      '127.0.0.1"',
    ];
    for (const text of written) {
      expect(text.length).toBeGreaterThan(500);
      for (const secret of secrets) expect(text).not.toContain(secret);
    }
    const pseudonyms = new Set(written.flatMap((text) => text.match(/"subject":"log\.[\w-]{22}"/g) ?? []));
    expect(pseudonyms.size).toBe(1);
  });

  it('is masked by field', async () => {
    const service = await startService({ ...environment, LOG_PERSONAL_DATA: 'subject=masked, address=masked' });
    const client = await Client.connect(service.url, { token: token() });
    await client.ask('nonsense');
    await expect.poll(service.output).toContain('BAD_FRAME');
    expect(service.output()).toMatch(/"clientAddress":"127\.0\.0\.0\/24"/);
    expect(service.output()).toMatch(/"subject":"a\*\*\*"/);
  });

  it('a bad setting stops the start, and no key is shown', async () => {
    const { exited, output } = run([], {
      ...environment,
      LOG_PERSONAL_DATA: 'subject=hidden',
      LOG_PSEUDONYM_KEY: 'short-key',
      AUDIT_LOG_FILE: auditPath(),
      AUDIT_KEY: 'short-audit-key',
      METRICS_PUBLIC: 'perhaps',
    });
    expect(await exited).toBe(1);
    for (const message of [
      'LOG_PERSONAL_DATA must be one of clear, masked, pseudonym',
      'LOG_PSEUDONYM_KEY must be a string of at least 32 bytes',
      'AUDIT_KEY must be at least 32 bytes',
      'METRICS_PUBLIC must be one of true, false',
    ]) {
      expect(output()).toContain(message);
    }
    expect(output()).not.toContain('short-');
    const without = run([], { ...environment, LOG_PERSONAL_DATA: 'pseudonym' });
    expect(await without.exited).toBe(1);
    expect(without.output()).toContain('LOG_PSEUDONYM_KEY is needed for pseudonyms');
  });
});

describe('/readyz', () => {
  it('says why it is not ready', async () => {
    const service = await startService({ ...environment, SHUTDOWN_DRAIN_MS: '3000' });
    expect(await (await get(service, '/readyz')).json()).toEqual({ status: 'ready' });
    const deaf = await Client.connect(service.url, { token: token() });
    await deaf.ask({ event: 'ping' });
    deaf.socket.pause(); // holds the drain open
    service.process.kill('SIGTERM');
    await expect.poll(service.output).toContain('Draining');
    await refusal(service.url);
    const answer = await get(service, '/readyz');
    expect(answer.status).toBe(503);
    expect(await answer.json()).toEqual({ status: 'not ready', reasons: ['shutting down'] });
    expect(await service.exited).toBe(0);
  });

  it('is not ready without the keys of an issuer', async () => {
    const service = await startService({
      LOG_FORMAT: 'json',
      JWKS_URI: 'http://localhost:1/keys',
      JWT_ISSUER: 'false',
      JWT_AUDIENCE: 'false',
    });
    const answer = await get(service, '/readyz');
    expect(answer.status).toBe(503);
    expect(await answer.json()).toEqual({
      status: 'not ready',
      reasons: ['the keys of an issuer have not been fetched'],
    });
  });
});
