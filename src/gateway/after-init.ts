import { Inject, Injectable, Logger } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { visible, visibleStack } from '../base/visible.js';
import { contain, containWithin } from '../base/contain.js';

/** Milliseconds that the start waits for an `afterInit`; one that goes on for as long as its gateway is not in the way. */
const SETTLES_WITHIN_MS = 10_000;

/** A gateway as Nest's container holds it. */
interface Host {
  readonly name: string;
  readonly instance: { afterInit?: (server: unknown) => unknown };
}

interface Running {
  readonly name: string;
  readonly settled: Promise<unknown>;
}

/**
 * `afterInit` of the application's gateways. Nest calls it out of an rxjs subscription, where a throw and a rejection end the
 * process without a word of whose they are: it is called in a fence, waited for, and what is wrong stops the start.
 */
@Injectable()
export class AfterInits {
  readonly #log = new Logger('WsGatewayModule');
  readonly #running: Running[] = [];
  readonly #problems: { name: string; error: unknown }[] = [];
  readonly #fenced = new Map<object, () => void>();
  #isStarted = false;

  constructor(@Inject(WsClock) private readonly clock: Pick<WsClock, 'every'>) {}

  /** Stands in for the method, on the object, until {@link settled}. Before Nest binds the gateways, and as often as one likes. */
  fence(hosts: Iterable<Host>): void {
    for (const { name, instance } of hosts) {
      if (typeof instance.afterInit !== 'function' || this.#fenced.has(instance) || !Object.isExtensible(instance))
        continue;
      const own = Object.getOwnPropertyDescriptor(instance, 'afterInit');
      const method = instance.afterInit;
      const value = (server: unknown): void => this.#call(name, () => method.call(instance, server));
      Object.defineProperty(instance, 'afterInit', { value, configurable: true, writable: true });
      this.#fenced.set(instance, () => {
        if (own === undefined) delete instance.afterInit;
        else Object.defineProperty(instance, 'afterInit', own);
      });
    }
  }

  /**
   * Waits for all of them, ten seconds at most.
   *
   * @throws Error naming each gateway whose `afterInit` has failed
   */
  async settled(): Promise<void> {
    for (const restore of this.#fenced.values()) restore();
    this.#fenced.clear();
    await Promise.all(this.#running.map((running) => this.#wait(running)));
    this.#isStarted = true;
    if (this.#problems.length === 0) return;
    const named = this.#problems.map(({ name, error }) => `${name}.afterInit() failed: ${wordsOf(error)}`);
    throw new Error(named.join('\n'), { cause: this.#problems[0]?.error });
  }

  #call(name: string, call: () => unknown): void {
    const settled = contain(call, (error) => {
      if (!this.#isStarted) this.#problems.push({ name, error });
      else this.#log.error(`${name}.afterInit() failed after the start: ${visible(wordsOf(error))}`, stackOf(error));
    });
    if (settled !== undefined) this.#running.push({ name, settled });
  }

  #wait({ name, settled }: Running): Promise<void> {
    const goOn = (): void =>
      this.#log.warn(
        `${name}.afterInit() has not settled in ${SETTLES_WITHIN_MS / 1000} s; the start goes on without it`,
      );
    return containWithin(() => settled, SETTLES_WITHIN_MS, this.clock, goOn);
  }
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : `it threw ${typeof error}`;
}

function stackOf(error: unknown): string | undefined {
  return error instanceof Error && error.stack !== undefined ? visibleStack(error.stack) : undefined;
}
