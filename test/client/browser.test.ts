import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import type { Page } from 'playwright-core';
import { from } from 'rxjs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Public, WsRooms, WsSessions } from '../../src/index.js';
import type { WsSession } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import { bundlePage, closePages, hasBrowser, openPage, serveScript, stopBrowser } from '../support/browser.js';
import { RULES } from '../support/channels.js';
import { token } from '../support/tokens.js';
import { Proxy, ScriptedServer, stopAll } from './support.js';

/** All times of the client; 1 is what they are by default, and what `REAL_TIMES=1` runs. */
const SCALE = process.env.REAL_TIMES === '1' ? 1 : 1 / 50;
const OPTIONS = { liveness: { silenceMs: 30_000 * SCALE, answerMs: 10_000 * SCALE } };

interface Shown {
  states: { status: string; code: string | undefined; at: number }[];
  onlineAt: number;
}

afterEach(async () => {
  await closePages();
  await stopAll();
  await stopApps();
});
afterAll(stopBrowser);

const page = (name: string): Promise<string> => bundlePage(new URL(`pages/${name}.ts`, import.meta.url).pathname);

describe.runIf(hasBrowser())('in a browser, a half-open connection', { timeout: 120_000 }, () => {
  let script: string;
  beforeAll(async () => void (script = await page('half-open')));

  const open = async (options: object): Promise<{ page: Page; server: ScriptedServer }> => {
    const server = await ScriptedServer.start();
    const hash = encodeURIComponent(JSON.stringify({ url: server.url, ...options }));
    const opened = await openPage(`${await serveScript(script)}/#${hash}`);
    await opened.waitForFunction("shown.states.at(-1)?.status === 'open'");
    return { page: opened, server };
  };
  const shown = (opened: Page): Promise<Shown> =>
    opened.evaluate(() => (globalThis as unknown as { shown: Shown }).shown);
  const now = (opened: Page): Promise<number> => opened.evaluate(() => performance.now());

  it('is found by its silence alone within 41 s, by the default times', async () => {
    const { page: opened } = await open({ ...OPTIONS, isDeaf: true });
    const silentAt = await now(opened);
    await opened.context().setOffline(true); // Chromium keeps the socket, with readyState 1, and nothing comes
    expect(await opened.evaluate('navigator.onLine')).toBe(false);
    await opened.waitForFunction("shown.states.some(({ status }) => status === 'waiting')", undefined, {
      timeout: 60_000,
    });
    const { at, code } = (await shown(opened)).states.find(({ status }) => status === 'waiting') ?? { at: NaN };
    expect(code).toBe('NO_PONG');
    expect(at - silentAt).toBeLessThanOrEqual(40_000 * SCALE + 1_000);
  });

  it('is found by a probe when the network says that it is gone, and replaced within 3.5 s after it is back', async () => {
    const { page: opened, server } = await open({});
    await opened.context().setOffline(true);
    await opened.waitForFunction("shown.states.some(({ code }) => code === 'NO_PONG')");
    await opened.context().setOffline(false);
    await opened.waitForFunction("shown.states.at(-1)?.status === 'open'");
    const { states, onlineAt } = await shown(opened);
    expect((states.at(-1)?.at ?? NaN) - onlineAt).toBeLessThanOrEqual(3_500);
    expect(server.peers).toHaveLength(2);
  });

  it('that nobody has noticed is found and replaced within 3.5 s after the network is back', async () => {
    const { page: opened, server } = await open({});
    server.proxy.isSilent = true; // the way has changed: the old connection leads nowhere
    await opened.evaluate("dispatchEvent(new Event('online'))");
    await opened.waitForFunction("shown.states.at(-1)?.status === 'waiting'");
    server.proxy.isSilent = false;
    await opened.waitForFunction("shown.states.at(-1)?.status === 'open'");
    const { states, onlineAt } = await shown(opened);
    const [found, replaced] = ['waiting', 'open'].map(
      (wanted) => states.findLast(({ status }) => status === wanted)?.at ?? NaN,
    );
    expect((found ?? NaN) - onlineAt).toBeLessThanOrEqual(3_500);
    expect((replaced ?? NaN) - (found ?? NaN)).toBeLessThanOrEqual(1_500); // up to baseMs: it may be the server's
  });
});

