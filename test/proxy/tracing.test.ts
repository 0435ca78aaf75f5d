import { propagation, trace } from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { proxy, stopProxies, upstream } from '../support/proxy.js';
import { RawClient } from '../support/raw-client.js';
import { token } from '../support/tokens.js';

const exporter = new InMemorySpanExporter();

beforeAll(() => {
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
});
afterAll(() => {
  trace.disable(); // files share their process
  propagation.disable();
});
afterEach(stopProxies);

it('the application continues the trace of the upgrade', async () => {
  const app = await upstream();
  const { url } = await proxy(app.url, {}, { monitoring: { traces: true } });
  const headers = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' };
  await (await RawClient.connect(`${url}/chat`, { token: token(), headers })).close();
  const [span] = exporter.getFinishedSpans();
  const { spanId, traceId } = span?.spanContext() ?? {};
  expect(traceId).toBe('0af7651916cd43dd8448eb211c80319c');
  expect(app.requests[0]?.headers.traceparent).toBe(`00-${traceId}-${spanId}-01`);
});

it('without spans no trace of the client goes on', async () => {
  const app = await upstream();
  const { url } = await proxy(app.url);
  await (await RawClient.connect(`${url}/chat`, { token: token(), headers: { tracestate: 'a=b' } })).close();
  expect(app.requests[0]?.headers).not.toHaveProperty('tracestate');
});
