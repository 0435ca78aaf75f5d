import { describe, expect, it } from 'vitest';
import { AUDIT_TYPES, auditEventOf } from '../../../src/monitoring/audit/audit-event.js';
import type { AuditedEvent, AuditEntry, AuditEvent } from '../../../src/monitoring/audit/audit-event.js';
import { AuditLog } from '../../../src/monitoring/audit/audit-log.js';
import { AuditSink } from '../../../src/monitoring/audit/audit-sink.js';
import { WsMonitor } from '../../../src/monitoring/ws-monitor.js';
import type { FailureEvent } from '../../../src/session/events.js';
import { privacyOf } from '../../../src/monitoring/privacy.js';
import { ManualClock } from '../../support/app.js';

/** A provider of an application's own. */
class ListSink extends AuditSink {
  readonly entries: AuditEntry[] = [];

  write(entry: AuditEntry): void {
    this.entries.push(entry);
  }
}

function open(privacy = {}): { log: AuditLog; sink: ListSink; clock: ManualClock } {
  const [sink, clock] = [new ListSink(), new ManualClock()];
  return { log: new AuditLog(sink, privacyOf(privacy), clock), sink, clock };
}

const failure = (kind: FailureEvent['kind'], code: string, more: Partial<FailureEvent> = {}): FailureEvent => ({
  kind,
  code,
  level: 'warn',
  message: 'a message that may quote the application',
  ...more,
});
const session = { sessionId: 's-1', subject: 'ada', clientAddress: '192.0.2.1' };

describe('what a failure means for the audit', () => {
  it.each([
    [failure('upgrade', 'ORIGIN_FORBIDDEN', { status: 403 }), 'refused'],
    [failure('upgrade', 'BANNED', { status: 403 }), 'refused'],
    [failure('connection', 'TOKEN_INVALID', { closeCode: 3000 }), 'refused'],
    [failure('connection', 'TOKEN_EXPIRED'), 'refused'],
    [failure('connection', 'TOKEN_INVALID', session), 'refused'],
    [failure('connection', 'UNAUTHENTICATED', session), 'refused'],
    [failure('connection', 'AUTH_TIMEOUT', session), 'refused'],
    [failure('connection', 'SESSION_LIMIT', session), 'refused'],
    [failure('connection', 'TOKEN_EXPIRED', session), 'expired'],
    [failure('connection', 'SESSION_REVOKED', session), 'revoked'],
    [failure('connection', 'SESSION_REPLACED', session), 'replaced'],
    [failure('connection', 'FORBIDDEN', session), 'denied'],
    [failure('connection', 'BANNED', session), 'ended'],
    [failure('connection', 'CLOSED', session), 'ended'],
    [failure('http', 'TOKEN_INVALID', { status: 401 }), 'refused'],
    [failure('http', 'BANNED', { status: 403 }), 'refused'],
    [failure('http', 'TOO_MANY_CONNECTIONS', { status: 429 }), 'refused'],
    [failure('http', 'OVERLOADED', { status: 503 }), 'refused'],
    [failure('http', 'INTERNAL', { status: 500, incidentId: 'i' }), 'failed'],
    [failure('http', 'VALIDATION_FAILED', { status: 400 }), undefined],
    [failure('http', 'NOT_FOUND', { status: 404 }), undefined],
    [failure('request', 'FORBIDDEN', session), 'denied'],
    [failure('request', 'UNAUTHENTICATED', { sessionId: 's-1' }), 'denied'],
    [failure('request', 'VALIDATION_FAILED', session), undefined],
    [failure('request', 'INTERNAL', session), undefined],
    [failure('request', 'INTERNAL', { ...session, incidentId: 'i' }), 'failed'],
  ])('%o is %s', (event, type) => {
    expect(auditEventOf(event)?.type).toBe(type);
  });

  it('takes over who, where and how, and no message and no stack', () => {
    const { message, ...rest } = failure('connection', 'TOKEN_EXPIRED', { ...session, closeCode: 4101, durationMs: 7 });
    expect(auditEventOf({ message, ...rest, stack: 'stack', incidentId: 'i', reason: 'r', event: 'pay' })).toEqual({
      type: 'expired',
      code: 'TOKEN_EXPIRED',
      ...session,
      event: 'pay',
      incidentId: 'i',
      reason: 'r',
      details: { closeCode: 4101, durationMs: 7 },
    });
  });
});

