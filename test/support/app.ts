import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { Global, Module } from '@nestjs/common';
import type { DynamicModule, INestApplication, ModuleMetadata, Type } from '@nestjs/common';
import type { AddressInfo } from 'node:net';
import { WsClock } from '../../src/base/clock.js';
import { ENGINE } from '../../src/engine/engine.js';
import type { AppEngine } from './engines.js';
import { FailureSink } from '../../src/monitoring/log/failure-log.js';
import type { FailureRecord, NoticeRecord } from '../../src/monitoring/log/failure-log.js';
import { WsGatewayModule } from '../../src/index.js';
import type { AuthOptions, WsGatewayOptions } from '../../src/index.js';
import { ManualClock } from '../../src/testing/manual-clock.js';
import { localTls } from './certificates.js';
import { SECRET } from './tokens.js';

export { ManualClock };

/** True in the runs over TLS: what `npm test` runs as `wss`. */
export const OVER_TLS = process.env.TEST_TLS === '1';

/** The lines of the log, as they would be written. */
export class MemorySink extends FailureSink {
  readonly lines: FailureRecord[] = [];
  /** Those that are no failures. */
  readonly notices: NoticeRecord[] = [];

  write(record: FailureRecord): void {
    this.lines.push(record);
  }

  override note(record: NoticeRecord): void {
    this.notices.push(record);
  }
}

@Global()
@Module({})
class LogModule {
  static of(log: MemorySink): DynamicModule {
    return { module: LogModule, providers: [{ provide: FailureSink, useValue: log }], exports: [FailureSink] };
  }
}

export interface TestApp {
  app: INestApplication;
  clock: ManualClock;
  log: MemorySink;
  /** `ws://127.0.0.1:port`, or `wss://`, of the application's own server. */
  url: string;
  port: number;
}

export interface TestAppOptions extends Pick<ModuleMetadata, 'providers' | 'imports' | 'controllers'> {
  options?: Omit<WsGatewayOptions, 'auth'> & { auth?: Partial<AuthOptions> };
  gateways?: Type[];
  fastify?: boolean;
  /** Options of the HTTPS server. @default those of a server of this machine in the runs over TLS */
  https?: object;
  /** Path of a Unix domain socket to listen on, instead of a port. */
  socketPath?: string;
  before?: (app: INestApplication) => void;
  /** What the nodes share. @default the module's own */
  engine?: AppEngine | undefined;
}

/** Every test is one address, and most are in a hurry. */
export const UNLIMITED = {
  firewall: {
    maxConnectionsPerAddress: Infinity,
    handshakesPerSecondPerAddress: Infinity,
    failedAuthenticationsPerMinutePerAddress: Infinity,
    ban: { violations: Infinity },
  },
  limits: { messagesPerSecond: Infinity, messagesPerSecondPerSubject: Infinity, bytesPerSecond: Infinity },
} as const;

/** The options, with what they do not say of limits by address and of budgets off. */
export function unlimited<O extends Pick<WsGatewayOptions, 'firewall' | 'limits'>>(options: O): O {
  const firewall = { ...UNLIMITED.firewall, ...options.firewall };
  return { ...options, firewall, limits: { ...UNLIMITED.limits, ...options.limits } };
}

const running = new Map<INestApplication, ManualClock>();

/** A Nest application with the module and the given gateways, listening on a free port of loopback. */
export async function startApp(setup: TestAppOptions = {}): Promise<TestApp> {
  const { options = {}, gateways = [], providers = [], imports = [], controllers = [] } = setup;
  const clock = setup.engine?.clock?.() ?? new ManualClock();
  const log = new MemorySink();
  const auth = { jwt: { secret: SECRET }, ...options.auth };
  const { firewall, limits } = unlimited(options);
  const builder = Test.createTestingModule({
    imports: [
      WsGatewayModule.forRoot({ ...options, ...setup.engine?.options?.(), auth, firewall, limits }),
      LogModule.of(log),
      ...imports,
    ],
    providers: [...gateways, ...providers],
    controllers,
  })
    .overrideProvider(WsClock)
    .useValue(clock);
  if (setup.engine?.make !== undefined) builder.overrideProvider(ENGINE).useValue(setup.engine.make(clock));
  for (const [what, value] of setup.engine?.overrides ?? []) builder.overrideProvider(what).useValue(value);
  const module = await builder.compile();
  const https = setup.https ?? (OVER_TLS ? { cert: localTls().server.cert, key: localTls().server.key } : undefined);
  const app = setup.fastify
    ? module.createNestApplication(new FastifyAdapter((https && { https }) as object), { logger: false }) // because its types want one or the other
    : module.createNestApplication({ logger: false, ...(https !== undefined && { httpsOptions: https }) });
  setup.before?.(app);
  running.set(app, clock);
  if (setup.socketPath !== undefined) {
    await app.listen(setup.socketPath);
    return { app, clock, log, port: 0, url: `ws+unix:${setup.socketPath}:` };
  }
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  return { app, clock, log, port, url: `${https === undefined ? 'ws' : 'wss'}://127.0.0.1:${port}` };
}

/** Resolves when the condition holds, which it is asked after each turn of the event loop. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

/** Stops what startApp() started; for `afterEach`. The clock runs on, so that a drain that waits comes to its end. */
export async function stopApps(): Promise<void> {
  const stopping = [...running].map(async ([app, clock]) => {
    let isClosed = false;
    const closed = app.close().finally(() => (isClosed = true));
    while (!isClosed) {
      clock.advance(250);
      await new Promise(setImmediate);
    }
    await closed;
  });
  running.clear();
  await Promise.all(stopping);
}
