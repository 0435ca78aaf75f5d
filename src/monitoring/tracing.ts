import type { Context, Span, Tracer } from '@opentelemetry/api';
import { GatewayError, specOf } from '../protocol/errors.js';
import type { ErrorCode } from '../protocol/errors.js';
import { isJsonObject } from '../protocol/message.js';
import { isThenable } from '../base/thenable.js';

type Api = typeof import('@opentelemetry/api');

const NAME = 'nestjs-ws-gateway';

/** W3C Trace Context §3.2: version, trace, parent and flags; neither of the ids is all zeros. */
const TRACEPARENT = /^(?!ff)[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})$/;

/**
 * The spans of OpenTelemetry, where the application has it: `@opentelemetry/api` is installed and a tracer provider is
 * registered by now. Undefined otherwise, so that nothing is paid for spans that nobody keeps.
 */
export async function loadTracing(): Promise<Tracing | undefined> {
  let api: Api;
  try {
    api = await import('@opentelemetry/api');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  }
  const provider = api.trace.getTracerProvider();
  // The API's own provider has a tracer only when one is registered; any other is the registered one.
  const tracer =
    provider instanceof api.ProxyTracerProvider ? provider.getDelegateTracer(NAME) : provider.getTracer(NAME);
  return tracer === undefined ? undefined : new Tracing(api, tracer);
}

/** Makes the spans: one for an upgrade, one for a message at a declared event, one for its handler inside of that. */
export class Tracing {
  readonly #messages = new WeakMap<object, MessageTrace>();
  readonly #api: Api;
  readonly #tracer: Tracer;

  /** @internal */
  constructor(api: Api, tracer: Tracer) {
    this.#api = api;
    this.#tracer = tracer;
  }

  /** @param traceparent of the request */
  upgrade(path: string, traceparent: unknown): UpgradeTrace {
    const options = { kind: this.#api.SpanKind.SERVER, attributes: { 'ws_gateway.path': path } };
    return new UpgradeTrace(this.#api, this.#tracer.startSpan('ws upgrade', options, this.#parentOf(traceparent)));
  }

  /** @param message whose `meta` may hold a `traceparent` */
  message(message: { readonly event: string; readonly meta?: unknown }, sessionId: string): MessageTrace {
    const { event, meta } = message;
    const parent = this.#parentOf(isJsonObject(meta) ? meta.traceparent : undefined);
    const attributes = { 'ws_gateway.event': event, 'ws_gateway.session_id': sessionId };
    const options = { kind: this.#api.SpanKind.SERVER, attributes };
    const span = this.#tracer.startSpan(`ws message ${event}`, options, parent);
    const trace = new MessageTrace(this.#api, this.#tracer, event, span, parent);
    this.#messages.set(message, trace);
    return trace;
  }

  /** Runs the handler of a message, in a span of its own. */
  handler<T>(message: object, run: () => T): T {
    const trace = this.#messages.get(message);
    return trace === undefined ? run() : trace.handler(run);
  }

  #parentOf(traceparent: unknown): Context {
    const { ROOT_CONTEXT, trace } = this.#api;
    const [, traceId, spanId, flags] = (typeof traceparent === 'string' && TRACEPARENT.exec(traceparent)) || [];
    if (traceId === undefined || spanId === undefined || flags === undefined) return ROOT_CONTEXT;
    const traceFlags = Number.parseInt(flags, 16) & 1;
    return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
  }
}

/** What a span is told of a failure. */
function failed({ SpanStatusCode }: Api, span: Span, code: ErrorCode, incidentId: string | undefined): void {
  span.setAttribute('ws_gateway.code', code);
  if (incidentId !== undefined) span.setAttribute('ws_gateway.incident_id', incidentId);
  // A client's fault is none of the server's.
  if (specOf(code).cause === 'server') span.setStatus({ code: SpanStatusCode.ERROR, message: code });
}

export class UpgradeTrace {
  readonly #api: Api;
  readonly #span: Span;

  /** @internal */
  constructor(api: Api, span: Span) {
    this.#api = api;
    this.#span = span;
  }

  accepted(sessionId: string): void {
    this.#span.setAttribute('ws_gateway.session_id', sessionId);
    this.#span.end();
  }

  refused({ code, incidentId }: { readonly code: ErrorCode; readonly incidentId?: string }): void {
    failed(this.#api, this.#span, code, incidentId);
    this.#span.end();
  }
}

/** The spans of one message. */
export class MessageTrace {
  readonly #api: Api;
  readonly #tracer: Tracer;
  readonly #event: string;
  readonly #span: Span;
  readonly #context: Context;

  /** @internal */
  constructor(api: Api, tracer: Tracer, event: string, span: Span, parent: Context) {
    this.#api = api;
    this.#tracer = tracer;
    this.#event = event;
    this.#span = span;
    this.#context = api.trace.setSpan(parent, span);
  }

  /** What is called in it has its span as the active one. */
  run<T>(call: () => T): T {
    return this.#api.context.with(this.#context, call);
  }

  handler<T>(call: () => T): T {
    const { context, trace } = this.#api;
    const span = this.#tracer.startSpan(`ws handler ${this.#event}`, {}, this.#context);
    try {
      const result = context.with(trace.setSpan(this.#context, span), call);
      if (!isThenable(result)) {
        span.end();
        return result;
      }
      const settled = Promise.resolve(result).then(
        (value) => {
          span.end();
          return value;
        },
        (error: unknown) => this.#threw(span, error),
      );
      return settled as T; // because it was a promise before
    } catch (error) {
      return this.#threw(span, error);
    }
  }

  failed(code: ErrorCode, incidentId: string | undefined): void {
    failed(this.#api, this.#span, code, incidentId);
  }

  end(): void {
    this.#span.end();
  }

  #threw(span: Span, error: unknown): never {
    // What an error says may quote the payload, so the span has no more than the fact.
    if (!(error instanceof GatewayError)) span.setStatus({ code: this.#api.SpanStatusCode.ERROR });
    span.end();
    throw error;
  }
}
