import type { WsClock } from '../../base/clock.js';
import { contain, Faults } from '../../base/contain.js';
import type { FirewallRule } from '../../firewall/options.js';
import type { ErrorCode } from '../../protocol/errors.js';
import type { BudgetName } from '../../firewall/events.js';
import type { FailureEvent } from '../../session/events.js';
import { withPrivacy } from '../privacy.js';
import type { Privacy } from '../privacy.js';
import type { Sampler } from './sampler.js';
import { scrub } from './scrub.js';
import { Shares } from './shares.js';
import { visibleTexts } from '../../base/visible.js';

/** What a line of the log says; the names are the same in every sink. */
export type FailureRecord = FailureEvent & {
  /** Lines of the same code that were left out before this one. */
  readonly suppressed?: number;
};

/** What a line of the log says that is no failure: a ban, or what a rule would have refused that is in a dry run. */
export interface NoticeRecord {
  readonly level: 'info' | 'warn';
  readonly message: string;
  /** Of a dry run: the rule, and the code that the refusal would have had. */
  readonly rule?: FirewallRule;
  readonly code?: ErrorCode;
  /** Which of the budgets, where they are the rule. */
  readonly budget?: BudgetName;
  /** The declared event, of a budget of its own. */
  readonly event?: string;
  readonly sessionId?: string;
  readonly clientAddress?: string;
  readonly subject?: string;
  readonly actor?: string;
  readonly forMs?: number;
  readonly reason?: string;
  /** True for a ban that is not enforced. */
  readonly dryRun?: boolean;
  /** Such lines that were left out before this one. */
  readonly suppressed?: number;
}

/** Where the lines go: Nest's Logger in a host application, pino in the standalone service. */
export abstract class FailureSink {
  /** Takes a line. It is not waited for; what it throws, or rejects with, becomes a warning of the process. */
  abstract write(record: FailureRecord): void;

  /** Takes the lines that are no failures; a sink without it leaves them to Nest's Logger. */
  note?(record: NoticeRecord): void;

  /** What keeps it from writing now, in a few words for an operator; undefined when nothing does. */
  get problem(): string | undefined {
    return undefined;
  }
}

/** Stacks of one handler that are written at once, and how many more a second: they are what is long in a line. */
const STACKS = { burst: 10, perSecond: 0.2, maxKeys: 512 } as const;

/**
 * One line for each failure. It is sampled by code, and our own faults by code and event, so that neither a stranger nor a
 * handler with a bug can flood the disk: a line that comes after a gap says how many were left out. Personal data is shown as
 * the options say, and no text has a character in it that ends the line or steers a terminal.
 */
export class FailureLog {
  readonly #stacks = new Shares(STACKS);
  readonly #faults = new Faults('FailureSink.write() failed');

  constructor(
    private readonly sink: FailureSink,
    private readonly show: Privacy,
    private readonly sampler: Sampler,
    private readonly clock: Pick<WsClock, 'monotonic'>,
  ) {}

  readonly listener = (event: FailureEvent): void => {
    const kind = kindOf(event);
    const suppressed = this.sampler.take(kind, event.clientAddress);
    if (suppressed === undefined) return;
    const { stack, ...rest } = event;
    const hasStack = stack !== undefined && this.#stacks.take(kind, this.clock.monotonic());
    const record = { ...this.#shown(hasStack ? event : rest), ...(suppressed > 0 && { suppressed }) };
    contain(() => this.sink.write(record), this.#faults.tell);
  };

  #shown(event: FailureEvent): FailureEvent {
    const { message, reason, cause, stack } = event;
    return visibleTexts({
      ...withPrivacy(event, this.show),
      message: scrub(message, this.show),
      ...(reason !== undefined && { reason: scrub(reason, this.show) }),
      ...(cause !== undefined && { cause: scrub(cause, this.show) }),
      ...(stack !== undefined && { stack: scrub(stack, this.show) }),
    });
  }
}

/** The faults of one handler do not hide those of another; what a client does wrong is the same everywhere. */
function kindOf({ level, code, event = '' }: FailureEvent): string {
  return level === 'error' ? `${level} ${code} ${event}` : `${level} ${code}`;
}
