import { parseArgs } from 'node:util';
import { fuzz } from './fuzz.js';

// npm run fuzz -- --seed 7 --n 20000 [--first 0] [--seeds 1]
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    n: { type: 'string', default: '20000' },
    first: { type: 'string', default: '0' },
    seeds: { type: 'string', default: '1' },
  },
});
const [seed, n, first, seeds] = [values.seed, values.n, values.first, values.seeds].map(Number) as [number, number, number, number]; // prettier-ignore
const print = (line: string): void => void process.stdout.write(`${line}\n`);

for (let current = seed; current < seed + seeds; current++) {
  const begun = Date.now();
  const { finding, slowest } = await fuzz({ seed: current, n, first });
  const seconds = ((Date.now() - begun) / 1_000).toFixed(1);
  if (finding === undefined) {
    print(
      `seed ${current}: ${n} inputs from ${first} on, every one answered or closed, in ${seconds} s; slowest: index ${slowest.index}, ${slowest.ms.toFixed(0)} ms`,
    );
    continue;
  }
  const { index, reason, input } = finding;
  const { bytes, ...rest } = input;
  print(`seed ${current}, index ${index}: ${reason}`);
  print(JSON.stringify(rest));
  print(bytes.toString('hex'));
  print(`again: npm run fuzz -- --seed ${current} --first ${index} --n 1`);
  process.exit(1);
}
process.exit(0); // Vite leaves a timer behind
