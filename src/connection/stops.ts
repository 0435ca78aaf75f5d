import type { WsClock } from '../base/clock.js';
import type { Swept } from '../base/sweeper.js';
import { isThenable } from '../base/thenable.js';
import type { Facts } from '../engine/facts.js';
import type { SessionRegistry } from '../session/registry.js';

/** A stop of the process that is as long as this may have hidden a revocation of another node, in milliseconds. */
const LONG_MS = 1_000;

/** How long messages are held at most, in milliseconds: a node that sees nothing serves its sessions. */
const HELD_MS = 1_000;

/**
 * The process was stopped, or its event loop was blocked. What clients wrote meanwhile is handled when this node knows what was revoked
 * meanwhile. On one node there is nothing to learn, and nothing is held.
 */
export class Stops implements Swept {
  #isHolding = false;

  constructor(
    private readonly facts: Facts,
    private readonly sessions: SessionRegistry,
    private readonly clock: Pick<WsClock, 'every'>,
  ) {}

  sweep(): void {}

  postpone(ms: number): void {
    this.late(ms);
  }

  /** A message is read so long after the last sweep. */
  late(ms: number): void {
    if (ms < LONG_MS || this.#isHolding) return;
    const informed = this.facts.barrier();
    if (!isThenable(informed)) return;
    this.#isHolding = true;
    const held = [...this.sessions.all()].filter(({ isLive }) => isLive);
    for (const { intake } of held) intake.block();
    const go = (): void => {
      if (!this.#isHolding) return;
      this.#isHolding = false;
      stop();
      for (const { intake } of held) intake.unblock();
    };
    const stop = this.clock.every(HELD_MS, go);
    informed.then(go, go);
  }
}
