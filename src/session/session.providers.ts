import type { Provider } from '@nestjs/common';
import { Ledger } from './ledger.js';
import { Revalidation } from './revalidation.js';
import { WsSessions } from './ws-sessions.js';

export const sessionProviders: Provider[] = [Ledger, WsSessions, Revalidation];
