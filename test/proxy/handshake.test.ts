import { once } from 'node:events';
import { JwtService } from '@nestjs/jwt';
import { afterEach, describe, expect, it } from 'vitest';
import { WsHealth } from '../../src/index.js';
import { startApp, until } from '../support/app.js';
import { refusal } from '../support/client.js';
import { proxy, stopProxies, tcpUpstream, upstream } from '../support/proxy.js';
import { RawClient } from '../support/raw-client.js';
import { freePort, handshake, openTcp, reset } from '../support/tcp.js';
import { token } from '../support/tokens.js';
import { echo } from '../support/upstream.js';

afterEach(stopProxies);

const bearer = (claims: object = {}): { authorization: string } => ({
  authorization: `Bearer ${token({ ...claims })}`,
});

describe('an application that is asked before the client is accepted', () => {
  it.each([400, 401, 403, 404, 429, 500, 503])(
    'and answers %i: 502, and its status in the log alone',
    async (status) => {
      const app = await upstream(echo, { verify: () => status });
      const { url, log } = await proxy(app.url);
      const { status: told, body, headers } = await refusal(`${url}/chat`, { headers: bearer() });
      expect([told, body, headers['retry-after']]).toEqual([
        502,
        { code: 'BAD_GATEWAY', message: 'The application behind the gateway has failed' },
        undefined,
      ]);
      expect(log.lines).toMatchObject([
        { kind: 'upgrade', code: 'BAD_GATEWAY', level: 'error', reason: `${app.url} answers ${status}` },
      ]);
      await until(() => app.tcp.size === 0);
    },
  );

  it('and listens no longer: 503 with Retry-After', async () => {
    const dead = `ws://127.0.0.1:${await freePort()}`;
    const { url, log, app } = await proxy(dead);
    const { status, body, headers } = await refusal(`${url}/chat`, { headers: bearer() });
    expect([status, body.code]).toEqual([503, 'UNAVAILABLE']);
    expect(Number(headers['retry-after'])).toBeGreaterThan(0);
    expect(log.lines).toMatchObject([{ code: 'UNAVAILABLE', reason: `${dead} failed with ECONNREFUSED` }]);
    expect(app.get(WsHealth).readiness()).toMatchObject({ ready: false });
  });

  it.each<[string, (bytes: string) => string | undefined]>([
    ['says nothing', () => undefined],
    ['sends its head in pieces for ever', () => 'HTTP/1.1 101 Switching Protocols\r\nX: '],
  ])('and %s: 503 in its time, and no socket is left', async (_, answer) => {
    const silent = await tcpUpstream((socket) => {
      socket.on('data', (data) => {
        const text = answer(data.toString());
        if (text !== undefined) socket.write(text);
      });
    });
    const { url, clock, log } = await proxy(silent.url, { connectTimeoutMs: 2_000 });
    const refused = refusal(`${url}/chat`, { headers: bearer() });
    await until(() => silent.sockets.size === 1);
    await new Promise(setImmediate);
    clock.advance(2_500);
    expect(await refused).toMatchObject({ status: 503, body: { code: 'UNAVAILABLE' } });
    expect(log.lines).toMatchObject([{ reason: `${silent.url} did not answer within 2000 ms` }]);
    await until(() => silent.sockets.size === 0);
  });

  it.each([
    ['dies', ''],
    ['is no HTTP server', 'SSH-2.0-x\r\n'],
    [
      'answers with a wrong key',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n',
    ],
    [
      'answers 101 for another protocol',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n',
    ],
  ])('and %s: 503, and no socket is left', async (_, answer) => {
    const odd = await tcpUpstream((socket) => socket.once('data', () => socket.end(answer)));
    const { url } = await proxy(odd.url);
    expect(await refusal(`${url}/chat`, { headers: bearer() })).toMatchObject({ status: 503 });
    await until(() => odd.sockets.size === 0);
  });

  it('and redirects: 502, and nothing is followed', async () => {
    const other = await upstream();
    const odd = await tcpUpstream((socket) =>
      socket.once('data', () =>
        socket.end(`HTTP/1.1 302 Found\r\nLocation: ${other.url}\r\nContent-Length: 0\r\n\r\n`),
      ),
    );
    const { url } = await proxy(odd.url);
    expect(await refusal(`${url}/chat`, { headers: bearer() })).toMatchObject({ status: 502 });
    expect(other.requests).toHaveLength(0);
  });

  it.each([
    ['closes', (socket: Awaited<ReturnType<typeof openTcp>>) => socket.destroy()],
    ['breaks', reset],
  ])('leaves no socket when the client %s meanwhile', async (_, leave) => {
    const silent = await tcpUpstream((socket) => socket.resume());
    const { url, port, log } = await proxy(silent.url);
    expect(url).toContain(String(port));
    const client = await openTcp(port);
    client.write(handshake('/chat', [`Authorization: Bearer ${token()}`]));
    await until(() => silent.sockets.size === 1);
    leave(client);
    await until(() => silent.sockets.size === 0);
    await until(() => log.lines.length === 1);
    expect(log.lines).toMatchObject([{ kind: 'upgrade', code: 'CONNECTION_LOST' }]);
    expect(log.lines[0]?.status).toBeUndefined();
  });

  it('leaves no socket when the gateway ends meanwhile', async () => {
    const silent = await tcpUpstream((socket) => socket.resume());
    const { url } = await proxy(silent.url);
    const refused = refusal(`${url}/chat`, { headers: bearer() });
    await until(() => silent.sockets.size === 1);
    const [answer] = await Promise.all([refused, stopProxies()]);
    expect(answer).toMatchObject({ status: 503, body: { code: 'SHUTTING_DOWN' } });
    await until(() => silent.sockets.size === 0);
  });
});

