import { afterEach, describe, expect, it } from 'vitest';
import { answersTo, isHostPattern } from '../../../src/service/http/hosts.js';
import { run, startService, stopServices } from '../../support/service.js';
import { exchange, handshake, openTcp, parseAnswer } from '../../support/tcp.js';
import { SECRET } from '../../support/tokens.js';

afterEach(stopServices);

const environment = { JWT_SECRET: SECRET, LOG_FORMAT: 'json' };

/** The status of a request, or of an upgrade, with that Host. */
async function statusOf(http: string, host: string, path = '/nowhere', isUpgrade = false): Promise<number> {
  const port = Number(new URL(http).port);
  const origin = `Origin: http://${host}`;
  const request = isUpgrade
    ? handshake('/ws', [origin]).replace('Host: 127.0.0.1', `Host: ${host}`)
    : `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${origin}\r\nConnection: close\r\n\r\n`;
  return isUpgrade ? firstStatus(port, request) : parseAnswer(await exchange(port, request)).status;
}

async function firstStatus(port: number, request: string): Promise<number> {
  const socket = await openTcp(port);
  socket.write(request);
  const chunk = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
  socket.destroy();
  return Number(chunk.toString('latin1').split(' ')[1]);
}

describe('the service on loopback', () => {
  it('takes upgrades and requests for localhost and loopback addresses, and for no other name', async () => {
    const { http, output } = await startService(environment);
    for (const host of ['localhost', 'LOCALHOST:8765', 'localhost.', '127.0.0.1:1', '127.9.9.9', '[::1]:8765']) {
      expect([host, await statusOf(http, host)]).toEqual([host, 404]);
      expect([host, await statusOf(http, host, '/healthz')]).toEqual([host, 200]);
    }
    for (const host of ['localhost:8765', '127.0.0.1:8765', '[::1]:8765']) {
      expect([host, await statusOf(http, host, '', true)]).toEqual([host, 101]);
    }
    for (const host of [
      'evil.example',
      'evil.example:8765',
      '127.0.0.1.evil.example',
      'localhost.evil.example',
      '192.0.2.1',
    ]) {
      expect([host, await statusOf(http, host)]).toEqual([host, 403]);
      expect([host, await statusOf(http, host, '/admin/sessions')]).toEqual([host, 403]);
      expect([host, await statusOf(http, host, '', true)]).toEqual([host, 403]);
    }
    expect(await statusOf(http, 'evil.example', '/healthz')).toBe(403);
    expect(await statusOf(http, '192.0.2.1', '/healthz')).toBe(200); // as an orchestrator asks
    await expect.poll(output).toContain('Host not allowed');
    expect(output()).toContain('met Host \\"evil.example\\", which is not in ALLOWED_HOSTS');
  });

  it('does not ban the browser whose page tries', async () => {
    const { http } = await startService(environment);
    for (let i = 0; i < 30; i++) expect(await statusOf(http, 'evil.example')).toBe(403);
    expect(await statusOf(http, 'localhost')).toBe(404);
  });

  it('answers to names in ALLOWED_HOSTS, and behind a proxy to any', async () => {
    const named = await startService({ ...environment, ALLOWED_HOSTS: 'gateway.test, *.example.org' });
    for (const [host, status] of [
      ['gateway.test:80', 404],
      ['a.b.example.org', 404],
      ['example.org', 403],
      ['localhost', 404],
      ['evil.example', 403],
    ] as const)
      // prettier-ignore
      expect([host, await statusOf(named.http, host)]).toEqual([host, status]);
    const proxied = await startService({ ...environment, TRUST_PROXY: '1' });
    expect(await statusOf(proxied.http, 'gateway.example')).toBe(404);
  });

  it('does not start with what is no name', async () => {
    const { exited, output } = run([], { ...environment, ALLOWED_HOSTS: 'https://gateway.test' });
    expect(await exited).toBe(1);
    expect(output()).toContain('ALLOWED_HOSTS must be host names');
  });
});

describe('the rule', () => {
  it.each([
    ['elsewhere any name', 'any.example', { address: '0.0.0.0', isBehindProxy: false }, true],
    [
      'elsewhere with a list, others are refused',
      'any.example',
      { address: '0.0.0.0', isBehindProxy: false, allowed: ['a.test'] },
      false,
    ],
    [
      'a list holds behind a proxy as well',
      'any.example',
      { address: '::1', isBehindProxy: true, allowed: ['a.test'] },
      false,
    ],
    [
      'an address in the list',
      '192.0.2.1:80',
      { address: '127.0.0.1', isBehindProxy: false, allowed: ['192.0.2.1'] },
      true,
    ],
    ['no Host', undefined, { address: '127.0.0.1', isBehindProxy: false }, false],
    ['what is no Host', '[::1', { address: '127.0.0.1', isBehindProxy: false }, false],
    ['brackets around a name', '[localhost]', { address: '127.0.0.1', isBehindProxy: false }, false],
  ] as const)('%s', (_, host, rule, answer) => {
    expect(answersTo(host, { allowed: undefined, ...rule })).toBe(answer);
  });

  it('knows names from other texts', () => {
    for (const text of ['a.test', '*.a.test', '10.0.0.1', '::1', 'A_b.test'])
      expect([text, isHostPattern(text)]).toEqual([text, true]);
    for (const text of ['', '*', 'a.test:80', 'http://a.test', 'a..test', '*a.test', 'a.test/'])
      expect([text, isHostPattern(text)]).toEqual([text, false]);
  });
});
