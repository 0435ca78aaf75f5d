import type { IncomingMessage, ServerResponse } from 'node:http';
import type { INestApplication } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WsFirewall } from '../../src/firewall/ws-firewall.js';
import type { AuditEntry } from '../../src/monitoring/audit/audit-event.js';
import { AuditSink } from '../../src/monitoring/audit/audit-sink.js';
import { readConfiguration } from '../../src/service/configuration/configuration.js';
import { PROBES } from '../../src/service/http/health.controller.js';
import { createApp } from '../../src/service/start.js';
import { MemorySink } from '../support/app.js';
import { refusal } from '../support/client.js';
import { SECRET, token } from '../support/tokens.js';

class ListSink extends AuditSink {
  readonly entries: AuditEntry[] = [];

  write(entry: AuditEntry): void {
    this.entries.push(entry);
  }

  override async close(): Promise<void> {}
}

/** A service behind one proxy, so that a test chooses the address that it comes from. */
interface House {
  readonly app: NestExpressApplication;
  readonly url: string;
  readonly log: MemorySink;
  readonly audit: ListSink;
}

interface Door {
  readonly method: string;
  readonly path: string;
}

interface Answer {
  readonly status: number;
  readonly code: string | undefined;
  readonly retryAfter: string | null;
}

const VIOLATIONS = 5;
const BURST = 20;
const DENIED = '198.51.100.0/24';

const running = new Set<INestApplication>();
afterAll(async () => {
  for (const app of running) await app.close();
});

async function open(
  environment: NodeJS.ProcessEnv = {},
  prepare?: (app: NestExpressApplication) => void,
): Promise<House> {
  const [log, audit] = [new MemorySink(), new ListSink()];
  const given = { JWT_SECRET: SECRET, TRUST_PROXY: '1', AUTH_SOURCES: 'header,ticket,message', ...environment };
  const configuration = readConfiguration(given, false);
  const gateway = {
    ...configuration.gateway,
    firewall: {
      ...configuration.gateway.firewall,
      deny: [DENIED],
      handshakeBurstPerAddress: BURST,
      handshakesPerSecondPerAddress: 1,
      ban: { violations: VIOLATIONS },
    },
    shutdown: { drainMs: 500 },
  };
  const app = await createApp({ ...configuration, gateway }, pino({ level: 'silent' }), log, audit);
  prepare?.(app);
  await app.listen(0, '127.0.0.1');
  running.add(app);
  return { app, url: await app.getUrl(), log, audit };
}

/** Every route of the HTTP server, those included that nobody has thought of here. */
function doorsOf({ app }: House): Door[] {
  interface Layer {
    readonly route?: { readonly path: string; readonly methods: Record<string, boolean> };
  }
  const { router } = app.getHttpAdapter().getInstance() as { router: { stack: Layer[] } };
  return router.stack
    .flatMap(({ route }) => (route === undefined ? [] : [route]))
    .flatMap(({ path, methods }) => Object.keys(methods).map((method) => ({ method: method.toUpperCase(), path })))
    .filter(({ path }) => !PROBES.includes(path));
}

let addresses = 0;
/** One that has done nothing yet. */
const freshAddress = (): string => `203.0.113.${++addresses}`;

async function knock({ url }: House, { method, path }: Door, address: string, bearer?: string): Promise<Answer> {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      'x-forwarded-for': address,
      ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
    },
  });
  const text = await response.text();
  const code = text.startsWith('{') ? (JSON.parse(text) as { code?: string }).code : undefined;
  return { status: response.status, code, retryAfter: response.headers.get('retry-after') };
}

/** What of a refusal stands in log and audit under that address. */
function traceOf({ log, audit }: House, address: string): { lines: unknown[]; records: unknown[] } {
  return {
    lines: log.lines.filter(({ clientAddress }) => clientAddress === address).map(({ code }) => code),
    records: audit.entries
      .filter(({ clientAddress, type }) => clientAddress === address && type !== 'banned')
      .map(({ code }) => code),
  };
}

let forgeries = 0;
const forged = (): string => token({ sub: `guess-${++forgeries}` }, 'another-secret-of-at-least-32-bytes!');
const right = token({ sub: 'operator', scope: 'ws-gateway:admin ws-gateway:metrics' });