describe('what other events mean for the audit', () => {
  const events: [AuditedEvent, AuditEvent][] = [
    [
      { kind: 'admitted', ...session, path: '/ws' },
      { type: 'admitted', ...session, details: { path: '/ws' } },
    ],
    [
      { kind: 'authenticated', ...session, refreshed: true, expiresAt: 7 },
      { type: 'authenticated', ...session, details: { refreshed: true, expiresAt: 7 } },
    ],
    [
      { kind: 'revocation', subject: 'ada', issuedBefore: 3, ended: 2 },
      { type: 'revoked', subject: 'ada', details: { issuedBefore: 3, ended: 2 } },
    ],
    [
      { kind: 'ban', action: 'added', target: { address: '192.0.2.1' }, enforced: false, forMs: Infinity, reason: 'r' },
      {
        type: 'banned',
        clientAddress: '192.0.2.1',
        reason: 'r',
        details: { action: 'added', dryRun: true, forMs: null },
      },
    ],
    [
      { kind: 'ban', action: 'lifted', target: { subject: 'eve' }, enforced: true, actor: 'root' },
      { type: 'unbanned', subject: 'eve', actor: 'root', details: { action: 'lifted' } },
    ],
    [
      { kind: 'admin', actor: 'root', act: 'sessions.revoke', subject: 'eve', details: { revoked: 1 } },
      { type: 'admin', actor: 'root', event: 'sessions.revoke', subject: 'eve', details: { revoked: 1 } },
    ],
  ];

  it.each(events)('%o', (event, audited) => expect(auditEventOf(event)).toEqual(audited));

  it('what an administrator may not do is told once, by the request that was refused', () => {
    const refused = { code: 'FORBIDDEN', status: 403, subject: 'eve', route: 'GET /admin/bans' };
    expect(
      auditEventOf({ kind: 'admin', actor: 'eve', act: 'ws-gateway:admin', refused: 'FORBIDDEN' }),
    ).toBeUndefined();
    expect(auditEventOf(failure('http', 'FORBIDDEN', refused))).toEqual({
      type: 'denied',
      code: 'FORBIDDEN',
      subject: 'eve',
      details: { route: 'GET /admin/bans', status: 403 },
    });
  });
});

