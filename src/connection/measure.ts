import { performance } from 'node:perf_hooks';
import type { Route } from './router.js';
import type { WsSession } from '../session/session.js';

/** When a message begins, in milliseconds; 0 while nobody wants to know how long it takes. */
export function beginning({ server }: WsSession): number {
  const { traffic, monitor } = server.context;
  return traffic.isTimed || monitor.has('message') ? performance.now() : 0;
}

/** The duration of a message, and whether it was answered without an exception. */
export function measure(
  session: WsSession,
  { traffic }: Route,
  startedAt: number,
  ok: boolean,
  isStream = false,
): void {
  if (startedAt === 0) return;
  const durationMs = performance.now() - startedAt;
  // A stream may go on for hours: that is no latency.
  if (!isStream) traffic.took(durationMs);
  const { monitor } = session.server.context;
  if (!monitor.has('message')) return;
  const { id: sessionId, clientAddress, principal } = session;
  const subject = principal !== undefined && { subject: principal.subject };
  monitor.emit({ kind: 'message', event: traffic.event, sessionId, clientAddress, ok, durationMs, ...subject });
}
