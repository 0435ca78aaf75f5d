/** How the peer speaks to the target: without a token, with one, or with one and permessage-deflate (RFC 7692). */
export type Speaker = 'anonymous' | 'user' | 'deflate';

/** What becomes of the connection when the bytes are out. */
export type Finish = 'stay' | 'half-close' | 'reset';

/** One input. Everything in it follows from seed and index. */
export interface Input {
  readonly kind: 'upgrade' | 'frames' | 'envelope';
  readonly speaker: Speaker;
  readonly bytes: Buffer;
  /** Where the bytes are cut into writes. */
  readonly cuts: readonly number[];
  readonly finish: Finish;
  /** Statuses an upgrade may be answered with; undefined where only the form of the answer is known. */
  readonly statuses?: readonly number[];
}

/** In every string a client sends that a server could be tempted to quote. Ids come back by contract and do not have it. */
export const MARKER = 'zQx7Kw';

/** Limits of the target that decide what an input gets. */
export const MAX_MESSAGE_BYTES = 65_536;
export const MAX_FRAGMENTS = 1_024;
export const MAX_JSON_DEPTH = 32;
