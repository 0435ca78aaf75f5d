// npm run bench [-- --rounds 5 --seconds 3 --only echo|wires|growth|fanout --svg FILE]
// Server CPU per message, as a ratio to bare ws in the same interleaved run: fresh processes, A B C A B C …
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { fanOut } from './fanout.mjs';
import { cpuPerMessage, median, payload } from './measure.mjs';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    only: { type: 'string' },
    svg: { type: 'string' },
  },
});
const rounds = Number(values.rounds);
const milliseconds = Number(values.seconds) * 1000;

const PEERS = [
  'bare ws',
  'nestjs-ws-gateway',
  'nestjs-ws-gateway + a guard',
  'stock Nest, no checks',
  'Nest as teams write it',
  'Socket.IO with Nest',
];
const SCENARIOS = {
  '64 connections, 1 in flight': { connections: 64, depth: 1, data: payload(40) },
  '64 connections, 16 in flight': { connections: 64, depth: 16, data: payload(40) },
  '1,000 connections, 1 in flight': {
    connections: 1_000,
    depth: 1,
    data: payload(40),
  },
  '64 connections, 4 KiB': { connections: 64, depth: 1, data: payload(4_000) },
};

const measure = (name, scenario, size = 1) => cpuPerMessage({ name, scenario, size }, milliseconds);
const round = (value, digits = 2) => Number(value.toFixed(digits));

async function echo() {
  const table = {};
  for (const [title, scenario] of Object.entries(SCENARIOS)) {
    const cost = Object.fromEntries(PEERS.map((name) => [name, []]));
    for (let i = 0; i < rounds; i++) for (const name of PEERS) cost[name].push(await measure(name, scenario));
    for (const name of PEERS) {
      (table[title] ??= {})[name] = {
        ratio: round(median(cost[name].map((value, index) => cost['bare ws'][index] / value))),
        us: round(median(cost[name]), 1),
      };
    }
    process.stdout.write(`\n${title}: server CPU per message\n`);
    console.table(
      Object.fromEntries(
        PEERS.map((name) => [
          name,
          { 'µs (median)': table[title][name].us, 'ratio to bare ws': table[title][name].ratio },
        ]),
      ),
    );
  }
  return table;
}

/** Each beside what it is to be as fast as, and the least that it may be of it. */
const WIRES = {
  'with rooms and channels beside without': {
    name: 'nestjs-ws-gateway, rooms and channels',
    scenario: { connections: 64, depth: 1, data: payload(40) },
    base: 'nestjs-ws-gateway',
    least: 0.99,
  },
  'JSON-RPC beside the envelope': {
    name: 'nestjs-ws-gateway, JSON-RPC',
    scenario: { connections: 64, depth: 1, data: payload(40), framing: 'jsonrpc' },
    base: 'nestjs-ws-gateway',
    baseScenario: { connections: 64, depth: 1, data: payload(40) },
    least: 0.95,
  },
  '4 KiB of binary beside bare ws': {
    name: 'nestjs-ws-gateway, binary',
    scenario: { connections: 64, depth: 1, data: { text: payload(4_096).text }, framing: 'binary' },
    base: 'bare ws, binary',
    least: 0.95,
  },
};

async function wires() {
  const rows = {};
  for (const [title, { name, scenario, base, baseScenario = scenario, least }] of Object.entries(WIRES)) {
    const [bases, cost] = [[], []];
    for (let i = 0; i < rounds; i++) {
      bases.push(await measure(base, baseScenario));
      cost.push(await measure(name, scenario));
    }
    const ratios = cost.map((value, index) => bases[index] / value);
    rows[title] = {
      'µs, base': round(median(bases), 1),
      µs: round(median(cost), 1),
      ratio: round(median(ratios)),
      'least, most': `${round(Math.min(...ratios))} ${round(Math.max(...ratios))}`,
      goal: least,
    };
  }
  process.stdout.write('\nother wires: server CPU per message\n');
  console.table(rows);
}

async function growth() {
  const small = payload(40);
  const rows = async (title, steps, one) => {
    const cost = [];
    for (const step of steps) {
      const list = [];
      for (let i = 0; i < Math.min(rounds, 3); i++) list.push(await one(step));
      cost.push([step, median(list)]);
    }
    process.stdout.write(`\n${title}\n`);
    console.table(
      Object.fromEntries(
        cost.map(([step, us]) => [step, { 'µs per message': round(us, 1), 'to the first': round(us / cost[0][1]) }]),
      ),
    );
  };
  await rows('sessions', [1, 10, 100, 1_000, 10_000], (connections) =>
    measure('nestjs-ws-gateway', { connections, depth: 1, data: small }),
  );
  await rows('handlers', [1, 10, 50, 200], (count) =>
    measure('handlers', { connections: 64, depth: 1, data: small }, count),
  );
  await rows('properties of the DTO', [1, 5, 10, 25, 50], (count) => {
    const data = Object.fromEntries(Array.from({ length: count }, (_, index) => [`p${index}`, 'value']));
    return measure('properties', { connections: 64, depth: 1, data }, count);
  });
}

/** A bar for each server and scenario: how many messages it handles in the CPU time of one by bare ws. */
export function chart(sections) {
  const [left, rowHeight, width] = [210, 18, 420];
  const lines = [];
  let y = 44;
  for (const [title, rows] of Object.entries(sections)) {
    const most = Math.max(...Object.values(rows).map(({ ratio }) => ratio));
    lines.push(`<text x="10" y="${y}" font-weight="bold">${title}</text>`);
    for (const [name, { ratio }] of Object.entries(rows)) {
      y += rowHeight;
      const fill = name.startsWith('nestjs-ws-gateway') ? '#2563eb' : '#9ca3af';
      const length = (ratio / most) * width;
      lines.push(`<text x="${left - 8}" y="${y}" text-anchor="end">${name}</text>`);
      lines.push(
        `<rect x="${left}" y="${y - 11}" width="${Math.max(1, length).toFixed(1)}" height="13" fill="${fill}"/>`,
      );
      lines.push(`<text x="${(left + length + 6).toFixed(1)}" y="${y}">${ratio.toFixed(2)}</text>`);
    }
    y += 30;
  }
  const note = `ratio to bare ws, higher is better; median of ${rounds} interleaved rounds, Node ${process.version}, ${cpus().length} × ${cpus()[0].model.trim()}`;
  const style = 'font-family="system-ui, sans-serif" font-size="12" fill="#111827"';
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 ${y}" width="700" height="${y}" ${style}><rect width="700" height="${y}" fill="#ffffff"/><text x="10" y="20" fill="#6b7280">${note}</text>${lines.join('')}</svg>\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const sections = {};
  if (values.only === undefined || values.only === 'echo') Object.assign(sections, await echo());
  if (values.only === undefined || values.only === 'wires') await wires();
  if (values.only === undefined || values.only === 'growth') await growth();
  if (values.only === undefined || values.only === 'fanout') {
    Object.assign(sections, await fanOut({ rounds, seconds: milliseconds / 1_000, members: [1_000, 5_000] }));
  }
  if (values.svg) writeFileSync(values.svg, chart(sections));
}
