import { afterEach, expect, it } from 'vitest';
import { WsFirewall } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { auditPath, recordsAfterStop } from '../support/audit.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';
import { Alarm, AuditModule } from './alarm.js';

afterEach(stopApps);

it('the alarm of the README rings for a ban, and the audit has who was let in and who was banned', async () => {
  const path = auditPath();
  process.env.AUDIT_PATH = path;
  const { app, url } = await startApp({ providers: [Alarm], imports: [AuditModule] });
  const client = await Client.connect(`${url}/ws`, { token: token() });
  await app.get(WsFirewall).ban({ subject: 'ada' }, { forMs: 1_000 });
  await client.closed;
  expect(app.get(Alarm).rung).toEqual(['{"subject":"ada"}']);
  const records = await recordsAfterStop(path);
  delete process.env.AUDIT_PATH;
  expect(records.map(({ type }) => type)).toEqual(expect.arrayContaining(['started', 'admitted', 'banned', 'stopped']));
});
