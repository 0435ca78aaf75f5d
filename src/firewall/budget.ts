import { LeakyCounter, TokenBucket } from '../base/token-bucket.js';

/** What a session may send. */
export interface MessageLimits {
  readonly messagesPerSecond: number;
  readonly messageBurst: number;
  readonly bytesPerSecond: number;
  readonly maxMessageBytes: number;
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

  /** @returns 0, or the milliseconds after which a message of that size would be within the budget */
  take(size: number, limits: MessageLimits, now: number): number {
    const wait = this.#messages.take(1, limits.messagesPerSecond, limits.messageBurst, now);
    return wait > 0 ? wait : this.#bytes.take(size, limits.bytesPerSecond, burstOf(limits), now);
  }

  /** Charges for messages that a refusal is worth. */
  charge(messages: number, { messageBurst }: MessageLimits): void {
    this.#messages.charge(messages, MOST_OWED * messageBurst);
  }

  /** Counts a message over the budget. @returns true with the one that is a `messageBurst` too many */
  refuse({ messagesPerSecond, messageBurst }: MessageLimits, now: number): boolean {
    return this.#refusals.add(messageBurst, (messageBurst * 1_000) / messagesPerSecond, now);
  }
}

/** A second's worth of bytes at once, and always one message. */
function burstOf({ bytesPerSecond, maxMessageBytes }: MessageLimits): number {
  return Math.max(bytesPerSecond, maxMessageBytes);
}
