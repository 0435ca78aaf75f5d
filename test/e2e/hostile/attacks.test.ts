import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import * as attacks from '../../support/hostile.js';
import { MAX_HELD, memoryOf, startHostileTarget, Witness } from '../../support/hostile.js';
import type { Attack } from '../../support/hostile.js';
import { stopTarget, stopTargets } from '../../support/target.js';
import type { Target } from '../../support/target.js';
import { token } from '../../support/tokens.js';

/** The promise is 250 ms on a machine that has nothing else to do; one that has is given four times as much. */
const SLOWEST_MS = 1_000;

/** Targets that start together, on all cores; those that are not attacked yet have no connection and no work. */
const AHEAD = 3;

let target: Target;
afterEach(() => stopTarget(target));
afterAll(stopTargets);

// The time after which a test may see that nothing is left.
const limits = { handlerTimeoutMs: 1_000 };
/** What is left when nobody is counted: the bounds of a single session have to hold by themselves. */
const uncounted = {
  limits: { ...limits, messagesPerSecond: null, messagesPerSecondPerSubject: null, bytesPerSecond: null },
  firewall: {
    maxConnectionsPerAddress: null,
    handshakesPerSecondPerAddress: null,
    failedAuthenticationsPerMinutePerAddress: null,
    ban: { violations: null },
  },
};

describe.each([
  ['with the defaults', { limits }],
  ['without budgets and bans', uncounted],
])('a single hostile client, %s,', (_, options) => {
  const ready: Target[] = [];
  beforeEach(async () => {
    const starting = Array.from({ length: ready.length === 0 ? AHEAD : 0 }, () => startHostileTarget(options));
    ready.push(...(await Promise.all(starting)));
    target = ready.pop() as Target; // because there is one
  });

  it.each<[string, Attack]>([
    ['that asks for much and never reads', attacks.neverReads],
    ['whose requests are never answered', attacks.neverAnswered],
    ['that never ends its headers', attacks.slowHeaders],
    ['that stops in the middle of a frame', attacks.halfFrame],
    ['that sends fragments without end', attacks.tinyFragments],
    ['whose fragments lie far apart', attacks.spreadFragments],
    ['that floods with pings', attacks.pingFlood],
    ['that floods with pings and reads no pong', attacks.pingsUnread],
    ['that floods with pongs', attacks.pongFlood],
    ['that declares what it never sends', attacks.hugeLengths],
    ['that nests and escapes', attacks.deepJson],
    ['that closes and holds the connection', attacks.closeWithoutEnd],
    ['that floods with messages', attacks.messageFlood],
    ['that does nothing but shake hands', attacks.handshakeFlood],
    ['that tries tokens', attacks.badTokens],
  ])('%s takes nothing from anybody else', async (name, attack) => {
    const witness = await Witness.start(target, token({ sub: 'witness' }));
    const before = await memoryOf(target);
    const attackers = await attack(target, token({ sub: 'mallory' }));
    const during = await memoryOf(target);
    const seen = await witness.stop();
    for (const attacker of attackers) attacker.end();
    const held = during.held - before.held;
    process.stdout.write(
      `${name}: ${(held / 1e6).toFixed(1)} MB held, RSS ${((during.rss - before.rss) / 1e6).toFixed(1)} MB more; ` +
        `the witness: ${seen.answered} answers, the slowest after ${seen.slowestMs.toFixed(0)} ms\n`,
    );
    expect(seen).toMatchObject({ answered: seen.asked });
    expect(seen.closed).toBeUndefined();
    expect(seen.slowestMs).toBeLessThan(SLOWEST_MS);
    expect(held).toBeLessThan(MAX_HELD);
    await expect.poll(async () => (await memoryOf(target)).sessions, { timeout: 10_000 }).toBe(0);
  });
});
