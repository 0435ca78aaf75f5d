import { Server as TlsServer } from 'node:tls';
import type { Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { INestApplication, ModuleMetadata } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { TestingModule, TestingModuleBuilder } from '@nestjs/testing';
import { Verification } from '../authentication/verification.js';
import { WsClock } from '../base/clock.js';
import { WsGatewayAdapter } from '../connection/adapter.js';
import { WsMonitor } from '../monitoring/ws-monitor.js';
import { LiveOptions } from '../reload/live-options.js';
import type { FailureEvent } from '../session/events.js';
import { WsSessions } from '../session/ws-sessions.js';
import { ManualClock } from './manual-clock.js';
import { TestVerification } from './test-verification.js';
import type { TestClaims } from './test-verification.js';
import { WsRefusedError, WsTestClient } from './ws-test-client.js';
import type { WsTestConnectOptions, WsTestRefusal } from './ws-test-client.js';
import { WsTestClock } from './ws-test-clock.js';

export interface WsTestingOptions {
  /** Replaces providers, guards and the like. */
  readonly override?: (builder: TestingModuleBuilder) => TestingModuleBuilder;
  /** Makes the application, where it is not that of Express without options. @default `module.createNestApplication()` */
  readonly create?: (module: TestingModule) => INestApplication;
  /** Called before it listens: global pipes, a prefix. */
  readonly before?: (app: INestApplication) => void | Promise<void>;
}

/** Where and how a test connects. */
export interface WsTestPeerOptions extends WsTestConnectOptions {
  /** Path of the gateway. @default that of `WsGatewayModule.forRoot({ path })` */
  readonly path?: string;
  /** The whole URL: of a gateway with a port of its own. */
  readonly url?: string;
  /** A bearer token in `Authorization`: one of the application's own. */
  readonly token?: string;
}

/** How long the application, and each of its clients, may take to close, in real milliseconds. */
const [CLOSE_MS, CLIENT_CLOSE_MS] = [5_000, 500];

/**
 * Starts an application on a free port of loopback, with a clock that a test moves and tokens that need no keys.
 *
 * @throws what the application's start throws
 */
export function createWsTestingApp(metadata: ModuleMetadata, options: WsTestingOptions = {}): Promise<WsTestingApp> {
  return useWsTesting(Test.createTestingModule(metadata), options);
}

/** Does the same with a testing module that is being built already. */
export async function useWsTesting(
  builder: TestingModuleBuilder,
  { override = (same) => same, create = (module) => module.createNestApplication(), before }: WsTestingOptions = {},
): Promise<WsTestingApp> {
  const clock = new ManualClock();
  const module = await override(
    builder.overrideProvider(WsClock).useValue(clock).overrideProvider(Verification).useClass(TestVerification),
  ).compile();
  const app = create(module);
  await before?.(app);
  return WsTestingApp.start(app, clock);
}

/** An application under test. None of its sockets keeps the process alive, so that a test which hangs still ends. */
export class WsTestingApp {
  readonly app: INestApplication;
  readonly clock: WsTestClock;
  /** `ws://127.0.0.1:port/path` of the module's path. */
  readonly url: string;
  /** Every end of a request or a connection so far that had a code, as the log has it. */
  readonly failures: FailureEvent[] = [];
  /** All that the gateway tells of itself, by kind. */
  readonly events: WsMonitor;
  readonly sessions: WsSessions;
  readonly #manual: ManualClock;
  readonly #verification: TestVerification;
  readonly #clients = new Set<WsTestClient>();
  #closing: Promise<void> | undefined;

  private constructor(app: INestApplication, manual: ManualClock, url: string) {
    this.app = app;
    this.url = url;
    this.#manual = manual;
    this.clock = new WsTestClock(manual);
    this.events = app.get(WsMonitor, { strict: false });
    this.sessions = app.get(WsSessions, { strict: false });
    this.#verification = app.get(Verification, { strict: false });
    this.events.subscribe((event) => this.failures.push(event));
  }

  /** @internal */
  static async start(app: INestApplication, manual: ManualClock): Promise<WsTestingApp> {
    const http = app.getHttpServer() as Server; // because Express and Fastify both have Node's
    http.on('connection', (socket: Socket) => socket.unref());
    await app.listen(0, '127.0.0.1');
    http.unref();
    const { port } = http.address() as AddressInfo; // because it listens on a port
    const { path } = app.get(LiveOptions, { strict: false }).current;
    return new WsTestingApp(app, manual, `${http instanceof TlsServer ? 'wss' : 'ws'}://127.0.0.1:${port}${path}`);
  }

  /** A token for these claims, which the application takes from any of its clients. It is good for 60 s of the test's clock. */
  token(claims: TestClaims = {}): string {
    return this.#verification.issue(claims);
  }

  /**
   * Opens a connection, and waits until the server has taken it.
   *
   * @param claims whose; without them the client shows no token
   * @throws WsRefusedError where the handshake is refused; Error where the server ends the connection at once, with its code
   */
  async connect(claims?: TestClaims, options: WsTestPeerOptions = {}): Promise<WsTestClient> {
    const token = claims === undefined ? options.token : this.token(claims);
    const client = await this.#open({ ...options, ...(token !== undefined && { token }) });
    this.#clients.add(client);
    void client.closed.then(() => this.#clients.delete(client));
    await client.settled();
    return client;
  }

  /**
   * Connects where a refusal is expected.
   *
   * @throws Error when the handshake succeeds
   */
  async refused(options: WsTestPeerOptions = {}): Promise<WsTestRefusal> {
    const outcome = await this.#open(options).catch((error: unknown) => error);
    if (outcome instanceof WsRefusedError) return outcome;
    if (!(outcome instanceof WsTestClient)) throw outcome;
    outcome.terminate();
    throw new Error('The handshake was accepted');
  }

  /** Ends every session as a stop of the process does: new handshakes are refused, and clients are told to come back. */
  async drain(): Promise<void> {
    const adapter = this.app.get(WsGatewayAdapter, { strict: false });
    adapter.refuseUpgrades();
    await this.#whileTimePasses(adapter.drain(), 'the sessions');
  }

  /**
   * Closes the clients, then the application. Twice is fine.
   *
   * @throws Error when the application has not closed within five seconds
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#clients].map(closeClient));
    await this.#whileTimePasses(this.app.close(), 'the application');
  }

  #open({ path, url, token, headers, ...options }: WsTestPeerOptions): Promise<WsTestClient> {
    const target = url ?? (path === undefined ? this.url : new URL(path, this.url).href);
    return WsTestClient.connect(target, {
      ...options,
      headers: { ...headers, ...(token !== undefined && { authorization: `Bearer ${token}` }) },
    });
  }

  /** Shutdown has deadlines by the test's clock. @throws Error when it takes too long by the real one */
  async #whileTimePasses(done: Promise<unknown>, what: string): Promise<void> {
    let isDone = false;
    const outcome = done.finally(() => (isDone = true));
    outcome.catch(() => undefined); // awaited below, unless time runs out
    const until = performance.now() + CLOSE_MS;
    for (let turn = 0; !isDone; turn++) {
      if (performance.now() > until) throw new Error(`Waited ${CLOSE_MS} ms for ${what} to close`);
      this.#manual.advance(250);
      await new Promise<void>((resolve) => (turn < 100 ? setImmediate(resolve) : setTimeout(resolve, 10)));
    }
    await outcome;
  }
}

async function closeClient(client: WsTestClient): Promise<void> {
  const cut = setTimeout(() => client.terminate(), CLIENT_CLOSE_MS);
  await client.close();
  clearTimeout(cut);
}
