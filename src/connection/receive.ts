import { isObservable, takeWhile } from 'rxjs';
import type { Observable } from 'rxjs';
import { BadFrame, decode } from '../protocol/codec.js';
import { GatewayError } from '../protocol/errors.js';
import { isBareToken } from '../protocol/message.js';
import type { InboundMessage } from '../protocol/message.js';
import type { MessageTrace } from './tracing.js';
import type { RequestInfo } from '../session/answers.js';
import { heapCostOf } from '../session/heap-cost.js';
import { isAsyncIterable, PulledStream } from './pulled-stream.js';
import { encodeReply, PendingRequest, reply, tooManyStreams } from './request.js';
import { InterceptedReply } from './router.js';
import type { Route } from './router.js';
import { controllerOf } from './signals.js';
import type { Session } from '../session/session.js';
import { isThenable } from '../base/thenable.js';
import { serverOf } from './context.js';
import type { RawPath } from './context.js';

/** What every request costs that is not answered at once, in bytes: its promises, and what is kept of it here. */
const REQUEST_BYTES = 1_024;

const HANDLERS_FULL = 'handlers hold more than limits.maxHandlingBytesTotal';

/** When a message may be sent again that was refused because handlers hold too much, in milliseconds. */
const RETRY_MS = 1_000;

/** One message, from its bytes to its reply. */
export function receive(session: Session, bytes: Buffer, isBinary: boolean): void {
  if (!session.handlesMessages || session.intake.hold(bytes, isBinary)) return;
  const { raw } = serverOf(session);
  if (raw !== undefined) return receiveRaw(session, raw, bytes, isBinary);
  if (session.socket.isListenedTo && !deliver(session, bytes, isBinary)) return;
  let message: InboundMessage | undefined;
  let route: Route | undefined;
  let bare = false;
  let isRefused = false;
  let measuredFrom = 0;
  let trace: MessageTrace | undefined;
  const { traffic, tracing, options } = serverOf(session).context;
  traffic.receivedBytes += bytes.length;
  try {
    const text = bytes.toString(); // ws has seen to it that it is UTF-8
    bare = acceptsBareToken(session, text);
    message = bare ? authMessage(text) : decode(text, options.limits.maxJsonDepth);
    route = findRoute(session, message.event);
    route.traffic.received++;
    isRefused = route.traffic.waits && !route.serial && session.intake.mayNotWait;
    if (isRefused) throw new GatewayError('RATE_LIMITED', { retryAfterMs: RETRY_MS, cause: HANDLERS_FULL });
    if (route.traffic.streams && session.intake.hasAllStreams && mayKnow(session, route))
      throw tooManyStreams(RETRY_MS);
    measuredFrom = traffic.startTiming();
    trace = tracing?.message(message, session.id);
    const result = trace === undefined ? route.call(session, message) : traced(trace, route, session, message); // guard → pipe → handler
    if (isThenable(result) || isStream(result)) {
      return follow(session, route, message, bytes, bare, result, measuredFrom, trace);
    }
    reply(session, message.event, message.id, result);
    traffic.handled(session, route.traffic, measuredFrom, true);
  } catch (error) {
    if (route === undefined) traffic.unknown++;
    else traffic.handled(session, route.traffic, measuredFrom, false);
    const heapBytes = heapCostOf(bytes);
    const request = bare ? undefined : { id: idOf(message, error), event: route?.event, heapBytes, trace };
    session.fail(error, request, isRefused);
    if (isRefused) session.intake.refused(RETRY_MS);
  }
  trace?.end();
}

/** One message of a raw path: the application's listeners are all that there is. */
function receiveRaw(session: Session, raw: RawPath, bytes: Buffer, isBinary: boolean): void {
  serverOf(session).context.traffic.receivedBytes += bytes.length;
  raw.traffic.received++;
  try {
    raw.demand(session);
  } catch (error) {
    return session.end(error); // there may be no frame that says what is refused
  }
  session.socket.deliver(bytes, isBinary);
}

/** Tells the application's own listeners, as far as the peer may be heard. @returns false where they end the session */
function deliver(session: Session, bytes: Buffer, isBinary: boolean): boolean {
  if (session.isHeard) session.socket.deliver(bytes, isBinary);
  return session.handlesMessages;
}

/** What is a stream, or may turn out to be one. */
type Stream = Observable<unknown> | AsyncIterable<unknown> | InterceptedReply;

function isStream(value: unknown): value is Stream {
  return isObservable(value) || value instanceof InterceptedReply || isAsyncIterable(value);
}

function traced(trace: MessageTrace, route: Route, session: Session, message: InboundMessage): unknown {
  return trace.run(() => route.call(session, message));
}

/**
 * A message that no budget is left for. It is looked at only for its `id`, so that no client waits for an answer, and that no
 * more than `messageBurst` times: with the last of them the session ends.
 */
export function overBudget(session: Session, bytes: Buffer | undefined, retryAfterMs: number): void {
  if (!session.isLive) return;
  const { firewall, options } = serverOf(session).context;
  const error = new GatewayError('RATE_LIMITED', { retryAfterMs });
  session.fail(error, { id: idIn(bytes, options.limits.maxJsonDepth), event: undefined });
  if (firewall.metering.refuse(session)) session.end(error);
}

function idIn(bytes: Buffer | undefined, maxDepth: number): RequestInfo['id'] {
  try {
    return bytes === undefined ? undefined : decode(bytes.toString(), maxDepth).id;
  } catch (error) {
    return error instanceof BadFrame ? error.id : undefined; // a bad frame over the budget is over the budget
  }
}

