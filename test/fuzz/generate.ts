import { behindCompressed, envelopes, frameSequence } from './frames.js';
import type { Finish, Input, Speaker } from './input.js';
import { Random } from './random.js';
import { upgrade } from './upgrades.js';

/** The input of a seed and an index: always the same. */
export function generate(seed: number, index: number): Input {
  const random = new Random(seed, index);
  const roll = random.below(100);
  if (roll < 12) {
    const { bytes, statuses, isComplete } = upgrade(random);
    // Without a half-close nobody could tell a server that waits for more from one that hangs.
    const isKnown = isComplete && statuses !== undefined;
    const finish: Finish = random.chance(0.1) ? 'reset' : isKnown && random.chance(0.5) ? 'stay' : 'half-close';
    return {
      kind: 'upgrade',
      speaker: 'user',
      bytes,
      cuts: cutsOf(random, bytes),
      finish,
      ...(isKnown && { statuses }),
    };
  }
  const speaker = random.pick<Speaker>(['anonymous', 'user', 'user', 'deflate']);
  const kind = roll < 40 ? 'frames' : 'envelope';
  if (speaker === 'deflate' && kind === 'frames' && random.chance(0.4)) {
    return { kind, speaker, ...behindCompressed(random, index), finish: 'stay' };
  }
  const bytes = kind === 'frames' ? frameSequence(random, index, speaker) : envelopes(random, index, speaker);
  const finish: Finish = random.chance(0.96) ? 'stay' : random.pick(['half-close', 'reset']);
  return { kind, speaker, bytes, cuts: cutsOf(random, bytes), finish };
}

/** Nine of ten leave in one piece; the others may be cut anywhere, between two bytes of a header, too. */
function cutsOf(random: Random, bytes: Buffer): number[] {
  if (random.chance(0.9)) return [];
  const count = random.between(1, 5);
  return Array.from({ length: count }, () => random.below(bytes.length + 1)).toSorted((a, b) => a - b);
}
