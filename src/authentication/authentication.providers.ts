import type { Provider } from '@nestjs/common';
import { WsClock } from '../base/clock.js';
import { Authentication } from './authentication.js';
import { Deadlines } from './deadlines.js';
import type { ResolvedIssuer } from './jwt/issuers.js';
import { JwtAuthenticator } from './jwt/jwt-authenticator.js';
import type { ClaimOptions } from './jwt/jwt-authenticator.js';
import { AUTH_OPTIONS } from './options.js';
import { Revocations } from './revocations.js';
import { WsTickets } from './tickets.js';

interface JwtSlice {
  readonly issuers: readonly ResolvedIssuer[];
  readonly claims: ClaimOptions;
}

export const authenticationProviders: Provider[] = [
  Revocations,
  WsTickets,
  Deadlines,
  {
    provide: JwtAuthenticator,
    inject: [AUTH_OPTIONS, WsClock],
    useFactory: ({ issuers, claims }: JwtSlice, clock: WsClock) => new JwtAuthenticator(issuers, claims, clock),
  },
  Authentication,
];
