import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { GatewayError } from '../protocol/errors.js';
import type { Origin, Principal } from './principal.js';

/** A ticket as it is stored: JSON can hold all of it, so another node can redeem it. */
export interface StoredTicket {
  readonly principal: Principal;
  /** What {@link originOf} says of the principal. */
  readonly from: Origin;
  readonly clientAddress: string | undefined;
  readonly origin: string | undefined;
}

/**
 * Where tickets are until they are redeemed, by their digests. Memory answers at once; a store that many nodes share answers with a
 * promise, which has half of `auth.timeoutMs`. What it throws without a code, or does not answer, is UNAVAILABLE.
 */
export abstract class TicketStore {
  /**
   * Keeps a ticket for at most `ttlMs`.
   *
   * @throws GatewayError OVERLOADED, also as a rejection, while it is full
   */
  abstract put(digest: string, ticket: StoredTicket, ttlMs: number): void | Promise<void>;

  /** Removes a ticket, so that it is given to one caller only. @returns undefined for one that is unknown, used or expired */
  abstract take(digest: string): StoredTicket | undefined | Promise<StoredTicket | undefined>;
}

/** Tickets open at once: in all, and of one subject, whose oldest makes room, so that no subject takes the others' places. */
export const MAX_TICKETS = 100_000;
export const MAX_PER_SUBJECT = 16;

interface Entry {
  readonly ticket: StoredTicket;
  /** In monotonic milliseconds. */
  readonly until: number;
}

/** The tickets of one node. */
@Injectable()
export class MemoryTicketStore extends TicketStore {
  // By digest, the oldest first. A reload may change how long tickets last, so a sweep may leave an expired one behind a later one.
  readonly #entries = new Map<string, Entry>();
  readonly #bySubject = new Map<string, Set<string>>();

  constructor(@Inject(WsClock) private readonly clock: Pick<WsClock, 'monotonic'>) {
    super();
  }

  /** How many tickets are open. */
  get size(): number {
    return this.#entries.size;
  }

  override put(digest: string, ticket: StoredTicket, ttlMs: number): void {
    if (this.#entries.size >= MAX_TICKETS) throw new GatewayError('OVERLOADED', { retryAfterMs: ttlMs });
    const { subject } = ticket.principal;
    const open = this.#bySubject.get(subject);
    if (open !== undefined && open.size >= MAX_PER_SUBJECT) this.take(open.values().next().value ?? '');
    this.#entries.set(digest, { ticket, until: this.clock.monotonic() + ttlMs });
    const mine = this.#bySubject.get(subject);
    if (mine === undefined) this.#bySubject.set(subject, new Set([digest]));
    else mine.add(digest);
  }

  override take(digest: string): StoredTicket | undefined {
    const entry = this.#entries.get(digest);
    if (entry === undefined) return undefined;
    this.#entries.delete(digest);
    const { subject } = entry.ticket.principal;
    const open = this.#bySubject.get(subject);
    open?.delete(digest);
    if (open?.size === 0) this.#bySubject.delete(subject);
    return this.clock.monotonic() < entry.until ? entry.ticket : undefined;
  }

  /** Forgets expired tickets. */
  sweep(now: number): void {
    for (const [digest, { until }] of this.#entries) {
      if (now < until) return;
      this.take(digest);
    }
  }
}
