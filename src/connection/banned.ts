import type { BanNotice } from '../firewall/ws-firewall.js';
import { GatewayError } from '../protocol/errors.js';
import type { Session } from '../session/session.js';
import type { SessionRegistry } from '../session/registry.js';

/**
 * Ends the sessions that a ban is about. One of an address that came about by itself spares those who have authenticated: many
 * may share the address, and their own violations count against themselves. A session that is over its budget has its own end.
 */
export function endBanned(sessions: SessionRegistry, { ban, forMs, spared, isManual }: BanNotice): void {
  for (const session of sessions.all()) {
    if (session === spared || session.client.isExempt || !isMeant(session, ban, isManual)) continue;
    session.end(new GatewayError('BANNED', { retryAfterMs: forMs }));
  }
}

function isMeant({ principal, client }: Session, ban: BanNotice['ban'], isManual: boolean): boolean {
  if ('subject' in ban) return principal?.subject === ban.subject;
  return client.peer.key === ban.address && (isManual || principal === undefined);
}
