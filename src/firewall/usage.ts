import { LeakyCounter, TokenBucket } from '../base/token-bucket.js';
import type { ResolvedFirewall } from './options.js';

/** What an address or a subject uses, as far as its limits are about it. */
export abstract class Usage {
  /** Connections of the address, or sessions of the subject. */
  users = 0;
  /** When the last of them ended, in monotonic milliseconds. */
  idleSince: number;
  readonly violations = new LeakyCounter();
  // At most one for each handler that has a `@RateLimit()`.
  #events: Map<string, TokenBucket> | undefined;

  constructor(
    readonly key: string,
    now: number,
  ) {
    this.idleSince = now;
  }

  /** The budget of one declared event. */
  event(event: string, limit: number, now: number): TokenBucket {
    this.#events ??= new Map();
    let bucket = this.#events.get(event);
    if (bucket === undefined) this.#events.set(event, (bucket = new TokenBucket(limit, now)));
    return bucket;
  }
}

/** Of an IPv4 address, or of the /64 of an IPv6 one. */
export class AddressUsage extends Usage {
  /** Bytes of its messages that wait for their turn or their handler. */
  handling = 0;
  readonly handshakes: TokenBucket;
  readonly failures: TokenBucket;
  #probes: TokenBucket | undefined;

  constructor(
    key: string,
    { handshakeBurstPerAddress, failedAuthenticationsPerMinutePerAddress }: ResolvedFirewall,
    now: number,
  ) {
    super(key, now);
    this.handshakes = new TokenBucket(handshakeBurstPerAddress, now);
    this.failures = new TokenBucket(failedAuthenticationsPerMinutePerAddress, now);
  }

  /** Charges for a probe, which few addresses send. @returns 0, or the milliseconds until there can be one */
  probe(perSecond: number, burst: number, now: number): number {
    this.#probes ??= new TokenBucket(burst, now);
    return this.#probes.take(1, perSecond, burst, now);
  }
}

/** Of a subject, over all its sessions. */
export class SubjectUsage extends Usage {
  readonly messages: TokenBucket;

  constructor(key: string, burst: number, now: number) {
    super(key, now);
    this.messages = new TokenBucket(burst, now);
  }
}

/** Entries without a connection that are remembered; the one that was idle for longest is forgotten first. */
const MAX_IDLE = 50_000;

/** Shortest time that an idle entry is remembered, in milliseconds: after it every budget of a minute is full again. */
const MIN_IDLE_MS = 600_000;

/**
 * Entries by key. Those with connections stay, and the number of connections bounds them; of the others a limited number is
 * remembered, so that a client gets no fresh budget by coming back.
 */
export class UsageTable<U extends Usage> {
  readonly #active = new Map<string, U>();
  // In the order in which they went idle.
  readonly #idle = new Map<string, U>();
  #idleMs = MIN_IDLE_MS;

  constructor(private readonly make: (key: string) => U) {}

  /** How many are held. */
  get size(): number {
    return this.#active.size + this.#idle.size;
  }

  /** Remembers idle entries for at least so long, in milliseconds. */
  remember(ms: number): void {
    this.#idleMs = Math.max(this.#idleMs, ms);
  }

  /** The entry as it is remembered, or a new one. It is kept for certain only after {@link hold}. */
  of(key: string, now: number): U {
    const active = this.#active.get(key);
    if (active !== undefined) return active;
    const usage = this.#idle.get(key) ?? this.make(key);
    this.#rest(usage, now);
    return usage;
  }

  hold(usage: U): void {
    if (usage.users++ > 0) return;
    this.#idle.delete(usage.key);
    this.#active.set(usage.key, usage);
  }

  release(usage: U, now: number): void {
    if (--usage.users > 0) return;
    this.#active.delete(usage.key);
    this.#rest(usage, now);
  }

  #rest(usage: U, now: number): void {
    usage.idleSince = now;
    this.#idle.delete(usage.key); // so that it is the youngest again
    this.#idle.set(usage.key, usage);
    if (this.#idle.size <= MAX_IDLE) return;
    for (const oldest of this.#idle.keys()) return void this.#idle.delete(oldest);
  }

  sweep(now: number): void {
    for (const [key, { idleSince }] of this.#idle) {
      if (now < idleSince + this.#idleMs) return;
      this.#idle.delete(key);
    }
  }
}
