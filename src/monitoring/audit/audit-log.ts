import type { WsClock } from '../../base/clock.js';
import { contain, containWithin, Faults } from '../../base/contain.js';
import { TokenBucket } from '../../base/token-bucket.js';
import { withPrivacy } from '../privacy.js';
import type { Privacy } from '../privacy.js';
import { scrub } from '../scrub.js';
import { auditEventOf } from './audit-event.js';
import type { AuditedEvent, AuditEntry, AuditEvent, AuditType } from './audit-event.js';
import type { AuditSink } from './audit-sink.js';

/** Records of one type and code that strangers can cause at once, and how many more each second lets in. */
const BURST = 1_000;
const PER_SECOND = 50;
/** Codes of applications are theirs to invent; no more than these are told apart. */
const MAX_BUCKETS = 64;
/** What one subject can cause over and over within one session. */
const REPEATABLE: ReadonlySet<string> = new Set<AuditType>(['denied', 'failed']);
/** Milliseconds between two records that tell how many were left out: they must not be a flood of their own. */
const TELL_EVERY_MS = 60_000;

/** Milliseconds that a sink has to close: the application is waiting to end. */
const CLOSE_MS = 5_000;

/**
 * What happened goes into the sink, personal data shown as the options say. What a stranger can cause is bounded by type
 * and code, so that nobody can fill the disk; what is left out is counted, and a record tells the counts once a minute and at
 * the end. What an administrator or an authenticated subject did is never left out, except for requests of a subject that were
 * denied or failed.
 */
export class AuditLog {
  readonly #writeFaults = new Faults('AuditSink.write() failed');
  readonly #closeFaults = new Faults('AuditSink.close() failed');
  readonly #buckets = new Map<string, { readonly budget: TokenBucket; suppressed: number }>();
  /** In monotonic milliseconds. */
  #suppressedSince: number | undefined;

  constructor(
    private readonly sink: AuditSink,
    private readonly show: Privacy,
    private readonly clock: Pick<WsClock, 'now' | 'monotonic' | 'every'>,
  ) {}

  /** For {@link WsMonitor.on}, with the kinds that are audited. */
  readonly listener = (event: AuditedEvent): void => {
    const audited = auditEventOf(event);
    if (audited !== undefined) this.record(audited);
  };

  /** Never throws: an audit that fails must not end a session. */
  record(event: AuditEvent): void {
    const now = this.clock.monotonic();
    const stranger = event.actor === undefined && (event.subject === undefined || REPEATABLE.has(event.type));
    if (stranger && !this.#take(`${event.type} ${event.code ?? ''}`.trimEnd(), now)) return;
    if (this.#suppressedSince !== undefined && now - this.#suppressedSince >= TELL_EVERY_MS) this.#tellSuppressed();
    const { reason } = event;
    const shown = { ...event, ...(reason !== undefined && { reason: scrub(reason, this.show) }) };
    this.#write(withPrivacy({ ...shown, time: this.#timeOfDay() }, this.show));
  }

  /** Tells what was left out last, then closes the sink. Never rejects, and is over in five seconds whatever the sink does. */
  async close(): Promise<void> {
    this.#tellSuppressed();
    await containWithin(() => this.sink.close(), CLOSE_MS, this.clock, this.#closeFaults.tell);
  }

  /** @returns false when the record is to be left out */
  #take(kind: string, now: number): boolean {
    const key = this.#buckets.size < MAX_BUCKETS || this.#buckets.has(kind) ? kind : 'other';
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) this.#buckets.set(key, (bucket = { budget: new TokenBucket(BURST, now), suppressed: 0 }));
    if (bucket.budget.take(1, PER_SECOND, BURST, now) === 0) return true;
    bucket.suppressed++;
    this.#suppressedSince ??= now;
    return false;
  }

  #timeOfDay(): string {
    return new Date(this.clock.now()).toISOString();
  }

  #tellSuppressed(): void {
    if (this.#suppressedSince === undefined) return;
    this.#suppressedSince = undefined;
    const counts: Record<string, number> = {};
    for (const [kind, bucket] of this.#buckets) {
      if (bucket.suppressed > 0) counts[kind] = bucket.suppressed;
      bucket.suppressed = 0;
    }
    this.#write({ type: 'suppressed', time: this.#timeOfDay(), details: counts });
  }

  #write(entry: AuditEntry): void {
    contain(() => this.sink.write(entry), this.#writeFaults.tell);
  }
}
