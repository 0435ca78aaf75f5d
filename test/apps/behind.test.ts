import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { refusal } from '../support/client.js';
import { RawClient } from '../support/raw-client.js';
import { hasProgram, MAIN, run, startService, stopServices } from '../support/service.js';
import type { Service } from '../support/service.js';
import { freePort } from '../support/tcp.js';
import { SECRET, token } from '../support/tokens.js';

const python = '/usr/bin/python3'; // Debian's, which has the package; another one on PATH may not
const running = new Set<ChildProcess>();

afterEach(async () => {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
  await stopServices();
});

/** An application as a process of its own. Its output is in the order in which it was printed. */
class Application {
  printed = '';
  #child: ChildProcess | undefined;

  constructor(
    private readonly command: string,
    private readonly file: string,
    readonly port: number,
  ) {}

  async start(): Promise<void> {
    const script = new URL(`behind/${this.file}`, import.meta.url).pathname;
    const child = spawn(this.command, [script, String(this.port)]);
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (this.printed += String(chunk)));
    this.#child = child;
    running.add(child);
    while (!(await this.#listens()));
  }

  #listens(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect(this.port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
  }

  async kill(): Promise<void> {
    const child = this.#child as ChildProcess; // because it has been started
    child.kill('SIGKILL');
    await once(child, 'close');
    running.delete(child);
  }
}

async function behind(
  command: string,
  file: string,
  environment: NodeJS.ProcessEnv = {},
): Promise<{ app: Application; gateway: Service; url: string }> {
  const app = new Application(command, file, await freePort());
  await app.start();
  const args = ['proxy', '--to', `ws://127.0.0.1:${app.port}`];
  const gateway = await startService({ JWT_SECRET: SECRET, LOG_FORMAT: 'json', ...environment }, args);
  return { app, gateway, url: gateway.url.replace(/ws$/, 'chat') };
}

/** The lines of the log with that code, when there is one. */
async function linesOf({ process: { stdout }, output }: Service, code: string): Promise<Record<string, unknown>[]> {
  for (;;) {
    const lines = output().split('\n').filter((line) => line.includes(`"${code}"`)); // prettier-ignore
    if (lines.length > 0) return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    await once(stdout, 'data');
  }
}

