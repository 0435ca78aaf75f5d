import { isObservable, takeWhile } from 'rxjs';
import type { Observable } from 'rxjs';
import { BadFrame } from '../protocol/codec.js';
import { GatewayError } from '../protocol/errors.js';
import { isBareToken } from '../protocol/message.js';
import type { InboundMessage } from '../protocol/message.js';
import type { Decoded, DecodedMessage, FailedRequest, UnreadableMessage } from '../protocol/wire-protocol.js';
import type { MessageTrace } from './tracing.js';
import { isGatewayError } from '../session/failure.js';
import { ProtocolFault } from '../session/foreign-protocol.js';
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
  const { context, router, raw } = serverOf(session);
  if (raw !== undefined && !awaitsToken(session, raw)) return receiveRaw(session, raw, bytes, isBinary);
  if (session.socket.isListenedTo && !deliver(session, bytes, isBinary)) return;
  context.traffic.receivedBytes += bytes.length;
  if (isBinary && router.binary !== undefined) {
    return handle(session, binaryMessage(router.binary.event, bytes), bytes, router.binary);
  }
  const message = isBinary ? bytes : bytes.toString(); // ws has seen to it that it is UTF-8
  if (typeof message === 'string' && acceptsBareToken(session, message)) {
    return handle(session, authMessage(message), bytes, undefined, true);
  }
  const decoded = decode(session, message, isBinary, bytes);
  if (decoded === undefined) return;
  if (Array.isArray(decoded)) handleAll(session, decoded as readonly Item[], bytes);
  else handleOne(session, decoded as Item, bytes, 1);
}

/** What a message holds, or one of several. */
type Item = DecodedMessage | UnreadableMessage;

/** @returns undefined where there is nothing to do, or no longer: what cannot be read has been answered */
function decode(session: Session, message: string | Buffer, isBinary: boolean, bytes: Buffer): Decoded {
  const { protocol, context } = serverOf(session);
  try {
    return protocol.decode(message, isBinary, session, context.options);
  } catch (error) {
    if (isGatewayError(error) && error.code === 'UNSUPPORTED_DATA') session.end(error);
    else failUnread(session, asBadFrame(error), bytes, { id: error instanceof BadFrame ? error.id : undefined });
    return undefined;
  }
}

/** What decode() throws is the peer's doing, since the peer wrote what could not be read; the log has the name of the error. */
function asBadFrame(error: unknown): unknown {
  if (error instanceof ProtocolFault) return error;
  if (isGatewayError(error)) return error.code === 'BAD_FRAME' ? error : new BadFrame(error.message);
  return new GatewayError('BAD_FRAME', { cause: `decode() threw ${nameOf(error)}` });
}

function nameOf(error: unknown): string {
  try {
    return error instanceof Error ? error.name.slice(0, 64) : typeof error;
  } catch {
    return 'what throws when inspected';
  }
}

function failUnread(session: Session, error: unknown, bytes: Buffer, { id, context }: FailedRequest): void {
  serverOf(session).context.traffic.unknown++;
  session.fail(error, { id, context, event: undefined, heapBytes: heapCostOf(bytes) });
}

function handleOne(session: Session, item: Item, bytes: Buffer, share: number): void {
  if (!('problem' in item)) return handle(session, item, bytes, undefined, false, share);
  failUnread(session, new BadFrame(item.problem), bytes, item);
}

/** Several requests in one message: each costs as much as if it had come alone, the first of which is charged already. */
function handleAll(session: Session, items: readonly Item[], bytes: Buffer): void {
  const { firewall } = serverOf(session).context;
  for (const [index, item] of items.entries()) {
    if (!session.handlesMessages) return;
    const wait = index === 0 ? 0 : firewall.metering.charge(session, 0);
    if (wait > 0) refuse(session, item, wait);
    else handleOne(session, item, bytes, items.length);
  }
}

/**
 * @param known the route, where the message does not name it
 * @param bare see {@link PendingRequest.bare}
 * @param share of how many requests the message is one
 */
