import { expect, it } from 'vitest';
import { Totals } from '../../src/monitoring/totals.js';
import { WsMonitor } from '../../src/monitoring/ws-monitor.js';

const failure = { level: 'warn', message: 'no', kind: 'request', event: 'order' } as const;

it('counts while metrics or a console are there, and listens to nothing otherwise', () => {
  const monitor = new WsMonitor();
  const totals = new Totals(monitor);
  expect(monitor.has('request')).toBe(false);
  const [first, second] = [totals.use(), totals.use()];
  monitor.emit({ ...failure, code: 'FORBIDDEN' });
  first();
  first();
  monitor.emit({ ...failure, code: 'INTERNAL', incidentId: 'a1' });
  monitor.emit({ ...failure, kind: 'connection', code: 'NO_PONG', sessionId: 's' });
  monitor.emit({ kind: 'budget', budget: 'messages', enforced: false });
  second();
  monitor.emit({ ...failure, code: 'FORBIDDEN' });
  expect(monitor.has('request')).toBe(false);
  expect(totals.exceptions.get('order')).toEqual(
    new Map([
      ['FORBIDDEN', { count: 1, incidentId: undefined }],
      ['INTERNAL', { count: 1, incidentId: 'a1' }],
    ]),
  );
  expect(totals.closes).toEqual(new Map([['NO_PONG', 1]]));
  expect(totals.budgets).toEqual(new Map([['messages', { enforced: 0, dry: 1 }]]));
});

it('tells a bounded number of codes apart', () => {
  const monitor = new WsMonitor();
  const totals = new Totals(monitor);
  totals.use();
  for (let i = 0; i < 100; i++) monitor.emit({ ...failure, code: `OWN_${i}` });
  expect(totals.exceptions.get('order')?.size).toBe(51);
  expect(totals.exceptions.get('order')?.get('OTHER')?.count).toBe(50);
});
