import type { MessageBudget, MessageLimits } from './message-budget.js';
import type { AddressUsage, SubjectUsage } from './usage.js';

/** A connection, as the firewall sees it. */
export interface Client {
  readonly address: string;
  readonly usage: AddressUsage;
  /** True for an address that has no bans and budgets. */
  readonly isExempt: boolean;
}

/** A session, as the firewall sees it. */
export interface Metered {
  readonly client: Client;
  readonly budget: MessageBudget;
  /** What a session of its path may send; read anew at each message, since a reload changes it. */
  readonly limits: MessageLimits;
  /** Undefined while the session is anonymous. */
  readonly subjectUsage: SubjectUsage | undefined;
}
