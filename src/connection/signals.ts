import { contain } from '../base/contain.js';
import type { InboundMessage } from '../protocol/message.js';
import type { Session } from '../session/session.js';

/** By message, since the handler asks for its signal before or after its request is known to be pending. */
const controllers = new WeakMap<InboundMessage, AbortController>();

/** The controller of a message whose handler asks for a signal; made when it is first asked for. */
export function controllerOf(message: InboundMessage, session: Session): AbortController {
  let controller = controllers.get(message);
  if (controller === undefined) {
    controller = new AbortController();
    fence(controller.signal, (error) => session.onFault(error, message.event));
    if (!session.isLive) controller.abort(); // it came before the peer's close and is handled after it
    controllers.set(message, controller);
  }
  return controller;
}

type Listener = ((event: unknown) => unknown) | { handleEvent(event: unknown): unknown } | null;
type Fenced = (event: unknown) => void;

/**
 * Calls each listener of the signal in a fence: an EventTarget of Node's hands what a listener throws, or rejects with, to the
 * process, which ends.
 */
function fence(signal: AbortSignal, failed: (error: unknown) => void): void {
  const known = new WeakMap<object, Fenced>();
  const fencedOf = (listener: Listener): Fenced | null => {
    if (listener === null || (typeof listener !== 'function' && typeof listener !== 'object')) return null;
    let fenced = known.get(listener);
    if (fenced === undefined) {
      fenced = (event) =>
        void contain(
          () => (typeof listener === 'function' ? listener.call(signal, event) : listener.handleEvent(event)),
          failed,
        );
      known.set(listener, fenced);
    }
    return fenced;
  };
  const add = signal.addEventListener.bind(signal) as (...args: unknown[]) => void; // because its arguments are passed on untouched
  const remove = signal.removeEventListener.bind(signal) as (...args: unknown[]) => void; // because of the same
  let onabort: Listener = null;
  Object.defineProperties(signal, {
    addEventListener: {
      value: (type: unknown, listener: Listener, ...rest: unknown[]) => add(type, fencedOf(listener), ...rest),
    },
    removeEventListener: {
      value: (type: unknown, listener: Listener, ...rest: unknown[]) => remove(type, fencedOf(listener), ...rest),
    },
    onabort: {
      get: () => onabort,
      set: (listener: Listener) => {
        remove('abort', fencedOf(onabort));
        onabort = typeof listener === 'function' ? listener : null;
        if (onabort !== null) add('abort', fencedOf(onabort));
      },
    },
  });
}

/** True for what handlers throw whose signal was aborted; false for a value that throws when inspected. */
export function isAbortError(error: unknown): boolean {
  try {
    return error instanceof Error && error.name === 'AbortError';
  } catch {
    return false; // a getter, or a trap of a Proxy, threw
  }
}