@WebSocketGateway()
class NumbersGateway {
  @Public()
  @SubscribeMessage('numbers')
  numbers() {
    return from([1, 2, 3]);
  }
}

describe.runIf(hasBrowser())('in a browser, React', { timeout: 120_000 }, () => {
  it('opens one socket under StrictMode, with all its hooks, and none a second after they are gone', async () => {
    const origin = await serveScript(await page('strict'));
    const { app, port } = await startApp({
      gateways: [NumbersGateway],
      options: { channels: { rules: RULES }, firewall: { origins: [origin] } },
    });
    const proxy = await Proxy.to(port);
    const errors: string[] = [];
    const opened = await openPage(`${origin}/#${encodeURI(`${proxy.url}/ws ${token()}`)}`, errors);
    const button = opened.getByRole('button');
    await button.getByText('open |  | 2 3 | done | ').waitFor();
    const [session] = app.get(WsSessions).find();
    await until(() => session?.rooms.includes('room.1') === true);
    session?.send('news', 'fresh');
    await app.get(WsRooms).publish('room.1', 'chat', 'hello');
    await button.getByText('open | fresh | 2 3 | done | hello').waitFor();
    await button.click();
    await button.getByText('open | fresh | 2 3 | done | hello hi 1').waitFor();
    expect([proxy.count, app.get(WsSessions).find().length]).toEqual([1, 1]);
    const unmountedAt = performance.now();
    await opened.evaluate(() => (globalThis as unknown as { unmount(): void }).unmount());
    await until(() => app.get(WsSessions).find().length === 0);
    expect(performance.now() - unmountedAt).toBeLessThan(2_000);
    expect([proxy.count, errors]).toEqual([1, []]);
  });
});

describe.runIf(hasBrowser())('in a browser, the page of the README', { timeout: 120_000 }, () => {
  const root = new URL('../..', import.meta.url).pathname;

  it('works as printed: it says, shows, and shows after a break what was said meanwhile', async () => {
    const { app, url } = await startApp({
      options: { channels: { rules: RULES } },
      before: (server) =>
        void server.use((request: IncomingMessage, response: ServerResponse) => {
          const path = new URL(request.url ?? '', 'http://127.0.0.1').pathname;
          const isPage = path === '/';
          const file = isPage
            ? 'test/apps/clients/page.html'
            : path.replace('/nestjs-ws-gateway-client/', 'dist/client-package/');
          response.setHeader('content-type', isPage ? 'text/html' : 'text/javascript');
          response.end(path === '/favicon.ico' ? '' : readFileSync(join(root, file)));
        }),
    });
    const errors: string[] = [];
    const opened = await openPage(`${url.replace('ws', 'http')}/#${token()}`, errors);
    const sessions = (): readonly WsSession[] => app.get(WsSessions).find();
    const rooms = app.get(WsRooms);
    await until(() => sessions().some((session) => session.rooms.includes('room.42')));
    await rooms.publish('room.42', 'chat.message', { text: 'first' });
    await opened.getByText('first').waitFor();
    await opened.getByRole('textbox').fill('typed');
    await opened.getByRole('textbox').press('Enter');
    await opened.getByText('typed').waitFor();
    for (const { socket } of sessions()) socket.terminate();
    await rooms.publish('room.42', 'chat.message', { text: 'meanwhile' });
    await opened.getByText('meanwhile').waitFor();
    expect(await opened.getByRole('listitem').allTextContents()).toEqual(['first', 'typed', 'meanwhile']);
    expect(errors).toEqual([]);
  });
});
