import { endOf, originOf } from '../authentication/principal.js';
import type { Principal } from '../authentication/principal.js';
import { EarlierTokens } from './earlier-tokens.js';
import type { SessionToken } from './earlier-tokens.js';

/** Who a session speaks for and until when. A session makes one when it authenticates. */
export class Identity {
  #earlier: EarlierTokens | undefined;
  #endsAt: number;
  #expiringAt: number;

  /**
   * @param timeOfDay in epoch milliseconds
   * @param leadMs how long before its token ends the session hears of it
   */
  constructor(
    public principal: Principal,
    timeOfDay: number,
    leadMs: number,
  ) {
    this.#endsAt = endOf(principal, timeOfDay);
    this.#expiringAt = principal.expiresAt - leadMs;
  }

  /** The same subject with a new token. */
  refresh(principal: Principal, timeOfDay: number, leadMs: number): void {
    const token = tokenOf(this.principal);
    if (token !== undefined) (this.#earlier ??= new EarlierTokens()).add(token, timeOfDay);
    this.principal = principal;
    this.#endsAt = endOf(principal, timeOfDay);
    this.#expiringAt = principal.expiresAt - leadMs;
  }

  /** The tokens that the session was opened or refreshed with, as far as they are still good. */
  get tokens(): SessionToken[] {
    const current = tokenOf(this.principal);
    return [...(this.#earlier?.tokens ?? []), ...(current === undefined ? [] : [current])];
  }

  /** Not all earlier tokens are among {@link tokens}: the others were issued before this time, in epoch seconds. */
  forgottenTokensBefore(timeOfDay: number): number | undefined {
    return this.#earlier?.forgottenBefore(timeOfDay);
  }

  isExpired(timeOfDay: number): boolean {
    return timeOfDay >= this.#endsAt;
  }

  /** True once per token, when it ends soon. */
  takeExpiring(timeOfDay: number): boolean {
    if (timeOfDay < this.#expiringAt) return false;
    this.#expiringAt = Infinity;
    return true;
  }
}

function tokenOf(principal: Principal): SessionToken | undefined {
  const { digest, toleranceMs } = originOf(principal);
  if (digest === undefined) return undefined;
  const { iat } = principal.claims;
  const issuedAt = typeof iat === 'number' ? iat : 0;
  return { digest, expiresAt: principal.expiresAt + toleranceMs, issuedAt };
}
