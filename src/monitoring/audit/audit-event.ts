import type { BanEvent } from '../../firewall/events.js';
import { specOf } from '../../protocol/errors.js';
import type { FailureEvent } from '../../session/events.js';
import type { WsEvent } from '../ws-monitor.js';

/** What an audit tells of. */
export const AUDIT_TYPES = [
  'admitted', // a connection was let in
  'refused', // a connection or a request over HTTP was not let in, or never authenticated
  'authenticated', // a session has a principal, or a new token for it
  'expired', // a session ended with its token
  'revoked',
  'replaced', // a newer session of the subject took its place
  'banned',
  'unbanned',
  'denied', // a session, or a request over HTTP, asked for what it may not do
  'failed', // a request failed by a fault of the server, which has an incident id
  'ended', // a session ended any other way
  'admin', // an act of an administrator
] as const;
export type AuditType = (typeof AUDIT_TYPES)[number];

/** One thing that happened. It never holds a token or a payload, and `event` names a declared event only. */
export interface AuditEvent {
  readonly type: AuditType;
  /** The error's, where an error is what happened. */
  readonly code?: string;
  readonly sessionId?: string;
  readonly subject?: string;
  readonly clientAddress?: string;
  /** The subject of the administrator, or the name of the part of the server, that did it. */
  readonly actor?: string;
  /** The declared event, or the act of an administrator. */
  readonly event?: string;
  /** Also in the frame that the client got. */
  readonly incidentId?: string;
  /** In the words of this package or of the administrator. */
  readonly reason?: string;
  /** Any JSON value of no more than 8 KiB; what is larger, or is no JSON, is left out, and the record says so. */
  readonly details?: unknown;
}

/** An event as it goes into a sink: with its time, and with personal data shown as the options say. */
export interface AuditEntry extends Omit<AuditEvent, 'type'> {
  /** ISO 8601, UTC, milliseconds. */
  readonly time: string;
  /** `suppressed` counts, in its details, events that strangers caused faster than they are recorded. */
  readonly type: AuditType | 'suppressed';
}

/** The kinds of events that an audit tells of. */
export const AUDITED_KINDS = [
  'upgrade',
  'request',
  'connection',
  'http',
  'admitted',
  'authenticated',
  'revocation',
  'ban',
  'admin',
] as const satisfies readonly WsEvent['kind'][];

/** Any of them. */
export type AuditedEvent = Extract<WsEvent, { kind: (typeof AUDITED_KINDS)[number] }> | FailureEvent;

/** What an event means for the audit; undefined for a request that failed otherwise than by a lack of rights or a fault of ours. */
export function auditEventOf(event: AuditedEvent): AuditEvent | undefined {
  switch (event.kind) {
    case 'upgrade':
    case 'request':
    case 'connection':
    case 'http':
      return ofFailure(event);
    case 'admitted': {
      const { path, kind: type, ...who } = event;
      return { type, ...who, details: { path } };
    }
    case 'authenticated': {
      const { kind: type, refreshed, expiresAt, ...who } = event;
      return { type, ...who, details: { refreshed, expiresAt } };
    }
    case 'revocation': {
      const { kind: _, sessionId, subject, ...details } = event;
      return {
        type: 'revoked',
        ...(sessionId !== undefined && { sessionId }),
        ...(subject !== undefined && { subject }),
        details,
      };
    }
    case 'ban':
      return ofBan(event);
    case 'admin': {
      const { kind: type, act, refused, ...rest } = event;
      if (refused !== undefined) return undefined; // the refused request has its own record
      return { type, ...rest, event: act };
    }
  }
  return event satisfies never;
}

function ofBan({ action, target, forMs, reason, actor, enforced }: BanEvent): AuditEvent {
  return {
    type: action === 'added' ? 'banned' : 'unbanned',
    ...('address' in target ? { clientAddress: target.address } : { subject: target.subject }),
    ...(actor !== undefined && { actor }),
    ...(reason !== undefined && { reason }),
    // JSON has no Infinity
    details: {
      action,
      ...(!enforced && { dryRun: true }),
      ...(forMs !== undefined && { forMs: Number.isFinite(forMs) ? forMs : null }),
    },
  };
}

function ofFailure(failure: FailureEvent): AuditEvent | undefined {
  const type = typeOf(failure);
  if (type === undefined) return undefined;
  const { code, sessionId, subject, clientAddress, event, incidentId, reason } = failure;
  const { status, route, closeCode, durationMs } = failure;
  const details = {
    ...(route !== undefined && { route }),
    ...(status !== undefined && { status }),
    ...(closeCode !== undefined && { closeCode }),
    ...(durationMs !== undefined && { durationMs }),
  };
  return {
    type,
    code,
    ...(sessionId !== undefined && { sessionId }),
    ...(subject !== undefined && { subject }),
    ...(clientAddress !== undefined && { clientAddress }),
    ...(event !== undefined && { event }),
    ...(incidentId !== undefined && { incidentId }),
    ...(reason !== undefined && { reason }),
    ...(Object.keys(details).length > 0 && { details }),
  };
}

/** HTTP statuses of a request that was not let in, or could not be judged. */
const NOT_LET_IN: ReadonlySet<number | undefined> = new Set([401, 403, 429, 503]);

function typeOf({ kind, code, status, sessionId, incidentId }: FailureEvent): AuditType | undefined {
  switch (kind) {
    case 'upgrade':
      return 'refused';
    case 'request':
      if (specOf(code).denied === true) return 'denied';
      return incidentId === undefined ? undefined : 'failed';
    case 'connection':
      // Without a session it was refused right after the handshake. A ban is the firewall's to report, not its sessions'.
      return sessionId === undefined ? 'refused' : (specOf(code).audit ?? 'ended');
    case 'http':
      if (specOf(code).audit === 'denied') return 'denied';
      if (incidentId !== undefined) return 'failed';
      return NOT_LET_IN.has(status) ? 'refused' : undefined;
  }
  return kind satisfies never;
}