describe('the log', () => {
  it('hears of failures from the monitor and of the rest directly, with times and the privacy of the options', () => {
    const { log, sink, clock } = open({ subject: 'masked', address: 'masked' });
    const monitor = new WsMonitor();
    monitor.subscribe(log.listener);
    monitor.emit(failure('request', 'VALIDATION_FAILED', session));
    monitor.emit(failure('request', 'FORBIDDEN', session));
    log.record({ type: 'admin', actor: 'root', event: 'sessions.revoke' });
    const time = new Date(clock.now()).toISOString();
    expect(sink.entries).toEqual([
      { time, type: 'denied', code: 'FORBIDDEN', sessionId: 's-1', subject: 'a***', clientAddress: '192.0.2.0/24' },
      { time, type: 'admin', actor: 'r***', event: 'sessions.revoke' },
    ]);
  });

  it('is not ended by a sink that throws', () => {
    const { log, sink } = open();
    sink.write = () => {
      throw new Error('full');
    };
    expect(() => log.record({ type: 'admin', actor: 'root' })).not.toThrow();
  });

  it('bounds what strangers cause, by type and code, and tells the counts once a minute', async () => {
    const { log, sink, clock } = open();
    let address = 0;
    const refused = (): AuditEvent => ({
      type: 'refused',
      code: 'ORIGIN_FORBIDDEN',
      clientAddress: `192.0.2.${address++}`,
    });
    for (let n = 0; n < 1_100; n++) log.record(refused());
    expect(sink.entries).toHaveLength(1_000);
    log.record({ ...refused(), code: 'TOKEN_INVALID' });
    log.record({ type: 'admitted', subject: 'ada' });
    expect(sink.entries).toHaveLength(1_002);
    clock.jump(1_000);
    for (let n = 0; n < 60; n++) log.record(refused());
    expect(sink.entries).toHaveLength(1_052);
    clock.jump(59_000);
    log.record({ type: 'admitted', subject: 'ada' });
    expect(sink.entries.at(-2)).toMatchObject({ type: 'suppressed', details: { 'refused ORIGIN_FORBIDDEN': 110 } });
    for (let n = 0; n < 1_001; n++) log.record(refused());
    await log.close();
    expect(sink.entries.at(-1)).toMatchObject({ type: 'suppressed', details: { 'refused ORIGIN_FORBIDDEN': 1 } });
  });

  it('leaves others their records while one address floods it', () => {
    const { log, sink, clock } = open();
    for (let second = 0; second < 60; second++) {
      for (let n = 0; n < 200; n++) log.record({ type: 'refused', code: 'BANNED', clientAddress: '192.0.2.1' });
      log.record({ type: 'refused', code: 'BANNED', clientAddress: `198.51.100.${second}` });
      clock.jump(1_000);
    }
    const others = sink.entries.filter(({ clientAddress }) => clientAddress?.startsWith('198.51.100.'));
    expect(others).toHaveLength(60);
    expect(sink.entries.length).toBeLessThan(1_000);
  });

  it('is not filled by a customer that refreshes or reconnects all day long, and keeps what else happens to it', () => {
    const { log, sink, clock } = open();
    for (let second = 0; second < 86_400; second += 10) {
      for (let n = 0; n < 20; n++) {
        log.record({ type: 'authenticated', subject: 'ada', clientAddress: '192.0.2.1', details: { refreshed: true } });
      }
      clock.jump(10_000);
    }
    const written = sink.entries.filter(({ type }) => type === 'authenticated').length;
    expect(written).toBeLessThanOrEqual(200 + 86_400 / 2);
    log.record({ type: 'revoked', subject: 'ada' });
    log.record({ type: 'authenticated', subject: 'grace' });
    expect(sink.entries.slice(-2).map(({ subject, type }) => [type, subject])).toEqual([
      ['revoked', 'ada'],
      ['authenticated', 'grace'],
    ]);
  });

  it('bounds every type that there is, of a subject, of an administrator and of a stranger', () => {
    const who: Partial<AuditEvent>[] = [{ subject: 'ada' }, { actor: 'root' }, { clientAddress: '192.0.2.1' }];
    for (const type of AUDIT_TYPES) {
      for (const by of who) {
        const { log, sink } = open();
        for (let n = 0; n < 3_000; n++) log.record({ type, event: 'act', ...by });
        expect([type, by, sink.entries.length <= 1_000]).toEqual([type, by, true]);
      }
    }
  });

  it('does not hide one act of an administrator behind many of another', () => {
    const { log, sink } = open();
    for (let n = 0; n < 3_000; n++) log.record({ type: 'admin', actor: 'root', event: 'sessions.list' });
    log.record({ type: 'admin', actor: 'root', event: 'sessions.revoke', subject: 'ada' });
    expect(sink.entries.at(-1)).toMatchObject({ event: 'sessions.revoke' });
  });

  it('remembers no more than a few thousand of whom it has heard', () => {
    const { log } = open();
    for (let n = 0; n < 40_000; n++) {
      log.record({ type: 'refused', clientAddress: `2001:db8:${n.toString(16)}::1` });
      log.record({ type: 'admitted', subject: `subject-${n}` });
      log.record({ type: 'denied', actor: `actor-${n}` });
    }
    expect(log.size).toBeLessThan(25_000);
  });

  it('tells no more than a few dozen codes apart', () => {
    const { log, sink } = open();
    for (let n = 0; n < 5_000; n++) log.record({ type: 'refused', code: `CODE_${n}` });
    expect(sink.entries.length).toBeLessThan(1_100);
  });
});
