import { Logger } from '@nestjs/common';
import type { FirewallEvent } from './firewall.js';

const log = new Logger('WsFirewall');

/** Bans, and what rules that are not enforced would have done. What is enforced has its line as a failure. */
export function reportFirewall(event: FirewallEvent): void {
  if (event.kind === 'ban') {
    const { action, target, forMs, reason, enforced } = event;
    const who = 'subject' in target ? 'subject' : target.address;
    log.warn(
      `Ban ${action}: ${who}${forMs === undefined ? '' : ` for ${forMs} ms, ${reason}`}${enforced ? '' : ' (dry run)'}`,
    );
  } else if (event.kind === 'admission') log.log(`Dry run: ${event.rule} would have refused ${event.clientAddress}`);
  else if (!event.enforced) log.log(`Dry run: the budget ${event.budget} of ${event.clientAddress} is spent`);
}
