import type { Cluster, Redis } from 'ioredis';
import { loadOptional } from '../base/missing-package.js';
import type { RedisPlace } from './options.js';
import type { Script } from './scripts.js';

type Module = Pick<typeof import('ioredis'), 'Redis' | 'Cluster'>;
/** A client, of one Redis or of a Redis Cluster, as far as it is used. */
export type RedisClient = Redis | Cluster;

type Argument = string | number | Buffer;

/** Longest and shortest pause before a connection is tried again, in milliseconds. */
const [MIN_PAUSE_MS, MAX_PAUSE_MS] = [50, 1_000];

/** A socket that owes an answer for so long is half open, and gets a successor. Redis may be frozen for some seconds. */
const SOCKET_TIMEOUT_MS = 5_000;

const CONNECT_TIMEOUT_MS = 2_000;
const KEEP_ALIVE_MS = 5_000;
const SENTINEL_PORT = 26_379;
const REDIS_PORT = 6_379;

/** What a connection is for; each has its own, since a blocking read, or a subscription, occupies it. */
export type Role = 'commands' | 'control' | 'subscriber';

/** Does not pass by itself: a wrong password, no rights. */
export class RedisRefusal extends Error {
  override readonly name = 'RedisRefusal';
}

/** Makes connections to one place, all with the same settings. */
export class Connector {
  private constructor(
    private readonly module: Module,
    private readonly place: RedisPlace,
    private readonly commandTimeoutMs: number,
    private readonly readMs: number,
    private readonly nodeName: string,
  ) {}

  /**
   * @param readMs how long the control connection waits for news in a command
   * @throws MissingPackageError
   */
  static async load(place: RedisPlace, commandTimeoutMs: number, readMs: number, nodeName: string): Promise<Connector> {
    const module = await loadOptional<Module>(
      () => import('ioredis'),
      'A cluster needs the package ioredis: npm install ioredis@6',
    );
    return new Connector(module, place, commandTimeoutMs, readMs, nodeName);
  }

  connect(role: Role): Link {
    return new Link(this.#client(role));
  }

  #client(role: Role): RedisClient {
    const { source } = this.place;
    const settings = this.#settings(role);
    if (typeof source === 'function') return withSettings(source() as RedisClient, settings); // because the option says so
    if (typeof source === 'object') return new this.module.Redis({ ...source, ...settings });
    const { scheme, kind, username, password, hosts, path, db } = partsOf(source);
    if (kind === undefined) return new this.module.Redis(source, settings);
    const given = {
      ...settings,
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      ...(scheme === 'rediss' && { tls: {} }),
    };
    if (kind === 'cluster') {
      return new this.module.Cluster(hosts(REDIS_PORT), {
        redisOptions: given,
        enableOfflineQueue: false,
        lazyConnect: true,
        clusterRetryStrategy: pauseBefore,
      });
    }
    const database = db === undefined ? 0 : Number(db);
    return new this.module.Redis({ ...given, sentinels: hosts(SENTINEL_PORT), name: path ?? 'mymaster', db: database });
  }

  #settings(role: Role) {
    return {
      connectionName: `ws-gateway:${this.nodeName.replaceAll(/[^\w.-]/g, '_')}:${role}`,
      protocol: 2 as const, // ioredis 5 knows no other, so answers have one shape
      enableOfflineQueue: false, // it has no bound
      enableReadyCheck: false,
      lazyConnect: true, // an application that does not come to start has to end
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false, // a command that timed out may have run
      autoResubscribe: false,
      commandTimeout: this.commandTimeoutMs + (role === 'control' ? this.readMs : 0),
      connectTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: SOCKET_TIMEOUT_MS,
      keepAlive: KEEP_ALIVE_MS,
      retryStrategy: pauseBefore,
      reconnectOnError: (error: Error) => error.message.startsWith('READONLY'), // a demoted master: the name leads to another now
    };
  }
}

/** One connection, which comes back by itself. */
export class Link {
  /** What it was told last; it is for the log. */
  lastError: Error | undefined;

  constructor(readonly client: RedisClient) {
    const failed = (error: Error): void => void (this.lastError = error);
    client.on('error', failed); // without a listener it would end the process
    client.on('node error', failed);
  }

  /** Connects; it goes on trying. */
  open(): void {
    if (this.client.status === 'wait') this.client.connect().catch(() => undefined); // it is in lastError
  }

  get isReady(): boolean {
    return this.client.status === 'ready';
  }

  /** @throws as a rejection, what Redis or the connection says; RedisRefusal for what does not pass by itself */
  async call(command: string, ...args: readonly Argument[]): Promise<unknown> {
    try {
      // because the two classes declare the same method in overloads that no union can be called by
      return await (this.client as Redis).call(command, ...(args as [Argument, ...Argument[]]));
    } catch (error) {
      throw this.#judged(error);
    }
  }

  /** Runs a script; Redis gets its text when it does not know it. */
  async run({ lua, sha }: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    try {
      return await this.call('EVALSHA', sha, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
      return this.call('EVAL', lua, keys.length, ...keys, ...args);
    }
  }

  close(): void {
    this.client.disconnect();
  }

  /** While there is no connection, what it failed by says more than that a command cannot be written. */
  #judged(error: unknown): unknown {
    const cause = this.isReady ? error : (this.lastError ?? error);
    const message = cause instanceof Error ? cause.message : '';
    return /^(NOAUTH|WRONGPASS|NOPERM)\b/.test(message) ? new RedisRefusal(message) : cause;
  }
}

/** 50 · 2ⁿ up to a second, a quarter more or less, so that nodes do not come back in step. */
function pauseBefore(attempt: number): number {
  const pause = Math.min(MAX_PAUSE_MS, MIN_PAUSE_MS * 2 ** Math.min(10, attempt - 1));
  return pause * (0.75 + Math.random() / 2);
}

/** A client of the application's keeps its address and its credentials, and gets the settings that guarantees rest on. */
function withSettings(client: RedisClient, settings: object): RedisClient {
  if (!client.isCluster) Object.assign(client.options, settings);
  return client;
}

interface UrlParts {
  readonly scheme: string;
  readonly kind: string | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly hosts: (port: number) => { host: string; port: number }[];
  readonly path: string | undefined;
  readonly db: string | undefined;
}

/** Not URL: several hosts with ports are none. */
function partsOf(url: string): UrlParts {
  const found =
    /^(rediss?)(?:\+(sentinel|cluster))?:\/\/(?:([^:@/]*)(?::([^@/]*))?@)?([^/?]+)(?:\/([^/?]+))?(?:\/(\d+))?/.exec(
      url,
    );
  const [, scheme = 'redis', kind, username, password, list = '', path, db] = found ?? [];
  const decoded = (part: string | undefined): string | undefined =>
    part === undefined || part === '' ? undefined : decodeURIComponent(part);
  const hosts = (fallback: number): { host: string; port: number }[] =>
    list.split(',').map((one) => {
      const [, host = one, port = fallback] = /^(.+):(\d+)$/.exec(one) ?? [];
      return { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) };
    });
  return { scheme, kind, username: decoded(username), password: decoded(password), hosts, path, db };
}
