import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { JwtService } from '@nestjs/jwt';
import { afterEach, describe, expect, it } from 'vitest';
import { Client, refusal } from '../support/client.js';
import { exchange, freePort, handshake, parseAnswer } from '../support/tcp.js';
import { hasProgram, run, startService, stopServices } from '../support/service.js';
import { SECRET, token } from '../support/tokens.js';

const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-'));
const environment = { JWT_SECRET: SECRET, LOG_FORMAT: 'json' };

afterEach(stopServices);

/** The lines of a JSON log. */
const logOf = (output: string): Record<string, unknown>[] =>
  output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('the standalone service', () => {
  it('answers message, email and echo', async () => {
    const { url } = await startService(environment);
    const client = await Client.connect(url, { token: token() });
    expect(await client.ask({ event: 'message', data: { text: 'hi' }, id: 1 })).toEqual({
      event: 'message',
      data: { text: 'Server received: hi' },
      id: 1,
    });
    expect(await client.ask({ event: 'email', data: { email: ' Ada.L@EXAMPLE.Org\n' }, id: 2 })).toEqual({
      event: 'email',
      data: { email: 'Ada.L@example.org', valid: true },
      id: 2,
    });
    expect(await client.ask({ event: 'email', data: { email: 'ada@' }, id: 3 })).toMatchObject({
      data: { code: 'VALIDATION_FAILED', details: [{ path: 'email', rule: 'isEmail' }] },
    });
    for (const data of [1, 'x', null, [], {}, { event: 'other', data: 1 }, { event: 'exception', data: {} }]) {
      expect(await client.ask({ event: 'echo', data, id: 4 })).toEqual({ event: 'echo', data, id: 4 });
    }
    expect(await client.ask({ event: 'echo' })).toEqual({ event: 'echo', data: null });
  });

  it('without a key makes one up, and prints a token and a line that tries it', async () => {
    const { output, url } = await startService();
    await expect.poll(output).toContain('--token');
    const [, ...args] = (/node (.*main\.js try .*)/.exec(output())?.[1] ?? '').split(' ');
    expect(args).toContain(url);
    const attempt = run(args);
    expect(await attempt.exited).toBe(0);
    expect(attempt.output()).toContain('"Server received: hello"');
    const stranger = run(['try', '--url', url]);
    expect(await stranger.exited).toBe(1);
    expect(stranger.output()).toContain('UNAUTHENTICATED');
  });

  it('has health endpoints, JSON for what it does not have, and codes for what is no HTTP', async () => {
    const { http } = await startService(environment);
    expect(await (await fetch(`${http}/healthz`)).json()).toEqual({ status: 'ok' });
    expect(await (await fetch(`${http}/readyz`)).json()).toEqual({ status: 'ready' });
    const missing = await fetch(`${http}/nothing`);
    expect(missing.status).toBe(404);
    expect(await missing.json()).toMatchObject({ code: 'NOT_FOUND' });
    expect((await fetch(`${http}/ws`)).status).toBe(426);
    const port = Number(new URL(http).port);
    expect(parseAnswer(await exchange(port, 'GET / HTTP/9.9\r\n\r\n'))).toMatchObject({
      status: 400,
      body: { code: 'BAD_UPGRADE' },
    });
    expect(parseAnswer(await exchange(port, handshake('/elsewhere')))).toMatchObject({ status: 404 });
  });

  it('logs one JSON line for each failure, and nothing of tokens, e-mails and payloads', async () => {
    const { url, output } = await startService(environment);
    const secretToken = token({ sub: 'ada' }, 'another-secret-of-at-least-32-bytes!');
    const client = await Client.connect(url, { token: token() });
    await client.ask({ event: 'email', data: { email: 'secret-mail' }, id: 1 });
    await client.ask({ event: 'secret-event', data: 'secret-data', id: 2 });
    const refused = await Client.connect(url, { token: secretToken });
    await refused.closed;
    const byQuery = await refusal(`${url}x?access_token=${secretToken}`);
    expect(byQuery.status).toBe(404);
    await expect.poll(() => logOf(output()).filter(({ code }) => code !== undefined)).toHaveLength(4);
    const lines = logOf(output()).filter(({ code }) => code !== undefined);
    expect(lines.map(({ code, level }) => [code, level])).toEqual([
      ['VALIDATION_FAILED', 40],
      ['UNKNOWN_EVENT', 40],
      ['TOKEN_INVALID', 40],
      ['NOT_FOUND', 40],
    ]);
    expect(lines[0]).toMatchObject({ subject: 'ada', event: 'email', clientAddress: '127.0.0.1' });
    for (const secret of ['secret-', secretToken, secretToken.split('.')[2] as string])
      expect(output()).not.toContain(secret);
  });

  it('keeps a file of failures and nothing else, whatever the log level', async () => {
    const file = join(folder, 'failures.log');
    const port = await freePort();
    const quiet = { ...environment, PORT: String(port), ERROR_LOG_FILE: file, LOG_LEVEL: 'silent' };
    const { process: child, exited, output } = run([], quiet);
    const isUp = (): Promise<boolean> => fetch(`http://127.0.0.1:${port}/healthz`).then(Boolean, () => false);
    await expect.poll(isUp, { timeout: 10_000 }).toBe(true);
    const url = `ws://127.0.0.1:${port}/ws`;
    const client = await Client.connect(url, { token: token() });
    await client.ask({ event: 'email', data: {}, id: 1 });
    await client.close();
    const again = await Client.connect(url, { token: token() });
    await again.ask('nonsense');
    child.kill('SIGTERM');
    expect(await exited).toBe(0);
    const records = logOf(readFileSync(file, 'utf8'));
    expect(records.map(({ code }) => code)).toEqual(['VALIDATION_FAILED', 'BAD_FRAME', 'SHUTTING_DOWN']);
    expect(statSync(file).mode & 0o077).toBe(0);
    expect(output()).toBe('');
  });

  it('drains on SIGTERM: not ready, no upgrades, 1012, exit code 0', async () => {
    const { url, http, process: child, exited } = await startService({ ...environment, SHUTDOWN_DRAIN_MS: '3000' });
    const client = await Client.connect(url, { token: token() });
    await client.ask({ event: 'ping' });
    const deaf = await Client.connect(url, { token: token() });
    await deaf.ask({ event: 'ping' });
    deaf.socket.pause(); // holds the drain open, so that what is refused meanwhile can be seen
    child.kill('SIGTERM');
    expect((await client.rest()).at(-1)).toMatchObject({ event: 'disconnect', data: { code: 'SHUTTING_DOWN' } });
    expect(await client.closed).toEqual({ code: 1012, reason: 'SHUTTING_DOWN' });
    expect((await fetch(`${http}/readyz`)).status).toBe(503);
    expect((await fetch(`${http}/healthz`)).status).toBe(200);
    expect(await refusal(url)).toMatchObject({ status: 503, body: { code: 'SHUTTING_DOWN' } });
    expect(await exited).toBe(0);
  });

  it('takes public keys from a file, origins, audiences and a file of options', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const keyFile = join(folder, 'public.pem');
    writeFileSync(keyFile, publicKey.export({ type: 'spki', format: 'pem' }));
    const config = join(folder, 'options.json');
    writeFileSync(
      config,
      JSON.stringify({ path: '/socket', auth: { jwt: { secret: SECRET } }, limits: { maxMessageBytes: 100 } }),
    );
    const { http } = await startService({
      LOG_FORMAT: 'json',
      JWT_PUBLIC_KEY: keyFile,
      JWT_AUDIENCE: 'one, two',
      ALLOWED_ORIGINS: 'https://app.example.com',
      WS_GATEWAY_CONFIG: config,
      MAX_MESSAGE_BYTES: '200',
    });
    const url = `${http.replace('http', 'ws')}/socket`;
    const claims = { sub: 'ada', aud: 'two' };
    const signed = new JwtService({}).sign(claims, { privateKey, algorithm: 'ES256', expiresIn: 60 });
    expect(await refusal(url, { origin: http })).toMatchObject({ status: 403 });
    const client = await Client.connect(url, { token: signed, origin: 'https://app.example.com' });
    expect(await client.ask({ event: 'echo', data: 'x'.repeat(150), id: 1 })).toMatchObject({ id: 1 });
    client.send({ event: 'echo', data: 'x'.repeat(250) });
    expect((await client.closed).code).toBe(1009);
    expect((await (await Client.connect(url, { token: token() })).closed).reason).toBe('TOKEN_INVALID');
  });

  it.runIf(hasProgram('openssl', 'openssl', ['version']))('speaks TLS', async () => {
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost', '-keyout', key, '-out', cert]); // prettier-ignore
    expect(made.status).toBe(0);
    const { url } = await startService({ ...environment, TLS_CERT_FILE: cert, TLS_KEY_FILE: key });
    expect(url).toMatch(/^wss:/);
    const client = await Client.connect(url, { token: token(), rejectUnauthorized: false });
    expect(await client.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
    await expect(Client.connect(url, { rejectUnauthorized: false, maxVersion: 'TLSv1.1' })).rejects.toThrow();
  });
});

