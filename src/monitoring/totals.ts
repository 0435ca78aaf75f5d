import { Injectable } from '@nestjs/common';
import type { FailureEvent } from '../session/events.js';
import { KnownCodes } from './metrics/known-codes.js';
import { FAILURE_KINDS, WsMonitor } from './ws-monitor.js';

/** Event of messages at no declared event. */
export const UNKNOWN_EVENT = 'unknown';

/** Requests of one event that failed by one code. */
export interface ExceptionTotal {
  count: number;
  /** Of the last one that had one. */
  incidentId: string | undefined;
}

/**
 * What was refused, failed and ended, counted by code: plain numbers that metrics and the console read. They count while at least one
 * of them is there, and nothing of it is on the path of a message that goes well.
 */
@Injectable()
export class Totals {
  /** Upgrade requests by outcome: `accepted`, or a code. */
  readonly upgrades = new Map<string, number>();
  /** Plain HTTP that was refused or failed, by code. */
  readonly http = new Map<string, number>();
  /** Sessions that ended, by code. */
  readonly closes = new Map<string, number>();
  /** Requests that failed, by event, then by code. */
  readonly exceptions = new Map<string, Map<string, ExceptionTotal>>();
  /** Budgets that were used up, enforced and in a dry run. */
  readonly budgets = new Map<string, { enforced: number; dry: number }>();
  /** Upgrades that a dry run let pass, by rule. */
  readonly dryRuns = new Map<string, number>();
  readonly #codes = new KnownCodes();
  #users = 0;
  #unsubscribe: readonly (() => void)[] = [];

  constructor(private readonly monitor: WsMonitor) {}

  /**
   * Counts from now on.
   *
   * @returns a function that ends this use
   */
  use(): () => void {
    if (this.#users++ === 0) this.#subscribe();
    let isUsed = true;
    return () => {
      if (!isUsed) return;
      isUsed = false;
      if (--this.#users > 0) return;
      for (const unsubscribe of this.#unsubscribe) unsubscribe();
    };
  }

  #subscribe(): void {
    const { monitor } = this;
    this.#unsubscribe = [
      monitor.on(FAILURE_KINDS, (event) => this.#failed(event)),
      monitor.on('admitted', () => add(this.upgrades, 'accepted')),
      monitor.on('budget', ({ budget, enforced }) => {
        let total = this.budgets.get(budget);
        if (total === undefined) this.budgets.set(budget, (total = { enforced: 0, dry: 0 }));
        total[enforced ? 'enforced' : 'dry']++;
      }),
      monitor.on('admission', ({ rule }) => add(this.dryRuns, rule)),
    ];
  }

  #failed({ kind, code, event = UNKNOWN_EVENT, sessionId, incidentId }: FailureEvent): void {
    const label = this.#codes.label(code);
    if (kind === 'request') this.#excepted(event, label, incidentId);
    else if (kind === 'http') add(this.http, label);
    else if (kind === 'connection' && sessionId !== undefined) add(this.closes, label);
    else add(this.upgrades, label); // also of peers that were refused right after it
  }

  #excepted(event: string, code: string, incidentId: string | undefined): void {
    let codes = this.exceptions.get(event); // declared events only, so they are bounded
    if (codes === undefined) this.exceptions.set(event, (codes = new Map()));
    const total = codes.get(code);
    if (total === undefined) codes.set(code, { count: 1, incidentId });
    else {
      total.count++;
      total.incidentId = incidentId ?? total.incidentId;
    }
  }
}

function add(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
