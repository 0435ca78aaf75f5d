import { LeakyCounter, TokenBucket } from '../base/token-bucket.js';
import type { ResolvedFirewall } from './options.js';

/** What is known of an address, or of a subject: only as much as it takes to hold it to its limits. */
export abstract class Peer {
  /** How many connections, or sessions, hold on to it. */
  users = 0;
  /** When the last of them let go, in monotonic milliseconds. */
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

/** An address, or the /64 of one. */
export class AddressPeer extends Peer {
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

/** A subject with its sessions. */
export class SubjectPeer extends Peer {
  readonly messages: TokenBucket;

  constructor(key: string, burst: number, now: number) {
    super(key, now);
    this.messages = new TokenBucket(burst, now);
  }
}

/** Peers without a connection that are remembered; the one that was gone for longest is forgotten first. */
const MAX_IDLE = 50_000;

/** Shortest time that one is remembered, in milliseconds: by then every budget of a minute is full again. */
const MIN_IDLE_MS = 600_000;

/**
 * Peers by key. Those with connections stay, and have a bound in the number of connections; of the others a limited number is
 * remembered, so that nobody has a fresh budget by coming back.
 */
export class PeerTable<P extends Peer> {
  readonly #active = new Map<string, P>();
  // In the order in which they went idle.
  readonly #idle = new Map<string, P>();
  #idleMs = MIN_IDLE_MS;

  constructor(private readonly make: (key: string) => P) {}

  /** How many are held. */
  get size(): number {
    return this.#active.size + this.#idle.size;
  }

  /** Remembers idle peers for at least so long. */
  remember(ms: number): void {
    this.#idleMs = Math.max(this.#idleMs, ms);
  }

  /** The peer, as it is remembered. It is held on to only after {@link hold}. */
  of(key: string, now: number): P {
    const active = this.#active.get(key);
    if (active !== undefined) return active;
    const peer = this.#idle.get(key) ?? this.make(key);
    this.#rest(peer, now);
    return peer;
  }

  hold(peer: P): void {
    if (peer.users++ > 0) return;
    this.#idle.delete(peer.key);
    this.#active.set(peer.key, peer);
  }

  release(peer: P, now: number): void {
    if (--peer.users > 0) return;
    this.#active.delete(peer.key);
    this.#rest(peer, now);
  }

  #rest(peer: P, now: number): void {
    peer.idleSince = now;
    this.#idle.delete(peer.key); // so that it is the youngest again
    this.#idle.set(peer.key, peer);
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
