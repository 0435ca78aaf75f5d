import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { isBehindProxy, isPublic } from '../../../src/service/configuration/exposure.js';
import { CertificateAuthority, hasOpenssl } from '../../support/certificates.js';
import type { Certificate } from '../../support/certificates.js';
import { Client, refusal } from '../../support/client.js';
import { run, startService, stopServices } from '../../support/service.js';
import type { Service } from '../../support/service.js';
import { handshake } from '../../support/tcp.js';
import { SECRET, token } from '../../support/tokens.js';

afterEach(stopServices);

const environment = { JWT_SECRET: SECRET, LOG_FORMAT: 'json' };

/** The path of a configuration file with this content. */
function fileWith(content: object): string {
  const path = join(mkdtempSync(join(tmpdir(), 'ws-gateway-tls-')), 'config.json');
  writeFileSync(path, JSON.stringify(content));
  return path;
}

describe.runIf(hasOpenssl())('TLS', () => {
  let authority: CertificateAuthority;
  let server: Certificate;

  beforeAll(() => {
    authority = new CertificateAuthority();
    server = authority.forServer();
  });

  const start = (more: NodeJS.ProcessEnv = {}): Promise<Service> =>
    startService({ ...environment, TLS_CERT_FILE: server.certFile, TLS_KEY_FILE: server.keyFile, ...more });

  /** @throws Error when there is no handshake */
  const shake = ({ url }: Service, options: ConnectionOptions = {}): Promise<TLSSocket> =>
    new Promise((resolve, reject) => {
      const at = { host: '127.0.0.1', port: Number(new URL(url).port), ca: authority.certificate.cert };
      const socket = connect({ ...at, ...options }, () => resolve(socket));
      socket.on('error', reject);
    });

  const fingerprintOf = async (service: Service): Promise<string> => {
    const socket = await shake(service);
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
  };

  const ask = async (service: Service, options: object): Promise<unknown> => {
    const client = await Client.connect(service.url, { ca: authority.certificate.cert, ...options });
    const { data } = await client.ask({ event: 'session', id: 1 });
    await client.close();
    return data;
  };

  it('is 1.2 or 1.3, with forward secrecy and authenticated encryption alone', async () => {
    const service = await start();
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const socket = await shake(service, { minVersion: version, maxVersion: version });
      expect(socket.getProtocol()).toBe(version);
      // A client that prefers something weaker gets what the server prefers.
      expect(socket.getCipher().name).toMatch(/AES256-GCM-SHA384|AES_256_GCM_SHA384/);
      socket.destroy();
    }
    const weak = 'DEFAULT@SECLEVEL=0';
    for (const options of [
      { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: weak },
      { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA' },
      { maxVersion: 'TLSv1.2', ciphers: `AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0` },
      { maxVersion: 'TLSv1.2', ciphers: 'aNULL:@SECLEVEL=0' },
    ] as const) {
      await expect(shake(service, options)).rejects.toThrow(/alert|handshake|disconnected|protocol/i);
    }
    const preferring = {
      maxVersion: 'TLSv1.2',
      ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384',
    };
    const socket = await shake(service, preferring as ConnectionOptions);
    expect(socket.getCipher().name).toBe('ECDHE-ECDSA-AES256-GCM-SHA384');
    socket.destroy();
  });

  it('is not renegotiated', async () => {
    const { port } = new URL((await start()).url);
    const client = spawn('openssl', ['s_client', '-tls1_2', '-connect', `127.0.0.1:${port}`]);
    let said = '';
    for (const stream of [client.stdout, client.stderr])
      stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await expect.poll(() => said).toContain('Verify return code');
    client.stdin.write('R\n'); // what it takes for a wish to renegotiate
    await expect.poll(() => said).toContain('no renegotiation');
    client.kill();
  });

  it('carries every answer, and drains', async () => {
    const { url, process: child, exited } = await start();
    const client = await Client.connect(url, { ca: authority.certificate.cert, token: token() });
    const text = 'x'.repeat(10_000);
    for (let id = 0; id < 50; id++) client.send({ event: 'message', data: { text }, id });
    for (let id = 0; id < 50; id++) expect(await client.next()).toMatchObject({ id });
    child.kill('SIGTERM');
    expect((await client.rest()).at(-1)).toMatchObject({ data: { code: 'SHUTTING_DOWN' } });
    expect(await exited).toBe(0);
  });

  it('has a new certificate when its files have changed, and keeps its sessions', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-'));
    const [cert, key] = [join(folder, 'tls.crt'), join(folder, 'tls.key')];
    writeFileSync(cert, server.cert);
    writeFileSync(key, server.key);
    const service = await start({ TLS_CERT_FILE: cert, TLS_KEY_FILE: key });
    const client = await Client.connect(service.url, { ca: authority.certificate.cert, token: token() });
    const before = await fingerprintOf(service);
    const next = authority.forServer();
    writeFileSync(cert, next.cert); // for a moment they do not go together
    expect(await fingerprintOf(service)).toBe(before);
    writeFileSync(key, next.key);
    await expect.poll(() => fingerprintOf(service), { timeout: 10_000 }).not.toBe(before);
    expect(await client.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
    const lines = service.output().split('\n').filter((line) => line.includes('Reloaded')); // prettier-ignore
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] as string)).toMatchObject({
      level: 30,
      changed: ['TLS_CERT_FILE', 'TLS_KEY_FILE'],
      certificateUntil: expect.stringMatching(/^\d{4}-/) as string,
    });
    expect(service.output()).not.toContain('not valid');
  });

  it('follows links that are swapped, as those of mounted secrets', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-'));
    const put = (version: string, { cert, key }: Certificate): void => {
      mkdirSync(join(folder, version));
      writeFileSync(join(folder, version, 'tls.crt'), cert);
      writeFileSync(join(folder, version, 'tls.key'), key);
      symlinkSync(version, join(folder, 'new'));
      renameSync(join(folder, 'new'), join(folder, 'data'));
    };
    put('1', server);
    for (const name of ['tls.crt', 'tls.key']) symlinkSync(join('data', name), join(folder, name));
    const files = { TLS_CERT_FILE: join(folder, 'tls.crt'), TLS_KEY_FILE: join(folder, 'tls.key') };
    const service = await start(files);
    const before = await fingerprintOf(service);
    put('2', authority.forServer());
    await expect.poll(() => fingerprintOf(service), { timeout: 10_000 }).not.toBe(before);
  });

  it('keeps its certificate when the new one is of no use, and says so', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-'));
    const cert = join(folder, 'tls.crt');
    writeFileSync(cert, server.cert);
    const service = await start({ TLS_CERT_FILE: cert });
    const before = await fingerprintOf(service);
    writeFileSync(cert, 'nonsense');
    await expect
      .poll(service.output, { timeout: 10_000 })
      .toContain('The configuration is not valid; all is as it was');
    expect(await fingerprintOf(service)).toBe(before);
    writeFileSync(cert, server.cert);
    service.process.kill('SIGHUP');
    await expect.poll(service.output).toContain('Reloaded; nothing has changed');
  });

  describe('with certificates of clients', () => {
    let ada: Certificate;
    const sources = (): NodeJS.ProcessEnv => ({
      AUTH_SOURCES: 'certificate,header,message',
      TLS_CLIENT_CA_FILE: authority.certificate.certFile,
    });
    beforeAll(() => void (ada = authority.forClient('ada')));

    it('lets those in that have one, or a token, and nobody with a bad one', async () => {
      const service = await start(sources());
      expect(await ask(service, { cert: ada.cert, key: ada.key })).toMatchObject({ subject: 'ada', roles: [] });
      expect(await ask(service, { token: token({ sub: 'grace' }) })).toMatchObject({ subject: 'grace' });
      expect(await ask(service, {})).toMatchObject({ code: 'UNAUTHENTICATED' });
      const stranger = new CertificateAuthority().forClient('ada');
      const ca = authority.certificate.cert;
      const refused = await Client.connect(service.url, { ca, cert: stranger.cert, key: stranger.key, token: token() });
      expect((await refused.closed).reason).toBe('TOKEN_INVALID');
      // The service's own endpoints take a token and nothing else, which no browser sends by itself.
      const socket = await shake(service, { cert: ada.cert, key: ada.key });
      socket.write('GET /admin/sessions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
      const [answer] = await new Promise<Buffer[]>((resolve) => socket.on('data', (...chunks) => resolve(chunks)));
      expect(answer?.toString()).toContain('401');
    });

    it('needs no key of tokens where certificates are the only source, in production, too', async () => {
      const only = { ...sources(), AUTH_SOURCES: 'certificate', JWT_SECRET: '', NODE_ENV: 'production' };
      const service = await start(only);
      expect(await ask(service, { cert: ada.cert, key: ada.key })).toMatchObject({ subject: 'ada' });
      expect(await refusal(service.url, { ca: authority.certificate.cert })).toMatchObject({ status: 401 });
      expect(service.output()).not.toContain('demo token');
    });

    it('takes another authority on SIGHUP: sessions stay, resumed handshakes of the old one do not come in', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-'));
      const file = join(folder, 'ca.pem');
      writeFileSync(file, authority.certificate.cert);
      const service = await start({ ...sources(), TLS_CLIENT_CA_FILE: file });
      const identity = { ca: authority.certificate.cert, cert: ada.cert, key: ada.key };
      const client = await Client.connect(service.url, identity);
      await client.ask({ event: 'session', id: 1 });
      const first = await shake(service, { ...identity, maxVersion: 'TLSv1.2' });
      const session = first.getSession();
      const resumed = await shake(service, { ...identity, maxVersion: 'TLSv1.2', session });
      expect(resumed.isSessionReused()).toBe(true);

      const other = new CertificateAuthority('Another');
      writeFileSync(file, other.certificate.cert);
      service.process.kill('SIGHUP');
      await expect.poll(service.output).toContain('"changed":["TLS_CLIENT_CA_FILE"]');
      expect(await client.ask({ event: 'session', id: 2 })).toMatchObject({ data: { subject: 'ada' } });
      const again = await shake(service, { ...identity, maxVersion: 'TLSv1.2', session });
      expect(again.isSessionReused()).toBe(false);
      let answer = '';
      again.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
      again.write(handshake());
      await expect.poll(() => answer).toContain('TOKEN_INVALID');
      const grace = other.forClient('grace');
      expect(await ask(service, { cert: grace.cert, key: grace.key })).toMatchObject({ subject: 'grace' });
      for (const socket of [first, resumed, again]) socket.destroy();
    });
  });

  it.each([
    ['a certificate without its key', { TLS_KEY_FILE: '' }, 'are needed together'],
    ['a key of another certificate', { TLS_KEY_FILE: 'other' }, 'are not a certificate and its key'],
    ['an authority without the source', { TLS_CLIENT_CA_FILE: 'ca' }, 'has no effect unless AUTH_SOURCES'],
    ['the source without an authority', { AUTH_SOURCES: 'certificate' }, 'TLS_CLIENT_CA_FILE is needed'],
    [
      'the source of one path without an authority',
      { WS_GATEWAY_CONFIG: fileWith({ paths: { '/ws': { auth: { sources: ['certificate'] } } } }) },
      'TLS_CLIENT_CA_FILE is needed',
    ],
    ['an authority that is none', { TLS_CLIENT_CA_FILE: 'key', AUTH_SOURCES: 'certificate' }, 'holds no certificates'],
    [
      'an authority without TLS',
      { TLS_CERT_FILE: '', TLS_KEY_FILE: '', TLS_CLIENT_CA_FILE: 'ca', AUTH_SOURCES: 'certificate' },
      'TLS_CLIENT_CA_FILE needs TLS_CERT_FILE',
    ],
  ] as [string, NodeJS.ProcessEnv, string][])('does not start with %s', async (_, given, message) => {
    const files = { other: authority.issue().keyFile, ca: authority.certificate.certFile, key: server.keyFile };
    const paths = Object.entries(given).map(([name, value]) => [name, files[value as keyof typeof files] ?? value]);
    const tls = { TLS_CERT_FILE: server.certFile, TLS_KEY_FILE: server.keyFile };
    const { exited, output } = run([], { ...environment, ...tls, ...Object.fromEntries(paths) });
    expect(await exited).toBe(1);
    expect(output()).toContain(message);
  });
});

