import type { Provider } from '@nestjs/common';
import { ByteBudget } from './byte-budget.js';
import { Revalidation } from './revalidation.js';
import { SessionRegistry } from './registry.js';
import { WsSessions } from './ws-sessions.js';

export const sessionProviders: Provider[] = [
  ByteBudget,
  SessionRegistry,
  { provide: WsSessions, useExisting: SessionRegistry },
  Revalidation,
];
