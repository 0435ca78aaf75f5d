import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { TokenBucket } from '../base/token-bucket.js';
import { GatewayError } from '../protocol/errors.js';
import type { Session } from '../session/session.js';
import { Memberships } from './memberships.js';
import { CHANNEL_OPTIONS } from './options.js';
import type { ResolvedChannels } from './options.js';

/** A session has buckets for so many channels at most; the one that was used longest ago begins anew. */
const MAX_BUCKETS = 100;

/** Subscribes that a session may do at once, in seconds of what it may do in the long run. */
const BURST_SECONDS = 10;

/** Messages whose replay costs as much as one more subscribe. */
const REPLAYED_MESSAGES = 100;

/** Members on a page whose listing costs as much as one more message. */
const LISTED_MEMBERS = 50;

/** The buckets of a session; made with its first request about channels. */
interface Buckets {
  readonly subscribes: TokenBucket;
  /** By channel, in the order of their use. */
  readonly publishes: Map<string, TokenBucket>;
}

/** How often a session may subscribe, and publish in one channel. Each function throws GatewayError RATE_LIMITED. */
@Injectable()
export class ChannelBudgets {
  readonly #buckets = new WeakMap<Session, Buckets>();

  constructor(
    @Inject(CHANNEL_OPTIONS) private readonly options: ResolvedChannels,
    private readonly memberships: Memberships,
    private readonly clock: WsClock,
  ) {}

  chargeSubscribe(session: Session): void {
    const { subscribesPerSecondPerSession: rate } = this.options;
    const { subscribes } = this.#bucketsOf(session);
    demand(session, 'subscribe', subscribes.take(1, rate, this.#burst, this.clock.monotonic()));
  }

  /** What was replayed is paid afterwards, so that no client that comes back is refused: only one that does it again and again. */
  chargeReplay(session: Session, messages: number): void {
    if (messages === 0) return;
    this.#bucketsOf(session).subscribes.charge(messages / REPLAYED_MESSAGES, this.#burst);
  }

  /** A page of many members is long to write; it is paid with the messages that follow. */
  chargeListing(session: Session, members: number): void {
    session.server.context.firewall.metering.chargeAlso(session, members / LISTED_MEMBERS);
  }

  chargePublish(session: Session, channel: string): void {
    const rate = this.memberships.ruleOf(channel)?.publishesPerSecond;
    if (rate === undefined) return;
    const { publishes } = this.#bucketsOf(session);
    const now = this.clock.monotonic();
    const bucket = publishes.get(channel) ?? new TokenBucket(rate, now);
    publishes.delete(channel);
    publishes.set(channel, bucket);
    const [oldest] = publishes.keys();
    if (publishes.size > MAX_BUCKETS && oldest !== undefined) publishes.delete(oldest);
    demand(session, 'publish', bucket.take(1, rate, rate, now));
  }

  /** Read each time, since a reload changes it. */
  get #burst(): number {
    return this.options.subscribesPerSecondPerSession * BURST_SECONDS;
  }

  #bucketsOf(session: Session): Buckets {
    let buckets = this.#buckets.get(session);
    if (buckets === undefined) {
      buckets = { subscribes: new TokenBucket(this.#burst, this.clock.monotonic()), publishes: new Map() };
      this.#buckets.set(session, buckets);
    }
    return buckets;
  }
}

function demand(session: Session, budget: 'subscribe' | 'publish', retryAfterMs: number): void {
  if (retryAfterMs === 0 || !session.server.context.firewall.metering.spent(budget, session)) return;
  throw new GatewayError('RATE_LIMITED', { retryAfterMs });
}
