/** Listeners by event. What one of them throws is reported, and ends no other. */
export interface Emitter<Args extends unknown[]> {
  on(event: string, listener: (...args: Args) => void): () => void;
  emit(event: string, ...args: Args): void;
}

/** @param guard calls a function of the application's, whose error stays its own */
export function createEmitter<Args extends unknown[]>(guard: (act: () => void) => void): Emitter<Args> {
  const events = new Map<string, Set<(...args: Args) => void>>();
  return {
    on(event, listener) {
      const own = (...args: Args): void => listener(...args); // the same function twice is two listeners
      const listeners = events.get(event) ?? new Set();
      events.set(event, listeners.add(own));
      return () => {
        if (listeners.delete(own) && listeners.size === 0) events.delete(event);
      };
    },
    emit(event, ...args) {
      for (const listener of events.get(event) ?? []) guard(() => listener(...args));
    },
  };
}
