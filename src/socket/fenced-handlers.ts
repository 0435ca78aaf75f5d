/** A listener of the browser API, addEventListener(). */
export type Handler = ((event: unknown) => unknown) | { handleEvent(event: unknown): unknown };

/** The socket that a handler listens to. */
interface Listened {
  /** A handler has returned what may be a promise that rejects. */
  returned(event: string, result: unknown): void;
}

/** Returns the same fence for the same handler: removeEventListener() looks it up. */
const fences = new WeakMap<object, (this: Listened, event: { readonly type: string }) => void>();

export function fencedOf(handler: Handler): unknown {
  if ((typeof handler !== 'function' && typeof handler !== 'object') || handler === null) return handler;
  let fence = fences.get(handler);
  if (fence === undefined) {
    fence = function (event) {
      const result = typeof handler === 'function' ? handler.call(this, event) : handler.handleEvent(event);
      if (typeof result === 'object') this.returned(event.type, result);
    };
    fences.set(handler, fence);
  }
  return fence;
}
