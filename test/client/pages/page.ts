/** What the pages here use of a browser; the program they are compiled in has no DOM. */
export const page = globalThis as unknown as {
  readonly location: { readonly hash: string };
  readonly document: { querySelector(selector: string): never };
  addEventListener(type: string, listener: () => void): void;
};
