// npm run bench:pair -- --base DIR [--rounds 5 --seconds 2]: this build beside the one of another checkout, A B A B …, in one run.
// Server CPU per message, and resident memory of an idle session, as ratios to bare ws.
import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { load } from './load.mjs';

const { values } = parseArgs({
  options: {
    base: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    only: { type: 'string', default: '' },
  },
});
if (values.base === undefined) throw new Error('--base is the folder of the checkout to compare with, built');
const here = new URL('servers.mjs', import.meta.url).pathname;
const there = resolve(values.base, 'test/bench/servers.mjs');
const milliseconds = Number(values.seconds) * 1_000;
const text = 'the quick brown fox jumps over the lazy dog '.repeat(100);
const data = (length) => ({ email: 'user@example.com', text: text.slice(0, length) });
const SCENARIOS = {
  '64×1': { connections: 64, depth: 1, data: data(40) },
  '64×16': { connections: 64, depth: 16, data: data(40) },
  '1,000×1': { connections: 1_000, depth: 1, data: data(40) },
  '64×1, 4 KiB': { connections: 64, depth: 1, data: data(4_000) },
  '64×1, a guard': { connections: 64, depth: 1, data: data(40), server: 'nestjs-ws-gateway + a guard' },
  '64×1, a guard and an interceptor': {
    connections: 64,
    depth: 1,
    data: data(40),
    server: 'nestjs-ws-gateway + a guard and an interceptor',
  },
  '2,000 idle': { connections: 2_000, depth: 1, data: data(40), idle: true },
};

/** Bytes of memory that a process has (Linux). */
function resident(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1_024;
}

async function measure(script, name, scenario) {
  const server = fork(script, [name, '1'], {
    env: { ...process.env, NODE_ENV: 'production' },
  });
  const next = () =>
    new Promise((done, failed) => server.once('message', done).once('exit', () => failed(new Error(`${name} ended`))));
  const ask = () => (server.send('cpu'), next());
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  try {
    const { port, token } = await next();
    const empty = resident(server.pid);
    const clients = await load({ ...scenario, port, token, framing: 'json' });
    if (scenario.idle) {
      clients.pause();
      await sleep(1_000);
      const used = (resident(server.pid) - empty) / scenario.connections;
      clients.stop();
      return used;
    }
    await sleep(milliseconds / 2);
    const [before, from] = [clients.count(), (await ask()).cpu];
    await sleep(milliseconds);
    const [after, to] = [clients.count(), (await ask()).cpu];
    clients.stop();
    return (to.user + to.system - from.user - from.system) / (after - before);
  } finally {
    server.removeAllListeners('exit');
    server.kill();
  }
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const table = {};
for (const [title, scenario] of Object.entries(SCENARIOS)) {
  if (!title.includes(values.only)) continue;
  const name = scenario.server ?? 'nestjs-ws-gateway';
  const [bare, before, now] = [[], [], []];
  for (let i = 0; i < Number(values.rounds); i++) {
    bare.push(await measure(here, 'bare ws', scenario));
    before.push(await measure(there, name, scenario));
    now.push(await measure(here, name, scenario));
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
