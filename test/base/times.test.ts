import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect, it } from 'vitest';

const SRC = new URL('../../src/', import.meta.url).pathname;

/** What reads the time of day, or hands it on. */
const TIME_OF_DAY = /\b(?:clock\??\.now\(|Date\.now\(|new Date\(\)|timeOfDay\()/g;

/** What measures by a timer of its own, instead of by the one sweep. */
const TIMERS = /(?<![.\w])(?:setTimeout|setInterval)\(|AbortSignal\.timeout\(/g;

/** Uses of the time of day in a file, and why it is no duration. */
const TIMES_OF_DAY: Record<string, [count: number, because: string]> = {
  'authentication/verification.ts': [1, 'whether a certificate has expired'],
  'authentication/jwt/jwt-verifier.ts': [2, 'exp, nbf and iat of tokens'],
  'authentication/ticket-office.ts': [2, 'the expiry of the principal, and what a client is shown'],
  'base/clock.ts': [1, 'it is the clock'],
  'base/sweeper.ts': [1, 'handed to what expires at a time of day'],
  'rooms/memberships.ts': [2, 'since when a session is a member, as it is shown'],
  'proxy/upstream.ts': [1, 'when the token that the application is given expires'],
  'session/session.ts': [3, 'connectedAt, and the expiry of tokens'],
  'session/registry.ts': [2, 'iat of what is revoked'],
  'cluster/redis-cluster.ts': [3, 'since when nodes live, as it is shown'],
  'cluster/shared-facts.ts': [4, 'the end of a fact, as it goes over to the clock of Redis'],
  'connection/sign-in.ts': [1, 'the expiry of a token'],
  'console/console-data.ts': [2, 'since when the process is up, as it is shown'],
  'console/failures.ts': [1, 'the time of a failure, as it is shown'],
  'console/history.ts': [1, 'the time of a point, as it is shown'],
  'engine/cluster.ts': [2, 'since when a node lives, as it is shown'],
  'firewall/firewall.ts': [3, 'until of a ban of an operator, as it is shown and told other nodes'],
  'firewall/violations.ts': [1, 'until of an automatic ban, as it is shown'],
  'gateway/access.ts': [1, 'the expiry of a token'],
  'monitoring/audit/audit-file.ts': [1, 'the time of a record'],
  'monitoring/audit/audit-log.ts': [4, 'the time of a record'],
  'service/logging/failure-file.ts': [1, 'the time of a line'],
  'service/logging/log-output.ts': [1, 'the time of a line'],
  'service/logging/logging.ts': [1, 'the time of a line'],
};

/** Timers in a file, and why the sweep does not do. All of them are monotonic: libuv counts by the same clock. */
const OWN_TIMERS: Record<string, [count: number, because: string]> = {
  'authentication/jwt/published-keys.ts': [1, 'a fetch also at the start, before there is a sweep'],
  'base/clock.ts': [1, 'it is the timer of the sweep'],
  'cluster/pause.ts': [1, 'Redis is tried again, also before there is a sweep'],
  'email/lookup.ts': [1, 'usable without the module, and so without a sweep'],
  'service/logging/log-output.ts': [1, 'the end of the process, when nothing sweeps any more'],
  'service/command/try.ts': [1, 'a command of the terminal, without a sweep'],
  'service/start.ts': [1, 'the end of the process, when nothing sweeps any more'],
  'service/configuration/tls.ts': [1, 'certificate files that are being written, seldom and one at a time'],
};

/** What is swept and not put off by a stop of the process, and why. */
const NOT_POSTPONED: Record<string, string> = {
  'authentication/revocations.ts': 'tokens expire by themselves',
  'authentication/ticket-store.ts': 'a ticket is over by itself',
  'session/byte-budget.ts': 'it counts bytes',
  'connection/shedding.ts': 'it counts bytes',
  'cluster/outbox.ts': 'what waits for Redis is over by itself',
  'cluster/redis-engine.ts': 'it sweeps the outbox and the subscriptions',
  'cluster/subscriptions.ts': 'what is not wanted is over by itself',
  'engine/memory-engine.ts': 'history and keys are over by themselves',
  'firewall/bad-tokens.ts': 'what was guessed is forgotten by itself',
  'firewall/bans.ts': 'a ban is over by itself',
  'connection/load-gauge.ts': 'it leaves out the sample of a stop by itself',
  'firewall/connection-quota.ts': 'budgets refill by themselves',
  'firewall/usage.ts': 'budgets refill by themselves',
  'rooms/presence.ts': 'what is told once a second may be told later',
  'firewall/violations.ts': 'what was guessed is forgotten by itself',
};

function sources(): [name: string, code: string][] {
  const entries = readdirSync(SRC, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => !/^(client|console\/ui|testing)\//.test(relative(SRC, path))) // they run where there is no sweep
    .map((path) => [relative(SRC, path), readFileSync(path, 'utf8').replace(/\/\*[^]*?\*\/|(?<=^|\s)\/\/.*$/gm, '')]);
}

function uses(pattern: RegExp): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [name, code] of sources()) {
    const count = code.match(pattern)?.length ?? 0;
    if (count > 0) found[name] = count;
  }
  return found;
}

const counts = (table: Record<string, [number, string]>): Record<string, number> =>
  Object.fromEntries(Object.entries(table).map(([file, [count]]) => [file, count]));

it('the time of day is read only for what expires at one, is shown or is logged', () => {
  expect(uses(TIME_OF_DAY)).toEqual(counts(TIMES_OF_DAY));
});

it('no timer measures what the sweep can', () => {
  expect(uses(TIMERS)).toEqual(counts(OWN_TIMERS));
});

it('all that is swept is put off when the process was stopped, or is over by itself', () => {
  const swept = sources().filter(([, code]) => /^ {2}sweep\(.*\): void \{$/m.test(code));
  const without = swept.filter(([name, code]) => name !== 'base/sweeper.ts' && !/^ {2}postpone\(/m.test(code));
  expect(without.map(([name]) => name).toSorted()).toEqual(Object.keys(NOT_POSTPONED).toSorted());
});
