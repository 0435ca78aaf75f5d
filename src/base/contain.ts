import type { WsClock } from './clock.js';
import { isThenable } from './thenable.js';
import { isError, stackOf } from './thrown.js';
import { visible, visibleStack } from './visible.js';

/**
 * The one fence around code that is not ours: what the application, a library of it or Nest calls by its own interface may
 * throw, reject, answer twice or never answer, and none of that may end the process or leave a peer without an answer.
 */

/** Hears of what foreign code threw or rejected with. */
type Failed = (error: unknown) => void;

/**
 * Calls foreign code, and hands what it throws or rejects with to `failed`. Never throws.
 *
 * @returns a promise that never rejects where the call returned one, so that it can be waited for, and undefined otherwise
 */
export function contain(call: () => unknown, failed: Failed): Promise<void> | undefined {
  try {
    return containResult(call(), failed);
  } catch (error) {
    tell(failed, error);
    return undefined;
  }
}

/**
 * What foreign code has returned: for calls on the path of a message, which stand in a try of their own so that no closure is
 * made for each. Never throws.
 *
 * @returns a promise that never rejects for a promise of whatever make, and undefined otherwise
 */
export function containResult(result: unknown, failed: Failed): Promise<void> | undefined {
  try {
    if (!isThenable(result)) return undefined;
  } catch (error) {
    tell(failed, error); // its `then` is a getter that throws
    return undefined;
  }
  // Not Promise.resolve(): that returns a native promise as it is, also one whose own then() throws. This one calls then() in a
  // try, and takes the first answer only.
  return new Promise<unknown>((resolve) => resolve(result)).then(
    () => undefined,
    (error: unknown) => tell(failed, error),
  );
}

/**
 * As {@link contain}, for a call whose end is waited for: no longer than `ms`, after which `failed` hears of that and of nothing
 * later. Never rejects.
 */
export function containWithin(
  call: () => unknown,
  ms: number,
  clock: Pick<WsClock, 'every'>,
  failed: Failed,
): Promise<void> {
  let isOver = false;
  const settled = contain(call, (error) => {
    if (!isOver) tell(failed, error);
  });
  if (settled === undefined) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = (): void => {
      isOver = true;
      stop();
      resolve();
    };
    const stop = clock.every(ms, () => {
      tell(failed, new Error(`It did not settle within ${ms} ms`));
      finish();
    });
    void settled.then(finish);
  });
}

/**
 * Tells of the faults of one piece of foreign code, as warnings of the process: of the first, the second, the fourth, the
 * eighth and so on, since a stranger may cause one with each message.
 */
export class Faults {
  #count = 0;

  /** @param what failed, as the warning names it */
  constructor(private readonly what: string) {}

  /** @param where it happened, where that differs from time to time */
  readonly tell = (error: unknown, where = ''): void => {
    const count = ++this.#count;
    if ((count & (count - 1)) !== 0) return;
    warn(`${this.what}${where}${count === 1 ? '' : `, ${count} times by now`}`, error);
  };
}

/** Nest's Logger calls the application's LoggerService, where there is one. */
export const loggerFaults = new Faults("The application's logger threw");

function tell(failed: Failed, error: unknown): void {
  try {
    failed(error);
  } catch (fault) {
    warn('What reports the faults of foreign code threw', fault);
  }
}

function warn(message: string, error: unknown): void {
  const stack = isError(error) ? stackOf(error) : undefined;
  // What was thrown may quote a stranger.
  const detail = stack !== undefined && { detail: visibleStack(stack) };
  process.emitWarning(visible(message), { type: 'WsGatewayWarning', ...detail });
}
