import type { Principal } from './principal.js';

/** What a ticket may be bound to: shown by any other client, it is refused. */
export interface TicketBinding {
  /** Address of the client, as `WsSession.clientAddress` has it. */
  readonly clientAddress?: string;
  /** The Origin of the page that will connect. */
  readonly origin?: string;
}

/** A ticket, as a client gets it. */
export interface Ticket {
  /** For `?ticket=` of one handshake. */
  readonly ticket: string;
  /** Epoch milliseconds. */
  readonly expiresAt: number;
}

/**
 * One-time tickets, for browsers that must not put a JWT into a URL: the page asks for one over HTTPS, with its token in a
 * header, and connects with it at once. Only digests are kept, for `auth.tickets.ttlMs`. They take `ticket` in `auth.sources`.
 */
export abstract class WsTickets {
  /**
   * Makes a ticket whose bearer becomes this principal, once. It lasts no longer than the principal does.
   *
   * @throws GatewayError, as a rejection: OVERLOADED while too many are open, TOKEN_EXPIRED for an expired principal, UNAVAILABLE
   * while tickets cannot be stored; TypeError for what is no principal
   */
  abstract issue(principal: Principal, binding?: TicketBinding): Promise<Ticket>;
}
