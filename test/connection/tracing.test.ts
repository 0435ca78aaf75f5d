import { context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from '@opentelemetry/core';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { UseInterceptors } from '@nestjs/common';
import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { IsInt } from 'class-validator';
import type { Observable } from 'rxjs';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { GatewayError, Public } from '../../src/index.js';
import { loadTracing } from '../../src/connection/open-telemetry.js';
import { startApp, stopApps, until } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { token } from '../support/tokens.js';

const exporter = new InMemorySpanExporter();
const spans = (name: string): ReadableSpan[] => exporter.getFinishedSpans().filter((span) => span.name === name);
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT = 'b7ad6b7169203331';
const traceparent = `00-${TRACE}-${PARENT}-01`;

class AmountDto {
  @IsInt() amount!: number;
}

class Passing implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle();
  }
}

@WebSocketGateway()
class Gateway {
  @Public()
  @SubscribeMessage('work')
  async work(): Promise<string | undefined> {
    await new Promise(setImmediate);
    return trace.getActiveSpan()?.spanContext().traceId;
  }

  @Public()
  @SubscribeMessage('baggage')
  baggage(): string {
    return propagation.getActiveBaggage()?.getEntry('role')?.value ?? 'none';
  }

  @Public()
  @SubscribeMessage('pay')
  pay(@MessageBody() { amount }: AmountDto): number {
    if (amount < 0) throw new Error('secret amount');
    if (amount === 0) throw new GatewayError('NOTHING_TO_PAY');
    return amount;
  }

  @Public()
  @UseInterceptors(Passing)
  @SubscribeMessage('intercepted')
  intercepted(): string {
    return 'done';
  }
}

beforeAll(async () => {
  expect(await loadTracing()).toBeUndefined(); // installed, and nobody keeps spans
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const propagators = [new W3CTraceContextPropagator(), new W3CBaggagePropagator()]; // as NodeSDK has them
  propagation.setGlobalPropagator(new CompositePropagator({ propagators }));
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
});
beforeEach(() => exporter.reset());
afterEach(stopApps);

describe('spans', () => {
  it('are made of the upgrade, the message and its handler, in the trace that the client names', async () => {
    const { url } = await startApp({ gateways: [Gateway] });
    const headers = { traceparent: `00-${'1'.repeat(32)}-${PARENT}-01` };
    const client = await Client.connect(`${url}/ws`, { token: token(), headers });
    const { data } = await client.ask({ event: 'work', id: 1, meta: { traceparent } });
    expect(data).toBe(TRACE);
    await until(() => spans('ws message work').length === 1);
    const [upgrade] = spans('ws upgrade');
    const [message] = spans('ws message work');
    const [handler] = spans('ws handler work');
    expect(upgrade?.spanContext().traceId).toBe('1'.repeat(32));
    expect(upgrade?.attributes).toEqual({
      'ws_gateway.path': '/ws',
      'ws_gateway.session_id': message?.attributes['ws_gateway.session_id'],
    });
    expect([message?.spanContext().traceId, message?.parentSpanContext?.spanId]).toEqual([TRACE, PARENT]);
    expect(handler?.parentSpanContext?.spanId).toBe(message?.spanContext().spanId);
    expect(message?.status.code).toBe(0);
  });

  it.each([
    undefined,
    '',
    'nonsense',
    7,
    {},
    `ff-${TRACE}-${PARENT}-01`,
    `00-${'0'.repeat(32)}-${PARENT}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `${traceparent}-more`,
    traceparent.toUpperCase(),
  ])('begin a trace of their own with the traceparent %j', async (given) => {
    const { url } = await startApp({ gateways: [Gateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    await client.ask({ event: 'work', id: 1, meta: { traceparent: given } });
    await until(() => spans('ws message work').length === 1);
    const [message] = spans('ws message work');
    expect(message?.parentSpanContext).toBeUndefined();
    expect(message?.spanContext().traceId).not.toBe(TRACE);
  });

  it('take the trace and its state from a client, and no baggage', async () => {
    const { url } = await startApp({ gateways: [Gateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const meta = { traceparent, tracestate: 'vendor=1', baggage: 'role=admin' };
    expect(await client.ask({ event: 'baggage', id: 1, meta })).toMatchObject({ data: 'none' });
    await until(() => spans('ws message baggage').length === 1);
    const [message] = spans('ws message baggage');
    expect(message?.spanContext().traceId).toBe(TRACE);
    expect(message?.parentSpanContext?.traceState?.get('vendor')).toBe('1');
  });

  it('say how a message failed, and nothing of its payload', async () => {
    const { url } = await startApp({ gateways: [Gateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    const { data } = await client.ask({ event: 'pay', data: { amount: -1 }, id: 1 });
    await client.ask({ event: 'pay', data: { amount: 0 }, id: 2 });
    await client.ask({ event: 'pay', data: { amount: 'secret' }, id: 3 });
    await until(() => spans('ws message pay').length === 3);
    const { incidentId } = data as { incidentId: string };
    expect(
      spans('ws message pay').map(({ attributes, status }) => [attributes['ws_gateway.code'], status.code]),
    ).toEqual([
      ['INTERNAL', 2],
      ['NOTHING_TO_PAY', 0],
      ['VALIDATION_FAILED', 0],
    ]);
    expect(spans('ws message pay')[0]?.attributes['ws_gateway.incident_id']).toBe(incidentId);
    expect(spans('ws handler pay').map(({ status }) => status.code)).toEqual([2, 0]); // the third never came to it
    for (const { attributes, status, events } of exporter.getFinishedSpans()) {
      expect(JSON.stringify([attributes, status, events])).not.toMatch(/secret|ada/);
    }
  });

  it('are made where interceptors stand between, and none of an event that there is not', async () => {
    const { url } = await startApp({ gateways: [Gateway] });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    await client.ask({ event: 'intercepted', id: 1, meta: { traceparent } });
    await client.ask({ event: 'made-up', id: 2, meta: { traceparent } });
    await until(() => spans('ws message intercepted').length === 1);
    expect(spans('ws handler intercepted')[0]?.spanContext().traceId).toBe(TRACE);
    expect(exporter.getFinishedSpans().filter(({ name }) => name.includes('made-up'))).toEqual([]);
  });

  it('say why an upgrade was refused, before it and after', async () => {
    const { url } = await startApp({ gateways: [Gateway] });
    await refusal(`${url}/ws`, { origin: 'https://elsewhere.example' });
    await (
      await Client.connect(`${url}/ws`, { token: 'bad' })
    ).closed;
    expect(spans('ws upgrade').map(({ attributes }) => attributes['ws_gateway.code'])).toEqual([
      'ORIGIN_FORBIDDEN',
      'TOKEN_INVALID',
    ]);
  });

  it('are not made when the option says so', async () => {
    const { url } = await startApp({ gateways: [Gateway], options: { monitoring: { traces: false } } });
    const client = await Client.connect(`${url}/ws`, { token: token() });
    await client.ask({ event: 'work', id: 1, meta: { traceparent } });
    expect(exporter.getFinishedSpans()).toEqual([]);
  });
});
