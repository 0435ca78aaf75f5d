import type { WsClock } from '../../base/clock.js';
import { contain, containWithin, Faults } from '../../base/contain.js';
import { TokenBucket } from '../../base/token-bucket.js';
import { withPrivacy } from '../privacy.js';
import type { Privacy } from '../privacy.js';
import { scrub } from '../log/scrub.js';
import { networkOf, Shares } from '../log/shares.js';
import { auditEventOf } from './audit-event.js';
import type { AuditedEvent, AuditEntry, AuditEvent, AuditType } from './audit-event.js';
import type { AuditSink } from './audit-sink.js';

/** Records of one type and code that strangers can cause at once, and how many more each second lets in. */
const BURST = 1_000;
const PER_SECOND = 50;
/** What of it one address has, so that its flood leaves the others theirs. */
const OF_ADDRESS = { burst: 200, perSecond: 10, maxKeys: 4_096 } as const;
/** Records of one type about one subject. A customer that refreshes all day long writes 20 MB. */
const OF_SUBJECT = { burst: 200, perSecond: 0.5, maxKeys: 16_384 } as const;
/** Acts of one kind of one administrator, who may well have a script. */
const OF_ACTOR = { burst: 1_000, perSecond: 10, maxKeys: 1_024 } as const;
/** Codes of applications are theirs to invent; no more than these are told apart. */
const MAX_KINDS = 64;
/** What every subject can cause over and over by requests alone: together they have no more than strangers have. */
const REPEATABLE: ReadonlySet<string> = new Set<AuditType>(['denied', 'failed']);
/** Milliseconds between two records that tell how many were left out: they must not be a flood of their own. */
const TELL_EVERY_MS = 60_000;

/** Milliseconds that a sink has to close: the application is waiting to end. */
const CLOSE_MS = 5_000;

/**
 * What happened goes into the sink, personal data shown as the options say. Nobody can fill the disk: what strangers cause is
 * bounded by type and code, with a share for each address, what a subject causes by subject and type, what an administrator does
 * by administrator and act. What is left out is counted, and a record tells the counts once a minute and at the end.
 */
export class AuditLog {
  readonly #writeFaults = new Faults('AuditSink.write() failed');
  readonly #closeFaults = new Faults('AuditSink.close() failed');
  readonly #kinds = new Map<string, { readonly budget: TokenBucket; suppressed: number }>();
  readonly #addresses = new Shares(OF_ADDRESS);
  readonly #subjects = new Shares(OF_SUBJECT);
  readonly #actors = new Shares(OF_ACTOR);
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
    if (!this.#take(event, now)) return;
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

  /** How many kinds, addresses, subjects and administrators it remembers. */
  get size(): number {
    return this.#kinds.size + this.#addresses.size + this.#subjects.size + this.#actors.size;
  }

  /** @returns false when the record is to be left out */
  #take(event: AuditEvent, now: number): boolean {
    const kind = this.#kindOf(`${event.type} ${event.code ?? ''}`.trimEnd(), now);
    if (this.#hasShare(event, now) && (!isShared(event) || kind.budget.take(1, PER_SECOND, BURST, now) === 0))
      return true;
    kind.suppressed++;
    this.#suppressedSince ??= now;
    return false;
  }

  #hasShare({ type, code = '', event = '', actor, subject, clientAddress }: AuditEvent, now: number): boolean {
    // An administrator who lacks the scope is a customer like any other.
    if (actor !== undefined && type !== 'denied') return this.#actors.take(`${type} ${event} ${actor}`, now);
    const who = actor ?? subject;
    if (who !== undefined) return this.#subjects.take(`${type} ${who}`, now);
    return clientAddress === undefined || this.#addresses.take(`${networkOf(clientAddress)} ${type} ${code}`, now);
  }

  #kindOf(name: string, now: number): { readonly budget: TokenBucket; suppressed: number } {
    const key = this.#kinds.size < MAX_KINDS || this.#kinds.has(name) ? name : 'other';
    let kind = this.#kinds.get(key);
    if (kind === undefined) this.#kinds.set(key, (kind = { budget: new TokenBucket(BURST, now), suppressed: 0 }));
    return kind;
  }

  #timeOfDay(): string {
    return new Date(this.clock.now()).toISOString();
  }

  #tellSuppressed(): void {
    if (this.#suppressedSince === undefined) return;
    this.#suppressedSince = undefined;
    const counts: Record<string, number> = {};
    for (const [name, kind] of this.#kinds) {
      if (kind.suppressed > 0) counts[name] = kind.suppressed;
      kind.suppressed = 0;
    }
    this.#write({ type: 'suppressed', time: this.#timeOfDay(), details: counts });
  }

  #write(entry: AuditEntry): void {
    contain(() => this.sink.write(entry), this.#writeFaults.tell);
  }
}

/** Whether all who cause it have one budget: strangers, and subjects that need a request only. */
function isShared({ type, actor, subject }: AuditEvent): boolean {
  return (actor === undefined && subject === undefined) || REPEATABLE.has(type);
}
