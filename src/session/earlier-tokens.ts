/** A token that a session has, or had and that is still good. */
export interface SessionToken {
  readonly digest: string;
  /** Epoch milliseconds. */
  readonly expiresAt: number;
  /** Its `iat`, in epoch seconds; 0 where it does not say. */
  readonly issuedAt: number;
}

/** Tokens of one session remembered one by one. */
const MAX_TOKENS = 32;

/**
 * The tokens that a session had before its refreshes and that are still good, so that revoking the session revokes them as well.
 * Of more than 32 only the time is remembered before which the others were issued. All tokens of the subject from before that
 * time are revoked with the session then: too many rather than too few.
 */
export class EarlierTokens {
  #tokens: readonly SessionToken[] = [];
  #forgotten = { issuedAt: -Infinity, expiresAt: -Infinity };

  /** @param timeOfDay in epoch milliseconds */
  add(token: SessionToken, timeOfDay: number): void {
    const good = this.#tokens.filter(({ expiresAt, digest }) => expiresAt > timeOfDay && digest !== token.digest);
    const tokens = [...good, token];
    for (const { issuedAt, expiresAt } of tokens.splice(0, tokens.length - MAX_TOKENS)) {
      this.#forgotten = {
        issuedAt: Math.max(this.#forgotten.issuedAt, issuedAt),
        expiresAt: Math.max(this.#forgotten.expiresAt, expiresAt),
      };
    }
    this.#tokens = tokens;
  }

  get tokens(): readonly SessionToken[] {
    return this.#tokens;
  }

  /** Every token that is not remembered by itself was issued before this time, in epoch seconds; undefined when there is none. */
  forgottenBefore(timeOfDay: number): number | undefined {
    const { issuedAt, expiresAt } = this.#forgotten;
    return expiresAt > timeOfDay ? Math.floor(issuedAt) + 1 : undefined;
  }
}
