// Are the licences of all that is installed among those that are allowed? node test/upkeep/licences.mjs [FOLDER]. Asks no registry.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const SHIPPED = [
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC0-1.0',
  'ISC',
  'MIT',
  'MIT-0',
];
/** What only the development uses is not handed on. */
const DEVELOPMENT = [...SHIPPED, 'CC-BY-4.0', 'MPL-2.0', 'Python-2.0', 'Unlicense'];

const root = process.argv[2] ?? new URL('../..', import.meta.url).pathname;
const read = (path) => JSON.parse(readFileSync(join(root, path), 'utf8'));

const refused = [];
const packages = Object.entries(read('package-lock.json').packages).filter(([path, { link }]) => path !== '' && !link);
for (const [path, { version, license, dev }] of packages) {
  const stated = license ?? licenceOf(path);
  const isAllowed = (name) => (dev ? DEVELOPMENT : SHIPPED).includes(name);
  // `A OR B`; whatever else an expression may be is for a person to look at.
  const choices = (stated ?? '').replace(/^\((.*)\)$/, '$1').split(' OR ');
  if (choices.some(isAllowed)) continue;
  refused.push(
    `${path.replace(/.*node_modules\//, '')}@${version}: ${stated ?? 'no licence'}${dev ? ' (development)' : ''}`,
  );
}
if (refused.length > 0) {
  console.error(
    `licences: ${refused.length} of ${packages.length} packages are not allowed\n  ${refused.join('\n  ')}`,
  );
  process.exit(1);
}
console.log(`licences: ${packages.length} packages, all allowed`);

/** The lock has what manifests of today say; older ones have a list. */
function licenceOf(path) {
  if (!existsSync(join(root, path, 'package.json'))) return undefined;
  const { license, licenses } = read(join(path, 'package.json'));
  const types = [licenses ?? license ?? []].flat().map((item) => (typeof item === 'string' ? item : item.type));
  return types.length > 0 ? types.join(' OR ') : undefined;
}
