import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { onStopSignals } from '../../src/service/stop-signals.js';
import { ManualClock, UNLIMITED } from '../support/app.js';
import { Client } from '../support/client.js';
import { startService, stopServices } from '../support/service.js';
import { freePort } from '../support/tcp.js';
import { SECRET, token } from '../support/tokens.js';

const CLIENTS = 300;

const config = join(mkdtempSync(join(tmpdir(), 'ws-gateway-')), 'config.json');
writeFileSync(
  config,
  JSON.stringify(UNLIMITED, (_, value: unknown) => (value === Infinity ? null : value)),
);
const environment = { JWT_SECRET: SECRET, LOG_FORMAT: 'json', WS_GATEWAY_CONFIG: config, SHUTDOWN_DRAIN_MS: '4000' };

const groups = new Set<ChildProcess>();
afterEach(stopServices);
afterEach(() => {
  for (const { pid } of groups) {
    try {
      process.kill(-(pid as number), 'SIGKILL'); // because it has been spawned
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('ESRCH'); // it has ended, as it should
    }
  }
  groups.clear();
});

async function connectAll(url: string): Promise<Client[]> {
  const clients: Client[] = [];
  for (let i = 0; i < CLIENTS; i++) clients.push(await Client.connect(url, { token: token({ sub: `client-${i}` }) }));
  return clients;
}

/** How many of them were told, and with which codes their connections were closed. */
async function farewells(clients: readonly Client[]): Promise<{ told: number; codes: Set<number> }> {
  const closed = await Promise.all(clients.map(async (client) => (await client.closed).code));
  const told = clients.filter(({ frames }) => {
    const last = frames.at(-1);
    return last?.event === 'disconnect' && (last.data as { code: string }).code === 'SHUTTING_DOWN';
  });
  return { told: told.length, codes: new Set(closed) };
}

describe('a signal that arrives twice at once, as a Ctrl-C under npm does,', () => {
  it.each(['SIGINT', 'SIGTERM'] as const)('tells every client and ends with 0: %s', async (signal) => {
    const { url, process: child, exited } = await startService(environment);
    const clients = await connectAll(url);
    child.kill(signal);
    await sleep(50); // long enough for the first to be seen, as it is under npm
    child.kill(signal);
    expect(await farewells(clients)).toEqual({ told: CLIENTS, codes: new Set([1012]) });
    expect(await exited).toBe(0);
  });

  it('tells every client: the process group of npm start', async () => {
    const port = await freePort();
    const child = spawn('npm', ['start', '--silent', '--ignore-scripts'], {
      detached: true, // a process group of its own, as a terminal gives its jobs
      env: { PATH: process.env.PATH, HOME: tmpdir(), PORT: String(port), ...environment },
      cwd: new URL('../..', import.meta.url),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    groups.add(child);
    const isUp = (): Promise<boolean> => fetch(`http://127.0.0.1:${port}/healthz`).then(Boolean, () => false);
    await expect.poll(isUp, { timeout: 15_000 }).toBe(true);
    const clients = await connectAll(`ws://127.0.0.1:${port}/ws`);
    let printed = '';
    child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
    const exited = once(child, 'close');
    process.kill(-(child.pid as number), 'SIGINT'); // because it has been spawned
    expect(await farewells(clients)).toEqual({ told: CLIENTS, codes: new Set([1012]) });
    await exited; // with what npm makes of the signal that npm itself got
    expect(printed.match(/Draining|Ended before/g)).toEqual(['Draining']);
  });
});

it('a second signal after a moment ends the process at once, with 1', async () => {
  const { url, process: child, exited, output } = await startService({ ...environment, SHUTDOWN_DRAIN_MS: '60000' });
  const deaf = await Client.connect(url, { token: token() });
  await deaf.ask({ event: 'ping' });
  deaf.socket.pause(); // holds the drain open
  const began = performance.now();
  child.kill('SIGINT');
  await expect.poll(output).toContain('Draining');
  await sleep(1_100);
  child.kill('SIGINT');
  expect(await exited).toBe(1);
  expect(performance.now() - began).toBeLessThan(20_000);
  expect(output()).toContain('"msg":"Ended before the drain was over"');
});

it('the moment is measured by monotonic time, and begins with the first signal', () => {
  const clock = new ManualClock();
  const seen: string[] = [];
  const off = onStopSignals(clock, {
    begin: (signal) => void seen.push(`begin ${signal}`),
    hurry: (signal) => void seen.push(`hurry ${signal}`),
  });
  try {
    process.emit('SIGINT', 'SIGINT');
    clock.set(3_600_000); // the time of day says nothing
    process.emit('SIGTERM', 'SIGTERM');
    clock.jump(999);
    process.emit('SIGINT', 'SIGINT');
    expect(seen).toEqual(['begin SIGINT']);
    clock.set(-7_200_000);
    clock.jump(1);
    process.emit('SIGINT', 'SIGINT');
    expect(seen).toEqual(['begin SIGINT', 'hurry SIGINT']);
  } finally {
    off();
  }
});

it('ends within its drain with 0 though an HTTP request never ends', async () => {
  const { http, process: child, exited } = await startService({ ...environment, SHUTDOWN_DRAIN_MS: '1000' });
  const { port, hostname } = new URL(http);
  const socket = connect(Number(port), hostname).on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(
    'POST /admin/revoke HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n',
  );
  await sleep(50);
  child.kill('SIGTERM');
  expect(await exited).toBe(0);
  socket.destroy();
});
