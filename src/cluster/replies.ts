import type { FactTopic } from '../engine/facts.js';
import type { Kept } from './replica.js';

/** What Redis looks like from the door. */
export interface Seen {
  /** Number of the last entry of the log. */
  readonly top: number;
  readonly life: string;
  /** True when all nodes that have lived before have told it what they know. */
  readonly isOpen: boolean;
  /** Its time, in epoch milliseconds. */
  readonly at: number;
}

/** An entry of the log. */
export type Entry = { readonly number: number; readonly origin: string } & (
  | { readonly kind: 'fact'; readonly fact: Kept; readonly question: string }
  | { readonly kind: 'notice'; readonly name: string; readonly value: string }
  | { readonly kind: 'answer'; readonly question: string; readonly value: number }
);

/** What another version, or a stranger with access to Redis, may have written is looked at before it is believed. */
export function readSeen(reply: unknown): Seen {
  const [top, life, open, at] = reply as unknown[]; // because the scripts return a list
  return { top: Number(top), life: String(life), isOpen: Number(open) === 1, at: Number(at) };
}

/** Of one stream. */
export function readLog(reply: unknown): Entry[] {
  if (!Array.isArray(reply)) return []; // nothing came in time
  const [[, entries] = []] = reply as [unknown, unknown][]; // because XREAD returns a pair for each stream
  if (!Array.isArray(entries)) return [];
  return (entries as [string, string[]][]).map(readEntry); // because a stream has pairs of an id and fields
}

function readEntry([id, fields]: [string, string[]]): Entry {
  const of = (name: string): string => {
    for (let i = 0; i + 1 < fields.length; i += 2) if (fields[i] === name) return fields[i + 1] ?? '';
    return '';
  };
  const number = parseInt(id, 10);
  const origin = of('o');
  const question = of('q');
  if (question.startsWith('!')) return { number, origin, kind: 'notice', name: question.slice(1), value: of('v') };
  if (of('v') !== '') return { number, origin, kind: 'answer', question, value: Number(of('v')) };
  const fact: Kept = {
    topic: of('t') as FactTopic, // because an unknown one has no listener
    key: of('k'),
    rank: of('r') === '' ? undefined : Number(of('r')),
    decided: Number(of('a')),
    ends: Number(of('u')),
    data: of('d'),
  };
  return { number, origin, kind: 'fact', fact, question };
}

/** The cursor and the pairs of one step of HSCAN. */
export function readScan(reply: unknown): [cursor: string, pairs: [string, string][]] {
  const [cursor, flat] = reply as [string, string[]]; // because HSCAN returns that
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) pairs.push([flat[i] as string, flat[i + 1] as string]); // because i is in range
  return [cursor, pairs];
}

/** @returns undefined for what no node has written */
export function readFact(topic: FactTopic, key: string, text: string): Kept | undefined {
  const found = /^([^\n]*)\n(\d+)\n(\d+)\n(.*)$/s.exec(text);
  if (found === null) return undefined;
  const [, rank = '', decided, ends, data = ''] = found;
  return {
    topic,
    key,
    rank: rank === '' ? undefined : Number(rank),
    decided: Number(decided),
    ends: Number(ends),
    data,
  };
}
