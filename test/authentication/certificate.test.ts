import { X509Certificate } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ConnectedSocket, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Authenticator, WsSession, WsSessions } from '../../src/index.js';
import type { AuthOptions, PrincipalInit } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { CertificateAuthority, hasOpenssl } from '../support/certificates.js';
import type { Certificate } from '../support/certificates.js';
import { Client, refusal } from '../support/client.js';
import { handshake } from '../support/tcp.js';
import { signed, token } from '../support/tokens.js';

@WebSocketGateway()
class ClaimsGateway {
  @SubscribeMessage('claims')
  claims(@ConnectedSocket() socket: object): unknown {
    return WsSession.of(socket).principal?.claims;
  }
}

describe.runIf(hasOpenssl())("a client's certificate", () => {
  let authority: CertificateAuthority;
  let server: Certificate;
  let ada: Certificate;

  beforeAll(() => {
    authority = new CertificateAuthority();
    server = authority.forServer();
    ada = authority.forClient('ada');
  });

  afterEach(stopApps);

  const serve = (auth: Partial<AuthOptions> = {}, rest: Parameters<typeof startApp>[0] = {}): Promise<TestApp> =>
    startApp({
      gateways: [ClaimsGateway],
      https: {
        cert: server.cert,
        key: server.key,
        ca: authority.certificate.cert,
        requestCert: true,
        rejectUnauthorized: false,
      },
      options: { auth: { sources: ['certificate', 'header', 'message'], ...auth } },
      ...rest,
    });

  const by = (certificate: Pick<Certificate, 'cert' | 'key'>): SecureContextOptions => ({
    ca: authority.certificate.cert,
    cert: certificate.cert,
    key: certificate.key,
  });

  const connect = ({ url }: TestApp, certificate?: Certificate, more: object = {}): Promise<Client> =>
    Client.connect(`${url}/ws`, { ca: authority.certificate.cert, ...(certificate && by(certificate)), ...more });

  const subjectOf = async (client: Client): Promise<unknown> =>
    ((await client.ask({ event: 'session', id: 1 })).data as { subject?: unknown }).subject;

  it.each([false, true])('is who the client is, on fastify %s', async (fastify) => {
    const client = await connect(await serve({}, { fastify }), ada);
    const { validTo } = new X509Certificate(ada.cert);
    expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({
      data: { subject: 'ada', roles: [], scopes: [], expiresAt: Date.parse(validTo) },
    });
  });

  it('counts as absent when there is none: the next source decides', async () => {
    const test = await serve();
    expect(await subjectOf(await connect(test, undefined, { token: token({ sub: 'grace' }) }))).toBe('grace');
    const anonymous = await connect(test);
    expect(await anonymous.ask({ event: 'session', id: 1 })).toMatchObject({ data: { code: 'UNAUTHENTICATED' } });
  });

  it('comes before or after a token, as the sources have it', async () => {
    const first = await connect(await serve(), ada, { token: token({ sub: 'grace' }) });
    expect(await subjectOf(first)).toBe('ada');
    const test = await serve({ sources: ['header', 'certificate'] });
    expect(await subjectOf(await connect(test, ada, { token: token({ sub: 'grace' }) }))).toBe('grace');
    expect(await subjectOf(await connect(test, ada))).toBe('ada');
    const bad = await connect(test, ada, { token: 'bad' });
    expect((await bad.closed).reason).toBe('TOKEN_INVALID');
  });

  it('of another authority, or of its own making, is present and bad', async () => {
    const test = await serve();
    const other = new CertificateAuthority(); // of the same name
    for (const certificate of [other.forClient('ada'), other.certificate]) {
      const client = await connect(test, certificate, { token: token() });
      expect((await client.closed).reason).toBe('TOKEN_INVALID');
    }
    const reason = test.log.lines.find(({ code }) => code === 'TOKEN_INVALID')?.reason;
    expect(reason).toMatch(/^the certificate is not verified: [A-Z_]+$/);
  });

  it('that has expired is TOKEN_EXPIRED, and 401 where tokens are refused at the handshake', async () => {
    const old = authority.forClient('ada', { days: -1 });
    expect((await (await connect(await serve(), old)).closed).reason).toBe('TOKEN_EXPIRED');
    const { url } = await serve({ reject: 'handshake' });
    expect(await refusal(`${url}/ws`, by(old))).toMatchObject({ status: 401, body: { code: 'TOKEN_EXPIRED' } });
  });

  it('that is bad or has expired locks no visitor out where one may be anonymous', async () => {
    const test = await serve({ anonymous: true });
    const bad = [authority.forClient('ada', { days: -1 }), new CertificateAuthority().forClient('ada')];
    for (const certificate of bad) {
      const visitor = await connect(test, certificate);
      expect(await visitor.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
      expect(await subjectOf(await connect(test, certificate, { token: token() }))).toBe('ada');
    }
    expect(test.log.lines.map(({ code }) => code)).toEqual(expect.arrayContaining(['TOKEN_EXPIRED', 'TOKEN_INVALID']));
    expect(test.log.lines[0]?.reason).toContain('the certificate counts as absent');
  });

  it('ends the session when it ends, and a handshake on a connection that is older than that', async () => {
    const test = await serve();
    test.clock.advance(Date.parse(new X509Certificate(ada.cert).validTo) - test.clock.now() - 1_000);
    const client = await connect(test, ada);
    await client.ask({ event: 'session', id: 1 });
    const socket = connectTls({ port: test.port, host: '127.0.0.1', ...by(ada) });
    await new Promise((resolve) => socket.once('secureConnect', resolve));
    test.clock.advance(1_250);
    expect((await client.rest()).at(-1)).toMatchObject({ event: 'disconnect', data: { code: 'TOKEN_EXPIRED' } });
    socket.write(handshake());
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
    await expect.poll(() => answer).toContain('"code":"TOKEN_EXPIRED"');
    socket.destroy();
  });

  it.each([
    ['uri', [['URI', 'spiffe://example.org/ada']], 'spiffe://example.org/ada'],
    ['dns', [['DNS', 'ada.example.org'], ['URI', 'spiffe://example.org/ada']], 'ada.example.org'], // prettier-ignore
    ['email', [['email', 'ada@example.org'], ['IP', '::1']], 'ada@example.org'], // prettier-ignore
    ['dns', [['URI', 'https://a/?x=1, DNS:admin'], ['DNS', 'ada.example.org']], 'ada.example.org'], // prettier-ignore
    ['uri', [['URI', 'https://a/?x=1, URI:admin'], ['DNS', 'b']], 'https://a/?x=1, URI:admin'], // prettier-ignore
  ] as const)('has its subject in %s', async (subject, names, expected) => {
    const client = await connect(await serve({ certificate: { subject } }), authority.forClient('nobody', { names }));
    expect(await subjectOf(client)).toBe(expected);
  });

  it('without exactly one such name is TOKEN_INVALID', async () => {
    const twice = authority.issue({ subject: [['CN', 'ada'], ['CN', 'admin']], names: [] }); // prettier-ignore
    const nameless = authority.issue({ subject: [['O', 'Example']], names: [] });
    const byName = await serve();
    for (const certificate of [twice, nameless]) {
      expect((await (await connect(byName, certificate)).closed).reason).toBe('TOKEN_INVALID');
    }
    const names = [['DNS', 'a.example'], ['DNS', 'b.example']] as const; // prettier-ignore
    const byDns = await serve({ certificate: { subject: 'dns' } });
    for (const certificate of [ada, authority.forClient('ada', { names })]) {
      expect((await (await connect(byDns, certificate)).closed).reason).toBe('TOKEN_INVALID');
    }
  });

  it('gives roles where the options look for them', async () => {
    const roles = ['roles', 'certificate.OU'];
    const test = await serve({ claims: { roles } });
    const certificate = authority.issue({ subject: [['CN', 'ada'], ['OU', 'Buyers of all'], ['OU', 'admin']], names: [] }); // prettier-ignore
    const client = await connect(test, certificate);
    expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({
      data: { roles: ['Buyers of all', 'admin'] },
    });
    expect(await client.ask({ event: 'claims', id: 2 })).toMatchObject({
      data: {
        jti: new X509Certificate(certificate.cert).serialNumber,
        certificate: { CN: ['ada'] },
      },
    });
  });

  it.each([
    ['subject', { subject: 'ada' }],
    ['serial number', 'tokenId'],
    ['session', 'sessionId'],
  ] as const)('is revoked by its %s', async (_, what) => {
    const test = await serve();
    const sessions = test.app.get(WsSessions);
    const client = await connect(test, ada);
    const other = await connect(test, authority.forClient('grace'));
    await other.ask({ event: 'session', id: 1 });
    const { sessionId } = (await client.ask({ event: 'session', id: 1 })).data as { sessionId: string };
    const { jti } = (await client.ask({ event: 'claims', id: 2 })).data as { jti: string };
    const filter = typeof what === 'object' ? what : { [what]: what === 'tokenId' ? jti : sessionId };
    expect((await sessions.revoke(filter)).ended).toBe(1);
    expect((await client.closed).reason).toBe('SESSION_REVOKED');
    expect((await (await connect(test, ada)).closed).reason).toBe('SESSION_REVOKED');
    expect(await subjectOf(other)).toBe('grace');
  });

  it('may be refreshed by a token of the same subject', async () => {
    const client = await connect(await serve(), ada);
    const refreshed = await client.ask({ event: 'auth', data: { token: token({ sub: 'ada', roles: ['x'] }) }, id: 1 });
    expect(refreshed).toMatchObject({ event: 'auth', data: { subject: 'ada' } });
    await client.ask({ event: 'auth', data: { token: token({ sub: 'grace' }) }, id: 2 });
    expect((await client.closed).code).toBe(3003);
  });

  it('does not let a page of another origin in', async () => {
    const { url } = await serve();
    expect(await refusal(`${url}/ws`, { ...by(ada), origin: 'https://evil.test' })).toMatchObject({ status: 403 });
  });

  it('is not for an authenticator of the application, which is asked about tokens', async () => {
    class Keys extends Authenticator {
      override authenticate(): PrincipalInit {
        return { subject: 'by key', expiresAt: Date.now() + 60_000 };
      }
    }
    const providers = [ClaimsGateway, { provide: Authenticator, useClass: Keys }];
    const test = await serve({}, { providers, gateways: [] });
    expect(await subjectOf(await connect(test, ada))).toBe('ada');
    expect(await subjectOf(await connect(test, undefined, { token: 'key' }))).toBe('by key');
  });

  it('needs no keys of tokens when it is the only source, and then no token is good', async () => {
    const test = await serve({ jwt: undefined, sources: ['certificate'] } as object);
    expect(await subjectOf(await connect(test, ada))).toBe('ada');
    expect(await refusal(`${test.url}/ws`, { ca: authority.certificate.cert })).toMatchObject({ status: 401 });
    const client = await connect(test, ada);
    await client.ask({ event: 'auth', data: { token: signed({ sub: 'ada' }, {}) }, id: 1 });
    expect((await client.closed).reason).toBe('TOKEN_INVALID');
  });

  it('cannot be a source where the server does not speak TLS', async () => {
    await expect(startApp({ https: undefined, options: { auth: { sources: ['certificate'] } } })).rejects.toThrow(
      'the HTTP server has to speak TLS',
    );
  });
});
