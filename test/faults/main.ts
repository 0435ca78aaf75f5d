import { parseArgs } from 'node:util';
import { draw, runFaults } from './faults.js';

const { values } = parseArgs({ options: { faults: { type: 'string' }, seed: { type: 'string' } } });
const seed = Number(values.seed ?? Date.now() % 1_000_000);
process.stdout.write(`seed ${seed}\n`);
const { violations, counts } = await runFaults(draw(Number(values.faults ?? 24), seed), seed, (line) =>
  process.stdout.write(`${line}\n`),
);
process.stdout.write(`${JSON.stringify(counts, null, 2)}\n${violations.length} violations\n${violations.join('\n')}\n`);
process.exit(violations.length === 0 ? 0 : 1);
