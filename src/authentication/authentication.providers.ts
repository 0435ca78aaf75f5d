import type { Provider } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { Authentication } from './authentication.js';
import { Deadlines } from './deadlines.js';
import type { ResolvedIssuer } from './jwt/issuers.js';
import { JwtAuthenticator } from './jwt/jwt-authenticator.js';
import { JwtVerifier } from './jwt/jwt-verifier.js';
import type { ClaimOptions } from './jwt/jwt-verifier.js';
import { AUTH_OPTIONS } from './options.js';
import { Revocations } from './revocations.js';
import { SHARED_TICKETS } from '../engine/cluster.js';
import type { SharedTickets } from '../engine/cluster.js';
import { SharedTicketStore } from './shared-ticket-store.js';
import { MemoryTicketStore, TicketStore } from './ticket-store.js';
import { TicketOffice } from './ticket-office.js';
import { WsTickets } from './tickets.js';
import { Verification } from './verification.js';

interface JwtSlice {
  readonly issuers: readonly ResolvedIssuer[];
  readonly claims: ClaimOptions;
}

export const authenticationProviders: Provider[] = [
  Revocations,
  MemoryTicketStore,
  {
    provide: TicketStore,
    inject: [MemoryTicketStore, SHARED_TICKETS, WsClock],
    useFactory: (memory: MemoryTicketStore, shared: SharedTickets | undefined, clock: WsClock) =>
      shared === undefined ? memory : new SharedTicketStore(shared, clock),
  },
  TicketOffice,
  { provide: WsTickets, useExisting: TicketOffice },
  Deadlines,
  {
    provide: JwtVerifier,
    inject: [AUTH_OPTIONS, WsClock],
    useFactory: ({ issuers, claims }: JwtSlice, clock: WsClock) => new JwtVerifier(issuers, claims, clock),
  },
  { provide: JwtAuthenticator, useExisting: JwtVerifier },
  Verification,
  { provide: Authentication, useExisting: Verification },
];
