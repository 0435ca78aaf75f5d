import { Global, Module } from '@nestjs/common';
import { propagation, trace } from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, expect, it } from 'vitest';
import { AuditFile, AuditSink, Public, WsMetrics } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { auditPath, recordsAfterStop } from '../support/audit.js';
import { Client } from '../support/client.js';
import { token } from '../support/tokens.js';

afterEach(stopApps);

@WebSocketGateway()
class FaultyGateway {
  @Public()
  @SubscribeMessage('fault')
  async fault(): Promise<void> {
    await new Promise(setImmediate);
    throw new Error('the database is gone');
  }
}

it('a failure that a client sees is found by its incidentId in log, audit, metrics and spans', async () => {
  const exporter = new InMemorySpanExporter();
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  const path = auditPath();

  @Global()
  @Module({ providers: [{ provide: AuditSink, useFactory: () => AuditFile.open({ path }) }], exports: [AuditSink] })
  class AuditModule {}

  const { app, url, log } = await startApp({
    gateways: [FaultyGateway],
    imports: [AuditModule],
    options: { monitoring: { metrics: true } },
  });
  const client = await Client.connect(`${url}/ws`, { token: token() });
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const { event, data } = await client.ask({ event: 'fault', id: 1, meta: { traceparent } });
  const { incidentId } = data as { incidentId: string };
  expect([event, incidentId]).toEqual(['exception', expect.stringMatching(/^[\da-f-]{36}$/)]);

  const line = log.lines.find((record) => record.incidentId === incidentId);
  expect(line).toMatchObject({ code: 'INTERNAL', event: 'fault', subject: 'ada', clientAddress: '127.0.0.1' });
  expect(line?.stack).toContain('the database is gone');

  const { body } = await app.get(WsMetrics).text('application/openmetrics-text');
  const exemplar = body.split('\n').find((text) => text.includes(`incident_id="${incidentId}"`));
  expect(exemplar).toMatch(/^ws_gateway_exceptions_total\{(?=.*code="INTERNAL")(?=.*event="fault").*\} 1 # /);

  const span = exporter
    .getFinishedSpans()
    .find(({ attributes }) => attributes['ws_gateway.incident_id'] === incidentId);
  expect(span).toMatchObject({ name: 'ws message fault', status: { code: 2, message: 'INTERNAL' } });
  expect(span?.spanContext().traceId).toBe('0af7651916cd43dd8448eb211c80319c');
  expect(span?.attributes['ws_gateway.session_id']).toBe(line?.sessionId);

  const records = await recordsAfterStop(path);
  const record = records.find((one) => one.incidentId === incidentId);
  expect(record).toMatchObject({ type: 'failed', code: 'INTERNAL', event: 'fault', sessionId: line?.sessionId });
  expect(records.map(({ type }) => type)).toEqual(['started', 'admitted', 'failed', 'ended', 'stopped']);
});
