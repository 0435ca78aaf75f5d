import { Observable } from 'rxjs';
import type { Subscriber } from 'rxjs';
import { contain } from '../base/contain.js';
import type { Session } from '../session/session.js';
import { isAbortError } from './signals.js';

/** Values of one stream in a row that are pulled before other work of the process has its turn. */
const PULLS_IN_A_TURN = 32;

/** True for what an async generator returns, and for any other AsyncIterable. */
export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as { [Symbol.asyncIterator]?: unknown })[Symbol.asyncIterator] === 'function'
  );
}

/**
 * An AsyncIterable of a handler as an Observable that pulls: one value at a time, and none while the peer is behind with its
 * reading, so that a stream holds one value beyond `limits.maxOutboundBytes`. Its iterator is returned when it is unsubscribed from.
 */
export class PulledStream extends Observable<unknown> {
  #pull: Pull | undefined;

  constructor(
    private readonly iterable: AsyncIterable<unknown>,
    private readonly session: Session,
    private readonly event: string,
  ) {
    super((subscriber) => {
      this.#pull = new Pull(this.iterable[Symbol.asyncIterator](), subscriber, this.session, this.#failed);
      return this.#pull;
    });
  }

  /** What the iterator has yet to settle, also after its end; never rejects. */
  get running(): Promise<unknown> | undefined {
    return this.#pull?.running;
  }

  /** It is not to be read: an iterator that holds something since it was made lets go of it. */
  discard(): void {
    if (this.#pull === undefined) contain(() => this.iterable[Symbol.asyncIterator]().return?.(), this.#failed);
  }

  /** An iterator that is returned may well end by the signal that has ended its stream. */
  readonly #failed = (error: unknown): void => {
    if (!isAbortError(error)) this.session.onFault(error, this.event);
  };
}

class Pull {
  /** What the session asks of those who wait until the peer has read what it is behind with: no size fits before. */
  readonly size = Infinity;
  settled = false;
  running: Promise<unknown> | undefined;
  #held: { readonly value: unknown } | undefined;
  #pulled = 0;

  constructor(
    private readonly iterator: AsyncIterator<unknown>,
    private readonly subscriber: Subscriber<unknown>,
    private readonly session: Session,
    private readonly failed: (error: unknown) => void,
  ) {
    this.#next();
  }

  /** The peer may be written to again. */
  proceed(): void {
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) this.subscriber.next(held.value);
    if (this.settled) return;
    if (this.session.socket.isBehind) this.session.intake.waitForRoom(this);
    else if (++this.#pulled % PULLS_IN_A_TURN !== 0) this.#next();
    else setImmediate(() => this.#next());
  }

  unsubscribe(): void {
    if (this.settled) return;
    this.settled = true;
    this.#held = undefined;
    const returned = contain(() => this.iterator.return?.(), this.failed);
    if (returned !== undefined) this.#runs(returned);
  }

  #next(): void {
    if (this.settled) return;
    // Not Promise.resolve(): that returns a native promise as it is, also one whose own then() throws.
    const pulled = new Promise<unknown>((resolve) => resolve(this.iterator.next()));
    this.#runs(
      pulled.then(
        (result) => this.#take(result),
        (error: unknown) => this.#fail(error),
      ),
    );
  }

  #runs(promise: Promise<unknown>): void {
    this.running = promise;
    void promise.then(() => {
      if (this.running === promise) this.running = undefined;
    });
  }

  #take(result: unknown): void {
    if (this.settled) return;
    try {
      if (typeof result !== 'object' || result === null) throw new TypeError('The result of an iterator is an object');
      const { done, value } = result as IteratorResult<unknown>; // because both may be missing, as for the language itself
      if (done) {
        this.settled = true;
        return this.subscriber.complete();
      }
      this.#held = { value };
    } catch (error) {
      return this.#fail(error);
    }
    if (this.session.socket.isBehind) this.session.intake.waitForRoom(this);
    else this.proceed();
  }

  #fail(error: unknown): void {
    if (this.settled) return this.failed(error);
    this.settled = true;
    this.subscriber.error(error);
  }
}
