import type { Disconnect } from './types.js';

/** Close codes after which a client stays away, where the server sent no `disconnect` (PROTOCOL.md §3). */
const STAY_AWAY: readonly number[] = [1002, 1003, 1007, 1009, 3000, 3003];

/** Why the client itself ends a connection. It has no words of its own: a page says it in its language. */
export const ended = (code: string, reconnect = true): Disconnect => ({ code, message: code, reconnect });

/** What a close without a `disconnect` frame means. A proxy's bare 1000 is no goodbye: the server always says one. */
export function disconnectOf(closeCode: number, reason: string): Disconnect {
  const reconnect = !STAY_AWAY.includes(closeCode) && !(closeCode >= 4400 && closeCode < 4500);
  return { ...ended(reason === '' ? 'CONNECTION_LOST' : reason, reconnect), closeCode };
}

/** Share of a `retryAfterMs` that is added at random; the server has spread its clients already. */
const SPREAD = 0.1;
const MAX_SPREAD_MS = 1_000;

export interface Pause {
  /** Attempts that failed before this one, from 0. */
  readonly attempt: number;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly disconnect: Disconnect;
  readonly random: () => number;
}

/** Milliseconds until the next attempt: full jitter, and never before the server's `retryAfterMs`. */
export function pauseBefore({ attempt, baseMs, maxMs, disconnect: { code, retryAfterMs }, random }: Pause): number {
  if (code === 'TOKEN_EXPIRED' && attempt === 0) return 0; // a fresh token is what it waits for
  const backoff = random() * Math.min(maxMs, baseMs * 2 ** attempt);
  if (retryAfterMs === undefined) return backoff;
  const asked = retryAfterMs + random() * Math.min(MAX_SPREAD_MS, retryAfterMs * SPREAD);
  return attempt === 0 ? asked : Math.max(asked, backoff);
}