describe.runIf(hasProgram('python3-websockets', python, ['-c', 'import websockets']))('a Python application', () => {
  it('that echoes, behind one line', async () => {
    const { app, gateway, url } = await behind(python, 'echo.py');
    const { status } = await refusal(url, { headers: { authorization: 'Basic eDp5' }, timeout: 50 } as object).catch(
      () => ({ status: 0 }),
    );
    expect(status).toBe(0); // accepted, and waits for a token
    const client = await RawClient.connect(url, { token: token() });
    client.send('hello');
    expect(await client.next()).toBe('Server received: hello');
    const tried = run(['try', '--url', url, '--token', token(), '--raw', 'hi']);
    expect(await tried.exited).toBe(0);
    expect(tried.output()).toContain('← Server received: hi');
    const without = run(['try', '--url', url, '--raw', 'hi']);
    expect(await without.exited).toBe(1);
    expect(without.output()).toContain('gets no message before a token has come: --token TOKEN');
    expect(gateway.output()).toContain('"upstreams":["/{*path}"]');
    expect(app.printed).toBe('');
  });

  it('is there from nothing in the lines of the README', async () => {
    const [appPort, port] = [await freePort(), await freePort()];
    const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-behind-'));
    const program = (name: string, text: string): void =>
      writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    program('npx', `shift; exec "${process.execPath}" "${MAIN}" "$@"`);
    program('python3', `exec ${python} "$@"`);
    cpSync(new URL('behind/echo.py', import.meta.url), join(folder, 'echo.py'));
    const script = readFileSync(new URL('behind/run.sh', import.meta.url), 'utf8')
      .replaceAll('9000', String(appPort))
      .replaceAll('8765', String(port))
      .replace('sleep 3', `until curl -sf http://127.0.0.1:${port}/readyz; do sleep 0.1; done`);
    const env = { PATH: `${folder}:${process.env.PATH}`, PORT: String(port) };
    const shell = spawn('sh', ['-c', `trap 'kill 0' EXIT\n${script}`], { cwd: folder, env, detached: true });
    let printed = '';
    shell.stdout.on('data', (chunk) => (printed += String(chunk)));
    await once(shell, 'exit');
    expect(printed).toContain('← Server received: hello');
    rmSync(folder, { recursive: true });
  });

  it('is not reached without a token, nor by a message over the budget', async () => {
    const { app, gateway, url } = await behind(python, 'secured.py', { AUTH_SOURCES: 'header' });
    expect(await refusal(url)).toMatchObject({ status: 401 });
    expect(await (await RawClient.connect(url, { token: 'bad' })).closed).toMatchObject({ code: 3000 });
    const client = await RawClient.connect(url, { token: token() });
    for (let i = 0; i < 1_000; i++) client.send(JSON.stringify({ room: 'a', text: String(i) }));
    expect(await client.closed).toEqual({ code: 4129, reason: 'RATE_LIMITED' });
    expect((await client.rest()).length).toBeLessThan(500);
    expect(await linesOf(gateway, 'RATE_LIMITED')).toHaveLength(1);
    expect(app.printed).not.toContain('JSON');
  });

  it('that throws ends in a coded close and a line of the log, and serves the others', async () => {
    const { app, gateway, url } = await behind(python, 'secured.py');
    const [witness, client] = [
      await RawClient.connect(url, { token: token({ sub: 'bob' }) }),
      await RawClient.connect(url, { token: token() }),
    ];
    for (const bad of ['not JSON', '{}', '{"room":"a","text":1}', Buffer.from([1])]) {
      const one = await RawClient.connect(url, { token: token() });
      one.send(bad);
      expect((await one.closed).code).toBe(1011);
    }
    for (const one of [witness, client]) {
      one.send({ room: 'a', text: ' hello ' });
      expect(await one.json()).toEqual({ from: one === witness ? 'bob' : 'ada', text: 'hello' });
    }
    expect(app.printed).toContain('JSONDecodeError');
    const lines = await linesOf(gateway, 'CLOSED');
    expect(lines.length).toBeGreaterThanOrEqual(4);
    expect(lines[0]).toMatchObject({
      closeCode: 1011,
      reason: `ws://127.0.0.1:${app.port} has failed`,
      subject: 'ada',
    });
  });

  it('that restarts under load tells each client to come back, and each comes back', async () => {
    const { app, url } = await behind(python, 'echo.py', { AUTH_SOURCES: 'header' });
    const bearer = { headers: { authorization: `Bearer ${token()}` } };
    const connected = (): Promise<RawClient[]> =>
      Promise.all(Array.from({ length: 8 }, () => RawClient.connect(url, bearer)));
    const served = (client: RawClient): Promise<void> => {
      client.send('x');
      return expect(client.next()).resolves.toBe('Server received: x');
    };
    let clients = await connected();
    for (let restart = 0; restart < 2; restart++) {
      for (let round = 0; round < 5; round++) await Promise.all(clients.map(served));
      for (const client of clients) client.send('in flight');
      await app.kill();
      const ends = await Promise.all(clients.map(({ closed }) => closed));
      for (const end of ends) expect(end).toEqual({ code: 1014, reason: 'BAD_GATEWAY' });
      expect(await refusal(url, bearer)).toMatchObject({ status: 503, body: { code: 'UNAVAILABLE' } });
      await app.start();
      clients = await connected();
    }
    await Promise.all(clients.map(served));
  });
});

it('the command that the start prints without a key is for an application behind the gateway', async () => {
  const gateway = await startService({ JWT_SECRET: '' }, ['proxy', '--to', `ws://127.0.0.1:${await freePort()}`]);
  await expect.poll(gateway.output).toMatch(/ try --url \S+ --token \S+ --raw hello\n/);
});

it('a Node application knows who its client is', async () => {
  const { url } = await behind(process.execPath, 'echo.mjs');
  const client = await RawClient.connect(url, { token: token({ sub: 'Ädä' }) });
  client.send('hello');
  expect(await client.next()).toBe('Ädä: hello');
});
