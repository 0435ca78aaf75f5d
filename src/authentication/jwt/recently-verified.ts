import type { Principal } from '../principal.js';

/** Verified tokens remembered at most. */
const MAX_REMEMBERED = 5_000;

/** Principals of the tokens that were verified last, by the digest of the token. */
export class RecentlyVerified {
  readonly #principals = new Map<string, Principal>();
  // In a ring, the oldest at #next: to find a Map's first key, V8 steps over all that were deleted since its last rehash.
  #digests: string[] = [];
  #next = 0;

  get size(): number {
    return this.#principals.size;
  }

  get(digest: string): Principal | undefined {
    return this.#principals.get(digest);
  }

  set(digest: string, principal: Principal): void {
    const isNew = !this.#principals.has(digest);
    this.#principals.set(digest, principal);
    if (!isNew) return;
    const oldest = this.#digests[this.#next];
    if (oldest !== undefined) this.#principals.delete(oldest);
    this.#digests[this.#next] = digest;
    this.#next = (this.#next + 1) % MAX_REMEMBERED;
  }

  clear(): void {
    this.#principals.clear();
    this.#digests = [];
    this.#next = 0;
  }
}
