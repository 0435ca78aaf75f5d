import type { Deadlines } from '../authentication/deadlines.js';
import type { Facts } from '../engine/facts.js';

/** What asks for the facts of all nodes before a credential is judged. */
export interface Informed {
  readonly facts: Facts;
  readonly deadlines: Deadlines;
}

/**
 * Whatever was revoked or banned before this call, on any node, is known when it resolves.
 *
 * @returns undefined where it is known already
 * @throws GatewayError UNAVAILABLE, as a rejection
 */
export function barrier({ facts, deadlines }: Informed): void | Promise<void> {
  return deadlines.ask<void>(() => facts.barrier(), 'the log of revocations and bans');
}