/** What an anonymous session may not know: whether the event exists (PROTOCOL.md §2). */
function findRoute(session: Session, event: string): Route {
  const route = serverOf(session).router.find(event);
  if (route === undefined)
    throw new GatewayError(session.principal === undefined ? 'UNAUTHENTICATED' : 'UNKNOWN_EVENT');
  return route;
}

/** True where the session may know that the event exists: it would hear more of it than UNAUTHENTICATED. */
function mayKnow(session: Session, route: Route): boolean {
  return route.isPublic || session.principal !== undefined;
}

function idOf(message: InboundMessage | undefined, error: unknown): RequestInfo['id'] {
  // Only what decode() threw is asked; what a handler threw may not like to be.
  return message === undefined && error instanceof BadFrame ? error.id : message?.id;
}

function acceptsBareToken(session: Session, text: string): boolean {
  return (
    session.principal === undefined &&
    serverOf(session).context.options.auth.sources.includes('message') &&
    isBareToken(text)
  );
}

/** The bare JWT is `auth` without an envelope: there is no `id` to answer, so a bad one ends the session without an exception. */
function authMessage(token: string): InboundMessage {
  return { event: 'auth', data: { token }, id: undefined };
}

/** The answer comes later: as one value, or as a stream of them. */
function follow(
  session: Session,
  route: Route,
  message: InboundMessage,
  bytes: Buffer,
  bare: boolean,
  result: PromiseLike<unknown> | Stream,
  measuredFrom: number,
  trace: MessageTrace | undefined,
): void {
  const { pending } = serverOf(session).context;
  const cost = REQUEST_BYTES + heapCostOf(bytes);
  const begun = session.clock.monotonic();
  const request = new PendingRequest(session, route, message.id, bare, cost, begun, measuredFrom, trace, pending);
  if (route.takesSignal) request.controller = controllerOf(message, session);
  if (!isThenable(result)) return answerWithStream(request, result);
  request.enlist();
  request.promise = result;
  if (route.serial) session.intake.block();
  // Promise.resolve: a thenable of an application's own may answer twice, or throw in then().
  Promise.resolve(result)
    .then((value) => {
      if (isStream(value)) return answerWithStream(request, value);
      if (request.settled) return;
      request.promise = undefined;
      answerWith(request, value);
    })
    .then(undefined, (error: unknown) => {
      request.promise = undefined;
      request.fail(error);
    })
    .then(() => {
      if (request.isAbandoned) session.intake.letGo(request);
      if (route.serial) session.intake.unblock();
    });
}

/** The one answer of a request; it waits while the peer has yet to read what is more than it may be behind. */
function answerWith(request: PendingRequest, value: unknown): void {
  const { session } = request;
  const text = encodeReply(request.route.event, request.id, value);
  if (text !== undefined && session.isLive && !session.socket.hasRoomFor(text.length)) {
    request.answers();
    return session.intake.answerLater(request, text);
  }
  if (text !== undefined) session.sendText(text);
  request.settle();
}

function answerWithStream(request: PendingRequest, result: Stream): void {
  request.promise = undefined;
  if (result instanceof InterceptedReply) return intercepted(request, result);
  if (isObservable(result)) return stream(request, result);
  request.pulled = new PulledStream(result, request.session, request.route.event);
  stream(request, request.pulled);
}

/** A streamed reply: each value under the request's `id`, then `done`. */
function stream(request: PendingRequest, values: Observable<unknown>): void {
  request.streams();
  if (request.settled) return request.pulled?.discard();
  try {
    subscribe(request, values.pipe(takeWhile(() => request.isWanted)));
  } catch (error) {
    fault(request, error); // it may be an Observable of whatever make
  }
}

/** What interceptors have made of the answer: one value, the last, unless the handler has returned a stream. */
function intercepted(request: PendingRequest, answer: InterceptedReply): void {
  request.pulled = answer.pulled;
  if (answer.isStream) request.streams();
  if (request.settled) return request.pulled?.discard();
  answer.request = request;
  try {
    subscribe(request, answer.values);
  } catch (error) {
    fault(request, error);
  }
}

function subscribe(request: PendingRequest, values: Observable<unknown>): void {
  request.stream = values.subscribe(new AnswerObserver(request));
  if (request.settled) return request.unsubscribe();
  request.enlist();
  request.session.intake.release();
}

/** A stream that has ended may throw yet, when it is let go of within subscribe(). */
function fault(request: PendingRequest, error: unknown): void {
  if (request.settled) request.session.onFault(error, request.route.event);
  else request.fail(error);
}

/** Takes what an Observable emits. What is thrown here would be thrown out of a timer by rxjs, so nothing is. */
class AnswerObserver {
  constructor(readonly request: PendingRequest) {}

  next(value: unknown): void {
    const { request } = this;
    if (request.settled) return;
    if (!request.isStream) {
      if (request.session.isLive) request.value = value;
      else request.settle();
      return;
    }
    try {
      reply(request.session, request.route.event, request.id, value);
    } catch (error) {
      fault(request, error);
    }
  }

  error(error: unknown): void {
    this.request.fail(error);
  }

  complete(): void {
    const { request } = this;
    if (request.settled) return;
    try {
      if (request.isStream) return request.finish();
      reply(request.session, request.route.event, request.id, request.value);
      request.settle();
    } catch (error) {
      fault(request, error);
    }
  }
}
