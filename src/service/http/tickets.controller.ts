import { Controller, Header, Post, Req, UseGuards } from '@nestjs/common';
import { WsTickets } from '../../authentication/tickets.js';
import type { Ticket } from '../../authentication/tickets.js';
import { BearerGuard } from './bearer.guard.js';
import type { AuthenticatedRequest } from './bearer.guard.js';

/** One-time tickets for the bearer of a token. A ticket that a page requests is valid for that page's origin only. */
@Controller('tickets')
@UseGuards(BearerGuard)
export class TicketsController {
  constructor(private readonly tickets: WsTickets) {}

  @Post()
  @Header('Cache-Control', 'no-store')
  issue(@Req() { principal, headers }: AuthenticatedRequest): Promise<Ticket> {
    return this.tickets.issue(principal, headers.origin === undefined ? {} : { origin: headers.origin });
  }
}
