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

/** Whom messages in handlers are charged to, beside the process: an address. */
export interface Holder {
  /** Bytes of its messages that wait for their turn, or for their handler, also after its sessions have ended. */
  handling: number;
}

/** A session that the ledger can stop the reading of. */
export interface Stoppable {
  /** Handles what waits, as far as it may, and reads on. */
  release(): void;
}

/** The share of the number from which sessions are not read, and the multiple of it at which nothing more is handled. */
const PRESSED = 0.75;
const EXHAUSTED = 1.25;

/**
 * What all sessions hold together, in bytes, kept up as it changes: messages that wait for their turn or their handler,
 * open streams, and what is queued for peers over their own bound. Three thresholds follow from one number, `limits.maxHandlingBytesTotal`:
 * from three quarters of it on an address that holds more than its part is not read while a handler has something of
 * the session; at the number its messages are refused; and the sweep ends the sessions with most ({@link Shedding}).
 */
@Injectable()
export class Ledger implements SharedBytes {
  #handling = 0;
  #holders = 0;
  #outbound = 0;
  #shared = 0;
  readonly #stopped = new Set<Stoppable>();
  #makeRoom: () => void = () => undefined;

  /** Handlers that were not waited for to the end: what they hold is theirs until their promise has gone. */
  readonly #abandoned = new FinalizationRegistry<{ holder: Holder; bytes: number }>(({ holder, bytes }) =>
    this.discharge(holder, bytes),
  );

  /** @param limits read when they are needed, since a reload changes them */
  constructor(@Inject(BYTE_LIMITS) private readonly limits: ByteLimits) {}

  /** Bytes of messages that wait for their turn, or for their handler. */
  get handling(): number {
    return this.#handling;
  }

  /** True when handlers hold so much that it is time to stop reading, and to ask for each address whether it has its part. */
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
   * @param isIdle true where no handler has a message of the session: then one is let through until even that is too much,
   * so that many behind one address are not shut out by one of them
   */
  refuses(holder: Holder, isIdle: boolean): boolean {
    const most = this.limits.maxHandlingBytesTotal * (isIdle ? EXHAUSTED : 1);
    return this.#handling > most && this.#isOverPart(holder, 1);
  }

  /** There are as many parts as addresses that hold anything. */
  #isOverPart({ handling }: Holder, share: number): boolean {
    return handling > (this.limits.maxHandlingBytesTotal * share) / Math.max(1, this.#holders);
  }

  /** The session is not read; the next sweep that finds room lets it go on. */
  stop(session: Stoppable): void {
    this.#stopped.add(session);
  }

  goesOn(session: Stoppable): void {
    this.#stopped.delete(session);
  }

  sweep(): void {
    for (const session of this.#stopped) session.release();
  }

  /** Bytes of frames that several peers are sent, each counted once. */
  get shared(): number {
    return this.#shared;
  }

  share(bytes: number): void {
    this.#shared += bytes;
  }

  /** Bytes queued for all peers, as the last sweep has counted them and with what peers were granted since. */
  set outbound(bytes: number) {
    this.#outbound = bytes;
  }

  /** A message is queued for a peer although it is over its bound. Where that is too much for all, room is made at once. */
  grant(bytes: number): void {
    this.#outbound += bytes;
    if (this.#outbound > this.limits.maxOutboundBytesTotal) this.#makeRoom();
  }

  /** @param makeRoom ends the sessions that hold most, and sets {@link outbound} anew */
  onFull(makeRoom: () => void): void {
    this.#makeRoom = makeRoom;
  }
}
