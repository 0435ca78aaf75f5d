import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Registry } from 'prom-client';
import { interval, map, of, take } from 'rxjs';
import type { Observable } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { GatewayError, Public, WsMetrics, WsMonitor, WsSessions } from '../../../src/index.js';
import type { TestApp } from '../../support/app.js';
import { startApp, stopApps, until } from '../../support/app.js';
import { Client, refusal } from '../../support/client.js';
import { samplesOf, valueOf } from '../../support/metrics.js';
import type { Sample } from '../../support/metrics.js';
import { token } from '../../support/tokens.js';

afterEach(stopApps);

@WebSocketGateway()
class Gateway {
  @Public()
  @SubscribeMessage('add')
  add(@MessageBody() numbers: number[]): number {
    return numbers[0] ?? 0;
  }

  @Public()
  @SubscribeMessage('later')
  async later(): Promise<string> {
    await new Promise(setImmediate);
    return 'done';
  }

  @Public()
  @SubscribeMessage('stream')
  stream(): Observable<number> {
    return interval(1).pipe(take(2));
  }

  @Public()
  @SubscribeMessage('values')
  values(): Observable<number> {
    return of(1, 2).pipe(map((n) => n));
  }

  @Public()
  @SubscribeMessage('fault')
  fault(): void {
    throw new Error('fault');
  }

  @Public()
  @SubscribeMessage('own')
  own(@MessageBody() code: string): void {
    throw new GatewayError(code);
  }

  @Public()
  @SubscribeMessage('never')
  never(): Promise<void> {
    return new Promise(() => undefined);
  }
}

const start = (monitoring: object = { metrics: true }): Promise<TestApp> =>
  startApp({ gateways: [Gateway], options: { monitoring } });

const read = async ({ app }: TestApp): Promise<Sample[]> => samplesOf((await app.get(WsMetrics).text()).body);

