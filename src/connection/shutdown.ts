import type { ConnectionContext } from './context.js';

/** The share of `shutdown.drainMs` over which the closes are spread, and how many of them there are at least at a time. */
const PACED_OVER = 0.5;
const AT_LEAST = 50;
const TICK_MS = 50;

/** The share of `shutdown.drainMs` after which requests in flight are waited for no longer, and the one that cuts TCP. */
const END_ALL_AT = 0.75;
const TERMINATE_AT = 0.9;

/**
 * Ends every session with SHUTTING_DOWN and 1012, each after its last answer in flight; new upgrades get 503. Resolves
 * when the last one has closed and its `handleDisconnect` has settled, and before `shutdown.drainMs` are over.
 */
export async function drain(context: ConnectionContext): Promise<void> {
  const { sessions, disconnects, deadlines, clock, options } = context;
  const { drainMs } = options.shutdown;
  const begun = clock.monotonic();
  sessions.drain(() => Math.round(1_000 + Math.random() * drainMs));
  // The hard end: whatever is left then has had its disconnect and been cut.
  let giveUp: () => void = () => undefined;
  const timeOver = new Promise<void>((resolve) => (giveUp = resolve));
  // Closed all at once, they would all come back at once.
  const perTick = Math.max(AT_LEAST, Math.ceil((sessions.count() * TICK_MS) / (drainMs * PACED_OVER)));
  sessions.endSome(perTick);
  const stop = clock.every(TICK_MS, () => {
    const elapsed = clock.monotonic() - begun;
    sessions.endSome(perTick);
    if (elapsed >= drainMs * END_ALL_AT) sessions.endAll();
    if (elapsed >= drainMs * TERMINATE_AT) sessions.terminateAll();
    if (elapsed >= drainMs) giveUp();
  });
  // A session's handleDisconnect may want the database, which the application closes when this has resolved.
  const done = sessions.whenEmpty().then(() => disconnects.whenSettled());
  await Promise.race([done, timeOver]);
  stop();
  disconnects.giveUpAll();
  deadlines.giveUpAll(); // a handshake that waits holds a socket, and the HTTP server waits for that
}
