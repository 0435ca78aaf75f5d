import type { Signals } from './types.js';

/** The part of a browser's `window` that is used here; nothing else of a DOM is. */
interface Page {
  addEventListener(type: string, listener: (event: { persisted?: boolean }) => void): void;
  removeEventListener(type: string, listener: (event: { persisted?: boolean }) => void): void;
  readonly navigator?: { readonly onLine?: boolean };
  readonly document?: Page & { readonly visibilityState?: string };
}

/** The signals of a page: network, visibility, back/forward cache. Does nothing where there is no page. */
export const browserSignals: Signals = (on) => {
  const page = globalThis as unknown as Partial<Page>; // because this file is compiled without a DOM
  const { document } = page;
  if (page.addEventListener === undefined || page.removeEventListener === undefined || document === undefined) {
    return () => undefined;
  }
  const look = (): void => (document.visibilityState === 'hidden' ? on.hidden() : on.visible());
  const listeners: readonly [
    Pick<Page, 'addEventListener' | 'removeEventListener'>,
    string,
    (event: { persisted?: boolean }) => void,
  ][] = [
    [page as Page, 'online', () => on.online()],
    [page as Page, 'offline', () => on.offline()],
    [page as Page, 'pagehide', ({ persisted }) => persisted === true && on.suspend()],
    [page as Page, 'pageshow', ({ persisted }) => persisted === true && on.resume()],
    [document, 'visibilitychange', look],
  ];
  for (const [target, type, listener] of listeners) target.addEventListener(type, listener);
  if (page.navigator?.onLine === false) on.offline();
  if (document.visibilityState === 'hidden') on.hidden();
  return () => {
    for (const [target, type, listener] of listeners) target.removeEventListener(type, listener);
  };
};
