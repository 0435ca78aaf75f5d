import { describe, expect, it } from 'vitest';
import type { FailureEvent } from '../../../src/session/events.js';
import { FailureLog, FailureSink } from '../../../src/monitoring/log/failure-log.js';
import type { FailureRecord } from '../../../src/monitoring/log/failure-log.js';
import { privacyOf } from '../../../src/monitoring/privacy.js';
import { Sampler } from '../../../src/monitoring/log/sampler.js';
import { networkOf } from '../../../src/monitoring/log/shares.js';
import { ERRORS } from '../../../src/protocol/errors.js';
import { ManualClock } from '../../support/app.js';

class ListSink extends FailureSink {
  readonly lines: FailureRecord[] = [];

  write(record: FailureRecord): void {
    this.lines.push(record);
  }
}

function open(): { log: FailureLog; lines: FailureRecord[]; clock: ManualClock } {
  const [sink, clock] = [new ListSink(), new ManualClock()];
  return { log: new FailureLog(sink, privacyOf({}), new Sampler(clock), clock), lines: sink.lines, clock };
}

const failure = (code: string, more: Partial<FailureEvent> = {}): FailureEvent => ({
  kind: 'upgrade',
  code,
  level: 'warn',
  message: code,
  ...more,
});
const from = (n: number): { clientAddress: string } => ({ clientAddress: `192.0.${n >> 8}.${n & 255}` });

describe('the lines of one kind', () => {
  it.each(Object.keys(ERRORS))('%s are sampled, whether client or server is to blame', (code) => {
    for (const level of ['info', 'warn', 'error'] as const) {
      const { log, lines } = open();
      for (let n = 0; n < 2_000; n++) log.listener(failure(code, { level, ...from(n) }));
      expect([level, lines.length]).toEqual([level, 100]);
    }
  });

  it('have their count said by the line after a gap', () => {
    const { log, lines, clock } = open();
    for (let n = 0; n < 2_000; n++) log.listener(failure('OVERLOADED', { level: 'error', ...from(n) }));
    clock.jump(1_000);
    log.listener(failure('OVERLOADED', { level: 'error', ...from(2_001) }));
    expect(lines.at(-1)).toMatchObject({ code: 'OVERLOADED', suppressed: 1_900 });
  });

  it('are shared by the addresses: the flood of one leaves the others theirs', () => {
    const { log, lines, clock } = open();
    for (let second = 0; second < 60; second++) {
      for (let n = 0; n < 1_000; n++) log.listener(failure('ORIGIN_FORBIDDEN', from(1)));
      log.listener(failure('ORIGIN_FORBIDDEN', from(2 + second)));
      clock.jump(1_000);
    }
    const flood = lines.filter(({ clientAddress }) => clientAddress === from(1).clientAddress).length;
    expect(flood).toBeLessThanOrEqual(20 + 60 * 2);
    expect(lines.length - flood).toBe(60);
  });

  it('are shared by networks of IPv6', () => {
    const { log, lines } = open();
    for (let n = 0; n < 65_536; n++) {
      log.listener(failure('BAD_FRAME', { clientAddress: `2001:db8:1:${n.toString(16)}::1` }));
    }
    log.listener(failure('BAD_FRAME', { clientAddress: '2001:db8:2::1' }));
    expect(lines).toHaveLength(21);
    expect(['2001:db8:1:2::3', '2001:db8::1', '::1', '1:2:3:4:5:6:7:8', '192.0.2.1'].map(networkOf)).toEqual([
      '2001:db8:1::',
      '2001:db8:0::',
      '0:0:0::',
      '1:2:3::',
      '192.0.2.1',
    ]);
  });
});

describe('faults of ours', () => {
  const fault = (event: string, n = 0): FailureEvent =>
    failure('INTERNAL', { kind: 'request', level: 'error', event, stack: 'Error: x\n    at y', ...from(n) });

  it('in one handler do not hide those of another', () => {
    const { log, lines } = open();
    for (let n = 0; n < 1_000; n++) log.listener(fault('pay', n));
    log.listener(fault('ship', 1));
    expect(lines).toHaveLength(101);
    expect(lines.at(-1)).toMatchObject({ event: 'ship', stack: expect.any(String) as string });
  });

  it('have a stack ten times at once, and then once in five seconds', () => {
    const { log, lines, clock } = open();
    for (let n = 0; n < 100; n++) log.listener(fault('pay', n));
    expect(lines.filter(({ stack }) => stack !== undefined)).toHaveLength(10);
    clock.jump(5_000);
    log.listener(fault('pay', 101));
    log.listener(fault('pay', 102));
    expect(lines.slice(-2).map(({ stack }) => stack !== undefined)).toEqual([true, false]);
  });
});

it('what the sampler remembers is bounded, whatever strangers come up with', () => {
  const sampler = new Sampler(new ManualClock());
  for (let n = 0; n < 20_000; n++) sampler.take(`kind ${n}`, from(n).clientAddress);
  for (let n = 0; n < 20_000; n++) sampler.take('kind', `2001:db8:${n.toString(16)}::1`);
  expect(sampler.size).toBeLessThan(5_000);
});
