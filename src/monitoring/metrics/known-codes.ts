import { ERRORS } from '../../protocol/errors.js';
import type { ErrorCode } from '../../protocol/errors.js';

/** Most codes of an application's own that are told apart: it may make them up from what a client sent. */
const MAX_OWN = 50;
const OTHER = 'OTHER';

/** Codes as labels, of which there is a bounded number. */
export class KnownCodes {
  readonly #own = new Set<string>();

  label(code: ErrorCode): string {
    if (Object.hasOwn(ERRORS, code) || this.#own.has(code)) return code;
    if (this.#own.size >= MAX_OWN) return OTHER;
    this.#own.add(code);
    return code;
  }
}
