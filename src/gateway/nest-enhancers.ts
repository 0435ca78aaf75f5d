import { AsyncResource } from 'node:async_hooks';
import type { CallHandler, ExceptionFilter, NestInterceptor } from '@nestjs/common';
import { EXCEPTION_FILTERS_METADATA, selectExceptionFilterMetadata } from '@nestjs/common/internal';
import type { ContextId } from '@nestjs/core';
import { BaseExceptionFilterContext, ExecutionContextHost } from '@nestjs/core/internal';
import { BaseWsExceptionFilter } from '@nestjs/websockets';
import { catchError, from, isObservable, lastValueFrom, mergeAll, mergeMap, Observable, of } from 'rxjs';
import type { Subscriber, TeardownLogic } from 'rxjs';
import { isThenable } from '../base/thenable.js';
import { isAsyncIterable, PulledStream } from '../connection/pulled-stream.js';
import { InterceptedReply } from '../connection/router.js';
import { GatewayError } from '../protocol/errors.js';
import type { InboundMessage } from '../protocol/message.js';
import { FilteredError } from '../session/failure.js';
import type { Session } from '../session/session.js';
import { argumentsOf, askRules, bodyOf } from './arguments.js';
import { givenOf, invoke } from './handler.js';
import type { FilterMetadata, Handler } from './handler.js';
import { demandSession } from './rules.js';
import type { WsExceptionFilter } from './ws-exception.filter.js';

/**
 * Calls a handler that has enhancers of the application, in Nest's order: guards → interceptors → pipes → handler, filters
 * around them all. Nest's own consumers return promises whether or not an enhancer does; this lane makes one only where an
 * enhancer or the handler returns one, so a synchronous handler is answered in the turn that its frame came in.
 *
 * @param ours what has an error that no filter of the application takes
 */
export function callThroughNest(
  handler: Handler,
  session: Session,
  message: InboundMessage,
  ours: WsExceptionFilter,
): unknown {
  const call = new NestCall(handler, session, message);
  if (handler.filters.length === 0) return call.run();
  const filtered = (error: unknown): Promise<never> => call.filtered(error, ours);
  try {
    const outcome = call.run();
    const answer = (settled: unknown): unknown => withFilters(call.streamed(settled), filtered);
    if (!isThenable(outcome)) return answer(outcome);
    return Promise.resolve(outcome).then(answer, filtered);
  } catch (error) {
    return filtered(error);
  }
}

function withFilters(outcome: unknown, filtered: (error: unknown) => Promise<never>): unknown {
  const caught = catchError<unknown, Observable<never>>((error: unknown) => from(filtered(error)));
  if (outcome instanceof InterceptedReply) outcome.values = outcome.values.pipe(caught);
  return isObservable(outcome) ? outcome.pipe(caught) : outcome;
}

/** One message on its way through the enhancers. */
class NestCall {
  readonly #given: unknown[];
  #context: ExecutionContextHost | undefined;
  #reply: InterceptedReply | undefined;
  /** Made before the interceptors, where there are rules. */
  #args: unknown[] | undefined;

  constructor(
    readonly handler: Handler,
    private readonly session: Session,
    private readonly message: InboundMessage,
  ) {
    this.#given = givenOf(handler, session, message);
  }

  /** @returns what the handler returned, or an {@link InterceptedReply}; a promise of it where something has to be waited for */
  run(): unknown {
    return this.#guard(0);
  }

  /** An AsyncIterable as a reply whose errors go through the filters; anything else as it is. */
  streamed(outcome: unknown): unknown {
    if (!isAsyncIterable(outcome)) return outcome;
    const pulled = new PulledStream(outcome, this.session, this.message.event);
    const reply = new InterceptedReply();
    reply.values = reply.stream(pulled, pulled);
    return reply;
  }