it('does not hear of a session that is one too many of its subject', async () => {
  const app = await upstream();
  const { url } = await proxy(app.url, {}, { auth: { maxSessionsPerSubject: 1, onSessionLimit: 'refuse-new' } });
  const first = await RawClient.connect(`${url}/chat`, { token: token() });
  const second = await RawClient.connect(`${url}/chat`, { token: token() });
  expect(await second.closed).toEqual({ code: 4429, reason: 'SESSION_LIMIT' });
  expect(app.requests).toHaveLength(1);
  first.send('x');
  expect(await first.next()).toBe('x');
});

describe('several URLs', () => {
  it('are tried in their order, and one that failed comes last for a while', async () => {
    const [first, second] = [await upstream(), await upstream()];
    const { url, clock, app } = await proxy([first.url, second.url], { restMs: 60_000 });
    const connect = async (): Promise<void> => (await RawClient.connect(`${url}/chat`, { token: token() })).close();
    await connect();
    expect([first.requests.length, second.requests.length]).toEqual([1, 0]);
    const { port } = new URL(first.url);
    await first.stop();
    await connect();
    expect(second.requests).toHaveLength(1);
    const again = await upstream(echo, { port: Number(port) });
    await connect();
    expect([again.requests.length, second.requests.length]).toEqual([0, 2]);
    expect(app.get(WsHealth).readiness()).toEqual({ ready: true, reasons: [], warnings: [] });
    clock.advance(60_000);
    await connect();
    expect([again.requests.length, second.requests.length]).toEqual([1, 2]);
  });

  it('of which the first answers 503: the next is asked', async () => {
    const [first, second] = [await upstream(echo, { verify: () => 503 }), await upstream()];
    const { url } = await proxy([first.url, second.url]);
    await (await RawClient.connect(`${url}/chat`, { token: token() })).close();
    expect(second.requests).toHaveLength(1);
  });

  it('of which the first answers 403: that is its word', async () => {
    const [first, second] = [await upstream(echo, { verify: () => 403 }), await upstream()];
    const { url } = await proxy([first.url, second.url]);
    expect(await refusal(`${url}/chat`, { headers: bearer() })).toMatchObject({ status: 502 });
    expect(second.requests).toHaveLength(0);
  });

  it('that all rest are tried all the same, so that a restart is noticed at once', async () => {
    const port = await freePort();
    const { url } = await proxy(`ws://127.0.0.1:${port}`);
    expect(await refusal(`${url}/chat`, { headers: bearer() })).toMatchObject({ status: 503 });
    const app = await upstream(echo, { port });
    await (await RawClient.connect(`${url}/chat`, { token: token() })).close();
    expect(app.requests).toHaveLength(1);
  });
});

