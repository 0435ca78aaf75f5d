import type { WsClock } from '../base/clock.js';
import { GatewayError } from '../protocol/errors.js';
import type { MessageId } from '../protocol/message.js';
import type { Encoded } from '../protocol/wire-protocol.js';
import type { GatewaySocket } from '../socket/gateway-socket.js';
import { costOf, Inbox } from './inbox.js';
import type { Held } from './inbox.js';
import type { Holder, ByteBudget } from './byte-budget.js';
import type { SessionOptions } from './options.js';

/** What has something to send, and waits until the peer has read enough of what is queued for it. */
export interface Waiting {
  /** True when it has been sent, or no longer waits. */
  readonly settled: boolean;
  /** How much it is, in UTF-16 units; Infinity where it waits until the peer is within its bound again. */
  readonly size: number;
  proceed(): void;
}

/** A request that the session counts until its answer is complete. */
export interface OpenRequest extends Waiting {
  readonly id: MessageId | undefined;
  /** What its message holds on the heap, as far as it is charged for. */
  bytes: number;
  readonly isStream: boolean;
  promise: object | undefined;
  isAbandoned: boolean;
  answer: Encoded | undefined;
  settle(): void;
  /** The client wants no more of it. */
  cancel(): void;
  /** The session is over: the signal of the handler aborts, where it has one. */
  abort(): void;
}

/** The session whose messages these are. */
export interface IntakeOwner {
  readonly socket: GatewaySocket;
  readonly client: { readonly usage: Holder };
  readonly server: {
    readonly context: { readonly options: SessionOptions; readonly clock: WsClock; readonly byteBudget: ByteBudget };
  };
  readonly isLive: boolean;
  readonly handlesMessages: boolean;
  /** Handles a message that was held. */
  handle(bytes: Buffer, isBinary: boolean): void;
  end(thrown: unknown): void;
}

/**
 * The messages of one session between the socket and the answer: which are with handlers, which are held until there is room,
 * and whether the socket is read meanwhile.
 */
export class Intake {
  #inbox: Inbox | undefined;
  #handling = 0;
  #refusedUntil = 0;
  #answers: Waiting[] | undefined;
  #releasing = false;
  #pending: Set<OpenRequest> | undefined;
  #streams = 0;
  #blocked = 0;

  constructor(private readonly session: IntakeOwner) {}

