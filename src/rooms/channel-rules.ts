import { isChannelName } from './names.js';
import type { Window } from '../engine/engine.js';

/** What a client may be allowed in a channel. */
export type ChannelAct = 'subscribe' | 'publish' | 'presence';

/** Each that is there has to hold, except `claims`, which is an alternative to roles and scopes. */
export interface ChannelAccess {
  readonly roles: readonly string[] | undefined;
  readonly scopes: readonly string[] | undefined;
  readonly claims: boolean;
  readonly anonymous: boolean;
}

/** A rule, checked. Where `{subject}` stands there may be several segments: `encodeURIComponent` leaves dots as they are. */
export interface ChannelRule {
  readonly pattern: string;
  readonly segments: readonly string[];
  /** The segments with `*` for `{subject}`. */
  readonly shape: readonly string[];
  readonly subscribe: ChannelAccess | undefined;
  readonly publish: ChannelAccess | undefined;
  readonly presence: false | 'query' | 'events';
  readonly history: Window | undefined;
  readonly publishesPerSecond: number | undefined;
  readonly maxMembers: number | undefined;
}

/** Whom a rule is asked about. */
export interface Rightholder {
  readonly subject: string;
  readonly roles: readonly string[];
  readonly scopes: readonly string[];
  /** The channels that the token names, as patterns. */
  channelsFor(act: 'subscribe' | 'publish'): readonly unknown[];
}

export const MAX_PATTERN_LENGTH = 128;
const MAX_CLAIMS = 100;
const SUBJECT = '{subject}';
const SEGMENT = /^([A-Za-z0-9_:=@%~-]+|\*)$/;

/** The segments of a pattern; undefined for one that is none. */
export function segmentsOf(pattern: string, maySubject = false): readonly string[] | undefined {
  const segments = pattern.split('.');
  const isGood = (segment: string, index: number): boolean =>
    SEGMENT.test(segment) ||
    (segment === '**' && index === segments.length - 1) ||
    (segment === SUBJECT && maySubject && segments.indexOf(SUBJECT) === index);
  return pattern.length <= MAX_PATTERN_LENGTH && segments.every(isGood) ? segments : undefined;
}

/** A pattern with `*` for `{subject}`. */
export function shapeOf(segments: readonly string[]): readonly string[] {
  return segments.map((segment) => (segment === SUBJECT ? '*' : segment));
}

/** True when every name that the other pattern matches is matched by this one. */
export function covers(pattern: readonly string[], other: readonly string[]): boolean {
  for (const [index, wanted] of pattern.entries()) {
    const segment = other[index];
    if (segment === undefined) return false;
    if (wanted === '**') return true;
    if (segment === '**') return false;
    if (wanted !== '*' && wanted !== segment) return false;
  }
  return pattern.length === other.length;
}

function matches(pattern: readonly string[], name: readonly string[]): boolean {
  for (const [index, wanted] of pattern.entries()) {
    if (name.length <= index) return false;
    if (wanted === '**') return true;
    if (wanted !== '*' && wanted !== name[index]) return false;
  }
  return pattern.length === name.length;
}

/** What `{subject}` stands for, in segments; undefined for a subject that no channel can name. */
function segmentsOfSubject(subject: string): readonly string[] | undefined {
  try {
    const text = encodeURIComponent(subject);
    return isChannelName(text) ? text.split('.') : undefined;
  } catch {
    return undefined; // a lone surrogate
  }
}

function matchesFor(rule: ChannelRule, name: readonly string[], subject: string | undefined): boolean {
  const at = rule.segments.indexOf(SUBJECT);
  if (at === -1) return matches(rule.segments, name);
  const own = subject === undefined ? undefined : segmentsOfSubject(subject);
  if (own === undefined) return false;
  return matches([...rule.segments.slice(0, at), ...own, ...rule.segments.slice(at + 1)], name);
}

/** True where the pattern matches for one subject or another. */
function matchesForSome(rule: ChannelRule, name: readonly string[]): boolean {
  const at = rule.segments.indexOf(SUBJECT);
  if (at === -1 || name.length <= rule.shape.length) return matches(rule.shape, name);
  const more = name.length - rule.shape.length;
  const wide = rule.shape.at(-1) === '**' ? 0 : more;
  return matches([...rule.shape.slice(0, at), ...Array<string>(wide).fill('*'), ...rule.shape.slice(at)], name);
}

/** The rule that gives a channel its history and presence: the first whose pattern matches, for every session. */
export function ruleOf(rules: readonly ChannelRule[], channel: string): ChannelRule | undefined {
  if (!isChannelName(channel)) return undefined;
  const name = channel.split('.');
  return rules.find((rule) => matchesForSome(rule, name));
}

/** The first rule that matches for who asks decides; without one the answer is no. @param who undefined: an anonymous session */
export function mayDo(
  rules: readonly ChannelRule[],
  channel: string,
  act: 'subscribe' | 'publish',
  who: Rightholder | undefined,
): boolean {
  const name = channel.split('.');
  const rule = rules.find((one) => matchesFor(one, name, who?.subject));
  const access = rule?.[act];
  if (access === undefined) return false;
  return holds(access, who) || (access.claims && who !== undefined && isClaimed(who, name, act));
}

function holds({ roles, scopes, claims, anonymous }: ChannelAccess, who: Rightholder | undefined): boolean {
  if (who === undefined) return anonymous && roles === undefined && scopes === undefined;
  if (roles === undefined && scopes === undefined) return anonymous || !claims;
  const hasRole = roles === undefined || roles.some((role) => who.roles.includes(role));
  return hasRole && (scopes === undefined || scopes.every((scope) => who.scopes.includes(scope)));
}

function isClaimed(who: Rightholder, name: readonly string[], act: 'subscribe' | 'publish'): boolean {
  return isNamedBy(who.channelsFor(act), name);
}

/** True when one of the patterns of a claim names the channel. */
export function mayClaim(patterns: readonly unknown[], channel: string): boolean {
  return isNamedBy(patterns, channel.split('.'));
}

function isNamedBy(patterns: readonly unknown[], name: readonly string[]): boolean {
  return patterns.slice(0, MAX_CLAIMS).some((pattern) => {
    const segments = typeof pattern === 'string' ? segmentsOf(pattern) : undefined;
    return segments !== undefined && matches(segments, name);
  });
}
