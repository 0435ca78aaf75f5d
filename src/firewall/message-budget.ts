import { LeakyCounter, TokenBucket } from '../base/token-bucket.js';

/** What a session may send. */
export interface MessageLimits {
  readonly messagesPerSecond: number;
  readonly messageBurst: number;
  readonly bytesPerSecond: number;
  readonly maxMessageBytes: number;
}

/** What all sessions of a subject together may send, on whichever paths they are. */
export interface SubjectLimits {
  readonly messagesPerSecondPerSubject: number;
}

/** The budget of one event, as `@RateLimit()` declares it. */
export interface EventLimit {
  readonly limit: number;
  readonly perMs: number;
  readonly cost: number;
}

/** Bursts of messages that a session can owe. */
const MOST_OWED = 4;

/** Messages and bytes of one session. */
export class MessageBudget {
  readonly #messages: TokenBucket;
  readonly #bytes: TokenBucket;
  readonly #refusals = new LeakyCounter();

  constructor(limits: MessageLimits, now: number) {
    this.#messages = new TokenBucket(limits.messageBurst, now);
    this.#bytes = new TokenBucket(burstOf(limits), now);
  }

  /**
   * @param creditMs milliseconds whose worth may come at once on top of the bursts
   * @returns 0, or the milliseconds after which a message of that size would be within the budget
   */
  take(size: number, limits: MessageLimits, now: number, creditMs: number): number {
    const { messagesPerSecond, messageBurst, bytesPerSecond } = limits;
    const wait = this.#messages.take(1, messagesPerSecond, messageBurst + worth(messagesPerSecond, creditMs), now);
    if (wait > 0) return wait;
    return this.#bytes.take(size, bytesPerSecond, burstOf(limits) + worth(bytesPerSecond, creditMs), now);
  }

  /** Charges for a refusal, which costs as much as so many messages. */
  charge(messages: number, { messageBurst }: MessageLimits): void {
    this.#messages.charge(messages, MOST_OWED * messageBurst);
  }

  /** Counts a message over the budget. @returns true with the one that is a `messageBurst` too many */
  refuse({ messagesPerSecond, messageBurst }: MessageLimits, now: number): boolean {
    // Without a rate of its own, the session has spent its bytes or its subject's messages, which refill within a second.
    const withinMs = messagesPerSecond === Infinity ? 1_000 : (messageBurst * 1_000) / messagesPerSecond;
    return this.#refusals.add(messageBurst, withinMs, now);
  }
}

/** What a rate allows in so many milliseconds. */
export function worth(perSecond: number, ms: number): number {
  return ms === 0 ? 0 : (perSecond * ms) / 1_000; // Infinity times 0 is no number
}

/** A second's worth of bytes at once, and always one message. */
function burstOf({ bytesPerSecond, maxMessageBytes }: MessageLimits): number {
  return Math.max(bytesPerSecond, maxMessageBytes);
}
