import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { WsFirewall } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';
import { Alarm, AuditModule } from './alarm.js';

afterEach(stopApps);

it('the alarm of the README rings for a ban, and the audit has who was let in and who was banned', async () => {
  const path = join(mkdtempSync(join(tmpdir(), 'ws-gateway-')), 'audit.log');
  process.env.AUDIT_PATH = path;
  const { app, url } = await startApp({ providers: [Alarm], imports: [AuditModule] });
  const client = await Client.connect(`${url}/ws`, { token: token() });
  app.get(WsFirewall).ban({ subject: 'ada' }, { forMs: 1_000 });
  await client.closed;
  expect(app.get(Alarm).rung).toEqual(['{"subject":"ada"}']);
  await stopApps();
  delete process.env.AUDIT_PATH;
  const types = readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { type: string }).type);
  expect(types).toEqual(expect.arrayContaining(['started', 'admitted', 'banned', 'stopped']));
});
