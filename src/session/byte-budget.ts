import { Inject, Injectable } from '@nestjs/common';
import type { SharedBytes } from '../socket/shared-frame.js';

/** Token of {@link ByteLimits}. */
export const BYTE_LIMITS = Symbol('nestjs-ws-gateway.byte-limits');

/** The limits of what all sessions hold together. */
export interface ByteLimits {
  readonly maxHandlingBytesTotal: number;
  readonly maxOutboundBytesTotal: number;
  readonly maxReceivingBytesTotal: number;
}

/** The address that messages in handlers are charged to, beside the process. */
export interface Holder {
  /** Bytes of its messages that wait for their turn, or for their handler, also after its sessions have ended. */
  handling: number;
}

/** The part of a session that reads its messages. */
export interface Stoppable {
  /** Handles the messages that wait, as far as there is room, and reads on. */
  release(): void;
}

/** The share of `limits.maxHandlingBytesTotal` from which sessions are not read, and the multiple of it from which no message is handled. */
const PRESSED = 0.75;
const EXHAUSTED = 1.25;

/**
 * Bounds the memory that all sessions hold together, in bytes: messages that wait for their turn or their handler, open
 * streams, and frames queued for peers over their own bound. Three thresholds follow from `limits.maxHandlingBytesTotal`. From
 * three quarters of it on, sessions of an address that holds more than its part are not read while a handler has a message of
 * theirs. At the limit their messages are refused. Over it the sweep ends the sessions that hold most ({@link Shedding}).
 */
@Injectable()
export class ByteBudget implements SharedBytes {
  #handling = 0;
  #holders = 0;
  #outbound = 0;
  #shared = 0;
  readonly #stopped = new Set<Stoppable>();
  #makeRoom: () => void = () => undefined;

  /** Handlers that have not settled in time: their messages stay charged until their promise is collected. */
  readonly #abandoned = new FinalizationRegistry<{ holder: Holder; bytes: number }>(({ holder, bytes }) =>
    this.discharge(holder, bytes),
  );

  /** @param limits read at each use, since a reload changes them */
  constructor(@Inject(BYTE_LIMITS) private readonly limits: ByteLimits) {}

  /** Bytes of messages that wait for their turn, or for their handler. */
  get handling(): number {
    return this.#handling;
  }

  /** True when handlers hold so much that {@link isStopped} and {@link refuses} have to be asked for each address. */
  get isPressed(): boolean {
    return this.#handling > this.limits.maxHandlingBytesTotal * PRESSED;
  }

  charge(holder: Holder, bytes: number): void {
    if (holder.handling === 0) this.#holders++;
    holder.handling += bytes;
    this.#handling += bytes;
  }

  discharge(holder: Holder, bytes: number): void {
    holder.handling -= bytes;
    if (holder.handling === 0) this.#holders--;
    this.#handling -= bytes;
  }

  /** The charge stays until the promise has been collected, or {@link reclaim} is called with the same token. */
  abandon(promise: object, holder: Holder, bytes: number, token: object): void {
    this.#abandoned.register(promise, { holder, bytes }, token);
  }

  /** The charge is the caller's again. */
  reclaim(token: object): void {
    this.#abandoned.unregister(token);
  }

  /** True when sessions of the address are not read while a handler has a message of theirs. */
  isStopped(holder: Holder): boolean {
    return this.isPressed && this.#isOverPart(holder, PRESSED);
  }

  /**
   * True when no further message of the address may be handed to a handler that takes its time.
   *
   * @param isIdle true where no handler has a message of the session: its first message has a higher limit, so that one client
   * does not shut out all others of its address
   */
  refuses(holder: Holder, isIdle: boolean): boolean {
    const most = this.limits.maxHandlingBytesTotal * (isIdle ? EXHAUSTED : 1);
    return this.#handling > most && this.#isOverPart(holder, 1);
  }

  /** The limit is divided by the number of addresses that hold anything. */
  #isOverPart({ handling }: Holder, share: number): boolean {
    return handling > (this.limits.maxHandlingBytesTotal * share) / Math.max(1, this.#holders);
  }

  /** The session is not read; each sweep tries whether there is room to {@link Stoppable.release} it. */
  stop(session: Stoppable): void {
    this.#stopped.add(session);
  }

  goesOn(session: Stoppable): void {
    this.#stopped.delete(session);
  }

  sweep(): void {
    for (const session of this.#stopped) session.release();
  }

  /** Bytes of frames that are queued for several peers, each counted once. */
  get shared(): number {
    return this.#shared;
  }

  share(bytes: number): void {
    this.#shared += bytes;
  }

  /** Bytes queued for all peers: the count of the last sweep, and what {@link grant} has added since. */
  set outbound(bytes: number) {
    this.#outbound = bytes;
  }

  /** A message is queued for a peer that is over its own bound by it. Ends sessions at once where all hold too much by it. */
  grant(bytes: number): void {
    this.#outbound += bytes;
    if (this.#outbound > this.limits.maxOutboundBytesTotal) this.#makeRoom();
  }

  /** @param makeRoom ends the sessions that hold most, and sets {@link outbound} anew */
  onFull(makeRoom: () => void): void {
    this.#makeRoom = makeRoom;
  }
}
