import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, describe, expect, it } from 'vitest';
import { WsRooms } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { HISTORY, startChannels } from '../support/channels.js';
import { LATE, MEMORY } from '../support/engines.js';
import { token } from '../support/tokens.js';
import { testChannels } from './channels-suite.js';

testChannels('memory', MEMORY);
testChannels('late', LATE);

afterEach(stopApps);

describe('subscribing', () => {
  it.each([
    ['no object', 1],
    ['no channel', {}],
    ['an empty name', { channel: '' }],
    ['an empty segment', { channel: 'room..1' }],
    ['a dot at the end', { channel: 'room.' }],
    ['braces', { channel: 'room.{1}' }],
    ['a pattern', { channel: 'room.*' }],
    ['129 characters', { channel: 'r'.repeat(129) }],
    ['a since without offset', { channel: 'room.1', since: { epoch: 'x' } }],
    ['an offset below 0', { channel: 'room.1', since: { epoch: 'x', offset: -1 } }],
    ['a fraction as offset', { channel: 'room.1', since: { epoch: 'x', offset: 0.5 } }],
    ['an unknown member of since', { channel: 'room.1', since: { epoch: 'x', offset: 0, more: 1 } }],
    ['an empty batch', { channels: [] }],
    ['101 channels', { channels: Array.from({ length: 101 }, (_, n) => ({ channel: `room.${n}` })) }],
    ['a batch of names', { channels: ['room.1'] }],
  ])('refuses %s, and quotes nothing', async (_, data) => {
    const { enter } = await startChannels();
    const answer = await (await enter('ann')).ask('subscribe', data);
    expect(answer.code).toBe('VALIDATION_FAILED');
    expect(JSON.stringify(answer)).not.toMatch(/room\.|rrrr/);
  });
});

