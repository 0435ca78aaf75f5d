/** What all inputs are drawn from: the same seed and index give the same numbers, on every machine. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number, index: number) {
    this.#a = seed | 0;
    this.#b = index | 0;
    this.#c = Math.imul(seed ^ 0x9e37_79b9, index + 1) | 0;
    for (let i = 0; i < 12; i++) this.next(); // neighbouring seeds are alike until they are stirred
  }

  /** An integer from 0 to 2^32 − 1 (the generator is sfc32). */
  next(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** An integer from 0 to `end` − 1. */
  below(end: number): number {
    return Math.floor((this.next() / 0x1_0000_0000) * end);
  }

  /** An integer from `first` to `last`. */
  between(first: number, last: number): number {
    return first + this.below(last - first + 1);
  }

  chance(probability: number): boolean {
    return this.next() < probability * 0x1_0000_0000;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T; // because below() stays below the length, and no list here is empty
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }

  shuffled<T>(list: readonly T[]): T[] {
    const left = [...list];
    return list.map(() => left.splice(this.below(left.length), 1)[0] as T); // because one is taken for each
  }
}

/** One to four small damages: what a generator that knows the grammar does not think of. */
export function damaged(random: Random, bytes: Buffer): Buffer {
  let result = bytes;
  for (let left = random.between(1, 4); left > 0; left--) result = damagedOnce(random, result);
  return result;
}

const ODD_BYTES = [
  0x00, 0x0a, 0x0d, 0x20, 0x22, 0x2c, 0x3a, 0x5b, 0x5c, 0x7b, 0x7d, 0x7f, 0x80, 0x8a, 0xc0, 0xed, 0xff,
];

function damagedOnce(random: Random, bytes: Buffer): Buffer {
  const at = random.below(bytes.length + 1);
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  const length = random.between(1, 8);
  switch (random.below(6)) {
    case 0: // a bit
      if (after.length === 0) return bytes;
      return Buffer.concat([before, Buffer.from([(after[0] as number) ^ (1 << random.below(8))]), after.subarray(1)]);
    case 1:
      return Buffer.concat([before, Buffer.from([random.pick(ODD_BYTES)]), after.subarray(1)]);
    case 2:
      return Buffer.concat([before, random.bytes(length), after]);
    case 3:
      return Buffer.concat([before, after.subarray(length)]);
    case 4:
      return Buffer.concat([before, after.subarray(0, length), after]);
    default:
      return random.chance(0.3) ? before : Buffer.concat([before, Buffer.from([random.pick(ODD_BYTES)]), after]);
  }
}
