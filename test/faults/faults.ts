import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { Proxy, RedisServer } from '../support/redis.js';
import { startService } from '../support/service.js';
import type { Service } from '../support/service.js';
import { SECRET, signed } from '../support/tokens.js';

/** What a client or an operator was promised, and did not get. */
export interface Report {
  readonly violations: string[];
  readonly counts: Record<string, number>;
}

const CHANNEL = 'room.1';
const CONFIG = {
  auth: { sources: ['header', 'ticket', 'message'], tickets: { ttlMs: 60_000 } },
  firewall: {
    maxConnectionsPerAddress: null,
    handshakesPerSecondPerAddress: null,
    failedAuthenticationsPerMinutePerAddress: null,
    ban: { violations: null },
  },
  limits: { messagesPerSecondPerSubject: null, messagesPerSecond: null },
  channels: {
    rules: [{ pattern: 'room.*', subscribe: true, publish: true, history: { count: 10_000, ageMs: 600_000 } }],
  },
  cluster: { leaseMs: 3_000 },
};

/** A service behind a proxy of its own to Redis. */
class Node {
  service!: Service;
  proxy!: Proxy;
  /** How many lives it has had: what a client had at an earlier one is gone by the fault. */
  life = 0;

  constructor(
    private readonly environment: NodeJS.ProcessEnv,
    private readonly redis: RedisServer,
  ) {}

  async up(): Promise<void> {
    this.proxy ??= await Proxy.before(this.redis.port);
    this.service = await startService({ ...this.environment, REDIS_URL: this.proxy.url });
    this.life++;
  }

  async down(signal: NodeJS.Signals): Promise<void> {
    this.life++;
    this.service.process.kill(signal);
    await this.service.exited;
  }

  async isReady(): Promise<boolean> {
    return (await ask(`${this.service.http}/readyz`, undefined, 'GET').catch(() => undefined))?.status === 200;
  }
}

const bearer = (sub: string, claims: Record<string, unknown> = {}): string =>
  signed({ sub, jti: randomBytes(8).toString('hex'), ...claims }, { key: SECRET });

