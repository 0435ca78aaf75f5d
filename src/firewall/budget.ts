/** A token bucket: two numbers, and no timer. */
export class TokenBucket {
  #tokens: number;
  #at: number;

  /** @param now in epoch milliseconds */
  constructor(burst: number, now: number) {
    this.#tokens = burst;
    this.#at = now;
  }

  /**
   * Takes tokens, or none when there are not enough.
   *
   * @param perSecond how many come back in a second; `Infinity` is no limit
   * @param burst how many there can be; more than that are had only when it is full
   * @returns 0 when they were taken, and otherwise the milliseconds until they could be
   */
  take(cost: number, perSecond: number, burst: number, now: number): number {
    const wait = this.waitFor(cost, perSecond, burst, now);
    if (wait === 0) this.#tokens -= cost;
    return wait;
  }

  /** What {@link take} would return, with nothing taken. */
  waitFor(cost: number, perSecond: number, burst: number, now: number): number {
    if (perSecond === Infinity || burst === Infinity) return 0;
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#at) * perSecond) / 1_000);
    this.#at = now;
    const missing = Math.min(cost, burst) - this.#tokens;
    return missing > 0 ? Math.max(1, Math.ceil((missing * 1_000) / perSecond)) : 0;
  }
}

/** Something that happens again and again, and is forgotten as time goes by. */
export class Tally {
  #count = 0;
  #at = 0;

  /**
   * Counts one more.
   *
   * @param limit how many are too many
   * @param withinMs the time in which so many are forgotten again
   * @returns true with the one that is too many
   */
  add(limit: number, withinMs: number, now: number): boolean {
    if (limit === Infinity) return false;
    this.#count = Math.max(0, this.#count - ((now - this.#at) * limit) / withinMs) + 1;
    this.#at = now;
    // What a few milliseconds have made forgotten does not let one more through.
    if (this.#count <= limit - 1) return false;
    this.#count = 0;
    return true;
  }
}

/** What a session may send. */
export interface MessageLimits {
  readonly messagesPerSecond: number;
  readonly messageBurst: number;
  readonly bytesPerSecond: number;
  readonly maxMessageBytes: number;
}

/** Messages and bytes of one session. */
export class MessageBudget {
  readonly #messages: TokenBucket;
  readonly #bytes: TokenBucket;
  readonly #refusals = new Tally();

  constructor(limits: MessageLimits, now: number) {
    this.#messages = new TokenBucket(limits.messageBurst, now);
    this.#bytes = new TokenBucket(burstOf(limits), now);
  }

  /** @returns 0, or the milliseconds after which a message of that size would be within the budget */
  take(size: number, limits: MessageLimits, now: number): number {
    const wait = this.#messages.take(1, limits.messagesPerSecond, limits.messageBurst, now);
    return wait > 0 ? wait : this.#bytes.take(size, limits.bytesPerSecond, burstOf(limits), now);
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
