// Pictures of the console, of a seeded run: node test/support/typescript.mjs test/upkeep/screenshots.ts FOLDER [PAGE…]
import 'reflect-metadata';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { IsInt, IsPositive, IsString } from 'class-validator';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { chromium } from 'playwright-core';
import { CONTEXT } from '../../src/connection/options.js';
import type { ConnectionContext } from '../../src/connection/context.js';
import { WsConsoleModule } from '../../src/console/index.js';
import { Public, RateLimit, Roles, Scopes, WsFirewall, WsGatewayModule, WsRooms } from '../../src/index.js';
import type { FailureEvent } from '../../src/index.js';
import { createWsTestingApp } from '../../src/testing/index.js';

const [folder = '/tmp', ...wanted] = process.argv.slice(2);
const PAGES =
  wanted.length > 0 ? wanted : ['overview', 'failures', 'sessions', 'firewall', 'rooms', 'events', 'playground'];
const SECONDS = 900;

class OrderDto {
  @IsString() article!: string;
  @IsInt() @IsPositive() amount!: number;
}

@WebSocketGateway()
class Shop {
  @Roles('buyer')
  @RateLimit({ limit: 5, perMs: 60_000 })
  @SubscribeMessage('order.place')
  place(@MessageBody() { article, amount }: OrderDto) {
    return { article, amount };
  }

  @Public()
  @SubscribeMessage('articles')
  articles() {
    return ['tea', 'coffee'];
  }

  @SubscribeMessage('cursor.move')
  move(@MessageBody() data: OrderDto) {
    return data;
  }

  @Roles('staff', 'admin')
  @Scopes('reports:read')
  @SubscribeMessage('report.daily')
  report() {
    return [];
  }
}

let seed = 7;
const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
const wave = (at: number, period: number): number => (1 + Math.sin((at / period) * 2 * Math.PI)) / 2;

const t = await createWsTestingApp({
  imports: [
    WsGatewayModule.forRoot({
      auth: { jwt: { secret: 'a-secret-for-pictures-of-at-least-32-bytes' } },
      firewall: { dryRun: ['budgets'], trustProxy: 1 },
      channels: {
        rules: [{ pattern: 'room.*', subscribe: true, publish: true, history: { count: 50, ageMs: 600_000 } }],
      },
    }),
    WsConsoleModule.forRoot({
      title: 'shop gateway',
      mint: ({ sub, roles, scope }) => t.token({ sub, roles, scopes: scope.split(' ') }),
    }),
  ],
  providers: [Shop],
});
const { traffic } = t.app.get<ConnectionContext>(CONTEXT, { strict: false });

const subjects = ['ada', 'bob', 'grace', 'linus', 'margaret', 'edsger'];
const clients = await Promise.all(
  Array.from({ length: 74 }, (_, at) => {
    const claims = {
      sub: `${subjects[at % 6]}${at > 5 ? at : ''}`,
      roles: ['buyer'],
      exp: Math.floor(t.clock.now() / 1_000) + SECONDS + 600 + at * 40,
    };
    return t
      .connect(at % 12 === 7 ? undefined : claims, { headers: { 'x-forwarded-for': `203.0.113.${(at * 7) % 250}` } })
      .finally(() => t.clock.advance(250));
  }),
);
await Promise.all(
  clients.slice(0, 40).map((client) => client.request('subscribe', { channel: 'room.42' }).catch(() => undefined)),
);
await t.app.get(WsRooms, { strict: false }).publish('room.42', 'said', { text: 'hello' });
const firewall = t.app.get(WsFirewall, { strict: false });
await firewall.ban({ address: '198.51.100.23' }, { forMs: 3_600_000, reason: 'repeated violations' });
await firewall.ban({ subject: 'mallory' }, { forMs: 86_400_000, reason: 'spam in room.42' });

const failure = (more: Partial<FailureEvent> & Pick<FailureEvent, 'kind' | 'code'>): void =>
  t.events.emit({
    level: 'warn',
    message: more.code,
    clientAddress: `198.51.100.${Math.ceil(random() * 40)}`,
    ...more,
  });

