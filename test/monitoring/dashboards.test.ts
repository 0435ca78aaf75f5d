import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { WsMetrics, WsMonitor, WsRooms } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { samplesOf } from '../support/metrics.js';
import { token } from '../support/tokens.js';

const read = (name: string): string =>
  readFileSync(new URL(`../../src/monitoring/dashboards/${name}`, import.meta.url), 'utf8');

interface Dashboard {
  panels: { title: string; targets?: { expr: string; legendFormat: string }[] }[];
}
interface Rules {
  groups: { rules: { alert: string; expr: string; annotations: { summary: string } }[] }[];
}

const dashboard = JSON.parse(read('grafana.json')) as Dashboard;
const alerts = (parse(read('alerts.yml')) as Rules).groups.flatMap(({ rules }) => rules);
const panels = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map((target) => ({ title, ...target })));
const expressions = [
  ...panels.map(({ title, expr, legendFormat }) => [title, expr, legendFormat] as const),
  ...alerts.map(({ alert, expr, annotations }) => [alert, expr, annotations.summary] as const),
];

/** The labels of each metric that there is. */
const labelsOf = new Map<string, Set<string>>();

beforeAll(async () => {
  const upstreams = { '/relayed': { urls: ['ws://127.0.0.1:1'] } };
  const { app, url } = await startApp({ options: { monitoring: { metrics: true }, upstreams } });
  const client = await Client.connect(`${url}/ws`, { token: token() });
  await client.ask({ event: 'nonsense' });
  await client.close();
  await refusal(`${url}/nowhere`);
  await app.get(WsRooms).publish('page', 'news', 1);
  const monitor = app.get(WsMonitor);
  monitor.emit({ kind: 'ban', action: 'added', target: { address: '192.0.2.1' }, enforced: true });
  monitor.emit({ kind: 'budget', budget: 'event', enforced: true });
  monitor.emit({ kind: 'admission', rule: 'lists', code: 'IP_FORBIDDEN', enforced: false, clientAddress: '192.0.2.1' });
  monitor.emit({ kind: 'admin', actor: 'root', act: 'sessions.revoke' });
  monitor.emit({ kind: 'bus', action: 'published' });
  for (const { name, labels } of samplesOf((await app.get(WsMetrics).text()).body)) {
    const known = labelsOf.get(name) ?? new Set(['instance']);
    for (const label of Object.keys(labels)) known.add(label);
    labelsOf.set(name, known);
  }
});
afterAll(stopApps);

describe('the dashboard and the alerts', () => {
  it('are there', () => {
    expect(panels.length).toBeGreaterThan(15);
    expect(alerts.length).toBeGreaterThan(5);
    expect(new Set(alerts.map(({ alert }) => alert)).size).toBe(alerts.length);
  });

  it.each(expressions)('%s asks for metrics and labels that there are', (_, expression, text) => {
    const names = expression.match(/\bws_gateway_\w+/g) ?? [];
    expect(names.length).toBeGreaterThan(0);
    expect(names.filter((name) => !labelsOf.has(name))).toEqual([]);
    const known = new Set(names.flatMap((name) => [...(labelsOf.get(name) ?? [])]));
    const matched = [...expression.matchAll(/(\w+)\s*(?:=~|!=|=)\s*"/g)].map(([, label]) => label);
    const grouped = [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(/,\s*/));
    expect([...matched, ...grouped].filter((label) => !known.has(label as string))).toEqual([]);
    const shown = [...text.matchAll(/\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}/g)].map(([, label]) => label as string);
    const kept = grouped.length > 0 ? new Set(grouped) : known;
    expect(shown.filter((label) => !kept.has(label))).toEqual([]);
  });

  it('show every metric of the module', () => {
    const shown = panels.map(({ expr }) => expr).join(' ');
    expect([...labelsOf.keys()].filter((name) => !shown.includes(name))).toEqual([]);
  });

  it('name codes that there are', async () => {
    const { ERRORS } = await import('../../src/index.js');
    const codes = alerts.flatMap(({ expr }) =>
      [...expr.matchAll(/(?:code|outcome)=~"([^"]*)"/g)].flatMap(([, list = '']) => list.split('|')),
    );
    expect(codes.length).toBeGreaterThan(5);
    expect(codes.filter((code) => !(code in ERRORS))).toEqual([]);
  });
});