describe('what goes on to the application', () => {
  it('is path and query, without what is a credential', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, {}, { auth: { sources: ['query', 'ticket', 'header'] } });
    await (
      await RawClient.connect(`${url}/chat?a=1&access_token=${token()}&b=%20&ticket=t&access%5Ftoken=x&=`)
    ).close();
    expect(app.requests[0]?.url).toBe('/chat?a=1&b=%20&=');
  });

  it('is no cookie that holds a token, and each other as it came', async () => {
    const app = await upstream();
    const firewall = { origins: ['https://a.example'] };
    const { url } = await proxy(app.url, {}, { firewall, auth: { sources: ['cookie'], cookie: 'sid' } });
    const connect = async (cookie: string): Promise<void> =>
      (await RawClient.connect(`${url}/chat`, { headers: { cookie, origin: 'https://a.example' } })).close();
    await connect(`a=1; sid=${token()}; b="%20"`);
    await connect(`sid=${token()}`);
    expect(app.requests.map(({ headers: { cookie } }) => cookie)).toEqual(['a=1; b="%20"', undefined]);
  });

  it('is no header of one hop', async () => {
    const app = await upstream();
    const { port } = await proxy(app.url);
    const socket = await openTcp(port);
    const hop = ['Connection: X-Hop', 'X-Hop: one', 'Keep-Alive: 5', 'TE: trailers', 'Proxy-Authorization: Basic eA=='];
    socket.write(handshake('/chat', [`Authorization: Bearer ${token()}`, ...hop, 'X-Own: 1', 'X-Own: 2']));
    await app.accepted();
    const { headers } = app.requests[0] as { headers: object };
    expect(headers).toMatchObject({ 'x-own': '1, 2', connection: 'Upgrade' });
    expect(Object.keys(headers).filter((name) => /hop|keep|te$|proxy|authorization/.test(name))).toEqual([]);
    socket.destroy();
  });

  it('has no header of who the client is by its default name, where others are written', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, { identity: { headers: { subject: 'X-User' } } });
    const headers = { ...bearer(), 'x-auth-subject': 'root', 'x-user': 'root' };
    await (await RawClient.connect(`${url}/chat`, { headers })).close();
    expect(app.requests[0]?.headers).toMatchObject({ 'x-user': 'ada' });
    expect(app.requests[0]?.headers).not.toHaveProperty('x-auth-subject');
  });

  it('has the user of the URL, which no client writes anew', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url.replace('ws://', 'ws://gateway:secret@'), { keepCredentials: true });
    await (await RawClient.connect(`${url}/chat`, { headers: bearer() })).close();
    expect(app.requests[0]?.headers.authorization).toBe(`Basic ${btoa('gateway:secret')}`);
  });

  it('is the credential as well, where that is asked for', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, { keepCredentials: true });
    await (await RawClient.connect(`${url}/chat?ticket=t`, { headers: { ...bearer(), cookie: 'sid=1' } })).close();
    expect(app.requests[0]?.url).toBe('/chat?ticket=t');
    expect(app.requests[0]?.headers).toMatchObject({
      authorization: expect.stringContaining('Bearer') as string,
      cookie: 'sid=1',
    });
  });

  it.each([
    ['/rooms/:room', '/rooms/a%20b?x=1', 'ROOT/r/:room?v=2', '/r/a%20b?v=2&x=1'],
    ['/files/*path', '/files/a/b%2Fc', 'ROOT', '/files/a/b%2Fc'],
    ['/files/*path', '/files/a/b%2Fc', 'ROOT/deep/*path', '/deep/a/b%2Fc'],
    ['/{*path}', '/anything/at?all', 'ROOT/', '/anything/at?all'],
    ['/plain', '/plain/', 'ROOT/other', '/other'],
  ])('at %s for %s with %s is %s', async (path, asked, to, seen) => {
    const app = await upstream();
    const { url } = await startApp({
      options: { auth: { sources: ['header'] }, upstreams: { [path]: { urls: [to.replace('ROOT', app.url)] } } },
    });
    await (await RawClient.connect(`${url}${asked}`, { token: token() })).close();
    expect(app.requests[0]?.url).toBe(seen);
  });

  it('is no path that climbs', async () => {
    const app = await upstream();
    const { port } = await startApp({
      options: { auth: { sources: ['header'] }, upstreams: { '/files/*path': { urls: [`${app.url}/f/*path`] } } },
    });
    for (const path of ['/files/../admin', '/files/%2e%2e/admin', '/files/a/..']) {
      const socket = await openTcp(port);
      socket.write(handshake(path, [`Authorization: Bearer ${token()}`]));
      const [answer] = (await once(socket, 'data')) as [Buffer];
      expect(answer.toString()).toMatch(/^HTTP\/1\.1 400 /);
      socket.destroy();
    }
    expect(app.requests).toHaveLength(0);
  });

  it('is the subprotocol that the client and the application agree on', async () => {
    const app = await upstream(echo, { handleProtocols: (offered) => (offered.has('chat.v2') ? 'chat.v2' : false) });
    const { url } = await proxy(app.url, {}, { auth: { sources: ['subprotocol'] } });
    const protocols = ['ws-gateway.v1', `bearer.${token()}`, 'chat.v1', 'chat.v2'];
    const client = await RawClient.connect(`${url}/chat`, { protocols });
    expect(client.socket.protocol).toBe('chat.v2');
    expect(app.requests[0]?.headers['sec-websocket-protocol']).toBe('ws-gateway.v1, chat.v1, chat.v2');
    // A browser fails a connection for which none of those that it has offered is selected.
    const other = await RawClient.connect(`${url}/chat`, { protocols: protocols.slice(0, 2) });
    expect(other.socket.protocol).toBe('ws-gateway.v1');
  });

  it('selects nothing that the client has not offered', async () => {
    const app = await upstream(echo, { handleProtocols: () => 'other' });
    const { url, log } = await proxy(app.url);
    expect(await refusal(`${url}/chat`, { headers: bearer(), protocols: ['chat'] })).toMatchObject({ status: 502 });
    expect(log.lines).toMatchObject([{ reason: `${app.url} selects a subprotocol that the client does not offer` }]);
    await until(() => app.tcp.size === 0);
  });
});

