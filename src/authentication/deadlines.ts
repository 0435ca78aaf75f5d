import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { isThenable } from '../base/thenable.js';
import { GatewayError } from '../protocol/errors.js';
import { unavailable } from '../protocol/unavailable.js';
import { AUTH_OPTIONS } from './options.js';

/** Most answers that are awaited at once, as each handshake that waits holds a socket. */
const MAX_WAITING = 10_000;

interface Waiting {
  until: number;
  readonly giveUp: () => void;
}

/** Bounds how long the code of others may take while a handshake or an `auth` waits for it. */
@Injectable()
export class Deadlines {
  readonly #forJudges = new Set<Waiting>();
  readonly #forStores = new Set<Waiting>();

  /** @param options read anew for each answer */
  constructor(
    @Inject(AUTH_OPTIONS) private readonly options: { readonly timeoutMs: number },
    @Inject(WsClock) private readonly clock: Pick<WsClock, 'monotonic'>,
  ) {}

  /** How many answers are waited for. */
  get size(): number {
    return this.#forJudges.size + this.#forStores.size;
  }

  /**
   * The promise, for at most `auth.timeoutMs`.
   *
   * @param ms that of the path, where there is one
   * @throws GatewayError OVERLOADED, as a rejection, when it takes longer or when too many wait
   */
  bound<T>(promise: Promise<T>, what: string, ms = this.options.timeoutMs): Promise<T> {
    return this.#race(promise, this.#forJudges, ms, (cause) => overloaded(`${what} ${cause}`));
  }

  /**
   * Asks a store that nodes may share. One that answers at once is answered at once; a promise has half of `auth.timeoutMs`, so that
   * the client hears of it before its own time to authenticate is over.
   *
   * @throws GatewayError, also as a rejection: what the store throws with a code; UNAVAILABLE when it fails otherwise, takes longer,
   * or when too many wait
   */
  ask<T>(call: () => T | Promise<T>, what: string): T | Promise<T> {
    const failed = (error: unknown): never => {
      throw error instanceof GatewayError ? error : unavailable(error);
    };
    try {
      const answer = call();
      if (!isThenable(answer)) return answer;
      const late = (cause: string): GatewayError => unavailable(`${what} ${cause}`);
      return this.#race(Promise.resolve(answer), this.#forStores, this.options.timeoutMs / 2, late).catch(failed);
    } catch (error) {
      return failed(error);
    }
  }

  async #race<T>(
    promise: Promise<T>,
    all: Set<Waiting>,
    ms: number,
    errorOf: (cause: string) => GatewayError,
  ): Promise<T> {
    if (all.size >= MAX_WAITING) {
      promise.catch(() => undefined); // nothing awaits it any more; the peer gets the error below
      throw errorOf(`is waited for by ${MAX_WAITING} already`);
    }
    let giveUp: () => void = () => undefined;
    const overdue = new Promise<never>((_, reject) => {
      giveUp = () => reject(errorOf('did not answer in time'));
    });
    const waiting = { until: this.clock.monotonic() + ms, giveUp };
    all.add(waiting);
    try {
      return await Promise.race([promise, overdue]);
    } finally {
      all.delete(waiting);
    }
  }

  postpone(ms: number): void {
    for (const waiting of this.#forJudges) waiting.until += ms;
    for (const waiting of this.#forStores) waiting.until += ms;
  }

  sweep(now: number): void {
    giveUpOverdue(this.#forJudges, now);
    giveUpOverdue(this.#forStores, now);
  }

  /** Refuses all that wait: the process is about to end. */
  giveUpAll(): void {
    this.sweep(Infinity);
  }
}

function giveUpOverdue(all: Set<Waiting>, now: number): void {
  for (const waiting of all) {
    if (now < waiting.until) continue; // a later one may have less time
    all.delete(waiting);
    waiting.giveUp();
  }
}

function overloaded(cause: string): GatewayError {
  return new GatewayError('OVERLOADED', { message: 'Authentication is not available', retryAfterMs: 5_000, cause });
}
