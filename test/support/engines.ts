import type {
  Engine,
  LocalNode,
  Position,
  PublishHow,
  Replay,
  ReplayLimit,
  Sent,
  Window,
} from '../../src/engine/engine.js';
import type { Body } from '../../src/engine/engine.js';
import { MemoryEngine } from '../../src/engine/memory-engine.js';
import type { WsGatewayOptions } from '../../src/index.js';
import { ManualClock } from '../../src/testing/manual-clock.js';

/** The engine of a suite that starts applications. */
export interface AppEngine {
  /** A fresh one, with nothing in it. Unset: the module's own. */
  readonly make?: (clock: ManualClock) => Engine;
  /** Options of the module that choose it. */
  readonly options?: () => Omit<WsGatewayOptions, 'auth'>;
  readonly overrides?: readonly (readonly [token: symbol, value: unknown])[];
  /** @default one that stands still */
  readonly clock?: () => ManualClock;
  /** Lets so much time pass for what the engine keeps. Unset: only real time passes, and what takes minutes is not asked. */
  readonly pass?: (clock: ManualClock, ms: number) => void | Promise<void>;
  /** Resolves when what was published has been delivered. */
  readonly settle?: () => void | Promise<void>;
  /** After each test, when its applications have stopped. */
  readonly stop?: () => void | Promise<void>;
}

/** Real time passes as well: for engines that have a time of their own. */
export class LiveClock extends ManualClock {
  readonly #begun = performance.now();

  override now(): number {
    return Math.floor(super.now() + performance.now() - this.#begun);
  }

  override monotonic(): number {
    return super.monotonic() + performance.now() - this.#begun;
  }

  override every(ms: number, task: () => void): () => void {
    const timer = setInterval(task, ms);
    const stop = super.every(ms, task);
    return () => {
      clearInterval(timer);
      stop();
    };
  }
}

/** The module's own. */
export const MEMORY: AppEngine = { pass: (clock, ms) => clock.jump(ms) };

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** The memory engine, which answers some turns of the event loop later, as one that has to ask for what it says. */
export class LateEngine implements Engine {
  readonly state = 'single';
  readonly bus = this;
  readonly #engine: MemoryEngine;
  /** What it is asked for is done in order. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(clock: ManualClock) {
    this.#engine = new MemoryEngine({ maxHistoryBytes: 67_108_864 }, clock);
  }

  get stats(): Engine['stats'] {
    return this.#engine.stats;
  }

  start(local: LocalNode): void {
    this.#engine.start(local);
  }

  sweep(now: number): void {
    this.#engine.sweep(now);
  }

  subscribe(channel: string): boolean {
    return this.#engine.subscribe(channel);
  }

  unsubscribe(channel: string): void {
    this.#engine.unsubscribe(channel);
  }

  sendTo(): 'single' {
    return 'single';
  }

  publish(channel: string, body: Body, how: PublishHow): Promise<Sent> {
    return this.#later(() => this.#engine.publish(channel, body, how));
  }

  /** What is published before the answer comes is delivered before it. */
  async read(channel: string, since: Position | undefined, limit: ReplayLimit, window: Window): Promise<Replay> {
    const replay = await this.#later(() => this.#engine.read(channel, since, limit, window));
    await turn();
    await turn();
    return replay;
  }

  #later<T>(act: () => T): Promise<T> {
    const done = this.#last.then(turn).then(act);
    this.#last = done.catch(() => undefined);
    return done;
  }
}

export const LATE: AppEngine = { ...MEMORY, make: (clock) => new LateEngine(clock) };
