import type { Fact, FactTopic } from '../engine/facts.js';

/** A fact as it is kept here, and in Redis. Times are of Redis. */
export interface Kept {
  readonly topic: FactTopic;
  /** The digest of its key. */
  readonly key: string;
  readonly rank: number | undefined;
  /** When it was decided. */
  readonly decided: number;
  readonly ends: number;
  /** JSON of what it is about, and of what it says. */
  readonly data: string;
}

/** What {@link Kept.data} holds. */
export interface Told extends Pick<Fact, 'key' | 'data'> {
  readonly auto?: true;
}

/** All facts that this node knows: an empty Redis is told them again. */
export class Replica {
  readonly #facts = new Map<string, Kept>();
  /** How many a stranger has brought about. */
  automatic = 0;

  all(): Iterable<Kept> {
    return this.#facts.values();
  }

  get(topic: FactTopic, key: string): Kept | undefined {
    return this.#facts.get(nameOf(topic, key));
  }

  /**
   * Merges as Redis does: of two with a rank the greater stays, of two without the later, and a rank is kept as long as either was.
   *
   * @returns false where nothing has changed
   */
  merge(fact: Kept): boolean {
    const name = nameOf(fact.topic, fact.key);
    const known = this.#facts.get(name);
    if (known !== undefined && !isNewer(fact, known)) return false;
    const keeps = known === undefined || fact.rank === undefined || fact.rank > (known.rank ?? -Infinity);
    const ends = known === undefined || fact.rank === undefined ? fact.ends : Math.max(fact.ends, known.ends);
    const merged = keeps ? fact : known;
    this.automatic += Number(isAutomatic(merged)) - Number(known !== undefined && isAutomatic(known));
    this.#facts.set(name, ends === merged.ends ? merged : { ...merged, ends });
    return true;
  }

  /** Redis has decided when it was decided. */
  confirm({ topic, key, data }: Kept, decided: number): void {
    const known = this.#facts.get(nameOf(topic, key));
    if (known?.data === data) this.#facts.set(nameOf(topic, key), { ...known, decided });
  }

  /** Forgets what has ended. @param now of Redis */
  forget(now: number): void {
    for (const [name, fact] of this.#facts) {
      if (fact.ends > now) continue;
      this.#facts.delete(name);
      this.automatic -= Number(isAutomatic(fact));
    }
  }
}

/** Does the first say more than the second? */
export function isNewer(fact: Kept, known: Kept): boolean {
  if (fact.rank === undefined) return fact.decided > known.decided;
  return fact.rank > (known.rank ?? -Infinity) || fact.ends > known.ends;
}

export function isAutomatic({ data }: Kept): boolean {
  return data.endsWith(',"auto":true}');
}

function nameOf(topic: FactTopic, key: string): string {
  return `${topic} ${key}`;
}
