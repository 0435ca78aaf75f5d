import type { Provider } from '@nestjs/common';
import { ByteBudget } from './byte-budget.js';
import { Revalidation } from './revalidation.js';
import { SubjectIndex } from './session-index.js';
import { AUTH_OPTIONS } from '../authentication/options.js';
import { SESSION_CLAIMS } from '../engine/cluster.js';
import type { SessionClaims } from '../engine/cluster.js';
import { SharedSlots } from './shared-slots.js';
import { LocalSlots, SubjectSlots } from './subject-slots.js';
import type { SlotLimits } from './subject-slots.js';
import { SessionRegistry } from './registry.js';
import { WsSessions } from './ws-sessions.js';

export const sessionProviders: Provider[] = [
  ByteBudget,
  SubjectIndex,
  LocalSlots,
  {
    provide: SubjectSlots,
    inject: [SESSION_CLAIMS, AUTH_OPTIONS, LocalSlots, SubjectIndex],
    useFactory: (
      claims: SessionClaims | undefined,
      limits: SlotLimits,
      local: LocalSlots,
      index: SubjectIndex,
    ): SubjectSlots => (claims === undefined ? local : new SharedSlots(claims, limits, local, index)),
  },
  SessionRegistry,
  { provide: WsSessions, useExisting: SessionRegistry },
  Revalidation,
];
