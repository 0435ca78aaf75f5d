import type { WsClock } from '../base/clock.js';
import type { SharedTickets } from '../engine/cluster.js';
import { GatewayError } from '../protocol/errors.js';
import { isJsonObject } from '../protocol/message.js';
import { MAX_PER_SUBJECT, MAX_TICKETS, TicketStore } from './ticket-store.js';
import type { StoredTicket } from './ticket-store.js';

interface Open {
  readonly digest: string;
  /** In monotonic milliseconds. */
  readonly until: number;
}

/** Tickets of all nodes. Each node bounds those that it has issued: in all, and of one subject. */
export class SharedTicketStore extends TicketStore {
  // By subject, the oldest first. One that was redeemed counts until its time is over.
  readonly #open = new Map<string, Open[]>();
  #count = 0;

  constructor(
    private readonly tickets: SharedTickets,
    private readonly clock: Pick<WsClock, 'monotonic'>,
  ) {
    super();
  }

  override async put(digest: string, ticket: StoredTicket, ttlMs: number): Promise<void> {
    const now = this.clock.monotonic();
    if (this.#count >= MAX_TICKETS) this.#sweep(now);
    if (this.#count >= MAX_TICKETS) throw new GatewayError('OVERLOADED', { retryAfterMs: ttlMs });
    const { subject } = ticket.principal;
    const known = this.#open.get(subject) ?? [];
    const mine = known.filter(({ until }) => now < until);
    const oldest = mine.length < MAX_PER_SUBJECT ? undefined : mine.shift();
    this.#count += mine.length + 1 - known.length;
    this.#open.set(subject, [...mine, { digest, until: now + ttlMs }]);
    if (oldest !== undefined) await this.tickets.take(oldest.digest);
    await this.tickets.put(digest, JSON.stringify(ticket), ttlMs);
  }

  override async take(digest: string): Promise<StoredTicket | undefined> {
    const text = await this.tickets.take(digest);
    const ticket: unknown = text === undefined ? undefined : JSON.parse(text);
    if (!isJsonObject(ticket) || !isJsonObject(ticket.principal) || !isJsonObject(ticket.from)) return undefined;
    return ticket as unknown as StoredTicket; // because a node has written it, and the principal is checked when it is redeemed
  }

  #sweep(now: number): void {
    for (const [subject, known] of this.#open) {
      const open = known.filter(({ until }) => now < until);
      this.#count -= known.length - open.length;
      if (open.length === 0) this.#open.delete(subject);
      else this.#open.set(subject, open);
    }
  }
}