describe('a bad configuration', () => {
  it('ends with exit code 1 and one message that names everything', async () => {
    const config = join(folder, 'bad.json');
    writeFileSync(config, JSON.stringify({ limits: { maxJsonDept: 3 }, nonsense: 1 }));
    const { exited, output } = run([], {
      JWT_SECRET: 'too-short-secret',
      JWT_PUBLIC_KEY: join(folder, 'nowhere.pem'),
      JWT_ALGORITHMS: 'none',
      ALLOWED_ORIGINS: 'example.com',
      LOG_LEVEL: 'loud',
      LOG_FORMAT: 'xml',
      PORT: '99999',
      MAX_MESSAGE_BYTES: '64k',
      SHUTDOWN_DRAIN_MS: '-1',
      DATA_KEYS: 'not-a-key',
      FINGERPRINT_KEYS: 'a:not-a-key',
      ERROR_LOG_FILE: join(folder, 'no/such/folder.log'),
      TLS_CERT_FILE: join(folder, 'nowhere.crt'),
      WS_GATEWAY_CONFIG: config,
    });
    expect(await exited).toBe(1);
    for (const name of [
      'JWT_SECRET must be at least 32 bytes',
      'JWT_PUBLIC_KEY',
      'JWT_ALGORITHMS',
      'ALLOWED_ORIGINS',
      'LOG_LEVEL',
      'LOG_FORMAT',
      'PORT',
      'MAX_MESSAGE_BYTES',
      'SHUTDOWN_DRAIN_MS',
      'DATA_KEYS entry 1',
      'FINGERPRINT_KEYS entry 1',
      'ERROR_LOG_FILE',
      'TLS_CERT_FILE and TLS_KEY_FILE are needed together',
      'limits.maxJsonDept',
      'nonsense',
    ]) {
      expect(output()).toContain(name);
    }
    expect(output()).not.toContain('too-short-secret');
    expect(output()).not.toContain('not-a-key');
  });

  it.each([
    ['production without a key', { NODE_ENV: 'production' }, 'JWT_SECRET or JWT_PUBLIC_KEY is needed'],
    [
      'an empty secret in production',
      { NODE_ENV: 'production', JWT_SECRET: '' },
      'JWT_SECRET or JWT_PUBLIC_KEY is needed',
    ],
    ['both kinds of key', { JWT_SECRET: SECRET, JWT_PUBLIC_KEY: '-----BEGIN PUBLIC KEY-----' }, 'not both'],
    [
      'a file of options that is not there',
      { ...environment, WS_GATEWAY_CONFIG: '/nowhere.json' },
      'WS_GATEWAY_CONFIG',
    ],
  ])('%s', async (_, given, message) => {
    const { exited, output } = run([], given);
    expect(await exited).toBe(1);
    expect(output()).toContain(message);
  });

  it('a port that is taken', async () => {
    const { http } = await startService(environment);
    const { exited, output } = run([], { ...environment, PORT: new URL(http).port });
    expect(await exited).toBe(1);
    expect(output()).toContain('it is in use');
  });
});

describe('the command', () => {
  it('has help, a version, and a word for what it does not know', async () => {
    const help = run(['--help']);
    expect(await help.exited).toBe(0);
    expect(help.output()).toContain('ws-gateway try');
    const version = run(['--version']);
    expect(await version.exited).toBe(0);
    expect(version.output()).toMatch(/^\d+\.\d+\.\d+\n$/);
    for (const args of [['nonsense'], ['--nonsense']]) expect(await run(args).exited).toBe(1);
  });
});
