import { createHmac } from 'node:crypto';
import { connect } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { Deadlines } from '../../src/authentication/deadlines.js';
import { Revocations } from '../../src/authentication/revocations.js';
import { JwtVerifier } from '../../src/authentication/jwt/jwt-verifier.js';
import { MemoryTicketStore } from '../../src/authentication/ticket-store.js';
import { WsTickets } from '../../src/index.js';
import { startApp, stopApps, until } from '../support/app.js';
import { frame, handshake } from '../support/tcp.js';
import { SECRET } from '../support/tokens.js';
import { SessionRegistry } from '../../src/session/registry.js';

afterEach(stopApps);

/** Enough to fill each table to its bound several times; more of them with GROWTH_SESSIONS=100000. */
const SESSIONS = Number(process.env.GROWTH_SESSIONS ?? 20_000);
/** Connections at a time. */
const LANES = 50;

const HEADER = Buffer.from(JSON.stringify({ alg: 'HS256', typ: 'JWT' })).toString('base64url');

function tokenFor(number: number, exp: number): string {
  const claims = { sub: `s${number}`, jti: `t${number}`, iat: exp - 100, exp };
  const body = `${HEADER}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
  return `${body}.${createHmac('sha256', SECRET).update(body).digest('base64url')}`;
}

/** Opens a session and closes it, all in one write. Resolves with what came back. */
function visit(port: number, path: string, headers: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
    const close = frame(0x88, Buffer.from([0x03, 0xe8]));
    socket.write(Buffer.concat([Buffer.from(handshake(path, headers)), close]));
  });
}

it(`${SESSIONS} sessions opened and closed leave no table any larger`, { timeout: 300_000 }, async () => {
  const { app, port, clock } = await startApp({
    options: {
      auth: { sources: ['header', 'ticket', 'message'], revalidate: () => true, maxSessionsPerSubject: 2 },
    },
  });
  const tables = {
    sessions: app.get(SessionRegistry),
    tickets: app.get(MemoryTicketStore, { strict: false }),
    revocations: app.get(Revocations, { strict: false }),
    deadlines: app.get(Deadlines, { strict: false }),
  };
  const sizes = (): Record<string, number> =>
    Object.fromEntries(Object.entries(tables).map(([name, { size }]) => [name, size]));
  const exp = Math.floor(clock.now() / 1000) + 100;
  let next = 0;
  let accepted = 0;
  const lane = async (): Promise<void> => {
    while (next < SESSIONS) {
      const number = next++;
      const bearer = `Authorization: Bearer ${tokenFor(number, exp)}`;
      // One in ten by a ticket, one in twenty with a token of its own that is revoked, one in a hundred refused.
      let path = '/ws';
      if (number % 10 === 0) {
        const principal = { subject: `s${number}`, roles: [], scopes: [], claims: {}, expiresAt: exp * 1000 };
        path += `?ticket=${(await app.get(WsTickets).issue(principal)).ticket}`;
      }
      const headers = number % 10 === 0 ? [] : [number % 100 === 1 ? 'Authorization: Bearer bad' : bearer];
      const answer = await visit(port, path, headers);
      if (answer.startsWith('HTTP/1.1 101')) accepted++;
      if (number % 20 === 3) await tables.sessions.revoke({ tokenId: `t${number}` });
      if (number % 20 === 5) await tables.sessions.revoke({ subject: `s${number}` });
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  await until(() => tables.sessions.size === 0);
  expect(accepted).toBe(SESSIONS);
  // What is left is what an operator revoked, and the last tokens, whose number has a bound.
  const left = sizes();
  expect(left).toMatchObject({ sessions: 0, tickets: 0, deadlines: 0 });
  expect(left.revocations).toBeLessThanOrEqual(SESSIONS / 5); // the token as well, where its session had not closed
  expect(app.get(JwtVerifier, { strict: false }).size).toBeLessThanOrEqual(5_000);
  clock.jump(86_400_000);
  clock.advance(10_000);
  expect(sizes()).toEqual({ sessions: 0, tickets: 0, deadlines: 0, revocations: 0 });
});