/** What is wrong with how a door is kept, in words; nothing when it is kept as `/ws` is. */
async function faultsOf(house: House, door: Door, needsToken: boolean): Promise<string[]> {
  const faults: string[] = [];
  const expectThat = (isSo: boolean, fault: string): void => void (isSo || faults.push(fault));
  const firewall = house.app.get(WsFirewall);
  const isToldOnce = (address: string, code: string): boolean => {
    const { lines, records } = traceOf(house, address);
    return String(lines) === code && String(records) === code;
  };

  const denied = `198.51.100.${++addresses}`;
  expectThat((await knock(house, door, denied, right)).code === 'IP_FORBIDDEN', 'lets in a denied address');
  expectThat(isToldOnce(denied, 'IP_FORBIDDEN'), 'does not tell of a denied address once');

  const banned = freshAddress();
  await firewall.ban({ address: banned }, { forMs: 60_000 });
  const refused = await knock(house, door, banned, right);
  expectThat(refused.status === 403 && refused.code === 'BANNED', 'lets in a banned address');
  expectThat(Number(refused.retryAfter) > 50, 'does not say when a ban is over');
  expectThat(isToldOnce(banned, 'BANNED'), 'does not tell of a banned address once');

  const busy = freshAddress();
  let answer = await knock(house, door, busy, right);
  for (let i = 0; i < 3 * BURST && answer.status !== 429; i++) answer = await knock(house, door, busy, right);
  expectThat(answer.code === 'TOO_MANY_CONNECTIONS', 'has no rate');
  if (!needsToken) return faults;

  const stranger = freshAddress();
  expectThat((await knock(house, door, stranger)).code === 'UNAUTHENTICATED', 'asks for no token');
  expectThat(isToldOnce(stranger, 'UNAUTHENTICATED'), 'does not tell of a request without a token once');

  const guesser = freshAddress();
  const guesses: (string | undefined)[] = [];
  for (let i = 0; i < VIOLATIONS; i++) guesses.push((await knock(house, door, guesser, forged())).code);
  expectThat(new Set(guesses).size === 1 && guesses[0] === 'TOKEN_INVALID', 'does not refuse forged tokens');
  const { lines, records } = traceOf(house, guesser);
  expectThat(lines.length === VIOLATIONS && records.length === VIOLATIONS, 'does not tell of each forged token');
  expectThat((await knock(house, door, guesser, right)).code === 'BANNED', 'does not count forged tokens');

  const subject = `banned-${++forgeries}`;
  await firewall.ban({ subject }, { forMs: 60_000 });
  const bearer = token({ sub: subject, scope: 'ws-gateway:admin ws-gateway:metrics' });
  const administrator = freshAddress();
  expectThat((await knock(house, door, administrator, bearer)).code === 'BANNED', 'lets in a banned subject');
  expectThat(isToldOnce(administrator, 'BANNED'), 'does not tell of a banned subject once');
  return faults;
}

describe('every door of the service', () => {
  let house: House;
  beforeAll(async () => void (house = await open()));

  it('is found', () => {
    expect(doorsOf(house).map(({ method, path }) => `${method} ${path}`)).toEqual(
      expect.arrayContaining([
        'GET /admin/sessions',
        'POST /admin/revoke',
        'GET /admin/bans',
        'POST /admin/bans',
        'DELETE /admin/bans',
        'POST /tickets',
        'GET /metrics',
      ]),
    );
  });

  it('is kept by lists, bans, rate and tokens, and tells of each refusal once, under the client’s address', async () => {
    const faults: Record<string, string[]> = {};
    for (const door of doorsOf(house)) faults[`${door.method} ${door.path}`] = await faultsOf(house, door, true);
    expect(faults).toEqual(Object.fromEntries(Object.keys(faults).map((door) => [door, []])));
  });

  it('is kept also where there is none: other paths, preflights, plain HTTP at the gateway’s', async () => {
    for (const door of [
      { method: 'GET', path: '/nowhere' },
      { method: 'OPTIONS', path: '/tickets' },
      { method: 'GET', path: '/ws' },
      { method: 'GET', path: '/HEALTHZ' },
      { method: 'GET', path: '/healthz/' },
    ]) {
      expect([door, await faultsOf(house, door, false)]).toEqual([door, []]);
    }
  });

  it('that is new and forgets its guard is found', async () => {
    const forgetful = await open({}, (app) =>
      app.getHttpAdapter().get('/forgotten', (_: IncomingMessage, response: ServerResponse) => response.end('all')),
    );
    const door = doorsOf(forgetful).find(({ path }) => path === '/forgotten');
    expect(door).toEqual({ method: 'GET', path: '/forgotten' });
    // The keeper stands before it all the same; nobody asks for a token.
    expect(await faultsOf(forgetful, door as Door, true)).toEqual([
      'asks for no token',
      'does not tell of a request without a token once',
      'does not refuse forged tokens',
      'does not tell of each forged token',
      'does not count forged tokens',
      'lets in a banned subject',
      'does not tell of a banned subject once',
    ]);
  });
});

it('public metrics are open to everybody but those whom lists, bans and rate keep out', async () => {
  const house = await open({ METRICS_PUBLIC: 'true' });
  const door = { method: 'GET', path: '/metrics' };
  expect((await knock(house, door, freshAddress())).status).toBe(200);
  expect(await faultsOf(house, door, false)).toEqual([]);
});