describe('the rules', () => {
  const may = async (claims: object, channel: string, event = 'subscribe'): Promise<boolean> => {
    const { enter } = await startChannels();
    const { sub = 'ann' } = claims as { sub?: string };
    const answer = await (await enter(sub, claims)).ask(event, { channel });
    if (answer.code !== undefined) expect(answer.code).toBe('FORBIDDEN');
    return answer.code === undefined;
  };

  it.each([
    ['the own channel of a subject', {}, 'user.ann', true],
    ['the channel of another', {}, 'user.bob', false],
    ['a subject with a dot and an at', { sub: 'ann@example.com' }, 'user.ann%40example.com', true],
    ['a subject that looks like a pattern', { sub: '*' }, 'user.bob', false],
    ['a role', { roles: ['admin'] }, 'staff.1', true],
    ['no role', { roles: ['guest'] }, 'staff.1', false],
    ['no rule', {}, 'nothing.1', false],
    ['fewer segments', {}, 'room', false],
    ['more segments', {}, 'room.1.2', false],
    ['what ** stands for', {}, 'public.a.b.c', true],
    ['nothing for **', {}, 'public', false],
    ['a claim', { channels: { subscribe: ['claimed.x.*'] } }, 'claimed.x.y', true],
    ['a claim for another', { channels: { subscribe: ['claimed.x.*'] } }, 'claimed.y.y', false],
    ['no claim', {}, 'claimed.x.y', false],
    ['a claim that opens all, where no rule names claims', { channels: { subscribe: ['**'] } }, 'staff.1', false],
    ['a claim that is no list', { channels: { subscribe: '**' } }, 'claimed.x', false],
    ['a claim instead of a role', { channels: { subscribe: ['mixed.1'] } }, 'mixed.1', true],
    ['a role instead of a claim', { roles: ['staff'] }, 'mixed.1', true],
    ['neither', {}, 'mixed.1', false],
  ])('%s', async (_, claims, channel, allowed) => {
    expect(await may(claims, channel)).toBe(allowed);
  });

  it.each([
    [{ scope: 'chat:write chat:read' }, 'staff.1', true],
    [{ scope: 'chat:write' }, 'staff.1', false],
    [{}, 'public.1', false],
    [{}, 'user.ann', false],
    [{ channels: { publish: ['claimed.*'] } }, 'claimed.1', true],
    [{ channels: { subscribe: ['claimed.*'] } }, 'claimed.1', false],
  ])('a client with %j publishes in %s: %s', async (claims, channel, allowed) => {
    expect(await may(claims, channel, 'publish')).toBe(allowed);
  });

  it('tell an anonymous session nothing about channels that are not open to it', async () => {
    const { url } = await startChannels({}, { auth: { anonymous: true } });
    const client = await Client.connect(`${url}/ws`);
    const codes = [];
    for (const channel of ['room.1', 'nothing', 'user.ann', 'public.1']) {
      const { data } = await client.ask({ event: 'subscribe', data: { channel }, id: 1 });
      codes.push((data as { code?: string }).code);
    }
    expect(codes).toEqual(['UNAUTHENTICATED', 'UNAUTHENTICATED', 'UNAUTHENTICATED', undefined]);
  });

  it.each([
    ['a double rule', [{ pattern: 'a.*' }, { pattern: 'a.*' }], 'channels.rules[1].pattern is never reached'],
    [
      'a rule that is never reached',
      [{ pattern: 'a.**' }, { pattern: 'a.b' }],
      'channels.rules[1].pattern is never reached',
    ],
    ['** in the middle', [{ pattern: 'a.**.b' }], 'channels.rules[0].pattern must be segments'],
    ['no pattern', [{}], 'channels.rules[0].pattern must be segments'],
    ['an unknown member', [{ pattern: 'a', subscribes: true }], 'channels.rules[0].subscribes is not an option'],
    [
      'an unknown right',
      [{ pattern: 'a', subscribe: { role: ['x'] } }],
      'channels.rules[0].subscribe.role is not an option',
    ],
    [
      'half a history',
      [{ pattern: 'a', history: { count: 1 } }],
      'channels.rules[0].history must have count and ageMs',
    ],
    [
      '101 rules',
      Array.from({ length: 101 }, (_, n) => ({ pattern: `a${n}` })),
      'channels.rules must be a list of at most 100',
    ],
  ])('refuse %s', async (_, rules, problem) => {
    await expect(startChannels({ rules: rules as never })).rejects.toThrow(problem);
  });

  it('that are not there leave the events to the application', async () => {
    @WebSocketGateway()
    class Own {
      @SubscribeMessage('subscribe')
      subscribe(): string {
        return 'mine';
      }
    }
    const { url } = await startApp({ gateways: [Own] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    expect((await client.ask({ event: 'subscribe', id: 1 })).data).toBe('mine');
    await expect(startChannels({}, {}, { gateways: [Own] })).rejects.toThrow('Own handles "subscribe" at /ws');
  });
});

it('subscribers are told when the history of their channel had to go', async () => {
  const rules = [{ pattern: 'room.*', subscribe: true, history: { count: 100, ageMs: 60_000 } }];
  const { app, enter } = await startChannels({ rules, maxHistoryBytes: 1_048_576 });
  const ann = await enter('ann');
  const { epoch } = await ann.ask('subscribe', { channel: 'room.old' });
  await app.get(WsRooms).publish('room.old', 'chat', 0);
  await ann.next();
  for (let n = 0; n < 10; n++) await app.get(WsRooms).publish('room.new', 'load', 'x'.repeat(60_000));
  const gap = await ann.next();
  expect(gap).toMatchObject({ event: 'gap', channel: 'room.old', data: { offset: 0, reason: 'epoch' } });
  const { reloadAfterMs, ...position } = gap.data as { epoch: string; reloadAfterMs: number };
  expect(position.epoch).not.toBe(epoch);
  expect(reloadAfterMs).toBeLessThanOrEqual(5_000);
  expect((await app.get(WsRooms).publish('room.old', 'chat', 1)).position).toEqual({
    epoch: position.epoch,
    offset: 1,
  });
});

it('500 missed messages are replayed in 20 ms', async () => {
  const rules = [{ pattern: 'room.*', subscribe: true, history: { count: 500, ageMs: HISTORY.ageMs } }];
  const { app, enter } = await startChannels({ rules });
  const ann = await enter('ann');
  const { epoch } = await ann.ask('subscribe', { channel: 'room.1' });
  await ann.client.close();
  for (let n = 0; n < 500; n++) await app.get(WsRooms).publish('room.1', 'chat', { n, text: 'x'.repeat(200) });
  const times = [];
  for (let round = 0; round < 5; round++) {
    const again = await enter('ann');
    const begun = process.cpuUsage(); // of both ends: other processes of a busy machine do not count
    expect(await again.ask('subscribe', { channel: 'room.1', since: { epoch, offset: 0 } })).toMatchObject({
      replayed: 500,
    });
    for (let n = 0; n < 500; n++) await again.next();
    const { user, system } = process.cpuUsage(begun);
    times.push((user + system) / 1_000);
  }
  expect(Math.min(...times)).toBeLessThan(20);
});
