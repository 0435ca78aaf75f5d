import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const CHROMIUM = '/usr/bin/chromium';

/** Keeps the browser to loopback: no update, no first run, nothing asked of anybody. */
const FLAGS = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--no-default-browser-check',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];

/** Has a page open in Chromium, with a profile of its own, while `run` is at work. */
export async function withPage<T>(url: string, run: () => Promise<T>): Promise<T> {
  const profile = await mkdtemp(join(tmpdir(), 'ws-gateway-chromium-'));
  const browser = spawn(CHROMIUM, [...FLAGS, `--user-data-dir=${profile}`, url], { stdio: 'ignore' });
  const exited = once(browser, 'exit').then(() => undefined);
  try {
    const ended = exited.then(() => Promise.reject(new Error('Chromium has ended')));
    return await Promise.race([run(), ended]);
  } finally {
    browser.kill(); // SIGTERM: it ends its own processes
    await exited;
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
