import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from 'vitest';
import { WsMonitor, WsRooms } from '../../src/index.js';
import { auditEventOf } from '../../src/monitoring/audit/audit-event.js';
import { MemoryEngine } from '../../src/engine/memory-engine.js';
import { Memberships } from '../../src/rooms/memberships.js';
import type { Session } from '../../src/session/session.js';
import { ManualClock, stopApps } from '../support/app.js';
import { RULES, startChannels } from '../support/channels.js';

afterEach(stopApps);

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void; // because it is there only with the flag

describe('the memory of rooms', () => {
  const most = 10_000_000;
  const limits = { maxPerSession: 100, maxPerProcess: most, maxMembershipsPerProcess: most, maxMembers: most };
  const make = (): Memberships => {
    const clock = new ManualClock();
    const nothing = { onLeave: () => undefined, has: () => false } as never; // because nothing else of it is called
    const engine = new MemoryEngine({ maxHistoryBytes: most }, clock);
    return new Memberships({ ...limits, maxMessageBytes: most }, {} as never, engine, nothing, nothing, clock, nothing);
  };
  const session = (id: number): Session => ({ id, isLive: true }) as unknown as Session; // because rooms read no more of it here

  it('is at most 120 bytes a membership: 12 MB for 10,000 sessions in 10 of 1,000 rooms each', () => {
    const memberships = make();
    const sessions = Array.from({ length: 10_000 }, (_, id) => session(id));
    const names = Array.from({ length: 1_000 }, (_, n) => `room ${n}`);
    collect();
    const before = process.memoryUsage().heapUsed;
    for (const [id, one] of sessions.entries()) {
      for (let n = 0; n < 10; n++) memberships.add(one, names[(id * 7 + n * 97) % 1_000] ?? '', false);
    }
    collect();
    const held = process.memoryUsage().heapUsed - before;
    expect(memberships.size).toEqual({ rooms: 1_000, memberships: 100_000 });
    expect(held / 100_000).toBeLessThan(120);
    for (const one of sessions) memberships.leaveAll(one);
    collect();
    expect(memberships.size).toEqual({ rooms: 0, memberships: 0 });
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(1_000_000);
  });
});

describe('a client of 100 channels', () => {
  it('comes back with one frame, within every default limit', async () => {
    const test = await startChannels({ rules: RULES }, { limits: DEFAULT_LIMITS });
    const channels = Array.from({ length: 100 }, (_, n) => ({ channel: `room.${n}` }));
    const ann = await test.enter('ann');
    const first = (await ann.ask('subscribe', { channels })) as { channels: { channel: string; epoch: string }[] };
    await ann.client.close();
    for (const { channel } of channels) await test.app.get(WsRooms).publish(channel, 'chat', 'missed');
    const again = await test.enter('ann');
    const since = first.channels.map(({ channel, epoch }) => ({ channel, since: { epoch, offset: 0 } }));
    const { channels: answers } = (await again.ask('subscribe', { channels: since })) as { channels: object[] };
    expect(answers).toHaveLength(100);
    for (const answer of answers) expect(answer).toMatchObject({ recovered: true, replayed: 1, offset: 1 });
    for (let n = 0; n < 100; n++) expect(await again.next()).toMatchObject({ data: 'missed', offset: 1 });
    expect(again.client.frames.some(({ event }) => event === 'exception')).toBe(false);
  });
});

/** Those of the module, and not those of tests. */
const DEFAULT_LIMITS = { messagesPerSecond: 50, messagesPerSecondPerSubject: 200, bytesPerSecond: 1_048_576 };

describe('what goes wrong in a batch', () => {
  it('has one event for each code, which says how many, and is audited', async () => {
    const { app, enter, log } = await startChannels({}, { rooms: { maxPerSession: 2 } });
    const events: unknown[] = [];
    app.get(WsMonitor).on('request', (event) => events.push(event));
    const ann = await enter('ann');
    const names = ['room.1', 'secret', 'room.2', 'user.bob', 'x y', 'room.3', 'staff.1'];
    await ann.ask('subscribe', { channels: names.map((channel) => ({ channel })) });
    const common = { kind: 'request', event: 'subscribe', subject: 'ann', sessionId: ann.sessionId };
    expect(events).toMatchObject([
      { ...common, code: 'VALIDATION_FAILED', reason: '1 of a batch' },
      { ...common, code: 'FORBIDDEN', reason: '3 of a batch' },
      { ...common, code: 'SUBSCRIPTION_LIMIT', reason: '1 of a batch' },
    ]);
    const audited = events.map((event) => auditEventOf(event as never)).filter((event) => event !== undefined);
    expect(audited).toMatchObject([{ type: 'denied', code: 'FORBIDDEN', event: 'subscribe', reason: '3 of a batch' }]);
    expect(JSON.stringify([events, log.lines])).not.toMatch(/secret|user\.bob|x y/);
  });
});

describe('the budgets of channels', () => {
  const rules = [{ pattern: 'live.*', subscribe: true, publish: true, publishesPerSecond: 1 }];
  const batch = { channels: Array.from({ length: 20 }, (_, n) => ({ channel: `live.${n}` })) };
  const codes = async (firewall: object): Promise<{ codes: unknown[]; events: unknown[] }> => {
    const { app, enter } = await startChannels({ rules, subscribesPerSecondPerSession: 1 }, { firewall });
    const events: unknown[] = [];
    app.get(WsMonitor).on('budget', ({ budget, enforced }) => events.push([budget, enforced]));
    const ann = await enter('ann');
    const { channels } = (await ann.ask('subscribe', batch)) as { channels: { error?: { code: string } }[] };
    await ann.ask('publish', { channel: 'live.1', echo: false });
    const last = await ann.codeOf('publish', { channel: 'live.1', echo: false });
    return { codes: [...new Set(channels.map(({ error }) => error?.code)), last], events };
  };

  it('refuse what is over them', async () => {
    const answer = await codes({});
    expect(answer.codes).toEqual([undefined, 'RATE_LIMITED', 'RATE_LIMITED']);
    expect(answer.events).toEqual([...Array.from({ length: 10 }, () => ['subscribe', true]), ['publish', true]]);
  });

  it('refuse nothing in a dry run, and say what they would have refused', async () => {
    const answer = await codes({ dryRun: ['budgets'] });
    expect(answer.codes).toEqual([undefined, undefined]);
    expect(answer.events).toEqual([...Array.from({ length: 10 }, () => ['subscribe', false]), ['publish', false]]);
  });

  it('are none for exempt clients', async () => {
    expect(await codes({ exempt: ['127.0.0.1'] })).toEqual({ codes: [undefined, undefined], events: [] });
  });
});
