import type { Provider } from '@nestjs/common';
import { ByteBudget } from './byte-budget.js';
import { Revalidation } from './revalidation.js';
import { SubjectIndex } from './session-index.js';
import { LocalSlots, SubjectSlots } from './subject-slots.js';
import { SessionRegistry } from './registry.js';
import { WsSessions } from './ws-sessions.js';

export const sessionProviders: Provider[] = [
  ByteBudget,
  SubjectIndex,
  LocalSlots,
  { provide: SubjectSlots, useExisting: LocalSlots },
  SessionRegistry,
  { provide: WsSessions, useExisting: SessionRegistry },
  Revalidation,
];
