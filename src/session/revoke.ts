import type { Fact } from '../engine/facts.js';
import { isIssuedBefore } from '../authentication/revocations.js';
import { tokenIdOf } from '../authentication/principal.js';
import type { Principal } from '../authentication/principal.js';

/** What is revoked: one of these, or a subject's tokens of before a time. */
export interface RevocationFilter {
  /**
   * One session, and every token that it was opened or refreshed with. Where more than 32 of these are still good, every token of
   * the subject that is as old as the youngest of the others is refused with them.
   */
  readonly sessionId?: string;
  /** All that a subject has now; a token issued later is good again. */
  readonly subject?: string;
  /** One token, by its `jti`. */
  readonly tokenId?: string;
  /** The `iss` that gave the token id, where several issuers may give the same. Only with `tokenId`. */
  readonly issuer?: string;
  /** Every token whose `iat` is before this time, or that has none; epoch seconds, a day ahead at most. Alone, or with a subject. */
  readonly issuedBefore?: number;
}

/** What a revocation has done. */
export interface Revoked {
  /** Sessions that were ended, on all nodes that have answered. */
  readonly ended: number;
  /** Nodes that have applied it, this one included. */
  readonly nodes: number;
  /** Ids of the nodes that have not answered. */
  readonly missing: readonly string[];
}

/** A revocation as it is applied: what it is about, and since when. */
export interface RevocationEntry {
  readonly filter: RevocationFilter;
  /** When it was decided, in epoch milliseconds. */
  readonly at: number;
  /** Tokens of the subject, or of everyone, that were issued before this time are refused; epoch seconds. */
  readonly tokensBefore: number | undefined;
}

/** How far ahead `issuedBefore` may be, in seconds. */
const MAX_AHEAD_SECONDS = 86_400;

/**
 * Decides what a filter revokes.
 *
 * @param now in epoch milliseconds
 * @throws TypeError for a filter that names nothing or too much
 */
export function decide(filter: RevocationFilter, now: number): RevocationEntry {
  checkRevocation(filter, now);
  const { subject, issuedBefore } = filter;
  const tokensBefore = issuedBefore ?? (subject === undefined ? undefined : Math.floor(now / 1000) + 1);
  return { filter, at: now, tokensBefore };
}

/** True when the filter is about a session with this principal, of those that its `sessionId` or `subject` names. */
export function concerns(
  { tokenId, issuer, issuedBefore }: RevocationFilter,
  principal: Principal | undefined,
): boolean {
  if (tokenId !== undefined) {
    if (principal === undefined || tokenIdOf(principal) !== tokenId) return false;
    return issuer === undefined || principal.claims.iss === issuer;
  }
  if (issuedBefore === undefined) return true;
  return principal !== undefined && isIssuedBefore(principal, issuedBefore);
}

/** What other nodes are told: what was revoked, or what has followed from it where the sessions were. */
export type RevocationTold =
  | { readonly kind: 'entry'; readonly entry: RevocationEntry }
  | { readonly kind: 'token'; readonly digest: string; readonly until: number }
  | { readonly kind: 'tokenId'; readonly tokenId: string; readonly issuer?: string }
  | { readonly kind: 'issuedBefore'; readonly subject?: string; readonly seconds: number };

/** @param until when it may be forgotten, in epoch milliseconds */
export function factOf(told: RevocationTold, until: number): Fact {
  return { topic: 'revocation', ...mergedBy(told, until), until, data: told };
}

function mergedBy(told: RevocationTold, until: number): { key: string; rank: number } {
  switch (told.kind) {
    case 'entry': {
      const { sessionId, subject, tokenId, issuer } = told.entry.filter;
      return {
        key: JSON.stringify(['entry', sessionId, subject, tokenId, issuer]),
        rank: told.entry.tokensBefore ?? until,
      };
    }
    case 'token':
      return { key: `token ${told.digest}`, rank: until };
    case 'tokenId':
      return { key: JSON.stringify(['tokenId', told.tokenId, told.issuer]), rank: until };
    case 'issuedBefore':
      return { key: JSON.stringify(['issuedBefore', told.subject]), rank: told.seconds };
    default:
      return told satisfies never;
  }
}

/**
 * The entry as a node applies it that has not decided it: perhaps long after, when the subject has come back with a token that is good.
 */
export function heard(entry: RevocationEntry): RevocationEntry {
  const { filter, tokensBefore } = entry;
  if (filter.subject === undefined || tokensBefore === undefined) return entry;
  return { ...entry, filter: { ...filter, issuedBefore: tokensBefore } };
}

/** A typing mistake must not revoke everything, so an empty filter is refused. */
function checkRevocation(filter: RevocationFilter, now: number): void {
  const { sessionId, subject, tokenId, issuer, issuedBefore, ...unknown } = filter;
  const names = [sessionId, subject, tokenId].filter((name) => name !== undefined);
  const hasTime = issuedBefore !== undefined;
  const isOne = names.length === 1 ? !hasTime || subject !== undefined : names.length === 0 && hasTime;
  const isText = (name: unknown): boolean => typeof name === 'string' && name !== '';
  const isWhole = Object.keys(unknown).length === 0 && names.every(isText);
  const isIssuer = issuer === undefined || (tokenId !== undefined && isText(issuer));
  // Milliseconds instead of seconds would lock everybody out, for good.
  const isTime = !hasTime || (Number.isFinite(issuedBefore) && issuedBefore <= now / 1000 + MAX_AHEAD_SECONDS);
  if (!isOne || !isWhole || !isIssuer || !isTime) {
    throw new TypeError(
      'Revoke by sessionId, subject, tokenId (with its issuer or without) or issuedBefore (epoch seconds), or by subject and issuedBefore together',
    );
  }
}
