import { randomBytes } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { GatewayError } from '../protocol/errors.js';
import { AUTH_OPTIONS } from './options.js';
import { originOf, principalOf } from './principal.js';
import type { Principal } from './principal.js';
import { digestOf, invalid } from './token.js';

/** 256 bits cannot be guessed, and the plain digest gives nothing away. */
const TICKET_BYTES = 32;

/** Tickets open at once: for all, and for one subject, whose oldest goes then, so that no subject takes the others' places. */
const MAX_TICKETS = 100_000;
const MAX_PER_SUBJECT = 16;

/** What a ticket may be bound to: shown by any other client, it is refused. */
export interface TicketBinding {
  /** Address of the client, as `WsSession.clientAddress` has it. */
  readonly clientAddress?: string;
  /** The Origin of the page that will connect. */
  readonly origin?: string;
}

/** What a client is given. */
export interface Ticket {
  /** For `?ticket=` of one handshake. */
  readonly ticket: string;
  /** Epoch milliseconds. */
  readonly expiresAt: number;
}

interface Entry {
  readonly clientAddress: string | undefined;
  readonly origin: string | undefined;
  readonly principal: Principal;
  /** In monotonic milliseconds. */
  readonly until: number;
}

/**
 * One-time tickets, for browsers that must not put a JWT into a URL: the page asks for one over HTTPS, with its token in a
 * header, and connects with it at once. Only digests are kept, for `auth.tickets.ttlMs`. They take `ticket` in `auth.sources`.
 */
@Injectable()
export class WsTickets {
  // By digest, in the order of their making, which is the order in which they expire.
  readonly #entries = new Map<string, Entry>();
  readonly #bySubject = new Map<string, Set<string>>();

  /**
   * @param options how long a ticket is good for, in milliseconds; read anew for each
   * @param clock monotonic for the ticket, and the time of day for the principal
   */
  constructor(
    @Inject(AUTH_OPTIONS) private readonly options: { readonly tickets: { readonly ttlMs: number } },
    @Inject(WsClock) private readonly clock: Pick<WsClock, 'now' | 'monotonic'>,
  ) {}

  /** How many tickets are open. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Makes a ticket whose bearer becomes this principal, once. It lasts no longer than the principal does.
   *
   * @throws GatewayError, as a rejection: OVERLOADED while too many are open, TOKEN_EXPIRED for a principal whose time is over;
   * TypeError for what is no principal
   */
  async issue(principal: Principal, { clientAddress, origin }: TicketBinding = {}): Promise<Ticket> {
    // Whole, and a copy: the application cannot add a role while the ticket is open.
    const whole = principalOf(principal, originOf(principal));
    const { subject } = whole;
    const { ttlMs } = this.options.tickets;
    const timeOfDay = this.clock.now();
    if (timeOfDay >= whole.expiresAt) throw new GatewayError('TOKEN_EXPIRED');
    if (this.#entries.size >= MAX_TICKETS) throw new GatewayError('OVERLOADED', { retryAfterMs: ttlMs });
    const open = this.#bySubject.get(subject);
    if (open !== undefined && open.size >= MAX_PER_SUBJECT) this.#take(open.values().next().value ?? '');
    const ticket = randomBytes(TICKET_BYTES).toString('base64url');
    const digest = digestOf(ticket);
    const leftMs = Math.min(ttlMs, whole.expiresAt - timeOfDay);
    const until = this.clock.monotonic() + leftMs;
    // Member by member: a binding that comes from a request must not bring a principal with it.
    this.#entries.set(digest, { principal: whole, until, clientAddress, origin });
    const mine = this.#bySubject.get(subject);
    if (mine === undefined) this.#bySubject.set(subject, new Set([digest]));
    else mine.add(digest);
    return { ticket, expiresAt: timeOfDay + leftMs };
  }

  /**
   * @internal Takes a ticket in. It is used up then, also when another client than its owner showed it.
   *
   * @throws GatewayError TOKEN_INVALID
   */
  redeem(ticket: string, { clientAddress, origin }: TicketBinding): Principal {
    const entry = this.#take(digestOf(ticket));
    if (entry === undefined) throw invalid('the ticket is not known, or was used');
    const isOver = this.clock.monotonic() >= entry.until || this.clock.now() >= entry.principal.expiresAt;
    if (isOver) throw invalid('the ticket has expired');
    if ((entry.clientAddress ?? clientAddress) !== clientAddress) throw invalid('the ticket is of another address');
    if ((entry.origin ?? origin) !== origin) throw invalid('the ticket is of another origin');
    return entry.principal;
  }

  /** @internal Forgets what has expired. */
  sweep(now: number): void {
    for (const [digest, { until }] of this.#entries) {
      if (now < until) return;
      this.#take(digest);
    }
  }

  #take(digest: string): Entry | undefined {
    const entry = this.#entries.get(digest);
    if (entry === undefined) return undefined;
    this.#entries.delete(digest);
    const { subject } = entry.principal;
    const open = this.#bySubject.get(subject);
    open?.delete(digest);
    if (open?.size === 0) this.#bySubject.delete(subject);
    return entry;
  }
}