function handle(
  session: Session,
  message: InboundMessage,
  bytes: Buffer,
  known?: Route,
  bare = false,
  share = 1,
): void {
  let route: Route | undefined;
  let isRefused = false;
  let measuredFrom = 0;
  let trace: MessageTrace | undefined;
  const { traffic, tracing } = serverOf(session).context;
  try {
    route = known ?? findRoute(session, message.event);
    route.traffic.received++;
    isRefused = route.traffic.waits && !route.serial && session.intake.mayNotWait && mayKnow(session, route);
    if (isRefused) throw new GatewayError('RATE_LIMITED', { retryAfterMs: RETRY_MS, cause: HANDLERS_FULL });
    if (route.traffic.streams && session.intake.hasAllStreams && mayKnow(session, route))
      throw tooManyStreams(RETRY_MS);
    measuredFrom = traffic.startTiming();
    trace = tracing?.message(message, session.id);
    const result = trace === undefined ? route.call(session, message) : traced(trace, route, session, message); // guard → pipe → handler
    if (isThenable(result) || isStream(result)) {
      return follow(session, route, message, bytes, share, bare, result, measuredFrom, trace);
    }
    reply(session, message, result);
    traffic.handled(session, route.traffic, measuredFrom, true);
  } catch (error) {
    if (route === undefined) traffic.unknown++;
    else traffic.handled(session, route.traffic, measuredFrom, false);
    const { id, context } = message;
    const heapBytes = heapCostOf(bytes) / share;
    session.fail(error, bare ? undefined : { id, context, event: route?.event, heapBytes, trace }, isRefused);
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
  if (session.link === undefined) session.socket.deliver(bytes, isBinary);
  else session.link.forward(bytes, isBinary);
}

/** True where the first message has yet to bring the token. */
function awaitsToken(session: Session, raw: RawPath): boolean {
  return raw.untilToken !== undefined && session.link === undefined;
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
export function overBudget(session: Session, bytes: Buffer | undefined, isBinary: boolean, retryAfterMs: number): void {
  for (const item of itemsIn(session, bytes, isBinary)) refuse(session, item, retryAfterMs);
}

function refuse(session: Session, item: FailedRequest | undefined, retryAfterMs: number): void {
  if (!session.isLive) return;
  const error = new GatewayError('RATE_LIMITED', { retryAfterMs });
  session.fail(error, { id: item?.id, context: item?.context, event: undefined });
  if (serverOf(session).context.firewall.metering.refuse(session)) session.end(error);
}

const UNREAD: readonly [undefined] = [undefined];

/** What is refused for lack of budget; one that is unknown where there is nothing to be read. */
function itemsIn(
  session: Session,
  bytes: Buffer | undefined,
  isBinary: boolean,
): readonly (FailedRequest | undefined)[] {
  const { protocol, router, context } = serverOf(session);
  if (bytes === undefined || (isBinary && (router.binary !== undefined || protocol.takesBinary === false)))
    return UNREAD;
  try {
    const decoded = protocol.decode(isBinary ? bytes : bytes.toString(), isBinary, session, context.options);
    return Array.isArray(decoded) && decoded.length > 0 ? (decoded as readonly Item[]) : [decoded as Item | undefined];
  } catch (error) {
    return [error instanceof BadFrame ? { id: error.id } : undefined]; // a bad frame over the budget is over the budget
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

function acceptsBareToken(session: Session, text: string): boolean {
  return (
    session.principal === undefined &&
    session.server.protocol.takesBareToken === true &&
    serverOf(session).context.options.auth.sources.includes('message') &&
    isBareToken(text)
  );
}

/** The bare JWT is `auth` without an envelope: there is no `id` to answer, so a bad one ends the session without an exception. */
function authMessage(token: string): InboundMessage {
  return { event: 'auth', data: { token }, id: undefined };
}

/** How much more memory a binary message may hold than it has bytes: more of the chunk of TCP that it came in. */
const MOST_HELD = 16;

/** The handler owns the bytes: no code writes into the chunk any more. A message that is little of its chunk is copied out of it. */
function binaryMessage(event: string, bytes: Buffer): InboundMessage {
  const data = bytes.buffer.byteLength <= MOST_HELD * bytes.length ? bytes : Buffer.from(bytes);
  return { event, data, id: undefined };
}

/** The answer comes later: as one value, or as a stream of them. */
function follow(
  session: Session,
  route: Route,
  message: InboundMessage,
  bytes: Buffer,
  share: number,
  bare: boolean,
  result: PromiseLike<unknown> | Stream,
  measuredFrom: number,
  trace: MessageTrace | undefined,
): void {
  const { pending } = serverOf(session);
  const cost = REQUEST_BYTES + heapCostOf(bytes) / share;
  const begun = session.clock.monotonic();
  const { id, context } = message;
  const request = new PendingRequest(session, route, id, context, bare, cost, begun, measuredFrom, trace, pending);
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
  const answer = encodeReply(session, request, value);
  if (answer !== undefined && session.isLive && !session.socket.hasRoomFor(answer.length)) {
    request.answers();
    return session.intake.answerLater(request, answer);
  }
  session.sendEncoded(answer);
  request.answered(answer);
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
      reply(request.session, request, value, true);
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
      reply(request.session, request, request.value);
      request.settle();
    } catch (error) {
      fault(request, error);
    }
  }
}
