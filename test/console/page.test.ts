import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsInt, IsString } from 'class-validator';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { WsConsoleModule } from '../../src/console/index.js';
import { binned } from '../../src/console/ui/bins.js';
import type { Point } from '../../src/console/ui/point.js';
import { explain } from '../../src/console/ui/explain.js';
import { Roles, WsGatewayModule } from '../../src/index.js';
import { ERRORS } from '../../src/protocol/errors.js';
import { createWsTestingApp } from '../../src/testing/index.js';
import type { TestClaims, WsTestingApp } from '../../src/testing/index.js';
import { closePages, hasBrowser, openPage, stopBrowser } from '../support/browser.js';
import { SECRET } from '../support/tokens.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PAGES = ['overview', 'failures', 'sessions', 'firewall', 'rooms', 'events', 'playground'];
const ADMIN = { sub: 'root', scopes: ['ws-gateway:admin'] };

class OrderDto {
  @IsString() article!: string;
  @IsInt() amount!: number;
}

@WebSocketGateway()
class Shop {
  @Roles('buyer')
  @SubscribeMessage('order.place')
  place(@MessageBody() { amount }: OrderDto): number {
    if (amount === 13) throw new Error('no such table');
    return amount;
  }
}

let t: WsTestingApp | undefined;
const errors: string[] = [];

async function start(claims: TestClaims = ADMIN): Promise<Page> {
  const app: WsTestingApp = (t = await createWsTestingApp({
    imports: [
      WsGatewayModule.forRoot({ auth: { jwt: { secret: SECRET } } }),
      WsConsoleModule.forRoot({
        mint: ({ sub, roles, scope, seconds }) =>
          app.token({ sub, roles, scopes: scope.split(' '), exp: Math.floor(app.clock.now() / 1_000) + seconds }),
      }),
    ],
    providers: [Shop],
  }));
  const origin = app.url.replace(/^ws/, 'http').replace(/\/ws$/, '');
  const exp = Math.floor(app.clock.now() / 1_000) + 3_600;
  return openPage(`${origin}/ws-console/#token=${app.token({ exp, ...claims })}`, errors);
}

/** The clock of the gateway stands still, so that a page sees what a test gives it. */
const tick = (ms = 1_000): Promise<void> => (t as WsTestingApp).clock.advance(ms); // because a test has started it

const go = async (page: Page, to: string): Promise<void> => {
  await page.evaluate(`location.hash = '#/${to}'`);
  await page.locator(`nav a[href="#/${to}"][aria-current]`).waitFor();
};

afterEach(async () => {
  await closePages();
  await t?.close();
  t = undefined;
  errors.length = 0;
});
afterAll(stopBrowser);

