import { contain, Faults } from '../../base/contain.js';
import type { BanEvent, FirewallEvent } from '../../firewall/events.js';
import type { FailureSink, NoticeRecord } from './failure-log.js';
import { noteThroughNest } from './nest-sink.js';
import { withPrivacy } from '../privacy.js';
import type { Privacy } from '../privacy.js';
import type { Sampler } from './sampler.js';
import { scrub } from './scrub.js';
import { visibleTexts } from '../../base/visible.js';

/** Bans, and what rules that are not enforced would have done. What is enforced has its line as a failure. */
export class FirewallLog {
  readonly #faults = new Faults('FailureSink.note() failed');

  constructor(
    private readonly sink: FailureSink,
    private readonly show: Privacy,
    private readonly sampler: Sampler,
  ) {}

  readonly listener = (event: FirewallEvent): void => {
    const notice = noticeOf(event);
    if (notice === undefined) return;
    const suppressed = this.sampler.take(`firewall ${notice.message} ${notice.rule ?? ''}`, notice.clientAddress);
    if (suppressed === undefined) return;
    const { reason } = notice;
    const shown = visibleTexts({
      ...withPrivacy(notice, this.show),
      ...(reason !== undefined && { reason: scrub(reason, this.show) }), // of an administrator, or with what a stranger wrote
      ...(suppressed > 0 && { suppressed }),
    });
    if (this.sink.note === undefined) noteThroughNest(shown);
    else contain(() => this.sink.note?.(shown), this.#faults.tell);
  };
}

function noticeOf(event: FirewallEvent): NoticeRecord | undefined {
  switch (event.kind) {
    case 'ban':
      return ofBan(event);
    case 'admission': {
      const { kind: _, enforced: __, ...what } = event;
      return { level: 'info', message: 'Dry run: would have refused', ...what };
    }
    case 'budget': {
      const { kind: _, enforced, ...what } = event;
      if (enforced) return undefined;
      return { level: 'info', message: 'Dry run: would have refused', rule: 'budgets', code: 'RATE_LIMITED', ...what };
    }
    case 'proxy':
      return {
        level: 'warn',
        message: DISBELIEF,
        ...(event.clientAddress !== '' && { clientAddress: event.clientAddress }),
      };
  }
  return event satisfies never;
}

const DISBELIEF =
  "A proxy's header from a peer that firewall.trustProxy does not name is not believed, and all clients behind that peer count " +
  'as one address. If it is your proxy, set firewall.trustProxy (the service: TRUST_PROXY)';

function ofBan(event: BanEvent): NoticeRecord {
  const { kind: _, action, target, enforced, ...what } = event;
  const { address: clientAddress, subject } = target as { address?: string; subject?: string }; // because it has one of them
  return {
    level: 'warn',
    message: `Ban ${action}`,
    ...(clientAddress !== undefined && { clientAddress }),
    ...(subject !== undefined && { subject }),
    ...what,
    ...(!enforced && { dryRun: true }),
  };
}
