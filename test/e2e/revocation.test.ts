import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Subject } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Revocations } from '../../src/authentication/revocations.js';
import { CurrentPrincipal, WsSessions, WsTickets } from '../../src/index.js';
import type { Principal } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

let release: (() => void)[] = [];
const values = new Subject<number>();

@WebSocketGateway()
class SlowGateway {
  @SubscribeMessage('slow') async slow(): Promise<string> {
    await new Promise<void>((resolve) => release.push(resolve));
    return 'late';
  }
  @SubscribeMessage('stream') stream(): Subject<number> {
    return values;
  }
  @SubscribeMessage('ticket') ticket(@CurrentPrincipal() principal: Principal): Promise<object> {
    return test.app.get(WsTickets).issue(principal);
  }
}

let test: TestApp;
let sessions: WsSessions;
beforeEach(async () => {
  release = [];
  test = await startApp({
    gateways: [SlowGateway],
    options: { auth: { sources: ['header', 'ticket', 'message'] } },
  });
  sessions = test.app.get(WsSessions);
});
afterEach(stopApps);

const connect = (bearer: string): Promise<Client> => Client.connect(`${test.url}/ws`, { token: bearer });
const seconds = (): number => Math.floor(test.clock.now() / 1000);
const idOf = async (client: Client): Promise<string> =>
  ((await client.ask({ event: 'session', id: 0 })).data as { sessionId: string }).sessionId;
const isIn = async (client: Client): Promise<boolean> => {
  client.send({ event: 'ping', id: 0 });
  return (await client.next()).event === 'pong';
};

