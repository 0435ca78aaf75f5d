import { Logger } from '@nestjs/common';
import type { FirewallEvent } from '../monitoring/events.js';
import type { Privacy } from '../monitoring/privacy.js';
import type { Sampler } from '../monitoring/sampler.js';
import { visible } from '../monitoring/visible.js';

/** Bans, and what rules that are not enforced would have done. What is enforced has its line as a failure. */
export class FirewallLog {
  readonly #log = new Logger('WsFirewall');

  constructor(
    private readonly show: Privacy,
    private readonly sampler: Sampler,
  ) {}

  readonly listener = (event: FirewallEvent): void => {
    if (event.kind === 'proxy') return this.#log.warn(visible(this.#disbelief(event.clientAddress)));
    const text = this.#lineOf(event);
    if (text === undefined) return;
    const line = visible(text); // a subject is whatever its token says, and a reason what an administrator wrote
    const suppressed = this.sampler.take(
      `firewall ${event.kind}`,
      event.kind === 'ban' ? undefined : event.clientAddress,
    );
    if (suppressed === undefined) return;
    this.#log[event.kind === 'ban' ? 'warn' : 'log'](suppressed === 0 ? line : `${line}, suppressed=${suppressed}`);
  };

  #disbelief(peer: string): string {
    const where = peer === '' ? 'a Unix domain socket' : this.show('address', peer);
    return (
      `A header of a proxy came from ${where}, which firewall.trustProxy does not name: it is not believed, and all clients ` +
      'behind that address count as one. If it is your proxy, set firewall.trustProxy (the service: TRUST_PROXY)'
    );
  }

  #lineOf(event: Exclude<FirewallEvent, { kind: 'proxy' }>): string | undefined {
    if (event.kind === 'ban') return this.#ban(event);
    if (event.enforced) return undefined;
    const address = this.show('address', event.clientAddress ?? '');
    if (event.kind === 'admission') return `Dry run: ${event.rule} would have refused ${address}`;
    return `Dry run: the budget ${event.budget} of ${address} is spent`;
  }

  #ban({ action, target, forMs, reason, enforced }: Extract<FirewallEvent, { kind: 'ban' }>): string {
    const who = 'subject' in target ? this.show('subject', target.subject) : this.show('address', target.address);
    return `Ban ${action}: ${who}${forMs === undefined ? '' : ` for ${forMs} ms, ${reason}`}${enforced ? '' : ' (dry run)'}`;
  }
}
