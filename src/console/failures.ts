import { Observable } from 'rxjs';
import type { WsClock } from '../base/clock.js';
import { visibleTexts } from '../base/visible.js';
import { scrub } from '../monitoring/log/scrub.js';
import { withPrivacy } from '../monitoring/privacy.js';
import type { Privacy } from '../monitoring/privacy.js';
import type { WsMonitor } from '../monitoring/ws-monitor.js';
import type { FailureEvent } from '../session/events.js';
import type { FailureRow, Failures } from './wire.js';

/** How many are kept, how many one batch has, and how far apart batches are, in milliseconds. */
const [KEPT, BATCH, BATCH_MS] = [200, 50, 250];

/** Longest text of a cause, in UTF-16 units. */
const MAX_CAUSE = 2_000;

/** Most addresses that are counted; the one that failed least makes room. */
const MAX_ADDRESSES = 256;

interface Kept {
  readonly at: number;
  readonly event: FailureEvent;
}

/** The newest failures, as the log would show them, and which addresses fail most. A row is made when it is shown. */
export class FailureFeed {
  readonly #kept: Kept[] = [];
  readonly #addresses = new Map<string, number>();
  #total = 0;
  #unsubscribe: (() => void) | undefined;

  constructor(
    private readonly monitor: WsMonitor,
    private readonly show: Privacy,
    private readonly clock: WsClock,
  ) {}

  start(): void {
    this.#unsubscribe = this.monitor.subscribe((event) => this.#keep(event));
  }

  stop(): void {
    this.#unsubscribe?.();
  }

  /** What is kept, then what comes, in batches. */
  live(): Observable<Failures> {
    return new Observable((subscriber) => {
      let told = this.#total;
      subscriber.next({ rows: this.#kept.map((kept) => this.#rowOf(kept)), dropped: 0 });
      return this.clock.every(BATCH_MS, () => {
        const fresh = this.#total - told;
        if (fresh === 0) return;
        told = this.#total;
        const rows = this.#kept.slice(-Math.min(fresh, BATCH)).map((kept) => this.#rowOf(kept));
        subscriber.next({ rows, dropped: fresh - rows.length });
      });
    });
  }

  /** The addresses that failed most, the first first. */
  top(count: number): { address: string; failures: number }[] {
    return [...this.#addresses]
      .toSorted(([, a], [, b]) => b - a)
      .slice(0, count)
      .map(([address, failures]) => ({ address: this.show('address', address), failures }));
  }

  #keep(event: FailureEvent): void {
    if (event.kind === 'connection' && event.level === 'debug') return; // a client that left is no failure to look at
    const { stack, cause = stack?.split('\n', 1)[0], ...rest } = event;
    this.#total++;
    const kept = { ...rest, ...(cause !== undefined && { cause: cause.slice(0, MAX_CAUSE) }) };
    if (this.#kept.push({ at: this.clock.now(), event: kept }) > KEPT) this.#kept.shift();
    if (event.clientAddress !== undefined && event.level !== 'info') this.#count(event.clientAddress);
  }

  #count(address: string): void {
    const count = this.#addresses.get(address);
    if (count !== undefined || this.#addresses.size < MAX_ADDRESSES) {
      this.#addresses.set(address, (count ?? 0) + 1);
      return;
    }
    let [least, failures] = ['', Infinity];
    for (const [each, number] of this.#addresses) if (number < failures) [least, failures] = [each, number];
    this.#addresses.delete(least);
    this.#addresses.set(address, failures + 1); // at most so many: it may have failed while it was not counted
  }

  #rowOf({ at, event }: Kept): FailureRow {
    const { message, reason, cause } = event;
    return visibleTexts({
      at,
      ...withPrivacy(event, this.show),
      message: scrub(message, this.show),
      ...(reason !== undefined && { reason: scrub(reason, this.show) }),
      ...(cause !== undefined && { cause: scrub(cause, this.show) }),
    });
  }
}