  get #byteBudget(): ByteBudget {
    return this.session.server.context.byteBudget;
  }

  /** Bytes of messages that wait for their turn or for their handler, as they are on the heap. */
  get handling(): number {
    return this.#handling;
  }

  /** Requests whose answer is not complete. */
  get inFlight(): number {
    return this.#pending?.size ?? 0;
  }

  began(request: OpenRequest): void {
    (this.#pending ??= new Set()).add(request);
    this.#charge(request.bytes);
    if (this.#isFull) this.stopReading();
  }

  /** The answer is complete. */
  ended(request: OpenRequest): void {
    if (!this.#pending?.delete(request)) return;
    if (request.isStream) this.#streams--;
    this.release();
  }

  /**
   * The answer is a stream. Streams may stay for hours, so they leave the count that stops the reading and have a limit of
   * their own. @returns false when that is reached
   */
  streaming(): boolean {
    if (this.hasAllStreams) return false;
    this.#streams++;
    return true;
  }

  /** True where another stream would be one too many. */
  get hasAllStreams(): boolean {
    return this.#streams >= this.session.server.context.options.limits.maxStreams;
  }

  #charge(bytes: number): void {
    this.#handling += bytes;
    this.#byteBudget.charge(this.session.client.usage, bytes);
  }

  #discharge(bytes: number): void {
    this.#handling -= bytes;
    this.#byteBudget.discharge(this.session.client.usage, bytes);
  }

  /** No code refers to the request's message any more. */
  letGo(request: OpenRequest): void {
    const { bytes } = request;
    if (bytes === 0) return;
    request.bytes = 0;
    if (!request.isAbandoned) return this.#discharge(bytes);
    this.#byteBudget.reclaim(request);
    this.#byteBudget.discharge(this.session.client.usage, bytes);
  }

  /** It is answered, and its handler still has the message: that counts for the address until the promise is collected. */
  abandon(request: OpenRequest, promise: object): void {
    request.isAbandoned = true;
    request.promise = undefined;
    this.#handling -= request.bytes;
    this.#byteBudget.abandon(promise, this.session.client.usage, request.bytes, request);
  }

  /** True when no message may be handed to a handler that takes its time: handlers hold too much already. */
  get mayNotWait(): boolean {
    return (
      this.#byteBudget.isPressed && this.#byteBudget.refuses(this.session.client.usage, this.inFlight === this.#streams)
    );
  }

  /**
   * The peer was told to come again in so long. Until then its socket is read only if there is room sooner: parsing a message
   * of 64 KB takes milliseconds, which a message that is refused anyway should not cost.
   */
  refused(retryAfterMs: number): void {
    this.#refusedUntil = this.session.server.context.clock.monotonic() + retryAfterMs;
    if (this.session.isLive) this.stopReading();
  }

  /** Sends the answer when the peer has read enough of what is queued for it. */
  answerLater(request: OpenRequest, answer: Encoded): void {
    request.answer = answer;
    request.bytes += answer.length;
    this.#charge(answer.length);
    this.waitForRoom(request);
  }

  /** Calls it when the peer has read enough of what is queued for it, unless the session ends before. */
  waitForRoom(waiting: Waiting): void {
    (this.#answers ??= []).push(waiting);
  }

  #sendAnswers(): void {
    let next: Waiting | undefined;
    while ((next = this.#answers?.[0]) !== undefined) {
      if (!next.settled && !this.session.socket.hasRoomFor(next.size)) return;
      this.#answers?.shift();
      if (!next.settled) next.proceed();
    }
    this.#answers = undefined;
  }

  /** Pauses the socket until {@link release} finds room. The sweep of the {@link ByteBudget} calls that, too: other sessions may make the room. */
  stopReading(): void {
    const { socket } = this.session;
    socket.stopReading();
    if (this.#byteBudget.isPressed || socket.isBehind) this.#byteBudget.stop(this);
  }

  /** Holds all messages until {@link unblock}: `handleConnection` or an `auth` is still running. */
  block(): void {
    this.#blocked++;
    this.session.socket.stopReading();
  }

  unblock(): void {
    this.#blocked--;
    this.release();
  }

  /**
   * Keeps a frame for later when the session cannot take it now. The socket is paused then, so what can pile up is what one
   * chunk of TCP already held.
   */
  hold(bytes: Buffer, isBinary: boolean): boolean {
    if (!this.#isFull && (this.#inbox === undefined || this.#releasing)) return false;
    const inbox = (this.#inbox ??= new Inbox());
    inbox.put(bytes, isBinary);
    this.#charge(costOf(bytes));
    if (!this.session.socket.isStopped) this.stopReading();
    if (inbox.isOverfull(this.session.server.context.options.limits.maxMessageBytes)) {
      this.session.end(new GatewayError('RATE_LIMITED', { retryAfterMs: 1_000 }));
    }
    return true;
  }

  get #isFull(): boolean {
    if (this.#blocked > 0 || this.session.socket.isBehind) return true;
    const { options, clock } = this.session.server.context;
    const inHandlers = this.inFlight - this.#streams;
    if (inHandlers >= options.limits.maxConcurrentMessages) return true;
    if (!this.#byteBudget.isPressed) return false;
    return inHandlers > 0
      ? this.#byteBudget.isStopped(this.session.client.usage)
      : this.#refusedUntil > clock.monotonic();
  }

  /** Handles what was held, as far as there is room. A message that makes room meanwhile does not start it anew. */
  release(): void {
    if (this.#releasing) return;
    this.#releasing = true;
    if (this.#answers !== undefined) this.#sendAnswers();
    const { session } = this;
    let next: Held | undefined;
    while (session.handlesMessages && !this.#isFull && (next = this.#inbox?.take()) !== undefined) {
      this.#discharge(costOf(next.bytes));
      session.handle(next.bytes, next.isBinary);
    }
    this.#releasing = false;
    if (this.#inbox?.isEmpty || !session.handlesMessages) this.#dropHeld();
    if (!session.isLive || !session.socket.isStopped) return;
    if (this.#isFull) return this.stopReading();
    this.#byteBudget.goesOn(this);
    session.socket.readOn();
  }

  /** The session ends: what is held is not handled, and no stream goes on. */
  stop(): void {
    this.#dropHeld();
    this.#endStreams();
  }

  /** The connection has closed. What the peer sent before it closed by itself is handled all the same. */
  closed(): void {
    this.#endStreams();
    this.#byteBudget.goesOn(this);
    this.release();
  }

  #dropHeld(): void {
    if (this.#inbox !== undefined) this.#discharge(this.#inbox.cost);
    this.#inbox = undefined;
  }

  /** No peer reads streams any more, nor answers that wait for their turn. */
  #endStreams(): void {
    this.#answers = undefined;
    for (const request of this.#pending ?? []) {
      request.abort();
      if (request.isStream || request.answer !== undefined) request.settle();
    }
  }

  /** Ends the streams of the requests with that `id`, and aborts the signals of those that are not answered yet. */
  cancel(id: unknown): void {
    if (this.#pending === undefined || id === undefined) return;
    for (const request of [...this.#pending].filter((pending) => pending.id === id)) request.cancel();
  }
}