  /** Throws what the client is told: the error itself, or what a filter made of it. */
  async filtered(error: unknown, ours: WsExceptionFilter): Promise<never> {
    const chosen = selectExceptionFilterMetadata(this.handler.filters, error);
    if (chosen === undefined) return ours.catch(error);
    await (chosen.func as ExceptionFilter['catch'])(error, this.#executionContext());
    throw new FilteredError(error);
  }

  #guard(first: number): unknown {
    const { guards } = this.handler;
    for (let index = first; index < guards.length; index++) {
      const answer: unknown = guards[index]?.canActivate(this.#executionContext());
      if (typeof answer !== 'boolean' && (isThenable(answer) || isObservable(answer))) {
        return lastOf(answer).then((settled) => {
          demand(settled);
          return this.#guard(index + 1);
        });
      }
      demand(answer);
    }
    return this.handler.rules.length === 0 ? this.#intercept() : this.#authorize();
  }

  /** Makes the arguments and asks the rules about them. Interceptors see what the rules have seen. */
  #authorize(): unknown {
    const args = argumentsOf(this.handler, this.#given);
    if (!(args instanceof Promise)) return this.#ask(args);
    return args.then((settled) => this.#ask(settled));
  }

  #ask(args: unknown[]): unknown {
    const { handler, session, message } = this;
    this.#args = args;
    this.#given[1] = bodyOf(handler, args, message);
    const asked = askRules(handler, session, message, args);
    return isThenable(asked) ? Promise.resolve(asked).then(() => this.#intercept()) : this.#intercept();
  }

  #intercept(): unknown {
    if (this.handler.interceptors.length === 0) return this.handle();
    const reply = (this.#reply = new InterceptedReply());
    reply.values = this.next(0);
    return reply;
  }

  /** What the interceptor of that index makes of all that comes after it. */
  next(index: number): Observable<unknown> {
    const interceptor = this.handler.interceptors[index] as NestInterceptor; // because #intercept and Next count them
    const values = interceptor.intercept(this.#executionContext(), new Next(this, index + 1));
    return isThenable(values) ? from(Promise.resolve(values)).pipe(mergeAll()) : from(values);
  }

  /** What interceptors see of a result: the values of a stream, or the one value. */
  valuesOf(result: unknown): Observable<unknown> {
    const pulled = isAsyncIterable(result) ? new PulledStream(result, this.session, this.message.event) : undefined;
    if (pulled === undefined && !isObservable(result)) return of(result);
    const values = pulled ?? (result as Observable<unknown>); // because it is one where it is not the other
    return this.#reply?.stream(values, pulled) ?? values;
  }

  handle(): unknown {
    const args = this.#args ?? argumentsOf(this.handler, this.#given);
    if (!(args instanceof Promise)) return this.#invoke(args);
    return args.then((settled) => this.#invoke(settled));
  }

  #invoke(args: unknown[]): unknown {
    demandSession(this.session);
    return invoke(this.handler, args, this.session, this.message);
  }

  #executionContext(): ExecutionContextHost {
    if (this.#context !== undefined) return this.#context;
    const { instance, method } = this.handler;
    // because Nest takes a controller's class and method here, and only reflects on them
    this.#context = new ExecutionContextHost(this.#given, instance.constructor as never, method as never);
    this.#context.setType('ws');
    return this.#context;
  }
}

/** What an interceptor calls: the one after it, or the handler. */
class Next implements CallHandler {
  constructor(
    private readonly call: NestCall,
    private readonly index: number,
  ) {}

  /** As in Nest, what comes next runs in the asynchronous context that this is called in, each time it is subscribed to. */
  handle(): Observable<unknown> {
    const scope = new AsyncResource('CallHandler');
    return new Observable((subscriber) => scope.runInAsyncScope(this.run, this, subscriber));
  }

  private run(subscriber: Subscriber<unknown>): TeardownLogic {
    const { call, index } = this;
    if (index < call.handler.interceptors.length) return call.next(index).subscribe(subscriber);
    const result = call.handle();
    if (isThenable(result))
      return from(Promise.resolve(result))
        .pipe(mergeMap((value) => call.valuesOf(value)))
        .subscribe(subscriber);
    if (isObservable(result) || isAsyncIterable(result)) return call.valuesOf(result).subscribe(subscriber);
    subscriber.next(result);
    subscriber.complete();
  }
}

/** What a guard's promise or Observable says in the end, also a promise of an Observable. */
async function lastOf(answer: unknown): Promise<unknown> {
  const settled = await answer;
  return isObservable(settled) ? lastValueFrom(settled) : settled;
}

function demand(answer: unknown): void {
  if (!answer) throw new GatewayError('FORBIDDEN');
}

/** Filters of gateway and method, the innermost first. Nest has no global ones for gateways. */
export class FiltersContext extends BaseExceptionFilterContext {
  create(
    instance: object,
    method: never,
    moduleKey: string,
    contextId: ContextId,
    inquirerId?: string,
  ): FilterMetadata[] {
    this.moduleContext = moduleKey;
    return this.createContext(
      instance as never,
      method,
      EXCEPTION_FILTERS_METADATA,
      contextId,
      inquirerId,
    ).toReversed() as never;
  }

  /**
   * Nest's own filter knows neither codes nor details and sends the payload back as the cause. Where it is put on a gateway
   * as it is, the exception filter of this package takes its place.
   */
  override getFilterInstance(
    ...args: Parameters<BaseExceptionFilterContext['getFilterInstance']>
  ): ExceptionFilter | null {
    const filter = super.getFilterInstance(...args);
    return filter?.catch === BaseWsExceptionFilter.prototype.catch ? null : filter;
  }

  override getGlobalMetadata<T extends unknown[]>(): T {
    return [] as unknown as T;
  }
}
