import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';
import type { Rollup } from 'vite';
import { hasProgram } from './service.js';

export const CHROMIUM = '/usr/bin/chromium';

/** Keeps the browser to loopback: no update, no first run, nothing asked of anybody. */
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--no-default-browser-check',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];

/** False, with a line that says so, where there is no browser; not on CI. */
export const hasBrowser = (): boolean => hasProgram('chromium', CHROMIUM, ['--version']);

let browser: Promise<Browser> | undefined;
const pages = new Set<Page>();
const servers = new Set<Server>();

/**
 * A page with cookies, storage and a network of its own. All pages of a test file are in one browser, whose profile is new and
 * goes with it.
 *
 * @param errors gets what the page throws, and what it or the browser writes to its console as an error
 */
export async function openPage(url: string, errors: string[] = []): Promise<Page> {
  browser ??= chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  const context = await (await browser).newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  pages.add(page);
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  await page.goto(url);
  return page;
}

/** For `afterEach`. */
export async function closePages(): Promise<void> {
  const closing = [...pages].map((page) => page.context().close());
  pages.clear();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  servers.clear();
  await Promise.all(closing);
}

/** For `afterAll`. */
export async function stopBrowser(): Promise<void> {
  const running = browser;
  browser = undefined;
  await (await running)?.close();
}

/** Has a page open, in a browser of its own, while `run` is at work. */
export async function withPage<T>(url: string, run: (page: Page) => Promise<T>): Promise<T> {
  try {
    const page = await openPage(url);
    const crashed = new Promise<never>((_, reject) =>
      page.on('crash', () => reject(new Error('The page has crashed'))),
    );
    return await Promise.race([run(page), crashed]);
  } finally {
    await closePages();
    await stopBrowser();
  }
}

/** The script of a page, with all that it imports. @param entry path of a TypeScript file */
export async function bundlePage(entry: string): Promise<string> {
  const { build } = await import('vite');
  const result = await build({
    configFile: false,
    logLevel: 'silent',
    define: { 'process.env.NODE_ENV': '"development"' },
    build: { write: false, minify: false, lib: { entry, formats: ['iife'], name: 'page' } },
  });
  const [{ output }] = result as [Rollup.RollupOutput]; // because one format is asked for
  return output[0].code;
}

/** Serves files by path, until `closePages()`. @returns the origin */
export async function serveFiles(files: (path: string) => { type: string; body: string } | undefined): Promise<string> {
  const server = createServer((request, response) => {
    const file = files(new URL(request.url ?? '/', 'http://127.0.0.1').pathname);
    response.writeHead(file === undefined ? 404 : 200, { 'content-type': file?.type ?? 'text/plain' });
    response.end(file?.body ?? '');
  });
  servers.add(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Serves a page that is this script alone, and a `<div id="root">`. @returns the origin */
export function serveScript(script: string): Promise<string> {
  const html = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><div id="root"></div>';
  return serveFiles((path) =>
    path === '/page.js'
      ? { type: 'text/javascript', body: script }
      : { type: 'text/html', body: `${html}<script src="/page.js"></script>` },
  );
}
