import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { UNLIMITED } from '../support/app.js';
import { CertificateAuthority, hasOpenssl } from '../support/certificates.js';
import { Client, refusal } from '../support/client.js';
import { run, startService, stopServices } from '../support/service.js';
import { keyPair, signed } from '../support/tokens.js';

afterEach(stopServices);

const random = (): string => randomBytes(32).toString('base64url');

describe.runIf(hasOpenssl())('the whole output of a run', () => {
  it('holds no secret, token, e-mail address or payload that it used, at any log level', async () => {
    const authority = new CertificateAuthority();
    const [server, identity] = [authority.forServer(), authority.forClient('ada')];
    const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-'));
    const [config, errors] = [join(folder, 'options.json'), join(folder, 'errors.log')];
    const [secret, nextSecret, badSecret] = [random(), random(), random().slice(0, 20)];
    const [dataKey, nextDataKey, fingerprintKey] = [random(), random(), random()];
    const email = 'ada.secret-mail@example.org';
    const payload = `payload-${random()}`;
    /** All that may stand nowhere. */
    const hidden = [secret, nextSecret, badSecret, dataKey, nextDataKey, fingerprintKey, email, email.split('@')[0], payload]; // prettier-ignore
    const options = (jwt: object, more: object = {}): string =>
      JSON.stringify({
        auth: { jwt, cookie: 'session' },
        ...UNLIMITED,
        sealing: { keys: `d:${dataKey}` },
        logLevel: 'trace',
        ...more,
      });
    writeFileSync(config, options({ secret }));
    const service = await startService({
      LOG_FORMAT: 'json',
      NODE_ENV: 'production',
      WS_GATEWAY_CONFIG: config,
      ERROR_LOG_FILE: errors,
      FINGERPRINT_KEYS: `f:${fingerprintKey}`,
      AUTH_SOURCES: 'certificate,header,subprotocol,cookie,ticket,query,message',
      ALLOWED_ORIGINS: 'https://app.example.com',
      TLS_CERT_FILE: server.certFile,
      TLS_KEY_FILE: server.keyFile,
      TLS_CLIENT_CA_FILE: authority.certificate.certFile,
    });
    const origin = 'https://app.example.com';
    const ca = authority.certificate.cert;
    let serial = 0;
    const issue = (claims: object = {}, signature: Parameters<typeof signed>[1] = { key: secret }): string => {
      const token = signed({ sub: 'ada', jti: `jti-${serial++}`, ...claims }, signature);
      hidden.push(token, ...token.split('.').slice(1)); // the header is the same in every token
      return token;
    };
    const wrong = { key: random() };
    hidden.push(wrong.key);
    const talk = async (url: string, rest: object): Promise<void> => {
      const client = await Client.connect(url, { ca, ...rest });
      for (const frame of [
        { event: 'email', data: { email }, id: 1 },
        { event: 'email', data: { email: `${payload}@`, [payload]: 1 }, id: 2 },
        { event: payload, data: payload, id: 3 },
        { event: 'auth', data: { token: issue() }, id: 4 },
        { event: 'auth', data: { token: payload }, id: 5 },
        payload,
      ]) {
        client.send(frame);
        const isOver = await client.next().then(
          () => false,
          () => true,
        );
        if (isOver) break;
      }
      await client.closed;
    };

    const admin = issue({ scope: 'ws-gateway:admin' });
    const post = (path: string, authorization: string, body: object): Promise<string> =>
      new Promise((resolve, reject) => {
        const headers = { authorization, 'content-type': 'application/json' };
        const sent = request(`${service.http}${path}`, { method: 'POST', ca, headers }, (answer) => {
          let text = '';
          answer.on('data', (chunk: Buffer) => (text += chunk.toString())).on('end', () => resolve(text));
        });
        sent.on('error', reject).end(JSON.stringify(body));
      });
    const { ticket } = JSON.parse(await post('/tickets', `Bearer ${issue()}`, {})) as { ticket: string };
    hidden.push(ticket);

    const { privateKey } = keyPair('rsa');
    const bad = [
      issue({}, wrong),
      issue({ exp: 1 }),
      issue({ sub: undefined }),
      issue({}, { key: privateKey, algorithm: 'RS256' }),
      payload,
    ];
    for (const token of [issue(), ...bad]) {
      await talk(service.url, { headers: { authorization: `Bearer ${token}` } });
      await talk(service.url, { protocols: ['ws-gateway.v1', `bearer.${token}`] });
      await talk(service.url, { origin, headers: { cookie: `session=${token}` } });
      await talk(`${service.url}?access_token=${token}`, {});
      await refusal(`${service.url}/elsewhere?access_token=${token}`, { ca });
      const byMessage = await Client.connect(service.url, { ca });
      byMessage.send(token);
      byMessage.send('{"event":"nothing"');
      await byMessage.next();
      await byMessage.close();
      await post('/admin/revoke', `Bearer ${token}`, { subject: payload });
    }
    await talk(`${service.url}?ticket=${ticket}`, {});
    await talk(`${service.url}?ticket=${ticket}`, {}); // a second time
    await talk(service.url, { cert: identity.cert, key: identity.key });
    const stranger = new CertificateAuthority().forClient('ada');
    await talk(service.url, { cert: stranger.cert, key: stranger.key });
    await refusal(service.url, { ca, origin: 'https://elsewhere.example' }); // its line says which Origin met which Host
    await post(`/${payload}?token=${issue()}`, `Bearer ${issue()}`, { [payload]: payload });
    await post('/admin/revoke', `Bearer ${admin}`, { tokenId: payload, [payload]: payload });
    await post('/admin/revoke', `Bearer ${admin}`, { subject: 'nobody' });

    for (const [text, what] of [
      [options({ secret: nextSecret }, { sealing: { keys: `e:${nextDataKey},d:${dataKey}` } }), 'Reloaded'],
      [options({ secret: badSecret }, { sealing: { keys: badSecret }, [payload.slice(0, 8)]: payload }), 'not valid'],
      [options({ secret: nextSecret }).slice(0, -10), 'is not JSON'],
    ] as const) {
      writeFileSync(config, text);
      service.process.kill('SIGHUP');
      await expect.poll(service.output).toContain(what);
    }
    const token = issue({}, { key: nextSecret });
    const tried = run(['try', '--url', service.url, '--insecure', '--token', token, '--text', 'hello']);
    expect(await tried.exited).toBe(0);
    service.process.kill('SIGTERM');
    expect(await service.exited).toBe(0);
    const started = run([], { JWT_SECRET: badSecret, DATA_KEYS: badSecret, JWT_PUBLIC_KEY: `${payload}.pem` });
    expect(await started.exited).toBe(1);

    for (const { key } of [server, identity, authority.certificate, stranger]) {
      hidden.push(...key.toString().split('\n').filter((line) => /^[\w+/=]{20,}$/.test(line))); // prettier-ignore
    }
    const output = [service.output(), tried.output(), started.output().replaceAll(`${payload}.pem`, ''), readFileSync(errors, 'utf8')].join('\n'); // prettier-ignore
    expect(output).toContain('TOKEN_INVALID');
    expect(output).toContain('VALIDATION_FAILED');
    expect(hidden.length).toBeGreaterThan(100);
    expect(hidden.filter((value) => value !== undefined && value !== '' && output.includes(value))).toEqual([]);
  });
});
