/** Options of the console, complete. */
export interface ConsoleOptions {
  readonly path: string;
  readonly title: string;
  readonly socket: string;
  readonly mint: MintToken | undefined;
  readonly page: URL;
}

/** What a token of the playground says. */
export interface MintedClaims {
  readonly sub: string;
  readonly roles: readonly string[];
  readonly scope: string;
  /** How long it is good. */
  readonly seconds: number;
}

/** Signs a token of the playground; only where the keys are good for nothing else. */
export type MintToken = (claims: MintedClaims) => string | Promise<string>;

export interface WsConsoleOptions {
  /** Path of the page, under the global prefix where there is one. @default 'ws-console' */
  path?: string;
  /** Name of the page. @default 'ws-gateway' */
  title?: string;
  /** Signs tokens for the playground. In production leave it out: who may ask is any subject then. @default none */
  mint?: MintToken;
  /** Folder of the built page. @default the package's own */
  page?: URL;
}

export const CONSOLE_OPTIONS = Symbol('nestjs-ws-gateway.console-options');

const PATH = /^[A-Za-z0-9_-]+(\/[A-Za-z0-9_-]+)*$/;

/** @throws TypeError for a path that cannot be */
export function consoleOptions({
  path = 'ws-console',
  title = 'ws-gateway',
  mint,
  page = new URL('../../dist/console/page/', import.meta.url), // from src as from dist
}: WsConsoleOptions): ConsoleOptions {
  const trimmed = path.replaceAll(/^\/+|\/+$/g, '');
  if (trimmed !== '' && !PATH.test(trimmed)) {
    throw new TypeError(`WsConsoleModule: path must be names of A-Z a-z 0-9 _ - with / between them, got ${path}`);
  }
  return { path: trimmed, title, socket: `/${trimmed || 'ws-console'}/socket`, mint, page };
}
