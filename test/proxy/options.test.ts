import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocketServer } from 'ws';
import { RawGateway, WsGatewayReload } from '../../src/index.js';
import { UPSTREAMS } from '../../src/proxy/options.js';
import { resolveOptions, WsGatewayOptionsError } from '../../src/ws-gateway.options.js';
import { startApp } from '../support/app.js';
import { localTls } from '../support/certificates.js';
import { refusal } from '../support/client.js';
import { proxy, stopProxies, upstream } from '../support/proxy.js';
import { RawClient } from '../support/raw-client.js';
import { SECRET, token } from '../support/tokens.js';
import { echo } from '../support/upstream.js';

afterEach(stopProxies);

const auth = { jwt: { secret: SECRET } };

function problemsOf(upstreams: unknown): readonly string[] {
  try {
    resolveOptions({ auth, upstreams });
    return [];
  } catch (error) {
    return (error as WsGatewayOptionsError).problems;
  }
}

describe('the options of applications behind the gateway', () => {
  it('are complained of all at once, each by its name', () => {
    const urls = ['ws://127.0.0.1:9000'];
    expect(
      problemsOf({
        chat: { urls },
        '/none': {},
        '/empty': { urls: [] },
        '/http': { urls: ['http://127.0.0.1'] },
        '/text': { urls: 'ws://127.0.0.1' },
        '/more': { urls, restMs: -1, tls: true },
        '/both': { urls, identity: { headers: {}, jwt: { secret: SECRET } } },
        '/short': { urls, identity: { jwt: { secret: 'short' } } },
        '/key': { urls, identity: { jwt: { secret: SECRET, algorithm: 'RS256' } } },
      }),
    ).toEqual(
      [
        'upstreams["chat"] must be a path, which begins with a slash and holds no space, "?" or "#"',
        'upstreams["/none"].urls is needed',
        'upstreams["/empty"].urls must be a list of 1 to 16 URLs as ws://127.0.0.1:9000 or wss://app.internal/chat, without a fragment, got 0',
        'upstreams["/http"].urls must hold URLs as ws://127.0.0.1:9000 or wss://app.internal/chat, without a fragment, got "http://127.0.0.1"',
        'upstreams["/text"].urls must be a list: ["ws://127.0.0.1"]',
        'upstreams["/more"].tls is not an option',
        'upstreams["/more"].restMs must be an integer from 0 to 3600000, got -1',
        'upstreams["/both"].identity has headers or jwt, not both',
        'upstreams["/short"].identity.jwt.secret must be a string of 32 to 4096 characters',
        'upstreams["/short"].identity.jwt must have a secret, or a privateKey',
        'upstreams["/key"].identity.jwt.algorithm must fit the key, got "RS256"',
      ].map((problem) => expect.stringContaining(problem) as string),
    );
  });

  it('stand in the table of the README, all of them', () => {
    const text = readFileSync(new URL('../../src/proxy/README.md', import.meta.url), 'utf8');
    const [table = ''] = /^\| upstream option .*(\n\|.*)*/m.exec(text) ?? [];
    const named = [...table.matchAll(/^\| (`[^|]*)/gm)].flatMap(([, cell = '']) =>
      [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name),
    );
    const { additionalProperties } = UPSTREAMS.schema as unknown as {
      additionalProperties: { properties: Record<string, { properties?: object }> };
    };
    const { identity, ...others } = additionalProperties.properties;
    const known = [
      ...Object.keys(others),
      ...Object.keys(identity?.properties ?? {}).map((name) => `identity.${name}`),
    ];
    expect(named.toSorted()).toEqual(known.toSorted());
  });

  it('take a restart, also for a path with a dot', async () => {
    const app = await upstream();
    const options = (restMs: number): object => ({ '/v1.0/chat': { urls: [app.url], restMs } });
    const { app: nest } = await startApp({ options: { upstreams: options(1) as never, limits: { maxFragments: 10 } } });
    const reload = nest.get(WsGatewayReload);
    const next = { auth, upstreams: options(2) as never, limits: { maxFragments: 20 } };
    expect(await reload.replace(next)).toMatchObject({
      needRestart: ['upstreams'],
      changed: expect.arrayContaining(['limits.maxFragments']) as string[],
    });
    expect(reload.options.upstreams).toMatchObject({ '/v1.0/chat': { restMs: 1 } });
  });

  it.each([
    ['of a gateway', WebSocketGateway({ path: '/chat' })],
    ['of a raw gateway', RawGateway()],
  ])('stop the start at the path %s', async (_, decorate) => {
    class Chat {
      handleConnection(): void {}
    }
    decorate(Chat);
    WebSocketGateway({ path: '/chat' })(Chat);
    const options = { upstreams: { '/chat': { urls: ['ws://127.0.0.1:1'] } } };
    await expect(startApp({ options, gateways: [Chat] })).rejects.toThrow(
      'upstreams["/chat"] is the path of Chat: an application behind the gateway has its path alone',
    );
  });

  it('stop the start for a key and a URL that cannot be read', async () => {
    await expect(proxy('ws://127.0.0.1:1', { identity: { jwt: { privateKey: 'no key' } } })).rejects.toThrow(
      'upstreams["/chat"] cannot be read',
    );
    await expect(proxy('ws://127.0.0.1:1/:')).rejects.toThrow('upstreams["/chat"] cannot be read');
  });
});

describe('an application over TLS', () => {
  it('is trusted by the authority that the options name, and by no other', async () => {
    const { server, ca } = localTls();
    const https = createServer({ cert: server.cert, key: server.key }).listen(0, 'localhost');
    await once(https, 'listening');
    new WebSocketServer({ server: https }).on('connection', echo);
    const url = `wss://localhost:${(https.address() as AddressInfo).port}`;
    const trusting = await proxy(url, { ca: ca.toString() });
    const client = await RawClient.connect(`${trusting.url}/chat`, { token: token() });
    client.send('x');
    expect(await client.next()).toBe('x');
    const { url: other, log } = await proxy(url);
    expect(await refusal(`${other}/chat`, { headers: { authorization: `Bearer ${token()}` } })).toMatchObject({
      status: 503,
    });
    expect(log.lines[0]?.reason).toContain(url);
    https.closeAllConnections();
    https.close();
  });
});
