import type { Type } from '@nestjs/common';
import type { Session } from '../session/session.js';
import type { WsSession } from '../session/ws-session.js';
import { GatewayError } from '../protocol/errors.js';
import { isThenable } from '../base/thenable.js';

/** A rule with dependencies: a class of this shape, which Nest makes. */
export interface AuthorizationRule {
  /**
   * @param data what the handler gets as its `@MessageBody()`, after the pipe; the payload as it came where it takes no whole one
   * @returns true to let the request through; anything else is FORBIDDEN
   */
  authorize(session: WsSession, data: unknown): boolean | Promise<boolean>;
}

type RuleFunction = (session: WsSession, data: never) => boolean | Promise<boolean>;

/** What `@Authorize()` takes. */
export type Rule = RuleFunction | Type<AuthorizationRule>;

/** A rule as it is asked. */
export interface BoundRule {
  /** For the log. */
  readonly name: string;
  readonly ask: (session: WsSession, data: unknown) => boolean | Promise<boolean>;
}

/** @param instanceOf makes, or finds, the object of a class */
export async function bindRule(
  rule: Rule,
  instanceOf: (type: Type<AuthorizationRule>) => Promise<AuthorizationRule>,
): Promise<BoundRule> {
  const name = rule.name === '' ? 'without a name' : rule.name;
  if (!isRuleClass(rule)) return { name, ask: rule as BoundRule['ask'] }; // because what data is, is what the DTO says
  const instance = await instanceOf(rule);
  return { name, ask: (session, data) => instance.authorize(session, data) };
}

function isRuleClass(rule: Rule): rule is Type<AuthorizationRule> {
  return typeof (rule as Type<AuthorizationRule>).prototype?.authorize === 'function';
}

/**
 * Asks one rule after the other.
 *
 * @returns a promise when one of them has to be waited for
 * @throws GatewayError FORBIDDEN, also as a rejection, which names the rule to the log only; or what a rule throws
 */
export function authorize(rules: readonly BoundRule[], session: Session, data: unknown): void | Promise<void> {
  for (const [index, rule] of rules.entries()) {
    const answer = rule.ask(session, data);
    if (isThenable(answer)) {
      return Promise.resolve(answer).then((settled) => {
        demand(rule, settled);
        return authorize(rules.slice(index + 1), session, data);
      });
    }
    demand(rule, answer);
  }
}

function demand({ name }: BoundRule, answer: unknown): void {
  if (answer !== true) throw new GatewayError('FORBIDDEN', { cause: `rule ${name}` });
}

/**
 * A rule that took its time may have outlived the session. Where it was revoked or has expired meanwhile the handler is not
 * called, and no answer is sent, since the peer is gone.
 *
 * @throws GatewayError UNAUTHENTICATED
 */
export function demandSession(session: Session): void {
  if (!session.handlesMessages) throw new GatewayError('UNAUTHENTICATED');
}
