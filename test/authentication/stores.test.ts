import { afterEach, describe, expect, it, vi } from 'vitest';
import { Deadlines } from '../../src/authentication/deadlines.js';
import { TicketStore } from '../../src/authentication/ticket-store.js';
import type { StoredTicket } from '../../src/authentication/ticket-store.js';
import { GatewayError, WsSessions, WsTickets } from '../../src/index.js';
import type { AuthOptions } from '../../src/index.js';
import { SubjectSlots } from '../../src/session/subject-slots.js';
import type { Session } from '../../src/session/session.js';
import { startApp, stopApps, until } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { token } from '../support/tokens.js';

/** Stores as nodes would share them: what memory answers at once, they answer with a promise, or not at all. */

afterEach(stopApps);
afterEach(() => void vi.restoreAllMocks());

const start = (auth: AuthOptions = {}): Promise<TestApp> =>
  startApp({ options: { auth: { sources: ['header', 'ticket', 'message'], ...auth } } });

const isAsked = ({ app }: TestApp): Promise<void> => until(() => app.get(Deadlines, { strict: false }).size === 1);

const never = (): Promise<never> => new Promise(() => undefined);
const rejects = (): Promise<never> => Promise.reject(new Error('the store is down'));
const throws = (): never => {
  throw new Error('the store is not there');
};

const UNAVAILABLE = {
  event: 'disconnect',
  data: { code: 'UNAVAILABLE', closeCode: 1013, reconnect: true, retryAfterMs: expect.any(Number) as number },
};

describe('a store of tickets', () => {
  async function ticketOf({ app, clock }: TestApp): Promise<string> {
    const principal = { subject: 'ada', roles: ['buyer'], scopes: [], claims: {}, expiresAt: clock.now() + 600_000 };
    return (await app.get(WsTickets).issue(principal)).ticket;
  }

  it('may keep them as JSON, and answer later', async () => {
    const test = await start();
    const kept = new Map<string, string>();
    const store = test.app.get(TicketStore, { strict: false });
    vi.spyOn(store, 'put').mockImplementation(async (digest, ticket) => void kept.set(digest, JSON.stringify(ticket)));
    vi.spyOn(store, 'take').mockImplementation(async (digest) => {
      const text = kept.get(digest);
      kept.delete(digest);
      return text === undefined ? undefined : (JSON.parse(text) as StoredTicket);
    });
    const ticket = await ticketOf(test);
    const client = await Client.connect(`${test.url}/ws?ticket=${ticket}`);
    expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'ada', roles: ['buyer'] } });
    const [session] = test.app.get(WsSessions).find();
    expect(Object.isFrozen(session?.principal?.roles)).toBe(true);
    const second = await Client.connect(`${test.url}/ws?ticket=${ticket}`);
    expect(await second.next()).toMatchObject({ data: { code: 'TOKEN_INVALID' } });
  });

  it.each([
    ['rejects', rejects],
    ['throws', throws],
  ])('that %s is UNAVAILABLE, and one line says why', async (_, take) => {
    const test = await start();
    const ticket = await ticketOf(test);
    vi.spyOn(test.app.get(TicketStore, { strict: false }), 'take').mockImplementation(take);
    const client = await Client.connect(`${test.url}/ws?ticket=${ticket}`);
    expect(await client.next()).toMatchObject(UNAVAILABLE);
    expect(test.log.lines).toHaveLength(1);
    expect(test.log.lines[0]).toMatchObject({ code: 'UNAVAILABLE', level: 'error' });
  });

  it('that does not answer is UNAVAILABLE after half of auth.timeoutMs, and 503 with auth.reject', async () => {
    const test = await start({ reject: 'handshake' });
    const ticket = await ticketOf(test);
    vi.spyOn(test.app.get(TicketStore, { strict: false }), 'take').mockImplementation(never);
    const answer = refusal(`${test.url}/ws?ticket=${ticket}`);
    await isAsked(test);
    test.clock.advance(5_000);
    expect(await answer).toMatchObject({ status: 503, body: { code: 'UNAVAILABLE' } });
  });

  it('that is down refuses to issue', async () => {
    const test = await start();
    const put = vi.spyOn(test.app.get(TicketStore, { strict: false }), 'put');
    put.mockImplementation(rejects);
    await expect(ticketOf(test)).rejects.toMatchObject({ code: 'UNAVAILABLE', retryable: true });
    put.mockImplementation(() => Promise.reject(new GatewayError('OVERLOADED')));
    await expect(ticketOf(test)).rejects.toMatchObject({ code: 'OVERLOADED' });
    put.mockImplementation(never);
    const issued = ticketOf(test);
    await isAsked(test);
    test.clock.advance(5_000);
    await expect(issued).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});

