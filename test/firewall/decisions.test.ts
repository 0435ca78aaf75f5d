import { afterEach, describe, expect, it } from 'vitest';
import { Public, WsMonitor } from '../../src/index.js';
import type { BanEvent } from '../../src/index.js';
import { Firewall } from '../../src/firewall/firewall.js';
import { decideBan, decideLift, decideLists } from '../../src/firewall/decisions.js';
import { WebSocketGateway, SubscribeMessage } from '@nestjs/websockets';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { token } from '../support/tokens.js';

@WebSocketGateway({ path: '/ws' })
class FreeGateway {
  @Public()
  @SubscribeMessage('free')
  free(): string {
    return 'free';
  }
}

const start = (): Promise<TestApp> => startApp({ gateways: [FreeGateway] });
const connect = ({ url }: TestApp): Promise<Client> => Client.connect(`${url}/ws`, { token: token() });

afterEach(stopApps);

describe('an entry that another node decided', () => {
  it('of a ban ends the sessions here and refuses handshakes, tells nothing, and may come twice', async () => {
    const test = await start();
    const firewall = test.app.get(Firewall);
    const told: BanEvent[] = [];
    test.app.get(WsMonitor).on('ban', (event) => told.push(event));
    const client = await connect(test);
    const entry = decideBan({ subject: 'ada' }, { forMs: 60_000, reason: 'elsewhere' }, test.clock.now(), false);
    expect(firewall.apply(entry)).toBe(true);
    expect((await client.closed).reason).toBe('BANNED');
    firewall.apply(entry);
    expect(firewall.bans()).toEqual([{ subject: 'ada', until: test.clock.now() + 60_000, reason: 'elsewhere' }]);
    expect((await (await connect(test)).closed).reason).toBe('BANNED');
    expect(firewall.apply(decideLift({ subject: 'ada' }, 'bob'))).toBe(true);
    expect(firewall.apply(decideLift({ subject: 'ada' }, 'bob'))).toBe(false);
    await connect(test);
    expect(told).toEqual([]);
  });

  it('of lists is in force from the next handshake on', async () => {
    const test = await start();
    const firewall = test.app.get(Firewall);
    firewall.apply(decideLists({ deny: ['127.0.0.0/8'] }));
    expect(await refusal(`${test.url}/ws`)).toMatchObject({ status: 403, body: { code: 'IP_FORBIDDEN' } });
    expect(firewall.lists).toEqual({ allow: [], deny: ['127.0.0.0/8'], exempt: [] });
  });
});

describe('a decision', () => {
  it('is told once, with its actor, and not where there was nothing to lift', async () => {
    const test = await start();
    const firewall = test.app.get(Firewall);
    const told: BanEvent[] = [];
    test.app.get(WsMonitor).on('ban', (event) => told.push(event));
    await firewall.ban({ subject: 'eve' }, { forMs: 1_000, reason: 'spam', actor: 'bob' });
    await firewall.unban({ subject: 'eve' }, { actor: 'bob' });
    await firewall.unban({ subject: 'eve' }, { actor: 'bob' });
    const common = { kind: 'ban', target: { subject: 'eve' }, enforced: true, actor: 'bob' };
    expect(told).toEqual([
      { ...common, action: 'added', forMs: 1_000, reason: 'spam' },
      { ...common, action: 'lifted' },
    ]);
  });

  it('about nothing is a rejection, and throws nothing', async () => {
    const firewall = (await start()).app.get(Firewall);
    const calls = [
      firewall.ban(undefined as never, { forMs: 1 }),
      firewall.ban({ subject: 'ada' }, undefined as never),
      firewall.unban({} as never),
      firewall.setLists({ deny: ['300.0.0.1'] }),
      firewall.setLists(null as never),
    ];
    for (const { status, reason } of (await Promise.allSettled(calls)) as PromiseRejectedResult[]) {
      expect([status, reason]).toEqual(['rejected', expect.any(TypeError)]);
    }
    expect([firewall.bans(), firewall.lists.deny]).toEqual([[], []]);
  });
});
