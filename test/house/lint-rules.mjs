// The import rules of the rooms, as test/oxlint.json has them. `node test/house/lint-rules.mjs` writes them there.
import { readFileSync, writeFileSync } from 'node:fs';

const at = (path) => new URL(path, import.meta.url);
const read = (path) => JSON.parse(readFileSync(at(path), 'utf8'));

/** What each room, and each file beside them, may import. */
export const table = read('table.json');

const names = Object.keys(table);

/** @param name a room, or a file beside the rooms */
function rule(files, name) {
  const allowed = table[name];
  const message = `${name} may import ${allowed.length === 0 ? 'nothing of ours' : allowed.join(', ')}`;
  const [here, pattern] = name.endsWith('.ts') ? ['./', '\\./'] : ['../', '(\\.\\./)+'];
  const forbidden = names.filter((other) => other !== name && !allowed.includes(other));
  const isWhole = (other) => other.endsWith('.ts') || !allowed.includes('*/options.ts');
  const parts = forbidden
    .filter(isWhole)
    .map((other) => (other.endsWith('.ts') ? `${other.slice(0, -3).replaceAll('.', '\\.')}\\.js$` : `${other}/`));
  const patterns = [{ regex: `^${pattern}(${parts.join('|')})`, message }];
  // The linter's expressions know no "but not", its globs do.
  const others = forbidden.filter((other) => !isWhole(other));
  const single = allowed
    .filter((path) => /^[^*].*\/.*\.ts$/.test(path))
    .map((path) => `!${here}${path.replace(/ts$/, 'js')}`);
  if (others.length > 0) {
    const group = others.flatMap((other) => [`${here}${other}/**`, `!${here}${other}/options.js`]);
    patterns.push({ group: [...group, ...single], message });
  }
  return { files, rules: { 'no-restricted-imports': ['error', { patterns }] } };
}

export const overrides = names.map((name) => rule([`**/src/${name.endsWith('.ts') ? name : `${name}/**`}`], name));

if (process.argv[1] === at('lint-rules.mjs').pathname) {
  const config = read('../oxlint.json');
  const others = config.overrides.filter(({ files: [first] }) => !first.startsWith('**/src/'));
  writeFileSync(
    at('../oxlint.json'),
    `${JSON.stringify({ ...config, overrides: [...others, ...overrides] }, null, 2)}\n`,
  );
}
