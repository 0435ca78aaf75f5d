/** What code that is not ours may do instead of its job. */

export const FAULT = new Error('a fault of foreign code');

type Then = (resolve: (value?: unknown) => void, reject: (error: unknown) => void) => void;

/** An object with this method `then`, which no `await` is to meet by accident. */
export function thenable(method: Then, object: object = {}): object {
  Reflect.set(object, 'then', method);
  return object;
}

/** Each is given the answer that would have been right. */
export const FAULTS = {
  throws: (): never => {
    throw FAULT;
  },
  rejects: (): unknown => Promise.reject(FAULT),
  hangs: (): unknown => new Promise(() => undefined),
  'answers twice': (answer: unknown): unknown =>
    thenable((resolve, reject) => {
      resolve(answer);
      reject(FAULT);
      resolve(answer);
    }),
  'throws in then()': (): unknown =>
    thenable(() => {
      throw FAULT;
    }),
} as const satisfies Record<string, (answer: unknown) => unknown>;

export type Fault = keyof typeof FAULTS;
export const FAULT_NAMES = Object.keys(FAULTS) as Fault[]; // because those are all its keys
