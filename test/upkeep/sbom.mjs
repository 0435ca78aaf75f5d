// Writes what comes with the package as CycloneDX: node test/upkeep/sbom.mjs FILE. Part of `npm pack` and `npm publish`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { npm, withProductionTree } from './production.mjs';

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error('sbom.mjs takes the file to write');

// Not `--omit dev` in the package's own folder: npm leaves out then whatever a development package needs as well.
const bom = withProductionTree(new URL('../..', import.meta.url).pathname, (tree) => {
  const { status, stdout, stderr } = npm(['sbom', '--package-lock-only', '--sbom-format', 'cyclonedx'], tree);
  if (status !== 0) throw new Error(`npm sbom:\n${stderr}`);
  return JSON.parse(stdout);
});
mkdirSync(dirname(file), { recursive: true });
writeFileSync(file, `${JSON.stringify(bom, null, 2)}\n`);
process.stderr.write(`sbom: ${bom.components.length} packages in ${file}\n`);
