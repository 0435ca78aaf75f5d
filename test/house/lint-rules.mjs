// The import rules of the rooms, as test/oxlint.json has them. `node test/house/lint-rules.mjs` writes them there.
import { readFileSync, writeFileSync } from 'node:fs';

const at = (path) => new URL(path, import.meta.url);
const read = (path) => JSON.parse(readFileSync(at(path), 'utf8'));

/** Which room may import what. */
export const table = read('table.json');
/** Arrows and circles that are still there. */
const debts = read('debts.json');

const rooms = Object.keys(table);
const top = ['index.ts', 'main.ts', 'ws-gateway.module.ts', 'ws-gateway.options.ts'];

function rule(files, room, except = []) {
  const forbidden = [...rooms, ...top].filter((name) => name !== room && ![...table[room], ...except].includes(name));
  const parts = forbidden.map((name) =>
    name.endsWith('.ts') ? `${name.slice(0, -3).replaceAll('.', '\\.')}\\.js$` : `${name}/`,
  );
  const message = `${room} may import ${table[room].length === 0 ? 'nothing of ours' : table[room].join(', ')}`;
  const patterns = [{ regex: `^(\\.\\./)+(${parts.join('|')})`, message }];
  return { files, rules: { 'no-restricted-imports': ['error', { patterns }] } };
}

export const overrides = [
  ...rooms.map((room) => rule([`**/src/${room}/**`], room)),
  ...Object.entries(debts.arrows).map(([file, names]) => rule([`**/${file}`], file.split('/')[1], names)),
  ...(debts.circles.length === 0
    ? []
    : [{ files: debts.circles.map((file) => `**/${file}`), rules: { 'import/no-cycle': 'off' } }]),
];

if (process.argv[1] === at('lint-rules.mjs').pathname) {
  const config = read('../oxlint.json');
  const others = config.overrides.filter(({ files: [first] }) => !first.startsWith('**/src/'));
  writeFileSync(
    at('../oxlint.json'),
    `${JSON.stringify({ ...config, overrides: [...others, ...overrides] }, null, 2)}\n`,
  );
}
