import type { LookupReason } from './lookup.js';

const VERDICTS = {
  /** There are MX records. */
  mx: 'deliverable',
  /** There are none, but an A or AAAA record (RFC 5321 §5.1). */
  'address-record': 'deliverable',
  /** No address at all: see `normaliseEmail()`. */
  'invalid-address': 'undeliverable',
  /** On the list of `disposableDomains`; no server was asked. */
  'disposable-domain': 'undeliverable',
  /** NXDOMAIN. */
  'no-such-domain': 'undeliverable',
  /** The domain says that it takes no mail (RFC 7505). */
  'null-mx': 'undeliverable',
  /** Neither MX nor A nor AAAA records. */
  'no-mail-host': 'undeliverable',
  /** The servers could not say: SERVFAIL, REFUSED, a broken answer, no answer. */
  'dns-failure': 'unknown',
  /** No answer within `timeoutMs`. */
  timeout: 'unknown',
  /** `maxConcurrent` look-ups are running. */
  busy: 'unknown',
  /** The session has had its look-ups of this minute. */
  'session-budget': 'unknown',
  /** The process has had its look-ups of this second. */
  'process-budget': 'unknown',
} as const satisfies Record<LookupReason, string> & Record<string, 'deliverable' | 'undeliverable' | 'unknown'>;

export type EmailReason = keyof typeof VERDICTS;

/** Whether mail for an address has somewhere to go. That its mailbox exists is more than the DNS can say. */
export interface EmailVerdict {
  readonly verdict: (typeof VERDICTS)[EmailReason];
  readonly reason: EmailReason;
}

export function verdictOf(reason: EmailReason): EmailVerdict {
  return { verdict: VERDICTS[reason], reason };
}
