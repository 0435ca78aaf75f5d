import type { Provider } from '@nestjs/common';
import { Ledger } from './ledger.js';
import { Revalidation } from './revalidation.js';
import { SessionRegistry } from './registry.js';
import { WsSessions } from './ws-sessions.js';

export const sessionProviders: Provider[] = [
  Ledger,
  SessionRegistry,
  { provide: WsSessions, useExisting: SessionRegistry },
  Revalidation,
];
