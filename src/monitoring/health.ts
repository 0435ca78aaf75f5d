import { Injectable } from '@nestjs/common';
import { containResult, Faults } from '../base/contain.js';

/** Whether new clients are to be sent here, and what speaks against it. */
export interface Readiness {
  readonly ready: boolean;
  /** Why not. */
  readonly reasons: readonly string[];
  /** What is wrong without keeping any client out. */
  readonly warnings: readonly string[];
}

/** A check, with the log of its faults. */
interface Check {
  readonly ask: HealthCheck;
  readonly faults: Faults;
}

/** @returns what is wrong, in a few words for an operator; undefined when nothing is. At once: a promise is a finding itself */
export type HealthCheck = () => string | undefined;

/** What `@nestjs/terminus` takes for a result. */
export type WsHealthResult = Record<
  string,
  { status: 'up' | 'degraded' | 'down'; reasons?: readonly string[]; warnings?: readonly string[] }
>;

/**
 * Whether this process can serve. The application may add checks of its own: they are called at each question, so they
 * read what is known already and call no other system.
 */
export class WsHealth {
  readonly #blocking = new Set<Check>();
  readonly #warning = new Set<Check>();

  /**
   * While it finds something, the process is not ready.
   *
   * @returns a function that takes it away
   */
  add(check: HealthCheck): () => void {
    return addTo(this.#blocking, check);
  }

  /**
   * What it finds is told, and the process is ready all the same.
   *
   * @returns a function that takes it away
   */
  addWarning(check: HealthCheck): () => void {
    return addTo(this.#warning, check);
  }

  readiness(): Readiness {
    const reasons = findings(this.#blocking);
    return { ready: reasons.length === 0, reasons, warnings: findings(this.#warning) };
  }
}

/**
 * For `@nestjs/terminus`, which this package does not need to be installed.
 *
 * @example
 * this.health.check([() => this.gateway.isHealthy('websocket')])
 */
@Injectable()
export class WsHealthIndicator {
  constructor(private readonly health: WsHealth) {}

  /** @param key name of the result */
  isHealthy(key = 'ws-gateway'): WsHealthResult {
    const { ready, reasons, warnings } = this.health.readiness();
    const status = ready ? (warnings.length > 0 ? 'degraded' : 'up') : 'down';
    return { [key]: { status, ...(!ready && { reasons }), ...(warnings.length > 0 && { warnings }) } };
  }
}

function addTo(checks: Set<Check>, ask: HealthCheck): () => void {
  const check = { ask, faults: new Faults('A check of WsHealth failed') }; // so that the same function may be there twice
  checks.add(check);
  return () => checks.delete(check);
}

function findings(checks: Iterable<Check>): string[] {
  const found: string[] = [];
  for (const check of checks) {
    const finding = findingOf(check);
    if (finding !== undefined) found.push(finding);
  }
  return found;
}

/** What a check finds. What is wrong with the check itself is not for everybody who asks: that goes to the log. */
function findingOf({ ask, faults }: Check): string | undefined {
  let finding: unknown;
  try {
    finding = ask();
  } catch (error) {
    faults.tell(error);
    return 'a check threw';
  }
  if (typeof finding === 'string') return finding;
  if (finding === undefined || finding === null) return undefined;
  faults.tell(new TypeError('A check returns a string or undefined, and at once'));
  containResult(finding, () => undefined); // the fault has been told
  return 'a check gave no answer';
}
