import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import * as attacks from '../../support/hostile.js';
import { MAX_HELD, memoryOf, startHostileTarget, Witness } from '../../support/hostile.js';
import type { Attack } from '../../support/hostile.js';
import { startTcp, UpstreamApp } from '../../support/upstream.js';
import { stopTargets } from '../../support/target.js';
import type { Target } from '../../support/target.js';
import { token } from '../../support/tokens.js';

/** As with the attacks on the gateway itself. */
const SLOWEST_MS = 1_000;

/** How often the application restarts under load: 200 take 15 seconds. */
const RESTARTS = Number(process.env.PROXY_RESTARTS ?? 15);

let app: UpstreamApp;
let target: Target;

/** A gateway in a process of its own without budgets, so that the bounds of a session hold by themselves; the application is here. */
const start = (urls: string[] = [app.url], rest: object = {}): Promise<Target> =>
  startHostileTarget({
    path: '/own',
    upstreams: { '/ws': { urls } },
    limits: { messagesPerSecond: null, messagesPerSecondPerSubject: null, bytesPerSecond: null },
    auth: { sources: ['header', 'message'], maxSessionsPerSubject: null },
    firewall: {
      maxConnectionsPerAddress: null,
      handshakesPerSecondPerAddress: null,
      failedAuthenticationsPerMinutePerAddress: null,
      ban: { violations: null },
    },
    ...rest,
  });

beforeEach(async () => void (app = await UpstreamApp.start()));
afterEach(async () => {
  await stopTargets();
  await app.stop();
});

describe('a single hostile client', () => {
  it.each<[string, Attack, object?]>([
    ['never reads', attacks.neverReads],
    ['stops in the middle of a frame', attacks.halfFrame],
    ['sends fragments without end', attacks.tinyFragments],
    ['floods with pings', attacks.pingFlood],
    ['floods with pings and reads no pong', attacks.pingsUnread],
    ['declares what it never sends', attacks.hugeLengths],
    ['closes and holds the connection', attacks.closeWithoutEnd],
    ['floods with messages', attacks.messageFlood, { limits: {} }],
    ['does nothing but shake hands', attacks.handshakeFlood],
  ])('that %s takes nothing from anybody else behind the gateway', async (_, attack, rest = {}) => {
    target = await start([app.url], rest);
    const witness = await Witness.start(target, token({ sub: 'witness' }));
    const before = await memoryOf(target);
    const attackers = await attack(target, token({ sub: 'mallory' }));
    const during = await memoryOf(target);
    const seen = await witness.stop();
    for (const attacker of attackers) attacker.end();
    expect(seen).toMatchObject({ answered: seen.asked });
    expect(seen.closed).toBeUndefined();
    expect(seen.slowestMs).toBeLessThan(SLOWEST_MS);
    expect(during.held - before.held).toBeLessThan(MAX_HELD);
    await expect.poll(async () => (await memoryOf(target)).sessions, { timeout: 10_000 }).toBe(0);
    await expect.poll(() => app.tcp.size, { timeout: 10_000 }).toBe(0);
  });
});

describe('an application that hangs', () => {
  let hanging: Awaited<ReturnType<typeof startTcp>>;
  beforeAll(async () => void (hanging = await startTcp((socket) => socket.resume())));
  afterAll(() => {
    for (const socket of hanging.sockets) socket.destroy();
    hanging.server.close();
  });

  it('holds none of those that ask for another one', async () => {
    const upstreams = { '/ws': { urls: [app.url] }, '/hangs': { urls: [hanging.url], connectTimeoutMs: 1_000 } };
    target = await start([], { upstreams });
    const witness = await Witness.start(target, token({ sub: 'witness' }));
    const before = await memoryOf(target);
    const headers = { authorization: `Bearer ${token()}` };
    const statuses = await Promise.all(
      Array.from({ length: 200 }, async () => {
        const client = new WebSocket(`ws://127.0.0.1:${target.port}/hangs`, { headers });
        client.on('error', () => undefined);
        const [, response] = (await once(client, 'unexpected-response')) as [
          unknown,
          { statusCode: number; destroy(): void },
        ];
        response.destroy();
        return response.statusCode;
      }),
    );
    expect(new Set(statuses)).toEqual(new Set([503]));
    const during = await memoryOf(target);
    const seen = await witness.stop();
    expect(seen).toMatchObject({ answered: seen.asked });
    expect(during.held - before.held).toBeLessThan(MAX_HELD);
    await expect.poll(() => hanging.sockets.size, { timeout: 5_000 }).toBe(0);
  });
});

/** One client, which comes back until it is stopped. */
class Regular {
  readonly ends: string[] = [];
  answers = 0;
  isOver = false;
  readonly done: Promise<void>;

  constructor(private readonly url: string) {
    this.done = this.#live();
  }

  async #live(): Promise<void> {
    while (!this.isOver) {
      await this.#connect();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  #connect(): Promise<void> {
    const socket = new WebSocket(this.url, { headers: { authorization: `Bearer ${token()}` } });
    return new Promise((resolve) => {
      socket.on('open', () => socket.send('x'));
      socket.on('message', () => {
        this.answers++;
        if (this.isOver) socket.close();
        else socket.send('x');
      });
      socket.on('unexpected-response', (_, response) => {
        this.ends.push(String(response.statusCode));
        response.destroy();
        resolve();
      });
      socket.on('error', () => undefined); // what follows says it
      socket.on('close', (code, reason) => {
        if (!this.isOver) this.ends.push(`${code} ${reason.toString()}`);
        resolve();
      });
    });
  }
}

describe('an application that restarts under load', () => {
  it('leaves no process, no socket and no client without a word', async () => {
    target = await start();
    const { port } = new URL(app.url);
    const clients = Array.from({ length: 16 }, () => new Regular(`ws://127.0.0.1:${target.port}/ws`));
    for (let i = 0; i < RESTARTS; i++) {
      await new Promise((resolve) => setTimeout(resolve, 40));
      await app.stop();
      await new Promise((resolve) => setTimeout(resolve, 5));
      app = await UpstreamApp.start(undefined, { port: Number(port) });
    }
    const before = clients.map(({ answers }) => answers);
    await expect
      .poll(() => clients.every(({ answers }, index) => answers > (before[index] ?? 0)), { timeout: 10_000 })
      .toBe(true);
    for (const client of clients) client.isOver = true;
    await Promise.all(clients.map(({ done }) => done));
    const ends = clients.flatMap((client) => client.ends);
    expect(ends.filter((end) => !/^(?:502|503|1014 BAD_GATEWAY)$/.test(end))).toEqual([]);
    expect(ends.filter((end) => end === '1014 BAD_GATEWAY').length).toBeGreaterThan(RESTARTS);
    process.stdout.write(`${RESTARTS} restarts: ${ends.length} ends, ${clients.reduce((sum, { answers }) => sum + answers, 0)} answers\n`); // prettier-ignore
    expect(target.process.exitCode).toBeNull();
    await expect.poll(async () => (await memoryOf(target)).sessions, { timeout: 10_000 }).toBe(0);
    await expect.poll(() => app.tcp.size, { timeout: 10_000 }).toBe(0);
  }, 120_000);
});
