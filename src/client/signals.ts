import type { Signals } from './types.js';

type Listener = (event: { persisted?: boolean }) => void;

/** The part of a browser's `window` that is used here; nothing else of a DOM is. */
interface Page {
  addEventListener?(type: string, listener: Listener): void;
  removeEventListener?(type: string, listener: Listener): void;
  readonly navigator?: { readonly onLine?: boolean };
  readonly document?: { readonly visibilityState?: string };
}

/** The signals of a page: network, visibility, back/forward cache. Does nothing where there is no page. */
export const browserSignals: Signals = (on) => {
  const page = globalThis as unknown as Page; // because this file is compiled without a DOM
  const isHidden = (): boolean => page.document?.visibilityState === 'hidden';
  const listeners: readonly [string, Listener][] = [
    ['online', on.online],
    ['offline', on.offline],
    ['pagehide', ({ persisted }) => persisted === true && on.suspend()],
    ['pageshow', ({ persisted }) => persisted === true && on.resume()],
    ['visibilitychange', () => (isHidden() ? on.hidden() : on.visible())], // it bubbles to the window
  ];
  if (page.document !== undefined) for (const listener of listeners) page.addEventListener?.(...listener);
  if (page.navigator?.onLine === false) on.offline();
  if (isHidden()) on.hidden();
  return () => {
    for (const listener of listeners) page.removeEventListener?.(...listener);
  };
};
