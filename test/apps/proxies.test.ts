import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { DEFAULTS } from '../../src/ws-gateway.options.js';
import { Client, refusal } from '../support/client.js';
import { hasProgram, startService, stopServices } from '../support/service.js';
import type { Service } from '../support/service.js';
import { freePort } from '../support/tcp.js';
import { SECRET, token } from '../support/tokens.js';

const PROXIES = [
  { name: 'nginx', version: '-v', file: 'nginx.conf', args: ['-g', 'daemon off; error_log stderr;', '-c'] },
  { name: 'haproxy', version: '-v', file: 'haproxy.cfg', args: ['-db', '-f'] },
];
const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-proxy-'));
const running = new Set<ChildProcess>();

afterEach(async () => {
  for (const child of running) {
    child.kill('SIGKILL');
    await once(child, 'close');
  }
  running.clear();
  await stopServices();
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const configurationOf = (file: string): string => readFileSync(new URL(`./proxies/${file}`, import.meta.url), 'utf8');

/** What nginx otherwise writes to folders of the system goes to the folder of the test. */
function nginxOf(text: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  );
  const http = ['http {', 'access_log off;', ...temporary].join('\n');
  return `pid ${folder}/nginx.pid;\nmaster_process off;\n${text.replace('http {', http)}`;
}

/** The proxy in front of two gateways, configured by its file but for the ports and, where given, the timeouts. */
async function startProxy(
  { name, file, args }: (typeof PROXIES)[number],
  { idle = '60s', options = {} }: { idle?: string; options?: object } = {},
): Promise<{ url: string; gateways: [Service, Service] }> {
  writeFileSync(join(folder, 'options.json'), JSON.stringify(options));
  const environment = {
    JWT_SECRET: SECRET,
    LOG_FORMAT: 'json',
    TRUST_PROXY: '1',
    SHUTDOWN_DRAIN_MS: '8000',
    WS_GATEWAY_CONFIG: join(folder, 'options.json'),
  };
  const gateways: [Service, Service] = [await startService(environment), await startService(environment)];
  const [port, one, two] = [await freePort(), ...gateways.map(({ http }) => new URL(http).port)];
  const path = join(folder, file);
  const text = configurationOf(file)
    .replaceAll('8080', String(port))
    .replaceAll('8765', String(one))
    .replaceAll('8766', String(two))
    .replaceAll('60s', idle);
  writeFileSync(path, name === 'nginx' ? nginxOf(text) : text);
  const child = spawn(name, [...args, path], { stdio: ['ignore', 'ignore', 'pipe'] });
  running.add(child);
  let complaints = '';
  child.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()));
  const http = `http://127.0.0.1:${port}`;
  const isUp = (): Promise<boolean> => fetch(http).then(Boolean, () => false);
  await expect.poll(isUp, { timeout: 10_000, message: complaints }).toBe(true);
  return { url: `${http.replace('http', 'ws')}/ws`, gateways };
}

describe.each(PROXIES)('behind $name', (proxy) => {
  const isThere = hasProgram(proxy.name, proxy.name, [proxy.version]);

  it('keeps an idle connection longer than the gateway takes to find a dead one', () => {
    const { intervalMs, timeoutMs } = DEFAULTS.heartbeat;
    const idle = [...configurationOf(proxy.file).matchAll(/(?:read_timeout|send_timeout|tunnel) (\d+)s/g)];
    expect(idle.length).toBeGreaterThan(0);
    for (const [, seconds] of idle) expect(Number(seconds) * 1_000).toBeGreaterThan(intervalMs + timeoutMs);
  });

  it.runIf(isThere)('has the address of the client and the Host that it asked for', async () => {
    const { url, gateways } = await startProxy(proxy);
    const origin = new URL(url.replace('ws', 'http')).origin;
    const headers = { 'X-Forwarded-For': '203.0.113.9', Forwarded: 'for=203.0.113.9' };
    const client = await Client.connect(url, { token: token(), origin, headers, localAddress: '127.0.0.2' });
    expect(await client.ask({ event: 'nothing', id: 1 })).toMatchObject({ data: { code: 'UNKNOWN_EVENT' } });
    const logs = (): string => gateways.map(({ output }) => output()).join('');
    await expect.poll(logs).toContain('"clientAddress":"127.0.0.2"');
    expect(logs()).not.toContain('203.0.113.9');
    expect(await refusal(url, { origin: 'https://evil.example.com' })).toMatchObject({ status: 403 });
  });

  it.runIf(isThere)('is not cut while it is idle, since the heartbeat is shorter than the timeouts', async () => {
    const heartbeat = { intervalMs: 1_000, timeoutMs: 500 };
    const { url } = await startProxy(proxy, { idle: '2s', options: { heartbeat } });
    const client = await Client.connect(url, { token: token() });
    await new Promise((resolve) => setTimeout(resolve, 4_000)); // because the proxy's clock is the real one
    expect(await client.ask({ event: 'ping', id: 1 })).toMatchObject({ event: 'pong' });
  });

  it.runIf(isThere)('sees no 503 while one of two gateways drains', async () => {
    const { url, gateways } = await startProxy(proxy);
    const [draining] = gateways;
    const deaf = await Client.connect(draining.url, { token: token() });
    await deaf.ask({ event: 'ping', id: 1 });
    deaf.socket.pause(); // holds the drain open
    draining.process.kill('SIGTERM');
    await expect.poll(async () => (await refusal(draining.url)).status).toBe(503);
    for (let count = 0; count < 10; count++) {
      const client = await Client.connect(url, { token: token() });
      expect(await client.ask({ event: 'ping', id: count })).toMatchObject({ event: 'pong' });
    }
    expect(draining.process.exitCode).toBeNull(); // the drain was still on
  });
});
