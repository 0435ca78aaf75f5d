import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { Logger } from '@nestjs/common';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { FirewallLog } from '../../src/monitoring/log/firewall-log.js';
import { Faults } from '../../src/base/contain.js';
import { FailureLog } from '../../src/monitoring/log/failure-log.js';
import { NestSink } from '../../src/monitoring/log/nest-sink.js';
import { privacyOf } from '../../src/monitoring/privacy.js';
import { Sampler } from '../../src/monitoring/log/sampler.js';
import { visible, visibleJson, visibleStack } from '../../src/base/visible.js';
import { verifyAudit } from '../../src/monitoring/audit/audit-verify.js';
import { ManualClock } from '../support/app.js';
import { auditPath, entry, linesOf, openAudit, recordsOf } from '../support/audit.js';
import { ACTIVE, HOSTILE } from '../support/hostile-text.js';

afterEach(() => vi.restoreAllMocks());

/** What Nest's Logger is given. */
function printed(): string[] {
  const lines: string[] = [];
  for (const method of ['log', 'warn', 'error', 'debug'] as const) {
    vi.spyOn(Logger.prototype, method).mockImplementation(
      (...texts: unknown[]) => void lines.push(...texts.map(String)),
    );
  }
  return lines;
}

describe('a text in a line of the log', () => {
  it('has its line feeds, escapes and bidi marks written out', () => {
    expect(visible('a\nb\r\tc\u001b[2J\u009b\u202e\u2066\u2028\u{e0041}\ud800é→')).toBe(
      'a\\nb\\r\\tc\\u001b[2J\\u009b\\u202e\\u2066\\u2028\\udb40\\udc41\\ud800é→',
    );
    expect(ACTIVE.test(visible(HOSTILE))).toBe(false);
  });

  it('is the same text in JSON', () => {
    const json = JSON.stringify({ [HOSTILE]: HOSTILE });
    expect(ACTIVE.test(visibleJson(json))).toBe(false);
    expect(JSON.parse(visibleJson(json))).toEqual(JSON.parse(json));
  });

  it('that is a stack has line feeds before its frames and nowhere else', () => {
    const { stack = '' } = new Error(`quoted\n${HOSTILE}`);
    const lines = visibleStack(stack).split('\n');
    expect(lines[0]).toContain('Error: quoted\\n');
    for (const line of lines.slice(1)) expect(line).toMatch(/^ {4}at /);
    for (const line of lines) expect(ACTIVE.test(line)).toBe(false);
  });
});

describe('no active character of a stranger stands raw', () => {
  const show = privacyOf({});

  it('in a failure, whatever the member', () => {
    const lines = printed();
    const clock = new ManualClock();
    const log = new FailureLog(new NestSink(), show, new Sampler(clock), clock);
    const texts = ['message', 'subject', 'clientAddress', 'event', 'reason', 'sessionId', 'code', 'rule', 'origin'];
    const members = Object.fromEntries(texts.map((name) => [name, `${name} ${HOSTILE}`]));
    const stack = new Error(HOSTILE).stack ?? '';
    // because not all of these are members yet
    log.listener({ kind: 'request', level: 'error', stack, ...members } as never);
    expect(lines).toHaveLength(2);
    for (const text of lines.flatMap((line) => line.split('\n    at '))) expect(ACTIVE.test(text)).toBe(false);
  });

  it('in a line of the firewall', () => {
    const lines = printed();
    const log = new FirewallLog(new NestSink(), show, new Sampler(new ManualClock()));
    const ban = { kind: 'ban', action: 'added', enforced: true, forMs: 1, reason: HOSTILE } as const;
    log.listener({ ...ban, target: { subject: HOSTILE } });
    log.listener({ ...ban, target: { address: HOSTILE } });
    log.listener({ kind: 'budget', budget: 'messages', enforced: false, clientAddress: HOSTILE, subject: HOSTILE });
    log.listener({ kind: 'admission', rule: 'origins', code: 'X', enforced: false, clientAddress: HOSTILE });
    expect(lines).toHaveLength(4);
    for (const line of lines) expect(ACTIVE.test(line)).toBe(false);
  });

  it('in a record of the audit, which says the same all the same', async () => {
    const path = auditPath();
    const { file } = await openAudit(path);
    file.write(entry(1, { subject: HOSTILE, actor: HOSTILE, reason: HOSTILE, details: { [HOSTILE]: HOSTILE } }));
    await file.close();
    for (const line of linesOf(path)) expect(ACTIVE.test(line)).toBe(false);
    expect(recordsOf(path)[1]).toMatchObject({ subject: HOSTILE, actor: HOSTILE, details: { [HOSTILE]: HOSTILE } });
    expect(await verifyAudit([path])).toMatchObject({ intact: true });
  });

  it('in a warning of the process', async () => {
    const warning = once(process, 'warning') as Promise<[Error & { detail: string }]>;
    new Faults(`What a listener is called: ${HOSTILE}`).tell(new Error(HOSTILE));
    const [{ message, detail }] = await warning;
    for (const text of [message, ...detail.split('\n    at ')]) expect(ACTIVE.test(text)).toBe(false);
  });

  it('wherever a line is written: such a file makes its texts visible, or has none but its own words', () => {
    const source = new URL('../../src/', import.meta.url);
    const writers = readdirSync(source, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => ({ file, text: readFileSync(new URL(file, source), 'utf8') }))
      .filter(({ text }) => /new Logger\(|emitWarning\(/.test(text));
    const others = writers.filter(({ text }) => !text.includes('base/visible.js') && !text.includes('./visible.js'));
    const inTheirOwnWords = [
      'connection/adapter.ts', // names of options, and errors of the HTTP server
      'connection/endpoint.ts', // paths of gateways
      'gateway/handlers.ts', // names of classes
      'gateway/bind-gateways.ts', // names of gateways and of their decorator's options
      'monitoring/log/nest-sink.ts', // FailureLog and FirewallLog have made them visible
    ];
    expect(others.map(({ file }) => file).filter((file) => !inTheirOwnWords.includes(file))).toEqual([]);
  });
});
