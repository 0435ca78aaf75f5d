import { AsyncLocalStorage } from 'node:async_hooks';
import type { EmailVerdict } from './verdict.js';

/** What `@IsDeliverableEmail()` asks of `WsEmail`. */
interface EmailJudge {
  readonly refusesUnknown: boolean;
  check(address: string, session?: object): Promise<EmailVerdict>;
}

/** Which instance answers the rule, and for which session, while a payload is validated. */
export interface EmailContext {
  readonly email: EmailJudge;
  readonly session: object | undefined;
}

/**
 * class-validator makes its rules itself and knows neither the application nor the session. Two applications in one
 * process are each in their own context, so the rule finds the right one.
 */
export const emailContext = new AsyncLocalStorage<EmailContext>();

let isAsked = false;

/** Called by the decorator. */
export function askForDelivery(): void {
  isAsked = true;
}

/**
 * True once a class has the rule. Until then no call enters the context: from the first time on it costs every promise of
 * the process, on Node 20 more than the `await` itself.
 */
export function isDeliveryAsked(): boolean {
  return isAsked;
}
