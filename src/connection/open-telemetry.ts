import type { Context, Span, SpanContext, TextMapGetter, Tracer } from '@opentelemetry/api';
import { GatewayError, specOf } from '../protocol/errors.js';
import type { ErrorCode } from '../protocol/errors.js';
import { isJsonObject } from '../protocol/message.js';
import { contain, containResult, Faults } from '../base/contain.js';
import { isThenable } from '../base/thenable.js';
import type { MessageTrace, Tracing, UpgradeTrace } from './tracing.js';

type Api = typeof import('@opentelemetry/api');

const NAME = 'nestjs-ws-gateway';

/** Reads a field of what a client has written: a propagator is given text and nothing else. */
const GETTER: TextMapGetter = {
  keys: (carrier: object) => Object.keys(carrier),
  get: (carrier: object, key) => {
    const value: unknown = Object.hasOwn(carrier, key) ? carrier[key as keyof typeof carrier] : undefined;
    return typeof value === 'string' ? value : undefined;
  },
};

/**
 * The spans of OpenTelemetry, where the application has it: `@opentelemetry/api` is installed and a tracer provider is
 * registered by now. Undefined otherwise, so that spans which no exporter keeps cost nothing.
 */
export async function loadTracing(): Promise<Tracing | undefined> {
  let api: Api;
  try {
    api = await import('@opentelemetry/api');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  }
  try {
    const provider = api.trace.getTracerProvider();
    // The API's own provider has a tracer only when one is registered; any other is the registered one.
    const tracer =
      provider instanceof api.ProxyTracerProvider ? provider.getDelegateTracer(NAME) : provider.getTracer(NAME);
    return tracer === undefined ? undefined : new OpenTelemetry(api, tracer);
  } catch (error) {
    new Faults('OpenTelemetry has no tracer, so there are no spans').tell(error);
    return undefined;
  }
}

/**
 * Samplers, span processors and context managers are foreign code: where one throws there is no span, or one without its parent
 * or its attributes, and the message is handled all the same.
 */
class OpenTelemetry implements Tracing {
  readonly #messages = new WeakMap<object, MessageSpans>();
  readonly #tools: Tools;

  constructor(api: Api, tracer: Tracer) {
    this.#tools = { api, tracer, faults: new Faults('OpenTelemetry threw') };
  }

