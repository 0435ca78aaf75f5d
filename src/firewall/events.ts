import type { ErrorCode } from '../protocol/errors.js';
import type { BanTarget } from './bans.js';
import type { FirewallRule } from './options.js';

/** A ban was made, lifted, ran its time or made room. */
export interface BanEvent {
  readonly kind: 'ban';
  /** `dropped`: it was in force, and made room for a newer one; a ban that an operator made is never dropped. */
  readonly action: 'added' | 'lifted' | 'expired' | 'dropped';
  readonly target: BanTarget;
  /** False in a dry run: no client is refused. */
  readonly enforced: boolean;
  /** How long it is for, in milliseconds; `Infinity` until it is lifted. */
  readonly forMs?: number;
  readonly reason?: string;
  /** The administrator who banned or lifted; absent for an automatic ban. */
  readonly actor?: string;
}

/** Names of the budgets. */
export type BudgetName = 'messages' | 'subject' | 'event' | 'subscribe' | 'publish';

/** A budget is used up. */
export interface BudgetEvent {
  readonly kind: 'budget';
  readonly budget: BudgetName;
  /** False in a dry run: nothing was refused. */
  readonly enforced: boolean;
  readonly sessionId?: string;
  readonly subject?: string;
  readonly clientAddress?: string;
  /** The declared event, of a budget of its own. */
  readonly event?: string;
}

/** A rule in a dry run has let in what it would refuse otherwise. */
export interface AdmissionEvent {
  readonly kind: 'admission';
  readonly rule: FirewallRule;
  /** The code that the refusal would have had. */
  readonly code: ErrorCode;
  readonly enforced: false;
  /** Absent where the process is full, which refuses every address. */
  readonly clientAddress?: string;
  /** Of a ban of a subject. */
  readonly subject?: string;
  /** In words of this package, none of the client's apart from quoted headers. */
  readonly reason?: string;
}

/** A header of a proxy came from an address that `firewall.trustProxy` does not name, and was not believed. Emitted once. */
export interface ProxyEvent {
  readonly kind: 'proxy';
  /** Of the peer: empty on a Unix domain socket. */
  readonly clientAddress: string;
}

/** The events of the firewall. */
export type FirewallEvent = BanEvent | BudgetEvent | AdmissionEvent | ProxyEvent;
