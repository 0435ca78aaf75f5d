import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Counter, Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { Public, WsMetrics } from '../../../src/index.js';
import { startApp, stopApps } from '../../support/app.js';
import type { TestApp } from '../../support/app.js';
import { Client } from '../../support/client.js';
import { samplesOf, valueOf } from '../../support/metrics.js';
import type { Sample } from '../../support/metrics.js';

afterEach(stopApps);

@WebSocketGateway()
class Gateway {
  @Public() @SubscribeMessage('hello') hello(): string {
    return 'hello';
  }
  @Public() @SubscribeMessage('fault') fault(): never {
    throw new Error('fault');
  }
}

describe('a registry that applications share', () => {
  const start = (registry: Registry): Promise<TestApp> =>
    startApp({ gateways: [Gateway], options: { monitoring: { registry } } });

  async function say({ url }: TestApp, ...events: string[]): Promise<Client> {
    const client = await Client.connect(`${url}/ws`);
    for (const event of events) await client.ask({ event, id: 1 });
    return client;
  }

  async function read(registry: Registry): Promise<Sample[]> {
    return samplesOf(await registry.metrics());
  }

  it('adds up what they count', async () => {
    const registry = new Registry();
    const [first, second] = [await start(registry), await start(registry)];
    const clients = [await say(first, 'hello', 'fault'), await say(second, 'hello')];
    const samples = await read(registry);
    expect(valueOf(samples, 'ws_gateway_messages_total', { event: 'hello' })).toBe(2);
    expect(valueOf(samples, 'ws_gateway_sessions', { phase: 'open' })).toBe(2);
    expect(valueOf(samples, 'ws_gateway_upgrades_total', { outcome: 'accepted' })).toBe(2);
    expect(valueOf(samples, 'ws_gateway_exceptions_total', { code: 'INTERNAL', event: 'fault' })).toBe(1);
    expect(valueOf(samples, 'ws_gateway_handler_duration_seconds_count', { event: 'hello' })).toBe(2);
    expect(valueOf(samples, 'ws_gateway_event_loop_utilization', {})).toBeLessThanOrEqual(1);
    const { body } = await first.app.get(WsMetrics).text('application/openmetrics-text');
    expect(body).toContain(`incident_id="${first.log.lines[0]?.incidentId}"`);
    for (const client of clients) await client.close();
  });

  it('begins anew with an application that starts when the others have stopped', async () => {
    const registry = new Registry();
    await (await say(await start(registry), 'hello')).close();
    await stopApps();
    expect(valueOf(await read(registry), 'ws_gateway_messages_total', { event: 'hello' })).toBe(1);
    await (await say(await start(registry), 'hello')).close();
    expect(valueOf(await read(registry), 'ws_gateway_messages_total', { event: 'hello' })).toBe(1);
  });

  it('stops the start where a name of ours is another metric', async () => {
    const registry = new Registry();
    registry.registerMetric(new Counter({ name: 'ws_gateway_sessions', help: 'not ours', registers: [] }));
    await expect(start(registry)).rejects.toThrow('ws_gateway_sessions');
  });
});