describe('revoke', () => {
  it('by session ends it at once, and its token is no way back in', async () => {
    const [revoked, spared] = [token({ jti: '1' }), token({ jti: '2' })];
    const client = await connect(revoked);
    const other = await connect(spared);
    expect((await sessions.revoke({ sessionId: await idOf(client) })).ended).toBe(1);
    expect(await client.next()).toEqual({
      event: 'disconnect',
      data: { code: 'SESSION_REVOKED', message: 'The session was revoked', closeCode: 4410, reconnect: false },
    });
    expect(await client.closed).toEqual({ code: 4410, reason: 'SESSION_REVOKED' });
    expect(await (await connect(revoked)).closed).toEqual({ code: 4410, reason: 'SESSION_REVOKED' });
    expect(await isIn(other)).toBe(true);
    expect(await isIn(await connect(spared))).toBe(true);
  });

  it('by session revokes the tokens of before its refreshes, too', async () => {
    const [first, second] = [token({ jti: '1' }), token({ jti: '2' })];
    const client = await connect(first);
    await client.ask({ event: 'auth', data: { token: second }, id: 1 });
    await sessions.revoke({ sessionId: await idOf(client) });
    for (const bearer of [first, second]) expect((await (await connect(bearer)).closed).reason).toBe('SESSION_REVOKED');
  });

  it('answers an auth with that token by an exception, and ends the session', async () => {
    const bearer = token({ jti: '1' });
    await sessions.revoke({ tokenId: '1' });
    const client = await Client.connect(`${test.url}/ws`);
    client.send({ event: 'auth', data: { token: bearer }, id: 1 });
    const frames = await client.rest();
    expect(frames[0]).toMatchObject({ event: 'exception', data: { code: 'SESSION_REVOKED' }, id: 1 });
    expect(frames[1]).toMatchObject({ event: 'disconnect', data: { closeCode: 4410 } });
  });

  it('is told by a frame also where bad tokens are refused at the handshake', async () => {
    await stopApps();
    test = await startApp({ options: { auth: { reject: 'handshake' } } });
    await test.app.get(WsSessions).revoke({ subject: 'ada' });
    expect((await (await connect(token())).closed).reason).toBe('SESSION_REVOKED');
  });

  it('by subject ends all its sessions and refuses its tokens of before, not those issued later', async () => {
    const clients = [await connect(token({ jti: '1' })), await connect(token({ jti: '2' }))];
    const eve = await connect(token({ sub: 'eve' }));
    expect(await sessions.revoke({ subject: 'ada' })).toEqual({ ended: 2, nodes: 1, missing: [] });
    for (const client of clients) expect((await client.closed).reason).toBe('SESSION_REVOKED');
    expect(await isIn(eve)).toBe(true);
    // One that nobody has shown here yet, and one that does not say when it was issued.
    for (const bearer of [token({ jti: '3', iat: seconds() - 100 }), token({ iat: undefined })]) {
      expect((await (await connect(bearer)).closed).reason).toBe('SESSION_REVOKED');
    }
    test.clock.advance(2_000);
    expect(await isIn(await connect(token({ iat: seconds() })))).toBe(true);
  });

  it('by token id ends the sessions that have it', async () => {
    const client = await connect(token({ jti: 'x' }));
    const other = await connect(token({ jti: 'y' }));
    expect((await sessions.revoke({ tokenId: 'x' })).ended).toBe(1);
    expect((await client.closed).reason).toBe('SESSION_REVOKED');
    expect((await (await connect(token({ jti: 'x', exp: seconds() + 50 }))).closed).reason).toBe('SESSION_REVOKED');
    expect(await isIn(other)).toBe(true);
  });

  it('by time ends what was issued before, of everybody or of one subject', async () => {
    const old = await connect(token({ iat: seconds() - 100, sub: 'bob' }));
    const young = await connect(token({ iat: seconds() - 10, sub: 'bob' }));
    const eve = await connect(token({ iat: seconds() - 100, sub: 'eve' }));
    expect((await sessions.revoke({ subject: 'bob', issuedBefore: seconds() - 50 })).ended).toBe(1);
    expect((await old.closed).reason).toBe('SESSION_REVOKED');
    expect(await isIn(eve)).toBe(true);
    expect((await sessions.revoke({ issuedBefore: seconds() - 50 })).ended).toBe(1);
    expect((await eve.closed).reason).toBe('SESSION_REVOKED');
    expect(await isIn(young)).toBe(true);
    expect((await (await connect(token({ sub: 'zoe', iat: seconds() - 51 }))).closed).reason).toBe('SESSION_REVOKED');
    expect(await isIn(await connect(token({ sub: 'zoe', iat: seconds() - 50 })))).toBe(true);
  });

  it('reaches a ticket that was made before', async () => {
    const client = await connect(token({ jti: '1' }));
    const { data } = await client.ask({ event: 'ticket', id: 1 });
    await sessions.revoke({ sessionId: await idOf(client) });
    const { ticket } = data as { ticket: string };
    expect((await (await Client.connect(`${test.url}/ws?ticket=${ticket}`)).closed).reason).toBe('SESSION_REVOKED');
  });

  it('lets no reply out that is in flight, and ends streams', async () => {
    const client = await connect(token());
    client.send({ event: 'slow', id: 1 });
    client.send({ event: 'stream', id: 2 });
    await until(() => release.length === 1 && values.observed);
    await sessions.revoke({ subject: 'ada' });
    expect(values.observed).toBe(false);
    release[0]?.();
    expect((await client.rest()).map(({ event }) => event)).toEqual(['disconnect']);
    // Exactly one line: what the handler answered after the end is no news.
    expect(test.log.lines.filter(({ code }) => code !== 'CLOSED')).toMatchObject([
      { code: 'SESSION_REVOKED', kind: 'connection', level: 'info' },
    ]);
  });

  it('leaves out what is there and undefined, as in the body of a request that was validated', async () => {
    const client = await connect(token());
    const filter = { sessionId: undefined, subject: 'ada', tokenId: undefined } as unknown as { subject: string };
    expect((await sessions.revoke(filter)).ended).toBe(1);
    expect((await client.closed).reason).toBe('SESSION_REVOKED');
  });

  it('is one of its kinds, and never everybody by mistake', async () => {
    const wrong = [
      {},
      { sessionId: '' },
      { sessionId: 'a', subject: 'b' },
      { tokenId: 'x', issuedBefore: 1 },
      { issuedBefore: NaN },
      { issuedBefore: '1' },
      { subject: 1 },
      { everybody: true },
      { subject: 'a', role: 'x' },
    ];
    for (const filter of wrong) await expect(sessions.revoke(filter as never)).rejects.toThrow(TypeError);
  });

  it('is forgotten when the tokens have expired by themselves', async () => {
    const revocations = test.app.get(Revocations, { strict: false });
    const client = await connect(token({ exp: seconds() + 100 }));
    await sessions.revoke({ sessionId: await idOf(client) });
    await sessions.revoke({ tokenId: '1' });
    await sessions.revoke({ subject: 'ada' });
    await sessions.revoke({ issuedBefore: 1 });
    expect(revocations.size).toBe(4);
    test.clock.advance(120_000);
    expect(revocations.size).toBe(3);
    test.clock.jump(86_400_000);
    test.clock.advance(10_000);
    expect(revocations.size).toBe(0);
  });

  it('is kept as long as the longest token that was shown', async () => {
    const revocations = test.app.get(Revocations, { strict: false });
    await isIn(await connect(token({ sub: 'eve', exp: seconds() + 10 * 86_400 })));
    await sessions.revoke({ subject: 'ada' });
    test.clock.jump(9 * 86_400_000);
    test.clock.advance(10_000);
    expect(revocations.size).toBe(1);
    test.clock.jump(86_400_000);
    test.clock.advance(10_000);
    expect(revocations.size).toBe(0);
  });
});