describe('a table of sessions', () => {
  const slotsOf = ({ app }: TestApp): SubjectSlots => app.get(SubjectSlots, { strict: false });

  it('may answer later: frames wait, the oldest session goes, and a closed one gives its slot back', async () => {
    const test = await start({ maxSessionsPerSubject: 1 });
    const slots = slotsOf(test);
    const claim = slots.claim.bind(slots);
    const released: Session[] = [];
    vi.spyOn(slots, 'claim').mockImplementation(async (...asked) => claim(...asked));
    vi.spyOn(slots, 'release').mockImplementation((_, session) => void released.push(session));
    const first = await Client.connect(`${test.url}/ws`, { token: token() });
    expect(await first.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'ada' } });
    const second = await Client.connect(`${test.url}/ws`);
    expect(await second.ask({ event: 'auth', data: { token: token() }, id: 1 })).toMatchObject({ event: 'auth' });
    expect(await first.closed).toEqual({ code: 4409, reason: 'SESSION_REPLACED' });
    expect(await second.ask({ event: 'session', id: 2 })).toMatchObject({ data: { subject: 'ada' } });
    await until(() => released.length === 1);
    second.socket.terminate();
    await until(() => released.length === 2);
  });

  it('says SESSION_LIMIT later, too', async () => {
    const test = await start();
    vi.spyOn(slotsOf(test), 'claim').mockImplementation(() => Promise.reject(new GatewayError('SESSION_LIMIT')));
    const client = await Client.connect(`${test.url}/ws`, { token: token() });
    expect(await client.next()).toMatchObject({
      event: 'disconnect',
      data: { code: 'SESSION_LIMIT', closeCode: 4429 },
    });
  });

  it.each([
    ['rejects', rejects],
    ['throws', throws],
  ])('that %s is UNAVAILABLE: at the handshake the session ends, at `auth` it may try again', async (_, broken) => {
    const test = await start();
    const claim = vi.spyOn(slotsOf(test), 'claim').mockImplementation(broken);
    const client = await Client.connect(`${test.url}/ws`, { token: token() });
    expect(await client.next()).toMatchObject(UNAVAILABLE);
    const other = await Client.connect(`${test.url}/ws`);
    expect(await other.ask({ event: 'auth', data: { token: token() }, id: 1 })).toMatchObject({
      event: 'exception',
      data: { code: 'UNAVAILABLE', retryable: true },
    });
    claim.mockRestore();
    expect(await other.ask({ event: 'auth', data: { token: token() }, id: 2 })).toMatchObject({ event: 'auth' });
  });

  it('that does not answer in half of auth.timeoutMs is UNAVAILABLE, and a claim that comes later is given back', async () => {
    const test = await start();
    const slots = slotsOf(test);
    let answer: (replaced: readonly Session[]) => void = () => undefined;
    vi.spyOn(slots, 'claim').mockImplementation(() => new Promise((resolve) => (answer = resolve)));
    const release = vi.spyOn(slots, 'release');
    const client = await Client.connect(`${test.url}/ws`, { token: token() });
    await isAsked(test);
    test.clock.advance(5_000);
    expect(await client.next()).toMatchObject(UNAVAILABLE);
    expect(release).not.toHaveBeenCalled();
    answer([]);
    await until(() => release.mock.calls.length === 1);
  });

  it('that answers when the client has gone gets its slot back, and nobody is signed in', async () => {
    const test = await start();
    const slots = slotsOf(test);
    let answer: (replaced: readonly Session[]) => void = () => undefined;
    vi.spyOn(slots, 'claim').mockImplementation(() => new Promise((resolve) => (answer = resolve)));
    const release = vi.spyOn(slots, 'release');
    const client = await Client.connect(`${test.url}/ws`, { token: token() });
    await isAsked(test);
    client.socket.terminate();
    const sessions = test.app.get(WsSessions);
    await until(() => sessions.count() === 0);
    answer([]);
    await until(() => release.mock.calls.length === 1);
    expect(sessions.count({ subject: 'ada' })).toBe(0);
  });
});
