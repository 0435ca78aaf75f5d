// npm run bench:pair -- --base DIR [--rounds 5 --seconds 2]: this build beside the one of another checkout, A B A B …, in one run.
// Server CPU per message, and resident memory of an idle session, as ratios to bare ws.
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { bytesPerSession, cpuPerMessage, median, payload } from './measure.mjs';

const { values } = parseArgs({
  options: {
    base: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    only: { type: 'string', default: '' },
  },
});
if (values.base === undefined) throw new Error('--base is the folder of the checkout to compare with, built');
const there = resolve(values.base, 'test/bench/servers.mjs');
const milliseconds = Number(values.seconds) * 1_000;
const SCENARIOS = {
  '64×1': { connections: 64, depth: 1, data: payload(40) },
  '64×16': { connections: 64, depth: 16, data: payload(40) },
  '1,000×1': { connections: 1_000, depth: 1, data: payload(40) },
  '64×1, 4 KiB': { connections: 64, depth: 1, data: payload(4_000) },
  '64×1, a guard': { connections: 64, depth: 1, data: payload(40), server: 'nestjs-ws-gateway + a guard' },
  '64×1, a guard and an interceptor': {
    connections: 64,
    depth: 1,
    data: payload(40),
    server: 'nestjs-ws-gateway + a guard and an interceptor',
  },
  '2,000 idle': { connections: 2_000, depth: 1, data: payload(40), idle: true },
};

const measure = ({ idle, ...scenario }, name, script) =>
  idle ? bytesPerSession({ script, name, scenario }) : cpuPerMessage({ script, name, scenario }, milliseconds);

const table = {};
for (const [title, scenario] of Object.entries(SCENARIOS)) {
  if (!title.includes(values.only)) continue;
  const name = scenario.server ?? 'nestjs-ws-gateway';
  const [bare, before, now] = [[], [], []];
  for (let i = 0; i < Number(values.rounds); i++) {
    bare.push(await measure(scenario, 'bare ws'));
    before.push(await measure(scenario, name, there));
    now.push(await measure(scenario, name));
  }
  const ratios = now.map((value, i) => value / before[i]);
  table[title] = {
    'bare ws': median(bare).toFixed(1),
    base: median(before).toFixed(1),
    here: median(now).toFixed(1),
    'here / base': median(ratios).toFixed(3),
    'least, most': `${Math.min(...ratios).toFixed(3)} ${Math.max(...ratios).toFixed(3)}`,
  };
}
console.table(table);
