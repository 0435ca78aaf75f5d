import { LATE_MS } from '../base/clock.js';
import type { WsClock } from '../base/clock.js';
import type { Emitter } from '../base/emitter.js';
import type { Metered } from './client.js';
import type { Enforcement } from './enforcement.js';
import type { BudgetName, FirewallEvent } from './events.js';
import { worth } from './message-budget.js';
import type { EventLimit, SubjectLimits } from './message-budget.js';
import { SubjectUsage, UsageTable } from './usage.js';

/** Messages that a refused payload is charged for beside itself, and the bytes of heap that are one more. */
const REFUSED_MESSAGES = 4;
const REFUSED_BYTES = 4_096;

/** Time after a stop of the process in which the messages that came during the stop are read, in milliseconds. */
const CREDITED_MS = 1_000;

/** Charges messages to the session, its subject and its event. */
export class Metering {
  readonly #subjects: UsageTable<SubjectUsage>;
  #sweptAt: number;
  #creditMs = 0;
  #onLate: ((ms: number) => void) | undefined;
  #creditUntil = 0;

  /** @param limits of subjects; read at each message, since a reload changes them */
  constructor(
    private readonly limits: SubjectLimits,
    private readonly clock: Pick<WsClock, 'monotonic'>,
    private readonly emitter: Emitter<FirewallEvent>,
    private readonly enforcement: Enforcement,
  ) {
    this.#subjects = new UsageTable((key) => new SubjectUsage(key, subjectBurst(limits), clock.monotonic()));
    this.#sweptAt = clock.monotonic();
  }

  /** How many subjects are held. */
  get size(): number {
    return this.#subjects.size;
  }

  /** Counts a session of the subject until {@link part}. */
  join(subject: string): SubjectUsage {
    const usage = this.#subjects.of(subject, this.clock.monotonic());
    this.#subjects.hold(usage);
    return usage;
  }

  /** A session of the subject has ended. */
  part(usage: SubjectUsage): void {
    this.#subjects.release(usage, this.clock.monotonic());
  }

  /** Remembers subjects for at least so long, in milliseconds: by coming back within it, a client gets no fresh budget. */
  remember(ms: number): void {
    this.#subjects.remember(ms);
  }

  /** Charges a session for a message. @returns 0, or the milliseconds after which it would be within the budgets */
  charge(session: Metered, size: number): number {
    const { client, subjectUsage } = session;
    const { limits } = this;
    const now = this.clock.monotonic();
    if (now - this.#sweptAt > LATE_MS) this.#onLate?.(now - this.#sweptAt);
    if (client.isExempt) return 0;
    const creditMs = this.#creditMsAt(now);
    let wait = session.budget.take(size, session.limits, now, creditMs);
    if (wait > 0) return this.#spent('messages', session) ? wait : 0;
    const perSubject = limits.messagesPerSecondPerSubject;
    if (subjectUsage !== undefined) {
      wait = subjectUsage.messages.take(1, perSubject, subjectBurst(limits) + worth(perSubject, creditMs), now);
    }
    return wait > 0 && this.#spent('subject', session) ? wait : 0;
  }

  /**
   * Charges a session, and its subject, for a payload that was refused: class-validator takes longer to say why not than a handler
   * to answer. A client that goes on is over its budgets, and that is a violation.
   *
   * @param heapBytes what the payload takes on the heap
   */
  chargeRefused(session: Metered, heapBytes: number): void {
    this.chargeAlso(session, REFUSED_MESSAGES + heapBytes / REFUSED_BYTES);
  }

  /** Charges a session, and its subject, for a message that has cost as much as several: those that follow pay for it. */
  chargeAlso({ client, budget, limits, subjectUsage }: Metered, messages: number): void {
    if (client.isExempt || this.enforcement.isDry('budgets')) return;
    budget.charge(messages, limits);
    subjectUsage?.messages.charge(messages, subjectBurst(this.limits));
  }

  /**
   * Charges the subject of a session, or its address while there is none, for one event.
   *
   * @returns 0, or the milliseconds after which it would be within the budget
   */
  chargeEvent(session: Metered, event: string, { limit, perMs, cost }: EventLimit): number {
    const { client, subjectUsage } = session;
    if (client.isExempt) return 0;
    const now = this.clock.monotonic();
    const bucket = (subjectUsage ?? client.usage).event(event, limit, now);
    const wait = bucket.take(cost, (limit * 1_000) / perMs, limit, now);
    return wait > 0 && this.#spent('event', session) ? wait : 0;
  }

  /** Counts a message over a budget. @returns true with the one that is a `messageBurst` too many */
  refuse({ budget, limits }: Metered): boolean {
    return budget.refuse(limits, this.clock.monotonic());
  }

  /** The process was stopped for so long. */
  postpone(ms: number): void {
    this.#creditMs = ms;
    this.#creditUntil = this.clock.monotonic() + CREDITED_MS;
  }

  /** @param listener called with each message that is read so many milliseconds after the last sweep, before it is handled */
  onLate(listener: (ms: number) => void): void {
    this.#onLate = listener;
  }

  /** Every sweep comes by, since the time of the last one shows a stop. */
  noteSweep(now: number): void {
    this.#sweptAt = now;
  }

  sweep(now: number): void {
    this.#subjects.sweep(now);
  }

  /** After a stop of the process: a client that keeps to its rate has gone on sending, and all of that comes at once. */
  #creditMsAt(now: number): number {
    const unsweptMs = now - this.#sweptAt; // messages are often read before the timers have their turn
    if (unsweptMs > LATE_MS) return unsweptMs;
    return now < this.#creditUntil ? this.#creditMs : 0;
  }

  /** A budget that is kept elsewhere is spent. @returns true where what goes over it is to be refused */
  spent(budget: BudgetName, session: Metered): boolean {
    return !session.client.isExempt && this.#spent(budget, session);
  }

  /** Emits the event of a spent budget. @returns true where the budget is enforced */
  #spent(budget: BudgetName, { client, subjectUsage }: Metered): boolean {
    const enforced = !this.enforcement.isDry('budgets');
    const subject = subjectUsage !== undefined && { subject: subjectUsage.key };
    this.emitter.emit({ kind: 'budget', budget, enforced, clientAddress: client.address, ...subject });
    return enforced;
  }
}

/** Two seconds' worth at once, as a session may send. */
function subjectBurst({ messagesPerSecondPerSubject }: SubjectLimits): number {
  return 2 * messagesPerSecondPerSubject;
}
