import { SystemClock } from '../base/clock.js';
import type { WsClock } from '../base/clock.js';
import { TokenBucket } from '../base/token-bucket.js';
import { Place } from '../base/options.js';
import { domainOf, normaliseEmail } from './address.js';
import { emailContext } from './context.js';
import { lookUp } from './lookup.js';
import type { Lookup } from './lookup.js';
import { EMAIL } from './options.js';
import type { EmailOptions, ResolvedEmailOptions } from './options.js';
import { verdictOf } from './verdict.js';
import type { EmailReason, EmailVerdict } from './verdict.js';

/**
 * Asks the DNS whether addresses can be delivered to. What a client can make it do is bounded: answers are kept, also
 * negative ones, one look-up serves all who ask for the domain meanwhile, and there is a budget for each session, one for
 * the process and a cap on look-ups at once. A caller over one of them gets `unknown`, never an error. Mail servers are not
 * connected to, and no address is logged or kept: only domains are.
 *
 * @example
 * const { verdict, reason } = await email.check('ada@example.org', session);
 */
export class WsEmail {
  readonly #options: ResolvedEmailOptions;
  readonly #disposable: ReadonlySet<string>;
  /** In the order in which they were last asked for. */
  readonly #known = new Map<string, { readonly verdict: EmailVerdict; readonly until: number }>();
  readonly #running = new Map<string, Promise<EmailVerdict>>();
  readonly #process: TokenBucket;
  /** Weak: a budget is gone with its session. */
  readonly #sessions = new WeakMap<object, TokenBucket>();

  /** @throws TypeError naming every bad option */
  constructor(
    options: EmailOptions = {},
    private readonly clock: Pick<WsClock, 'monotonic'> = new SystemClock(),
  ) {
    const place = new Place([], 'email');
    this.#options = EMAIL.read(options, place);
    if (place.problems.length > 0) throw new TypeError(place.problems.join('\n'));
    this.#disposable = new Set(this.#options.disposableDomains);
    this.#process = new TokenBucket(this.#options.lookupsPerSecond, clock.monotonic());
  }

  /** True when `unknown` is to be refused. */
  get refusesUnknown(): boolean {
    return this.#options.refuseUnknown;
  }

  /**
   * Whether mail for the address has somewhere to go. Resolves within `timeoutMs`; rejects for nothing that the DNS says.
   *
   * @param session whose budget a look-up is taken from, by identity: the `WsSession`, or any object that lives as long as
   * the caller; without it only the budget of the process counts. A look-up is at most three questions to the DNS
   */
  async check(address: string, session?: object): Promise<EmailVerdict> {
    const normalised = normaliseEmail(address);
    if (normalised === undefined) return verdictOf('invalid-address');
    const domain = domainOf(normalised);
    if (this.#isDisposable(domain)) return verdictOf('disposable-domain');
    return this.#recall(domain) ?? this.#running.get(domain) ?? this.#ask(domain, session);
  }

  /**
   * Runs a task within which `@IsDeliverableEmail()` asks this instance, for this session. The module does it for
   * messages; code that validates elsewhere does it itself, for HTTP as `app.use((req, res, next) => email.run(next))`.
   */
  run<T>(task: () => T, session?: object): T {
    return emailContext.run({ email: this, session }, task);
  }

  #ask(domain: string, session: object | undefined): EmailVerdict | Promise<EmailVerdict> {
    const refused = this.#refuse(session);
    if (refused !== undefined) return verdictOf(refused);
    const { servers, timeoutMs } = this.#options;
    const answer = lookUp(domain, servers, timeoutMs)
      .then((found) => this.#keep(domain, found))
      .finally(() => this.#running.delete(domain));
    this.#running.set(domain, answer);
    return answer;
  }

  /** Takes a look-up from the budgets, or says which of them does not allow it. A refusal costs nothing. */
  #refuse(session: object | undefined): EmailReason | undefined {
    const now = this.clock.monotonic();
    if (this.#running.size >= this.#options.maxConcurrent) return 'busy';
    const { lookupsPerSecond: perSecond, lookupsPerMinutePerSession: perMinute } = this.#options;
    if (this.#process.waitFor(1, perSecond, perSecond, now) > 0) return 'process-budget';
    if (session !== undefined && this.#budgetOf(session, now).take(1, perMinute / 60, perMinute, now) > 0) {
      return 'session-budget';
    }
    this.#process.take(1, perSecond, perSecond, now);
    return undefined;
  }

  #budgetOf(session: object, now: number): TokenBucket {
    let budget = this.#sessions.get(session);
    if (budget === undefined) {
      budget = new TokenBucket(this.#options.lookupsPerMinutePerSession, now);
      this.#sessions.set(session, budget);
    }
    return budget;
  }

  /** On the list, or below what is on it. */
  #isDisposable(domain: string): boolean {
    if (this.#disposable.size === 0) return false;
    const labels = domain.split('.');
    return labels.some((_, index) => this.#disposable.has(labels.slice(index).join('.')));
  }

  #recall(domain: string): EmailVerdict | undefined {
    const known = this.#known.get(domain);
    if (known === undefined) return undefined;
    this.#known.delete(domain);
    if (known.until <= this.clock.monotonic()) return undefined;
    this.#known.set(domain, known);
    return known.verdict;
  }

  #keep(domain: string, found: Lookup): EmailVerdict {
    const verdict = verdictOf(found.reason);
    const { maxCacheEntries } = this.#options;
    const ttlSec = this.#ttlOf(found);
    if (maxCacheEntries === 0 || ttlSec === 0) return verdict;
    if (this.#known.size >= maxCacheEntries) this.#known.delete(this.#known.keys().next().value as string); // because it is not empty
    this.#known.set(domain, { verdict, until: this.clock.monotonic() + ttlSec * 1_000 });
    return verdict;
  }

  #ttlOf({ reason, ttlSec }: Lookup): number {
    const { failureTtlSec, maxTtlSec, minTtlSec, mxTtlSec, negativeTtlSec } = this.#options;
    switch (reason) {
      case 'mx':
      case 'null-mx':
        return mxTtlSec;
      case 'address-record':
        return Math.min(maxTtlSec, Math.max(minTtlSec, ttlSec ?? minTtlSec));
      case 'no-such-domain':
      case 'no-mail-host':
        return negativeTtlSec;
      case 'dns-failure':
      case 'timeout':
        return failureTtlSec;
      default:
        return reason satisfies never;
    }
  }
}