for (let at = 0; at < SECONDS; at++) {
  const load = 800 + 900 * wave(at, 700) + 300 * wave(at, 90) + 120 * random();
  for (const [event, share] of [
    ['order.place', 0.2],
    ['articles', 0.3],
    ['cursor.move', 0.5],
  ] as const) {
    const each = traffic.of(event);
    const count = Math.round(load * share);
    each.received += count;
    for (let i = 0; i < count; i += 4)
      each.took((event === 'order.place' ? 3 : 0.3) * (0.4 + random()) + (random() > 0.985 ? 40 * random() : 0));
  }
  traffic.sentMessages += Math.round(load * 1.4);
  traffic.receivedBytes += Math.round(load * 120);
  traffic.sentBytes += Math.round(load * 310);
  if (random() < 0.12)
    failure({
      kind: 'request',
      code: 'VALIDATION_FAILED',
      event: 'order.place',
      subject: 'bob',
      durationMs: 0.4,
      message: 'The payload is not valid',
    });
  if (random() < 0.02)
    failure({
      kind: 'request',
      code: 'INTERNAL',
      level: 'error',
      event: 'order.place',
      subject: 'grace',
      incidentId: crypto.randomUUID(),
      message: 'Internal error',
      stack: 'Error: connect ECONNREFUSED 10.0.0.5:5432',
      durationMs: 31,
    });
  if (random() < 0.05)
    failure({ kind: 'request', code: 'FORBIDDEN', event: 'report.daily', subject: 'linus', message: 'Not allowed' });
  if (at > 600 && at < 760)
    for (let i = 0; i < 6 * random(); i++)
      failure({
        kind: 'upgrade',
        code: 'ORIGIN_FORBIDDEN',
        status: 403,
        message: 'Origin not allowed',
        reason: 'Origin "https://evil.example" met Host "shop.example.com"',
      });
  if (random() < 0.3)
    failure({
      kind: 'upgrade',
      code: 'TOKEN_INVALID',
      status: 401,
      message: 'The token is not valid',
      reason: 'signature',
    });
  if (at > 680 && at < 720)
    failure({
      kind: 'upgrade',
      code: 'TOO_MANY_CONNECTIONS',
      status: 429,
      message: 'Too many connections from this address',
    });
  if (random() < 0.1)
    failure({
      kind: 'connection',
      code: 'NO_PONG',
      closeCode: 4108,
      sessionId: crypto.randomUUID(),
      subject: 'margaret',
      message: 'No answer to a ping',
    });
  if (random() < 0.06)
    failure({
      kind: 'connection',
      code: 'TOKEN_EXPIRED',
      closeCode: 4101,
      sessionId: crypto.randomUUID(),
      subject: 'ada',
      level: 'info',
      message: 'The token has expired',
    });
  if (random() < 0.08) t.events.emit({ kind: 'budget', budget: 'messages', enforced: false, subject: 'bob' });
  await t.clock.advance(1_000);
}

mkdirSync(folder, { recursive: true });
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
try {
  for (const colorScheme of ['light', 'dark'] as const) {
    const context = await browser.newContext({ colorScheme, viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    page.on('console', (message) => message.type() === 'error' && process.stdout.write(`${message.text()}\n`));
    page.on('pageerror', (error) => process.stdout.write(`${error.stack}\n`));
    const token = t.token({ sub: 'ada', scopes: ['ws-gateway:admin'], exp: Math.floor(t.clock.now() / 1_000) + 3_600 });
    await page.goto(`${t.url.replace(/^ws/, 'http').replace(/\/ws$/, '')}/ws-console/#token=${token}`);
    await page.waitForSelector('header.top');
    for (const name of PAGES) {
      await page.evaluate(`location.hash = '#/${name}'`);
      await t.clock.advance(1_000);
      await page.waitForTimeout(700);
      await prepare(page, name);
      await page.screenshot({ path: join(folder, `${name}-${colorScheme}.png`) });
    }
    await context.close();
  }
} finally {
  await browser.close();
  await t.close();
}

/** What a reader of the picture is to see. */
async function prepare(page: import('playwright-core').Page, name: string): Promise<void> {
  if (name === 'failures')
    await page.locator('tbody tr', { hasText: 'INTERNAL' }).first().locator('button').first().click();
  if (name === 'overview') await page.mouse.move(520, 360);
  if (name === 'playground') {
    await page.getByRole('button', { name: 'Connect', exact: true }).click();
    await page.waitForTimeout(400);
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await page.waitForTimeout(300);
  }
}
