import { createContext } from 'preact';
import { useContext, useEffect, useState } from 'preact/hooks';
import { POLL_MS, sentenceOf } from './store.js';
import type { State, Store } from './store.js';

export const StoreContext = createContext<Store | undefined>(undefined);

export function useStore(): Store {
  const store = useContext(StoreContext);
  if (store === undefined) throw new Error('outside of the app');
  return store;
}

/** The state, drawn anew at each change. */
export function useConsole(store: Store): State {
  const [state, set] = useState(store.state);
  useEffect(() => {
    set(store.state);
    return store.subscribe(() => set(store.state));
  }, [store]);
  return state;
}

/** A part of the state, drawn anew when that part changes. */
export function usePart<T>(store: Store, part: (state: State) => T): T {
  const [value, set] = useState(() => part(store.state));
  useEffect(() => {
    const changed = (): void => set(() => part(store.state));
    changed();
    return store.subscribe(changed);
  }, [store]);
  return value;
}

/** What a request answers, asked every two seconds while it is shown. */
export function usePolled<T>(
  ask: () => Promise<T>,
  keys: readonly unknown[] = [],
): { value: T | undefined; problem: string | undefined; again(): void } {
  const [answer, set] = useState<{ value?: T; problem?: string }>({});
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let timer: number | undefined;
    let isOver = false;
    const run = async (): Promise<void> => {
      if (!document.hidden) {
        const next = await ask().then(
          (value) => ({ value }),
          (error: unknown) => ({ problem: sentenceOf(error) }),
        );
        if (isOver) return;
        set((before) => ({ ...before, problem: undefined, ...next }) as never); // because it has both
      }
      if (!isOver) timer = setTimeout(() => void run(), POLL_MS) as unknown as number; // because a browser's timer is one
    };
    void run();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [...keys, turn]);
  return { value: answer.value, problem: answer.problem, again: () => setTurn(turn + 1) };
}

/** The part of the address behind `#/`. */
export function useRoute(): [page: string, rest: URLSearchParams] {
  const [hash, set] = useState(location.hash);
  useEffect(() => {
    const changed = (): void => set(location.hash);
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  const [page = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2);
  return [page || 'overview', new URLSearchParams(query)];
}