describe('the metrics', () => {
  it('are off unless asked for, and injectable all the same', async () => {
    const { app } = await start({});
    const metrics = app.get(WsMetrics);
    expect(metrics.registry).toBeUndefined();
    await expect(metrics.text()).rejects.toThrow('monitoring.metrics');
    expect(app.get(WsMonitor).has('admitted')).toBe(false);
  });

  it('go into a registry that is given, beside others', async () => {
    const registry = new Registry();
    const { app } = await start({ registry });
    expect(app.get(WsMetrics).registry).toBe(registry);
    expect(await registry.metrics()).toContain('ws_gateway_sessions{phase="open"} 0');
  });

  it('count messages, bytes and durations by event', async () => {
    const running = await start();
    const client = await Client.connect(`${running.url}/ws`, { token: token() });
    const frames = [
      { event: 'add', data: [1], id: 1 },
      { event: 'add', data: [2], id: 2 },
      { event: 'later', id: 3 },
      { event: 'fault', id: 4 },
      { event: 'nonsense', id: 5 },
    ];
    for (const frame of frames) await client.ask(frame);
    await client.ask('{');
    for (let n = 0; n < 2; n++) await client.ask({ event: 'stream', id: 6 });
    await until(() => client.frames.filter(({ done }) => done === true).length === 2);
    const samples = await read(running);
    const messages = (event: string): number | undefined => valueOf(samples, 'ws_gateway_messages_total', { event });
    expect(['add', 'later', 'fault', 'unknown', 'never', 'auth'].map(messages)).toEqual([2, 1, 1, 2, 0, 0]);
    const timed = (event: string): number | undefined =>
      valueOf(samples, 'ws_gateway_handler_duration_seconds_count', { event });
    expect(['add', 'later', 'fault', 'stream', 'never'].map(timed)).toEqual([2, 1, 1, 0, 0]);
    const sent = [...frames.map((frame) => JSON.stringify(frame)), '{', '{"event":"stream","id":6}'.repeat(2)];
    expect(valueOf(samples, 'ws_gateway_received_bytes_total')).toBe(sent.join('').length);
    expect(valueOf(samples, 'ws_gateway_sent_messages_total')).toBe(client.frames.length);
    const received = client.frames.reduce((sum, frame) => sum + JSON.stringify(frame).length, 0);
    expect(valueOf(samples, 'ws_gateway_sent_bytes_total')).toBeGreaterThan(received);
  });

  it('have a histogram as Prometheus wants it', async () => {
    const running = await start();
    const client = await Client.connect(`${running.url}/ws`, { token: token() });
    for (let id = 0; id < 20; id++) await client.ask({ event: id % 2 === 0 ? 'add' : 'later', data: [1], id });
    const name = 'ws_gateway_handler_duration_seconds';
    const samples = (await read(running)).filter(
      (sample) => sample.labels.event === 'add' && sample.name.startsWith(name),
    );
    const buckets = samples.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) => Number(labels.le?.replace('+Inf', 'Infinity')));
    expect(bounds).toEqual(bounds.toSorted((a, b) => a - b));
    expect(bounds.at(-1)).toBe(Infinity);
    const counts = buckets.map(({ value }) => value);
    expect(counts).toEqual(counts.toSorted((a, b) => a - b));
    expect(counts.at(-1)).toBe(10);
    expect(valueOf(samples, `${name}_count`, { event: 'add' })).toBe(10);
    expect(valueOf(samples, `${name}_sum`, { event: 'add' })).toBeGreaterThan(0);
  });

  it('count sessions by phase, upgrades, ends and tokens', async () => {
    const running = await start();
    const { url, app } = running;
    const clients = await Promise.all([1, 2, 3].map(() => Client.connect(`${url}/ws`, { token: token() })));
    await refusal(`${url}/nowhere`);
    await refusal(`${url}/ws`, { origin: 'https://elsewhere.example' });
    const bad = await Client.connect(`${url}/ws`, { token: 'bad' });
    await bad.closed;
    const late = await Client.connect(`${url}/ws`);
    await late.ask(token({ sub: 'eve' }));
    const [client] = clients as [Client];
    client.send({ event: 'never', id: 1 });
    await client.ask({ event: 'add', data: [1], id: 2 });
    expect((await app.get(WsSessions).revoke({ subject: 'eve' })).ended).toBe(1);
    await late.closed;
    await clients[1]?.close();
    await until(() => app.get(WsSessions).count() === 2);
    const samples = await read(running);
    const upgrades = (outcome: string): number | undefined =>
      valueOf(samples, 'ws_gateway_upgrades_total', { outcome });
    expect(['accepted', 'NOT_FOUND', 'ORIGIN_FORBIDDEN', 'TOKEN_INVALID'].map(upgrades)).toEqual([4, 1, 1, 1]);
    const sessions = (phase: string): number | undefined => valueOf(samples, 'ws_gateway_sessions', { phase });
    expect(['opening', 'open', 'closing', 'closed'].map(sessions)).toEqual([0, 2, 0, undefined]);
    const closes = (code: string): number | undefined => valueOf(samples, 'ws_gateway_closes_total', { code });
    expect(['SESSION_REVOKED', 'CLOSED', 'CONNECTION_LOST'].map(closes)).toEqual([1, 1, undefined]);
    const tokens = (source: string, outcome: string): number | undefined =>
      valueOf(samples, 'ws_gateway_authentications_total', { source, outcome });
    expect([tokens('header', 'accepted'), tokens('header', 'TOKEN_INVALID'), tokens('message', 'accepted')]).toEqual([
      3, 1, 1,
    ]);
    expect(valueOf(samples, 'ws_gateway_messages_in_flight')).toBe(1);
    expect(valueOf(samples, 'ws_gateway_revocations_total')).toBe(1);
  });

  it('show a fault with zero before the first, and with its incidentId for who asks in OpenMetrics', async () => {
    const running = await start();
    const labels = { code: 'INTERNAL', event: 'fault' };
    expect(valueOf(await read(running), 'ws_gateway_exceptions_total', labels)).toBe(0);
    const client = await Client.connect(`${running.url}/ws`, { token: token() });
    const { data } = await client.ask({ event: 'fault', id: 1 });
    const { incidentId } = data as { incidentId: string };
    const metrics = running.app.get(WsMetrics);
    const open = await metrics.text('application/openmetrics-text;version=1.0.0,text/plain;q=0.5');
    expect(open.contentType).toContain('application/openmetrics-text');
    expect(open.body).toMatch(/# EOF\n$/);
    const line = open.body.split('\n').find((text) => text.includes(incidentId));
    expect(line).toMatch(/^ws_gateway_exceptions_total\{.*\} 1 # \{incident_id="[\w-]{36}"\} 1 \d+(\.\d+)?$/);
    expect(open.body).toContain('# TYPE ws_gateway_exceptions counter');
    // and that did not rename what everybody else reads
    const plain = await metrics.text('*/*');
    expect(plain.contentType).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(plain.body).not.toContain(incidentId);
    expect(valueOf(samplesOf(plain.body), 'ws_gateway_exceptions_total', labels)).toBe(1);
  });

  it('have a bounded number of labels, whatever clients send and applications make up', async () => {
    const running = await start();
    const client = await Client.connect(`${running.url}/ws`, { token: token() });
    const lines = async (): Promise<number> => (await read(running)).length;
    await client.ask({ event: 'own', data: 'OWN_FIRST', id: 1 });
    const before = await lines();
    for (let n = 0; n < 200; n++) {
      await client.ask({ event: 'own', data: `OWN_${n}`, id: n });
    }
    for (let n = 0; n < 5; n++) await client.ask({ event: `made-up-${n}`, id: n });
    expect((await lines()) - before).toBeLessThan(60);
    const samples = await read(running);
    expect(valueOf(samples, 'ws_gateway_exceptions_total', { code: 'OTHER', event: 'own' })).toBe(151);
    expect(samples.filter(({ labels }) => labels.event?.startsWith('made-up'))).toEqual([]);
  });

  it('count what the firewall, administrators and the bus tell of', async () => {
    const running = await start();
    const monitor = running.app.get(WsMonitor);
    monitor.emit({ kind: 'ban', action: 'added', target: { subject: 'eve' }, enforced: true, forMs: 1 });
    monitor.emit({ kind: 'budget', budget: 'event', enforced: false });
    monitor.emit({
      kind: 'admission',
      rule: 'lists',
      code: 'IP_FORBIDDEN',
      enforced: false,
      clientAddress: '192.0.2.1',
    });
    monitor.emit({ kind: 'admin', actor: 'root', act: 'sessions.revoke' });
    monitor.emit({ kind: 'bus', action: 'published' });
    const samples = await read(running);
    expect(valueOf(samples, 'ws_gateway_bans_total', { action: 'added', target: 'subject' })).toBe(1);
    expect(valueOf(samples, 'ws_gateway_budget_exceeded_total', { budget: 'event', enforced: 'false' })).toBe(1);
    expect(valueOf(samples, 'ws_gateway_dry_run_refusals_total', { rule: 'lists' })).toBe(1);
    expect(valueOf(samples, 'ws_gateway_admin_acts_total', { act: 'sessions.revoke' })).toBe(1);
    expect(valueOf(samples, 'ws_gateway_bus_events_total', { action: 'published' })).toBe(1);
  });

  it('tell how busy the event loop is', async () => {
    const running = await start();
    const utilization = valueOf(await read(running), 'ws_gateway_event_loop_utilization') ?? -1;
    expect(utilization).toBeGreaterThanOrEqual(0);
    expect(utilization).toBeLessThanOrEqual(1);
    const delay = valueOf(await read(running), 'ws_gateway_event_loop_delay_seconds', { stat: 'p99' }) ?? -1;
    expect(delay).toBeGreaterThanOrEqual(0);
    expect(delay).toBeLessThan(60);
  });
});
