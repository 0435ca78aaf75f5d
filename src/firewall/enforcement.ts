import type { Emitter } from '../base/emitter.js';
import type { GatewayError } from '../protocol/errors.js';
import type { FirewallEvent } from './events.js';
import type { FirewallRule, ResolvedFirewall } from './options.js';

/** Decides whether a broken rule refuses a client, or a dry run only logs it. */
export class Enforcement {
  /** @param options read at each decision, since a reload changes them */
  constructor(
    private readonly options: Pick<ResolvedFirewall, 'dryRun'>,
    private readonly emitter: Emitter<FirewallEvent>,
  ) {}

  isDry(rule: FirewallRule): boolean {
    return this.options.dryRun.includes(rule);
  }

  /** @throws what `refusal` makes, unless the rule is in a dry run */
  enforce(rule: FirewallRule, address: string | undefined, refusal: () => GatewayError, subject?: string): void {
    const error = refusal();
    if (!this.isDry(rule)) throw error;
    const { code, cause } = error;
    this.emitter.emit({
      kind: 'admission',
      rule,
      code,
      enforced: false,
      ...(address !== undefined && { clientAddress: address }),
      ...(subject !== undefined && { subject }),
      ...(typeof cause === 'string' && { reason: cause }),
    });
  }
}
