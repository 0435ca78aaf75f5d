import { context, propagation, trace } from '@opentelemetry/api';
import type { Context, ContextManager, Span, TextMapPropagator, Tracer } from '@opentelemetry/api';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { GatewayError, Public } from '../../src/index.js';
import { startApp, stopApps } from '../support/app.js';
import { Client, refusal } from '../support/client.js';
import { FAULT_NAMES, FAULTS } from '../support/foreign.js';
import type { Fault } from '../support/foreign.js';

let faulty: { readonly call: string; readonly fault: Fault } | undefined;

function at<T>(call: string, answer: T): T {
  return faulty?.call === call ? (FAULTS[faulty.fault](answer) as T) : answer; // because a fault keeps to no type
}

const span = {
  spanContext: () => ({ traceId: '1'.repeat(32), spanId: '1'.repeat(16), traceFlags: 1 }),
  setAttribute: () => at('Span.setAttribute', span),
  setStatus: () => at('Span.setStatus', span),
  end: () => at('Span.end', undefined),
} as unknown as Span; // because that is all that is called of it

const tracer = {
  startSpan: (name: string) => {
    return at(`Tracer.startSpan ${name.split(' ')[1]}`, span);
  },
} as unknown as Tracer;

/** Calls at once, or not at all, or again and again. */
class Manager {
  active(): Context {
    return ROOT;
  }
  with(_: Context, call: (...args: unknown[]) => unknown, self: unknown, ...args: unknown[]): unknown {
    if (faulty?.call === 'ContextManager.with before') return FAULTS[faulty.fault](undefined);
    const result: unknown = Reflect.apply(call, self, args);
    if (faulty?.call === 'ContextManager.with twice') Reflect.apply(call, self, args);
    return faulty?.call === 'ContextManager.with after' ? FAULTS[faulty.fault](result) : result;
  }
  bind<T>(_: Context, target: T): T {
    return target;
  }
  enable(): this {
    return this;
  }
  disable(): this {
    return this;
  }
}
const ROOT = {
  getValue: () => undefined,
  setValue: () => ROOT,
  deleteValue: () => ROOT,
} as Context;

let calls = 0;

@WebSocketGateway()
class Gateway {
  @Public() @SubscribeMessage('sync') sync(): number {
    calls++;
    return 1;
  }
  @Public() @SubscribeMessage('async') async async(): Promise<number> {
    await new Promise(setImmediate);
    calls++;
    return 1;
  }
  @Public() @SubscribeMessage('failing') failing(): never {
    throw new GatewayError('ORDER_CLOSED');
  }
  @Public() @SubscribeMessage('broken') async broken(): Promise<never> {
    throw new Error('broken');
  }
}

beforeAll(() => {
  context.setGlobalContextManager(new Manager() as ContextManager); // because its types want generics that a call needs not
  const propagator: TextMapPropagator = {
    inject: () => undefined,
    fields: () => [],
    extract: (given) => at('TextMapPropagator.extract', given),
  };
  propagation.setGlobalPropagator(propagator);
  trace.setGlobalTracerProvider({ getTracer: () => tracer });
});

afterEach(async () => {
  faulty = undefined;
  vi.restoreAllMocks();
  await stopApps();
});

describe('tracing that is at fault', () => {
  const where = [
    'Tracer.startSpan upgrade',
    'Tracer.startSpan message',
    'Tracer.startSpan handler',
    'TextMapPropagator.extract',
    'Span.setAttribute',
    'Span.setStatus',
    'Span.end',
    'ContextManager.with before',
    'ContextManager.with after',
    'ContextManager.with twice',
  ];
  it.each(where.flatMap((call) => FAULT_NAMES.map((fault) => ({ call, fault }))))(
    '$call that $fault changes nothing for the client',
    async ({ call, fault }) => {
      const deaths: unknown[] = [];
      const died = (error: unknown): void => void deaths.push(error);
      process.on('uncaughtException', died).on('unhandledRejection', died);
      const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
      const { url, log } = await startApp({ gateways: [Gateway], options: { auth: { anonymous: true } } });
      calls = 0;
      faulty = { call, fault };
      const client = await Client.connect(`${url}/ws`);
      expect(await client.ask({ event: 'sync', id: 1 })).toEqual({ event: 'sync', data: 1, id: 1 });
      expect(await client.ask({ event: 'async', id: 2, meta: {} })).toEqual({ event: 'async', data: 1, id: 2 });
      expect(await client.ask({ event: 'failing', id: 3 })).toMatchObject({ id: 3, data: { code: 'ORDER_CLOSED' } });
      expect(await client.ask({ event: 'broken', id: 4 })).toMatchObject({ id: 4, data: { code: 'INTERNAL' } });
      expect(await client.ask({ event: 'nonsense', id: 5 })).toMatchObject({
        id: 5,
        data: { code: 'UNAUTHENTICATED' },
      });
      await client.close();
      expect(await refusal(`${url}/nowhere`)).toMatchObject({ status: 404, body: { code: 'NOT_FOUND' } });
      expect(calls).toBe(2);
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
      process.off('uncaughtException', died).off('unhandledRejection', died);
      expect(deaths).toEqual([]);
      const isTold = fault === 'throws' && call !== 'ContextManager.with twice';
      expect(warned.mock.calls.some(([line]) => line === 'OpenTelemetry threw') || !isTold).toBe(true);
      expect(log.lines.filter(({ level }) => level === 'error').map(({ event }) => event)).toEqual(['broken']);
    },
  );
});
