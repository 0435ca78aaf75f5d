import { isThenable } from './thenable.js';

/**
 * The one fence around code that is not ours: calls it, and hands what it throws or rejects with to `failed`.
 *
 * @param failed must not throw
 * @returns a promise that never rejects where the call returned one, so that it can be waited for, and undefined otherwise
 */
export function contain(call: () => unknown, failed: (error: unknown) => void): Promise<void> | undefined {
  try {
    const result = call();
    if (!isThenable(result)) return undefined;
    return Promise.resolve(result).then(() => undefined, failed);
  } catch (error) {
    failed(error);
    return undefined;
  }
}