describe.runIf(hasBrowser())('the page of the console', () => {
  it('takes its token out of the address, asks no other origin, and breaks no policy', async () => {
    const page = await start();
    const asked: string[] = [];
    page.on('request', (request) => asked.push(new URL(request.url()).host));
    await page.locator('header.top').waitFor();
    expect(page.url()).toMatch(/\/ws-console\/#\/overview$/);
    for (const to of PAGES) await go(page, to);
    await page.reload();
    await page.getByLabel(/A token with the scope/).waitFor();
    expect(new Set(asked)).toEqual(new Set([new URL(page.url()).host]));
    expect(errors).toEqual([]);
  });

  it.each(['light', 'dark'] as const)('is clean for axe, and its plots can be seen, in %s', async (colorScheme) => {
    const page = await start();
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const ada = await (t as WsTestingApp).connect({ sub: 'ada', roles: ['buyer'] });
    await page.locator('header.top').waitFor();
    for (let i = 0; i < 20; i++) {
      await ada.request('order.place', { article: 'tea', amount: i }).catch(() => undefined);
      await tick();
    }
    await expect.poll(() => colours(page), { timeout: 10_000 }).toBeGreaterThan(3);
    await page.evaluate(axe);
    for (const to of PAGES) {
      await go(page, to);
      if (to === 'failures') await page.locator('tbody button').first().click();
      await page.waitForTimeout(50); // what was asked is drawn
      const violations = await page.evaluate(
        "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map(({ id, nodes }) => id + ': ' + nodes.map((node) => node.html).join(' ')))",
      );
      expect([to, violations]).toEqual([to, []]);
    }
    expect(errors).toEqual([]);
  });

  it('shows an attack while it lasts, and why each was refused', async () => {
    const page = await start();
    await page.locator('header.top').waitFor();
    await tick();
    const began = performance.now();
    await Promise.all(Array.from({ length: 8 }, () => (t as WsTestingApp).refused({ origin: 'https://evil.test' })));
    const ada = await (t as WsTestingApp).connect({ sub: 'ada', roles: ['buyer'] });
    await ada.request('order.place', { article: 'tea', amount: 13 }).catch(() => undefined);
    await tick();
    await page.getByRole('button', { name: /ORIGIN_FORBIDDEN\s*8/ }).click();
    expect(performance.now() - began).toBeLessThan(3_000);
    expect(await page.locator('tbody tr').count()).toBe(8);
    await page.getByLabel('Code').selectOption('INTERNAL');
    await page.getByRole('button', { name: 'INTERNAL' }).click();
    const details = page.getByLabel('Details');
    const text = await details.innerText();
    expect(text).toContain('Give the incident id to those who run it');
    expect(text).toContain('no such table');
    expect(text).toContain((t as WsTestingApp).failures.find(({ code }) => code === 'INTERNAL')?.incidentId);
  });

  it('is used by keyboard alone, from its load to a sent frame', async () => {
    const page = await start();
    await page.locator('header.top').waitFor();
    await page.keyboard.press('7');
    await page.locator('nav a[href="#/playground"][aria-current]').waitFor();
    const reach = async (name: string): Promise<void> => {
      for (let i = 0; i < 60; i++) {
        await page.keyboard.press('Tab');
        if ((await page.evaluate('document.activeElement.textContent')) === name) return;
      }
      throw new Error(`Tab does not lead to ${name}`);
    };
    await reach('Connect');
    await page.keyboard.press('Enter');
    await page.getByLabel('Frames, the oldest first').getByText('"sessionId"').waitFor();
    await reach('Send');
    await page.keyboard.press('Enter');
    await page.getByLabel('Frames, the oldest first').getByText('"data":1').waitFor();
  });

  it('explains a close in a sentence', async () => {
    const page = await start();
    await page.locator('header.top').waitFor();
    await go(page, 'playground');
    await page.getByRole('button', { name: 'Connect', exact: true }).click();
    await page.getByRole('button', { name: '12 bad frames' }).click();
    const frames = page.getByLabel('Frames, the oldest first');
    await frames.getByText('closed with 4400').waitFor();
    expect(await frames.innerText()).toContain('ten of these within a minute end the session');
    expect(await frames.innerText()).toContain('A client stops here.');
  });

  it('says in a sentence that a token lacks the scope', async () => {
    const page = await start({ sub: 'ada' });
    await page.getByRole('alert').waitFor();
    expect(await page.getByRole('alert').innerText()).toContain('lacks the scope ws-gateway:admin');
  });

  it('says that it is not connected, and comes back', async () => {
    const page = await start();
    await page.locator('header.top').waitFor();
    // Each attempt fails until the network is back.
    await page.evaluate(
      'window.network = WebSocket; window.WebSocket = class { constructor() { throw new Error("down"); } }',
    );
    (t as WsTestingApp).sessions.find()[0]?.close(1_012);
    await page.getByText('Not connected').waitFor();
    await page.evaluate('window.WebSocket = window.network');
    await page
      .getByRole('button', { name: 'Now' })
      .click({ timeout: 2_000 })
      .catch(() => undefined); // it has come back by itself
    await page.getByText('Not connected').waitFor({ state: 'detached' });
    await tick();
    await page.locator('.tile .value', { hasText: '1' }).first().waitFor();
  });
});

/** How many colours the first plot has, beside its background. */
function colours(page: Page): Promise<number> {
  return page.evaluate(`(() => {
    const canvas = document.querySelector('figure canvas');
    if (canvas === null) return 0;
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const seen = new Set();
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200) seen.add(data[at] + ' ' + data[at + 1] + ' ' + data[at + 2]);
    return seen.size;
  })()`);
}

it('leaves a gap where there was no server', () => {
  const point = (at: number): Point => ({
    at,
    values: { open: 1 } as Point['values'],
    codes: { refusals: {}, exceptions: {}, closes: {} },
  }); // because the others are none then
  const bins = binned([point(0), point(1_000), point(30_000)], 10);
  expect(bins.map(({ values }) => values.open)).toEqual([1, null, null, 1]);
});

it('has a sentence for every code of the catalogue', () => {
  for (const code of Object.keys(ERRORS)) expect([code, explain(code).words.length > 20]).toEqual([code, true]);
});

it('is at most 60 KB of script and 8 KB of style, gzipped', () => {
  const folder = new URL('../../dist/console/page/assets/', import.meta.url).pathname;
  const sizeOf = (extension: string): number =>
    readdirSync(folder)
      .filter((name) => name.endsWith(extension))
      .reduce((sum, name) => sum + gzipSync(readFileSync(join(folder, name))).length, 0);
  expect(sizeOf('.js')).toBeLessThanOrEqual(60 * 1_024);
  expect(sizeOf('.css')).toBeLessThanOrEqual(8 * 1_024);
});