describe('who the client is', () => {
  it('is told in headers, which no client can write', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url);
    const forged = {
      'X-Auth-Subject': 'root',
      X_Auth_Subject: 'root',
      'x-auth_roles': 'admin',
      'X-Forwarded-For': '6.6.6.6',
      'x-forwarded-user': 'root',
      Forwarded: 'for=6.6.6.6',
      traceparent: '00-1-2-3',
      'X-Own': 'stays',
      Cookie: 'own=1',
    };
    const subject = 'ada%\r\nX-Evil: 1, ä\ud800';
    await (
      await RawClient.connect(`${url}/chat`, {
        headers: forged,
        token: token({ sub: subject, roles: ['a,b', 'c'], scope: 'x y' }),
      })
    ).close();
    const { headers, rawHeaders } = app.requests[0] as { headers: Record<string, string>; rawHeaders: string[] };
    expect(headers).toMatchObject({
      'x-auth-roles': 'a%2Cb,c',
      'x-auth-scopes': 'x,y',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': url.startsWith('wss:') ? 'https' : 'http',
      'x-forwarded-host': new URL(url).host,
      'x-own': 'stays',
      cookie: 'own=1',
      host: new URL(app.url).host,
    });
    expect(decodeURIComponent(headers['x-auth-subject'] ?? '')).toBe('ada%\r\nX-Evil: 1, ä\ufffd');
    expect(headers['x-auth-session']).toMatch(/^[\da-f-]{36}$/);
    const names = rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
    expect(names.filter((name) => /forwarded|auth|trace|evil/.test(name)).toSorted()).toEqual(
      ['x-auth-roles', 'x-auth-scopes', 'x-auth-session', 'x-auth-subject', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto'], // prettier-ignore
    );
  });

  it('has the names that are asked for', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, { identity: { headers: { subject: 'X-User', roles: 'X-Groups' } } });
    await (
      await RawClient.connect(`${url}/chat`, { token: token(), headers: { 'x-groups': 'root', X_User: 'root' } })
    ).close();
    expect(app.requests[0]?.headers).toMatchObject({ 'x-user': 'ada', 'x-groups': '' });
    expect(app.requests[0]?.headers).not.toHaveProperty('x_user');
  });

  it('is nobody without a session, where that may be', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, {}, { auth: { anonymous: true } });
    const client = await RawClient.connect(`${url}/chat`, { headers: { 'X-Auth-Subject': 'root' } });
    client.send('x');
    expect(await client.next()).toBe('x');
    expect(app.requests[0]?.headers).not.toHaveProperty('x-auth-subject');
  });

  it('is told by a token that the gateway signs', async () => {
    const app = await upstream();
    const secret = 'another-secret-of-at-least-32-bytes';
    const test = await proxy(app.url, {
      identity: { jwt: { secret, issuer: 'gateway', audience: 'chat', ttlSec: 30 } },
    });
    await (await RawClient.connect(`${test.url}/chat`, { token: token({ roles: ['r'], scope: 's' }) })).close();
    const { authorization = '' } = app.requests[0]?.headers ?? {};
    const claims = JSON.parse(Buffer.from(authorization.split('.')[1] ?? '', 'base64url').toString()) as Record<
      string,
      number
    >;
    const { iat = 0, exp = 0 } = claims;
    expect(claims).toMatchObject({
      sub: 'ada',
      roles: ['r'],
      scope: 's',
      iss: 'gateway',
      aud: 'chat',
      sid: expect.any(String) as string,
    });
    expect(exp - iat).toBe(30);
    expect(new JwtService().verify(authorization.slice('Bearer '.length), { secret })).toEqual(claims);
    expect(app.requests[0]?.headers).not.toHaveProperty('x-auth-subject');
  });

  it('is read behind a proxy that is trusted', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, {}, { firewall: { trustProxy: 1 } });
    const headers = { 'x-forwarded-for': '192.0.2.7', 'x-forwarded-proto': 'https' };
    await (await RawClient.connect(`${url}/chat`, { token: token(), headers })).close();
    expect(app.requests[0]?.headers).toMatchObject({ 'x-forwarded-for': '192.0.2.7', 'x-forwarded-proto': 'https' });
  });
});

describe('roles and scopes of an application', () => {
  it('are asked before it is, and of each message', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, { roles: ['editor', 'admin'] });
    const reader = await RawClient.connect(`${url}/chat`, { token: token({ roles: ['reader'] }) });
    expect(await reader.closed).toEqual({ code: 3003, reason: 'FORBIDDEN' });
    expect(app.requests).toHaveLength(0);
    const editor = await RawClient.connect(`${url}/chat`, { token: token({ roles: ['editor'] }) });
    editor.send('x');
    expect(await editor.next()).toBe('x');
  });

  it('are asked of a token that comes as a message', async () => {
    const app = await upstream();
    const { url } = await proxy(app.url, { scopes: ['chat'] }, { auth: { sources: ['message'] } });
    const [with_, without] = [await RawClient.connect(`${url}/chat`), await RawClient.connect(`${url}/chat`)];
    with_.send(token({ scope: 'chat' }));
    expect(await with_.json()).toMatchObject({ event: 'auth' });
    without.send(token());
    expect(await without.closed).toEqual({ code: 3003, reason: 'FORBIDDEN' });
    expect(app.requests).toHaveLength(1);
  });
});