  upgrade(path: string, headers: object): UpgradeTrace | undefined {
    const { api, faults } = this.#tools;
    try {
      const options = { kind: api.SpanKind.SERVER, attributes: { 'ws_gateway.path': path } };
      return new UpgradeSpan(this.#tools, start(this.#tools, 'ws upgrade', options, this.#parentOf(headers)));
    } catch (error) {
      faults.tell(error);
      return undefined;
    }
  }

  message(message: { readonly event: string; readonly meta?: unknown }, sessionId: string): MessageTrace | undefined {
    const { api, faults } = this.#tools;
    const { event, meta } = message;
    try {
      const parent = isJsonObject(meta) ? this.#parentOf(meta) : api.ROOT_CONTEXT;
      const attributes = { 'ws_gateway.event': event, 'ws_gateway.session_id': sessionId };
      const span = start(this.#tools, `ws message ${event}`, { kind: api.SpanKind.SERVER, attributes }, parent);
      const trace = new MessageSpans(this.#tools, event, span, parent);
      this.#messages.set(message, trace);
      return trace;
    } catch (error) {
      faults.tell(error);
      return undefined;
    }
  }

  handler<T>(message: object, run: () => T): T {
    const trace = this.#messages.get(message);
    return trace === undefined ? run() : trace.handler(run);
  }

  /** The parent and nothing else: baggage that a client sends does not go on to what the handlers call. */
  #parentOf(carrier: object): Context {
    const { api, faults } = this.#tools;
    const { ROOT_CONTEXT, trace } = api;
    let parent: SpanContext | undefined;
    try {
      const extracted = api.propagation.extract(ROOT_CONTEXT, carrier, GETTER);
      containResult(extracted, faults.tell);
      parent = trace.getSpanContext(extracted);
    } catch (error) {
      faults.tell(error); // a span without a parent is better than none
    }
    if (parent === undefined || !trace.isSpanContextValid(parent)) return ROOT_CONTEXT;
    return trace.setSpanContext(ROOT_CONTEXT, parent);
  }
}

/** What every span needs. */
interface Tools {
  readonly api: Api;
  readonly tracer: Tracer;
  readonly faults: Faults;
}

/** The attributes and the status that a failure gives a span. */
function failed({ api, faults }: Tools, span: Span, code: ErrorCode, incidentId: string | undefined): void {
  contain(() => span.setAttribute('ws_gateway.code', code), faults.tell);
  if (incidentId !== undefined) contain(() => span.setAttribute('ws_gateway.incident_id', incidentId), faults.tell);
  // A client's fault is none of the server's.
  if (specOf(code).cause !== 'server') return;
  contain(() => span.setStatus({ code: api.SpanStatusCode.ERROR, message: code }), faults.tell);
}

/** @throws what the sampler or a span processor throws; TypeError where it answers with a promise */
function start({ tracer, faults }: Tools, ...args: Parameters<Tracer['startSpan']>): Span {
  const span = tracer.startSpan(...args);
  if (!isThenable(span)) return span;
  containResult(span, faults.tell);
  throw new TypeError('A tracer starts its spans at once');
}

/** A span that throws here has ended, or no exporter keeps it. */
function end({ faults }: Tools, span: Span): void {
  contain(() => span.end(), faults.tell);
}

/** Calls once, within the context where its manager can do that; what the call throws, or returns, comes out. */
function within<T>({ api, faults }: Tools, context: Context, call: () => T): T {
  let outcome: { readonly value: T } | { readonly error: unknown } | undefined;
  const once = (): void => {
    if (outcome !== undefined) return; // a manager that calls again, or late
    try {
      outcome = { value: call() };
    } catch (error) {
      outcome = { error };
    }
  };
  try {
    containResult(api.context.with(context, once), faults.tell);
  } catch (error) {
    faults.tell(error);
  }
  once();
  const made = outcome as unknown as { readonly value: T } | { readonly error: unknown }; // because once() has been called
  if ('error' in made) throw made.error;
  return made.value;
}

class UpgradeSpan implements UpgradeTrace {
  readonly #tools: Tools;
  readonly #span: Span;

  constructor(tools: Tools, span: Span) {
    this.#tools = tools;
    this.#span = span;
  }

  headers(): Record<string, string> {
    const { api, faults } = this.#tools;
    const carrier: Record<string, unknown> = {};
    contain(() => api.propagation.inject(api.trace.setSpan(api.ROOT_CONTEXT, this.#span), carrier), faults.tell);
    // The application's propagator writes it: what is no header would fail the connection.
    const isHeader = (entry: [string, unknown]): entry is [string, string] =>
      /^[\w-]+$/.test(entry[0]) && typeof entry[1] === 'string' && /^[\x20-\x7e]*$/.test(entry[1]);
    return Object.fromEntries(Object.entries(carrier).filter(isHeader));
  }

  accepted(sessionId: string): void {
    contain(() => this.#span.setAttribute('ws_gateway.session_id', sessionId), this.#tools.faults.tell);
    end(this.#tools, this.#span);
  }

  refused({ code, incidentId }: { readonly code: ErrorCode; readonly incidentId?: string }): void {
    failed(this.#tools, this.#span, code, incidentId);
    end(this.#tools, this.#span);
  }
}

class MessageSpans implements MessageTrace {
  readonly #tools: Tools;
  readonly #event: string;
  readonly #span: Span;
  readonly #context: Context;

  constructor(tools: Tools, event: string, span: Span, parent: Context) {
    this.#tools = tools;
    this.#event = event;
    this.#span = span;
    this.#context = tools.api.trace.setSpan(parent, span);
  }

  run<T>(call: () => T): T {
    return within(this.#tools, this.#context, call);
  }

  handler<T>(call: () => T): T {
    const { api, faults } = this.#tools;
    let span: Span;
    let context: Context;
    try {
      span = start(this.#tools, `ws handler ${this.#event}`, {}, this.#context);
      context = api.trace.setSpan(this.#context, span);
    } catch (error) {
      faults.tell(error);
      return call();
    }
    try {
      const result = within(this.#tools, context, call);
      if (!isThenable(result)) {
        end(this.#tools, span);
        return result;
      }
      const settled = Promise.resolve(result).then(
        (value) => {
          end(this.#tools, span);
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
    failed(this.#tools, this.#span, code, incidentId);
  }

  end(): void {
    end(this.#tools, this.#span);
  }

  #threw(span: Span, error: unknown): never {
    const { api, faults } = this.#tools;
    contain(
      // What an error says may quote the payload, so the span has no more than the fact.
      () => !(error instanceof GatewayError) && span.setStatus({ code: api.SpanStatusCode.ERROR }),
      faults.tell,
    );
    end(this.#tools, span);
    throw error;
  }
}
