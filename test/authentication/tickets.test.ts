import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Roles, WsTickets } from '../../src/index.js';
import { Deadlines } from '../../src/authentication/deadlines.js';
import { TicketOffice } from '../../src/authentication/ticket-office.js';
import { MemoryTicketStore } from '../../src/authentication/ticket-store.js';
import type { Principal, Ticket, TicketBinding } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import type { TestApp } from '../support/app.js';
import { Client } from '../support/client.js';

@WebSocketGateway()
class AdminGateway {
  @Roles('admin') @SubscribeMessage('admin') admin(): string {
    return 'in';
  }
}

let test: TestApp;
let principal: { subject: string; roles: string[]; scopes: string[]; claims: object; expiresAt: number };
beforeEach(async () => {
  test = await startApp({ gateways: [AdminGateway], options: { auth: { sources: ['ticket'] } } });
  principal = { subject: 'eve', roles: ['user'], scopes: [], claims: {}, expiresAt: test.clock.now() + 600_000 };
});
afterEach(stopApps);

const connect = async (given: unknown, binding?: unknown): Promise<() => Promise<Client>> => {
  const tickets = test.app.get(WsTickets);
  const { ticket } = await tickets.issue(given as Principal, binding as TicketBinding);
  return () => Client.connect(`${test.url}/ws?ticket=${ticket}`);
};

it('a ticket is for the principal that it was made for, whatever its binding says', async () => {
  const binding = { principal: { ...principal, subject: 'root', roles: ['admin'] }, expiresAt: Infinity };
  const client = await (await connect(principal, binding))();
  expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'eve', roles: ['user'] } });
});

it('a ticket is for the principal as it was when it was made', async () => {
  const open = await connect(principal);
  principal.roles.push('admin');
  principal.subject = 'root';
  const client = await open();
  expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({ data: { subject: 'eve', roles: ['user'] } });
});

it('a ticket for a principal without roles, scopes and claims has none', async () => {
  const client = await (await connect({ subject: 'eve', expiresAt: principal.expiresAt }))();
  expect(await client.ask({ event: 'session', id: 1 })).toMatchObject({ data: { roles: [], scopes: [] } });
  expect(await client.ask({ event: 'admin', id: 2 })).toMatchObject({ data: { code: 'FORBIDDEN' } });
});

it('no more than 100,000 are open at once, and one that is used makes room', async () => {
  const clock = { now: () => 0, monotonic: () => 0 };
  const options = { tickets: { ttlMs: 30_000 }, timeoutMs: 10_000 };
  const store = new MemoryTicketStore(clock);
  const tickets = new TicketOffice(options, clock, store, new Deadlines(options, clock));
  const issue = (subject: string): Promise<Ticket> => tickets.issue({ ...principal, subject } as Principal);
  const { ticket } = await issue('first');
  for (let i = 1; i < 100_000; i++) await issue(`s${i}`);
  await expect(issue('one more')).rejects.toMatchObject({ code: 'OVERLOADED', retryAfterMs: 30_000 });
  await tickets.redeem(ticket, {});
  await issue('one more');
  expect(store.size).toBe(100_000);
});