describe('the doors and the gateway', () => {
  it('share one keeper: forged tokens at one are counted at the other', async () => {
    const house = await open();
    const ws = `${house.url.replace('http', 'ws')}/ws`;
    const address = freshAddress();
    const headers = { 'x-forwarded-for': address };
    for (let i = 0; i < VIOLATIONS; i++)
      await knock(house, { method: 'GET', path: '/admin/sessions' }, address, forged());
    expect(await refusal(ws, { headers })).toMatchObject({ status: 403, body: { code: 'BANNED' } });
  });

  it('count 300 forged tokens in a row: told, recorded and banned', async () => {
    const house = await open();
    const address = freshAddress();
    const codes = new Map<string | undefined, number>();
    for (let i = 0; i < 300; i++) {
      const { code } = await knock(house, { method: 'POST', path: '/admin/revoke' }, address, forged());
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    expect([...codes]).toEqual([
      ['TOKEN_INVALID', VIOLATIONS],
      ['BANNED', 300 - VIOLATIONS],
    ]);
    const { lines, records } = traceOf(house, address);
    expect(lines.filter((code) => code === 'TOKEN_INVALID')).toHaveLength(VIOLATIONS);
    expect(lines.length).toBeLessThan(300); // sampled, as refused upgrades are
    expect(records.filter((code) => code === 'TOKEN_INVALID')).toHaveLength(VIOLATIONS);
    expect(records.length).toBeLessThan(300); // of a flood, one address has its share
    expect(house.audit.entries.filter(({ type }) => type === 'banned')).toHaveLength(1);
  });

  it('let nobody lift her own ban, by subject or by address', async () => {
    const house = await open();
    const firewall = house.app.get(WsFirewall);
    const address = freshAddress();
    await firewall.ban({ subject: 'operator' }, { forMs: 60_000 });
    await firewall.ban({ address }, { forMs: 60_000 });
    const lift = (query: string, from: string, bearer: string): Promise<Answer> =>
      knock(house, { method: 'DELETE', path: `/admin/bans?${query}` }, from, bearer);
    expect((await lift('subject=operator', freshAddress(), right)).code).toBe('BANNED');
    const other = token({ sub: 'other', scope: 'ws-gateway:admin' });
    expect((await lift(`address=${address}`, address, other)).code).toBe('BANNED');
    expect(firewall.bans()).toHaveLength(2);
    expect((await lift(`address=${address}`, freshAddress(), other)).status).toBe(204);
    expect((await lift('subject=operator', address, other)).status).toBe(204);
  });

  it('tell the client’s address of what an administrator does, not the proxy’s', async () => {
    const house = await open();
    const address = freshAddress();
    await knock(house, { method: 'GET', path: '/admin/bans' }, address, right);
    await knock(house, { method: 'GET', path: '/admin/bans' }, address, token({ sub: 'mallory' }));
    expect(house.audit.entries.filter(({ clientAddress }) => clientAddress === address)).toMatchObject([
      { type: 'admin', actor: 'operator', event: 'bans.list' },
      { type: 'denied', subject: 'mallory', code: 'FORBIDDEN', details: { route: 'GET /admin/bans', status: 403 } },
    ]);
    expect(house.log.lines.filter(({ clientAddress }) => clientAddress === address)).toMatchObject([
      { kind: 'http', code: 'FORBIDDEN', subject: 'mallory', route: 'GET /admin/bans', status: 403, level: 'warn' },
    ]);
  });
});

describe('a probe', () => {
  it.each(PROBES)('%s is open to every address, banned and denied ones included', async (path) => {
    const house = await open();
    const banned = freshAddress();
    await house.app.get(WsFirewall).ban({ address: banned }, { forMs: 60_000 });
    for (const address of [banned, '198.51.100.250']) {
      expect((await knock(house, { method: 'GET', path }, address)).status).toBe(200);
      expect((await knock(house, { method: 'GET', path: `${path}?probe=1` }, address)).status).toBe(200);
    }
  });

  it('has a bound of its own, which bans nobody and is not that of handshakes', async () => {
    const house = await open();
    const address = freshAddress();
    const probe = { method: 'GET', path: '/healthz' };
    const statuses = new Map<number, number>();
    for (let i = 0; i < 4 * BURST; i++) {
      const { status } = await knock(house, probe, address);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    expect(statuses.get(429)).toBeGreaterThan(BURST);
    expect([...statuses.keys()].toSorted()).toEqual([200, 429]);
    expect(house.app.get(WsFirewall).bans()).toEqual([]);
    expect((await knock(house, { method: 'GET', path: '/admin/bans' }, address, right)).status).toBe(200);
  });
});
