import { randomBytes } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { isThenable } from '../base/thenable.js';
import { GatewayError } from '../protocol/errors.js';
import { Deadlines } from './deadlines.js';
import { AUTH_OPTIONS } from './options.js';
import { originOf, principalOf } from './principal.js';
import type { Principal } from './principal.js';
import { TicketStore } from './ticket-store.js';
import type { StoredTicket } from './ticket-store.js';
import { WsTickets } from './tickets.js';
import type { Ticket, TicketBinding } from './tickets.js';
import { digestOf, invalid } from './token.js';

/** 256 bits cannot be guessed, and the plain digest gives nothing away. */
const TICKET_BYTES = 32;

/** The working class behind {@link WsTickets}. */
@Injectable()
export class TicketOffice extends WsTickets {
  /**
   * @param options how long a ticket is good for, in milliseconds; read for each ticket
   * @param clock the time of day, for principals
   */
  constructor(
    @Inject(AUTH_OPTIONS) private readonly options: { readonly tickets: { readonly ttlMs: number } },
    @Inject(WsClock) private readonly clock: Pick<WsClock, 'now'>,
    private readonly store: TicketStore,
    private readonly deadlines: Deadlines,
  ) {
    super();
  }

  override async issue(principal: Principal, { clientAddress, origin }: TicketBinding = {}): Promise<Ticket> {
    // Whole, and a copy: the application cannot add a role while the ticket is open.
    const whole = principalOf(principal, originOf(principal));
    const timeOfDay = this.clock.now();
    if (timeOfDay >= whole.expiresAt) throw new GatewayError('TOKEN_EXPIRED');
    const ticket = randomBytes(TICKET_BYTES).toString('base64url');
    const leftMs = Math.min(this.options.tickets.ttlMs, whole.expiresAt - timeOfDay);
    // Member by member: a binding that comes from a request must not bring a principal with it.
    const stored = { principal: whole, from: originOf(whole), clientAddress, origin };
    await this.deadlines.ask(() => this.store.put(digestOf(ticket), stored, leftMs), 'the ticket store');
    return { ticket, expiresAt: timeOfDay + leftMs };
  }

  /**
   * The principal of a ticket. The ticket is used up then, also when another client than its owner showed it.
   *
   * @throws GatewayError, also as a rejection: TOKEN_INVALID; UNAVAILABLE while the store does not answer
   */
  redeem(ticket: string, binding: TicketBinding): Principal | Promise<Principal> {
    const taken = this.deadlines.ask(() => this.store.take(digestOf(ticket)), 'the ticket store');
    return isThenable(taken)
      ? Promise.resolve(taken).then((stored) => this.#accept(stored, binding))
      : this.#accept(taken, binding);
  }

  #accept(stored: StoredTicket | undefined, { clientAddress, origin }: TicketBinding): Principal {
    if (stored === undefined) throw invalid('the ticket is not known, was used, or has expired');
    const { principal, from } = stored;
    if (this.clock.now() >= principal.expiresAt) throw invalid('the ticket has expired');
    if ((stored.clientAddress ?? clientAddress) !== clientAddress) throw invalid('the ticket is of another address');
    if ((stored.origin ?? origin) !== origin) throw invalid('the ticket is of another origin');
    return principalOf(principal, from); // complete and frozen, also where the store has read it from JSON
  }
}