function ask(
  url: string,
  token?: string,
  method = 'POST',
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: Record<string, unknown> }> {
  return fetch(url, {
    method,
    headers: {
      ...headers,
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(8_000),
  }).then(async (answer) => ({
    status: answer.status,
    body: (await answer.json().catch(() => ({}))) as Record<string, unknown>,
  }));
}

type Frame = { event: string; data: never; id?: number; channel?: string; offset?: number };

/** A connection that hands on what it gets. */
async function open(
  url: string,
  token: string | undefined,
  onFrame: (frame: Frame) => void,
): Promise<WebSocket | undefined> {
  const socket = new WebSocket(url, {
    ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
    handshakeTimeout: 6_000,
  });
  socket.on('message', (data) => onFrame(JSON.parse((data as Buffer).toString()) as Frame)); // because a service sends nothing else
  socket.on('error', () => undefined);
  return Promise.race([once(socket, 'open').then(() => socket), once(socket, 'close').then(() => undefined)]).catch(
    () => undefined,
  );
}

/** True where the credential opens a session that is served. */
async function isAdmitted(url: string, token?: string): Promise<boolean> {
  let answered: (isIn: boolean) => void = () => undefined;
  const answer = new Promise<boolean>((resolve) => (answered = resolve));
  const socket = await open(url, token, ({ event }) => answered(event === 'session'));
  if (socket === undefined) return false;
  socket.on('close', () => answered(false));
  socket.send(JSON.stringify({ event: 'session', id: 1 }));
  const isIn = await Promise.race([answer, sleep(6_000, false)]);
  socket.terminate();
  return isIn;
}

/** A client that lives as a real one: it subscribes, and comes back with its position. */
class Subscriber {
  /** Offsets of each epoch, as they came. */
  readonly got = new Map<string, number[]>();
  #epoch: string | undefined;
  #offset = 0;
  /** Offsets up to here are not vouched for: a gap was told. */
  readonly vouchedFrom = new Map<string, number>();
  isStopped = false;
  isLive = false;

  constructor(
    private readonly pick: () => Node,
    private readonly witness: Witness,
    private readonly name: string,
  ) {}

  async run(): Promise<void> {
    while (!this.isStopped) {
      const node = this.pick();
      const { life } = node;
      const socket = await open(node.service.url, bearer(this.name), (frame) => this.#take(frame, socket ?? undefined));
      if (socket === undefined) {
        await sleep(100);
        continue;
      }
      this.#subscribe(socket);
      const [code] = (await once(socket, 'close')) as [number];
      this.isLive = false;
      if (!this.isStopped && node.life === life)
        this.witness.violation(`I6 a session of ${this.name} ended with ${code}`);
    }
  }

  #subscribe(socket: WebSocket): void {
    const since = this.#epoch === undefined ? {} : { since: { epoch: this.#epoch, offset: this.#offset } };
    socket.send(JSON.stringify({ event: 'subscribe', data: { channel: CHANNEL, ...since }, id: 1 }));
  }

  #take({ event, data, offset }: Frame, socket: WebSocket | undefined): void {
    if (event === 'subscribe') {
      const {
        epoch,
        offset: top,
        recovered,
        replayed = 0,
      } = data as { epoch: string; offset: number; recovered?: boolean; replayed?: number };
      if (recovered !== true) this.#restart(epoch, top);
      else if (top - replayed !== this.#offset && replayed > 0)
        this.witness.violation(`I3 ${this.name} was replayed ${replayed} up to ${top}, and had ${this.#offset}`);
      this.isLive = true;
    } else if (event === 'exception' || event === 'unsubscribed') {
      setTimeout(() => socket?.readyState === WebSocket.OPEN && this.#subscribe(socket), 300);
    } else if (event === 'gap') {
      const { epoch, offset: top } = data as { epoch: string; offset: number };
      this.witness.count('gaps');
      this.#restart(epoch, top);
    } else if (event === 'chat' && offset !== undefined && this.#epoch !== undefined) {
      if (offset !== this.#offset + 1) this.witness.violation(`I3 ${this.name} got ${offset} after ${this.#offset}`);
      this.#offset = offset;
      this.got.get(this.#epoch)?.push(offset);
    }
  }

  #restart(epoch: string, offset: number): void {
    this.#epoch = epoch;
    this.#offset = offset;
    this.vouchedFrom.set(epoch, offset);
    this.got.set(epoch, this.got.get(epoch) ?? []);
  }
}

/** Sees sockets, HTTP answers and logs, and nothing else. */
class Witness {
  readonly violations: string[] = [];
  readonly counts: Record<string, number> = {};

  violation(what: string): void {
    if (this.violations.length < 50) this.violations.push(what);
  }

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }
}

export type Fault = readonly [name: string, act: (world: World) => Promise<void>];

interface World {
  readonly redis: RedisServer;
  readonly nodes: readonly Node[];
  readonly pick: () => Node;
}

/** By name; each returns when what it has broken is whole again. */
export const FAULTS: readonly Fault[] = [
  ['kill -9 of Redis, back with its data', async ({ redis }) => (await redis.kill(), redis.up())],
  ['kill -9 of Redis, back empty', async ({ redis }) => (await redis.kill(), redis.empty(), redis.up())],
  ['kill -9 of Redis, away for 4 s', async ({ redis }) => (await redis.kill(), await sleep(4_000), redis.up())],
  ['FLUSHALL', async ({ redis }) => void (await redis.say('FLUSHALL'))],
  ['SIGSTOP of Redis, 0.3 s', async ({ redis }) => (redis.freeze(), await sleep(300), redis.thaw())],
  ['SIGSTOP of Redis, 1.2 s', async ({ redis }) => (redis.freeze(), await sleep(1_200), redis.thaw())],
  ['SIGSTOP of Redis, 6 s', async ({ redis }) => (redis.freeze(), await sleep(6_000), redis.thaw())],
  ['all connections to Redis reset', async ({ nodes }) => nodes.forEach(({ proxy }) => proxy.cut())],
  ['the connections of one node reset', async ({ pick }) => pick().proxy.cut()],
  [
    'one node cut off for 3 s without a word',
    async ({ pick }) => {
      const { proxy } = pick();
      proxy.swallow(true);
      await sleep(3_000);
      proxy.swallow(false);
      proxy.cut();
    },
  ],
  ['CLIENT KILL of subscriptions', async ({ redis }) => void (await redis.say('CLIENT', 'KILL', 'TYPE', 'pubsub'))],
  ['CLIENT KILL of commands', async ({ redis }) => void (await redis.say('CLIENT', 'KILL', 'TYPE', 'normal'))],
  [
    'kill -9 of a node',
    async ({ pick }) => {
      const node = pick();
      await node.down('SIGKILL');
      await node.up();
    },
  ],
  [
    'SIGTERM of a node',
    async ({ pick }) => {
      const node = pick();
      await node.down('SIGTERM');
      await node.up();
    },
  ],
  [
    'SIGSTOP of a node, 4 s',
    async ({ pick }) => {
      const { process } = pick().service;
      process.kill('SIGSTOP');
      await sleep(4_000);
      process.kill('SIGCONT');
    },
  ],
];

/** The same numbers for the same seed. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** So many faults, drawn by the seed. */
export function draw(count: number, seed: number): Fault[] {
  const next = random(seed);
  return Array.from({ length: count }, () => FAULTS[Math.floor(next() * FAULTS.length)] as Fault); // because there are some
}

/** Runs faults while clients live on three nodes; then everything has to be exact. */
export async function runFaults(faults: readonly Fault[], seed: number, say: (line: string) => void): Promise<Report> {
  const next = random(seed);
  const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-faults-'));
  const configuration = join(folder, 'gateway.json');
  writeFileSync(configuration, JSON.stringify(CONFIG));
  const redis = await RedisServer.start('--appendonly', 'yes');
  const environment = {
    JWT_SECRET: SECRET,
    FINGERPRINT_KEYS: `k:${'A'.repeat(43)}`,
    WS_GATEWAY_CONFIG: configuration,
    LOG_LEVEL: 'info',
    SHUTDOWN_DRAIN_MS: '1000',
  };
  const nodes = [1, 2, 3].map((n) => new Node({ ...environment, NODE_NAME: `node-${n}` }, redis));
  await Promise.all(nodes.map((node) => node.up()));
  const witness = new Witness();
  const pick = (): Node => nodes[Math.floor(next() * nodes.length)] as Node; // because there are three
  const any = (): Node => nodes[Math.floor(Math.random() * nodes.length)] as Node; // clients draw by themselves
  let isOver = false;
  const loops: Promise<unknown>[] = [];
  const loop = (everyMs: number, act: () => Promise<void>): void => {
    const run = async (): Promise<void> => {
      while (!isOver) {
        await act().catch(() => witness.count('unanswered'));
        await sleep(everyMs);
      }
    };
    loops.push(run());
  };
  const admin = bearer('operator', { scope: 'ws-gateway:admin ws-gateway:publish' });
  const revoked: string[] = [];
  const used: string[] = [];
  const accepted = new Map<string, number[]>();
  loop(100, async () => {
    const sub = `user-${randomBytes(6).toString('hex')}`;
    const token = bearer(sub);
    const { status } = await ask(`${any().service.http}/admin/revoke`, admin, 'POST', { subject: sub });
    if (status !== 200) return witness.count('revocations that could not be told');
    revoked.push(token);
    witness.count('revocations');
    // At once, and at another node as a rule.
    if (await isAdmitted(any().service.url, token))
      witness.violation(`I1 ${sub} was admitted right after its revocation`);
  });
  loop(30, async () => {
    const token = revoked[Math.floor(Math.random() * revoked.length)];
    if (token === undefined) return;
    witness.count('attempts with a revoked token');
    if (await isAdmitted(any().service.url, token)) witness.violation('I1 a revoked token was admitted');
  });
  loop(200, async () => {
    const { status, body } = await ask(`${any().service.http}/tickets`, bearer('ticket-holder'));
    if (status !== 201) return;
    const { ticket } = body as { ticket: string };
    const outcomes = await Promise.all(
      Array.from({ length: 3 }, () => isAdmitted(`${any().service.url}?ticket=${ticket}`)),
    );
    const successes = outcomes.filter((isIn) => isIn).length;
    witness.count('tickets');
    if (successes > 1) witness.violation(`I2 a ticket opened ${successes} sessions`);
    if (successes === 1) used.push(ticket);
  });
  loop(100, async () => {
    const ticket = used[Math.floor(Math.random() * used.length)];
    if (ticket !== undefined && (await isAdmitted(`${any().service.url}?ticket=${ticket}`)))
      witness.violation('I2 a used ticket was good again');
  });
  let n = 0;
  loop(20, async () => {
    const { status, body } = await ask(
      `${any().service.http}/publish`,
      admin,
      'POST',
      { channel: CHANNEL, event: 'chat', data: ++n },
      { 'idempotency-key': `k${n}` },
    );
    if (status !== 200) return witness.count('publications that were refused');
    const { epoch, offset } = body as { epoch: string; offset: number };
    accepted.set(epoch, [...(accepted.get(epoch) ?? []), offset]);
    witness.count('publications');
  });
  const subscribers = Array.from({ length: 9 }, (_, index) => new Subscriber(any, witness, `reader-${index}`));
  for (const subscriber of subscribers) loops.push(subscriber.run());
  await sleep(1_000);
  for (const [index, [name, act]] of faults.entries()) {
    say(`${index + 1}: ${name}`);
    const known = witness.violations.length;
    await act({ redis, nodes, pick });
    const until = performance.now() + 20_000;
    while (!(await Promise.all(nodes.map((node) => node.isReady()))).every((isReady) => isReady)) {
      if (performance.now() > until) witness.violation(`I5 not all nodes were ready 20 s after: ${name}`);
      if (performance.now() > until) break;
      await sleep(100);
    }
    await sleep(800);
    for (const violation of witness.violations.slice(known)) say(`   ${violation}`);
  }
  isOver = true;
  await sleep(6_000); // what is quiet is compared every five seconds
  for (const subscriber of subscribers) {
    subscriber.isStopped = true;
    for (const [epoch, offsets] of accepted) {
      const from = subscriber.vouchedFrom.get(epoch);
      if (from === undefined) continue;
      const got = new Set(subscriber.got.get(epoch));
      const lost = offsets.filter((offset) => offset > from && !got.has(offset));
      if (lost.length > 0) witness.violation(`I4 accepted and lost: ${lost.slice(0, 5).join()} of ${epoch}`);
    }
  }
  for (const { service } of nodes) {
    if (/unhandled|uncaught/i.test(service.output()))
      witness.violation(`I7 ${/.*(?:unhandled|uncaught).*/i.exec(service.output())?.[0]}`);
    if (service.process.exitCode !== null) witness.violation('I7 a node has ended');
    service.process.kill('SIGKILL');
  }
  await Promise.all(nodes.map(({ proxy }) => proxy.close()));
  await redis.stop();
  rmSync(folder, { recursive: true, force: true });
  return { violations: witness.violations, counts: witness.counts };
}
