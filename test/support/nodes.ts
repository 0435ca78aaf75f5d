import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { Logger } from '@nestjs/common';
import type { INestApplication, Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { SystemClock } from '../../src/base/clock.js';
import { RedisPlace } from '../../src/cluster/options.js';
import type { ResolvedCluster } from '../../src/cluster/options.js';
import { RedisCluster } from '../../src/cluster/redis-cluster.js';
import { CLUSTER_TIMES } from '../../src/engine/cluster.js';
import type { ClusterTimes, LocalNode } from '../../src/engine/cluster.js';
import type { Fact } from '../../src/engine/facts.js';
import { WsGatewayModule, WsSessions } from '../../src/index.js';
import type { WsGatewayOptions } from '../../src/index.js';
import { unlimited } from './app.js';
import { SECRET } from './tokens.js';

/** Short, so that no test waits for seconds. */
export const TIMES: ClusterTimes = { readMs: 100, blindMs: 400, doorMs: 800, settleMs: 300, answerMs: 400 };

/** A node without sessions, and what it has heard. */
export interface TestNode {
  readonly cluster: RedisCluster;
  /** Data of the facts that others have recorded, in the order in which they were applied. */
  readonly heard: unknown[];
  /** What it has told the monitor. */
  readonly events: readonly string[];
  stop(): Promise<void>;
}

// Each node says what the Redis of a test lacks.
Logger.overrideLogger([]);

const running = new Set<RedisCluster>();

/** A name that no other test has, so that they share a Redis. */
export const clusterName = (): string => `test-${randomBytes(6).toString('hex')}`;

export async function startNode(
  url: string,
  name: string,
  options: Partial<ResolvedCluster> = {},
  local: Partial<LocalNode> = {},
): Promise<TestNode> {
  const events: string[] = [];
  const cluster = await RedisCluster.create(
    {
      name,
      node: 'node',
      admission: 'closed',
      endBlindAfterMs: Infinity,
      maxQueuedBytes: 8_388_608,
      maxQueuedMs: 5_000,
      leaseMs: 800,
      commandTimeoutMs: 250,
      ...options,
      redis: new RedisPlace(url),
    },
    '0.0.0',
    TIMES,
    new SystemClock(),
    { has: () => true, emit: ({ action }) => void events.push(action) },
  );

  const heard: unknown[] = [];
  for (const topic of ['revocation', 'firewall'] as const) {
    cluster.facts.listen(topic, ({ data }) => heard.push(data));
  }
  running.add(cluster);
  const none = (): number => 0;
  const ignore = (): void => undefined;
  await cluster.start({
    sessions: none,
    rooms: none,
    latestExpiry: none,
    noteLatestExpiry: ignore,
    endAll: ignore,
    announce: async () => undefined,
    ...local,
  });
  return {
    cluster,
    heard,
    events,
    stop: async () => {
      running.delete(cluster);
      await cluster.stop();
    },
  };
}

/** For `afterEach`. */
export async function stopNodes(): Promise<void> {
  await Promise.all([...running].map((cluster) => cluster.stop()));
  running.clear();
}

export const fact = (key: string, data: unknown = key, rank?: number): Fact => ({
  topic: 'revocation',
  key,
  until: Date.now() + 60_000,
  data,
  ...(rank !== undefined && { rank }),
});

/** Resolves when the condition holds. @throws Error when it does not within five seconds */
export async function eventually(condition: () => boolean | Promise<boolean>, what = 'the condition'): Promise<void> {
  const until = performance.now() + 5_000;
  while (!(await condition())) {
    if (performance.now() > until) throw new Error(`${what} did not come true`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** An application with the module on a Redis: real time, and short times of the cluster. */
export interface TestMember {
  readonly app: INestApplication;
  readonly url: string;
  readonly sessions: WsSessions;
}

const apps = new Set<INestApplication>();

export async function startMember(
  redis: string,
  name: string,
  options: Partial<WsGatewayOptions> = {},
  providers: Type[] = [],
): Promise<TestMember> {
  const module = await Test.createTestingModule({
    imports: [
      WsGatewayModule.forRoot(
        unlimited({
          auth: { jwt: { secret: SECRET }, sources: ['header', 'ticket', 'message'] },
          fingerprints: { keys: `k:${'A'.repeat(43)}` },
          shutdown: { drainMs: 100 },
          ...options,
          cluster: { redis, name, commandTimeoutMs: 250, ...options.cluster },
        }),
      ),
    ],
    providers,
  })
    .overrideProvider(CLUSTER_TIMES)
    .useValue(TIMES)
    .compile();
  const app = module.createNestApplication({ logger: false });
  apps.add(app);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  return { app, url: `ws://127.0.0.1:${port}/ws`, sessions: app.get(WsSessions) };
}

/** For `afterEach`. */
export async function stopMembers(): Promise<void> {
  await Promise.all([...apps].map((app) => app.close()));
  apps.clear();
}
