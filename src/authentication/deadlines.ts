import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { GatewayError } from '../protocol/errors.js';
import { AUTH_OPTIONS } from './options.js';

/** Answers waited for at once; a handshake that waits holds a socket. */
const MAX_WAITING = 10_000;

interface Waiting {
  until: number;
  readonly giveUp: () => void;
}

/** Bounds how long others may take with what a handshake or an `auth` waits for. All have the same time, so one sweep will do. */
@Injectable()
export class Deadlines {
  readonly #waiting = new Set<Waiting>();

  /** @param options read anew for each answer */
  constructor(
    @Inject(AUTH_OPTIONS) private readonly options: { readonly timeoutMs: number },
    @Inject(WsClock) private readonly clock: Pick<WsClock, 'monotonic'>,
  ) {}

  /** How many answers are waited for. */
  get size(): number {
    return this.#waiting.size;
  }

  /**
   * The promise, for as long as it may take.
   *
   * @throws GatewayError OVERLOADED, as a rejection, when it takes longer or when too many wait
   */
  async bound<T>(promise: Promise<T>, what: string): Promise<T> {
    if (this.#waiting.size >= MAX_WAITING) {
      promise.catch(() => undefined); // nothing awaits it any more; the peer gets the error below
      throw unavailable(`more than ${MAX_WAITING} wait for ${what}`);
    }
    let giveUp: () => void = () => undefined;
    const overdue = new Promise<never>((_, reject) => {
      giveUp = () => reject(unavailable(`${what} did not answer in time`));
    });
    const waiting = { until: this.clock.monotonic() + this.options.timeoutMs, giveUp };
    this.#waiting.add(waiting);
    try {
      return await Promise.race([promise, overdue]);
    } finally {
      this.#waiting.delete(waiting);
    }
  }

  postpone(ms: number): void {
    for (const waiting of this.#waiting) waiting.until += ms;
  }

  sweep(now: number): void {
    for (const waiting of this.#waiting) {
      if (now < waiting.until) return;
      this.#waiting.delete(waiting);
      waiting.giveUp();
    }
  }

  /** Waits for nothing any more: the process is to end. */
  giveUpAll(): void {
    this.sweep(Infinity);
  }
}

function unavailable(cause: string): GatewayError {
  return new GatewayError('OVERLOADED', { message: 'Authentication is not available', retryAfterMs: 5_000, cause });
}