describe('a public address without TLS', () => {
  const WARNING = 'reached by other machines, and there is no TLS';

  const outputOf = async (more: NodeJS.ProcessEnv): Promise<string> => {
    const { process: child, exited, output } = run([], { ...environment, PORT: '0', ...more });
    await expect.poll(output, { timeout: 10_000 }).toMatch(/WebSocket at|WARNING/);
    child.kill('SIGTERM');
    await exited;
    return output();
  };

  it.each(['0.0.0.0', '::'])('is a loud warning: %s', async (HOST) => {
    const output = await outputOf({ HOST });
    expect(output.match(new RegExp(WARNING, 'g'))).toHaveLength(2); // the log, and whoever reads no log
    expect(output).toContain('TRUST_PROXY');
  });

  it('is one for whoever has silenced the log, too', async () => {
    expect(await outputOf({ HOST: '0.0.0.0', LOG_LEVEL: 'silent' })).toContain(WARNING);
  });

  it.each([{ HOST: '127.0.0.1' }, { HOST: 'localhost' }, { HOST: '0.0.0.0', TRUST_PROXY: '1' }])(
    'is none with %j',
    async (more) => expect(await outputOf(more)).not.toContain(WARNING),
  );

  it('is told apart from loopback, and a proxy from none', () => {
    for (const address of ['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1']) expect(isPublic(address)).toBe(false);
    for (const address of ['0.0.0.0', '::', '10.0.0.1', '::ffff:10.0.0.1', 'fe80::1', '192.0.2.1']) expect(isPublic(address)).toBe(true); // prettier-ignore
    for (const trust of [true, 1, ['10.0.0.0/8']]) expect(isBehindProxy(trust)).toBe(true);
    for (const trust of [undefined, null, false, 0, []]) expect(isBehindProxy(trust)).toBe(false);
  });
});