describe('the registry', () => {
  it('lists page by page, oldest first, and of one subject', async () => {
    const subjects = ['ada', 'eve', 'ada', 'bob', 'ada'];
    for (const sub of subjects) await connect(token({ sub }));
    const seen: (string | undefined)[] = [];
    let cursor: string | undefined;
    do {
      const page = sessions.list({ limit: 2, ...(cursor !== undefined && { cursor }) });
      expect(page.items.length).toBeLessThanOrEqual(2);
      seen.push(...page.items.map(({ principal }) => principal?.subject));
      cursor = page.next;
    } while (cursor !== undefined);
    expect(seen).toEqual(subjects);
    expect(sessions.list({ subject: 'ada', limit: 3 })).toMatchObject({ items: [{}, {}, {}] });
    expect(sessions.list({ subject: 'ada', limit: 3 }).next).toBeUndefined();
    expect(sessions.list({ subject: 'nobody' })).toEqual({ items: [] });
    expect([sessions.count(), sessions.count({ subject: 'ada' }), sessions.find({ subject: 'eve' }).length]).toEqual([
      5, 3, 1,
    ]);
  });

  it('takes a member that is there and undefined for nobody, not for everybody', async () => {
    const client = await connect(token());
    const filter = { subject: undefined } as unknown as { subject: string };
    expect([sessions.find(filter), sessions.count(filter), sessions.broadcast('news', 1, filter)]).toEqual([[], 0, 0]);
    expect(sessions.list(filter)).toEqual({ items: [] });
    expect(await isIn(client)).toBe(true);
  });

  it('refuses an unknown member: a misspelt filter does not match every session', async () => {
    const client = await connect(token());
    const filter = { subjekt: 'ada' } as object;
    const calls = [
      () => sessions.find(filter),
      () => sessions.count(filter),
      () => sessions.list(filter),
      () => sessions.broadcast('news', 1, filter),
    ];
    for (const call of calls) expect(call).toThrow(TypeError);
    await expect(sessions.revoke(filter)).rejects.toThrow(TypeError);
    expect(await isIn(client)).toBe(true);
  });

  it('is without those that have ended, also when their peers have not closed', async () => {
    const client = await connect(token());
    client.socket.pause();
    await sessions.revoke({ subject: 'ada' });
    expect([sessions.count(), sessions.find(), sessions.list()]).toEqual([0, [], { items: [] }]);
    client.socket.terminate();
  });

  it('goes on from a cursor whose session has gone', async () => {
    const clients = [];
    for (let i = 0; i < 3; i++) clients.push(await connect(token({ sub: `s${i}` })));
    const { items, next } = sessions.list({ limit: 1 });
    await clients[0]?.close();
    await until(() => sessions.count() === 2);
    expect(items[0]?.phase).toBe('closed');
    const { items: rest } = sessions.list({ ...(next !== undefined && { cursor: next }) });
    expect(rest.map(({ principal }) => principal?.subject)).toEqual(['s1', 's2']);
  });

  it.each([{ limit: 0 }, { limit: 1_001 }, { limit: 1.5 }, { cursor: 'not one' }, { cursor: '' }])(
    'refuses %j',
    (query) => {
      expect(() => sessions.list(query)).toThrow(TypeError);
    },
  );
});
