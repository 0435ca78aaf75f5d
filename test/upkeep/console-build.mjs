// After the build: the console's page, with its files gzipped beside them.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, gzipSync } from 'node:zlib';
import { build } from 'vite';

const root = new URL('../..', import.meta.url).pathname;
const outDir = join(root, 'dist/console/page');

// What nest build has compiled of the page is of no use to a server.
rmSync(join(root, 'dist/console/ui'), { recursive: true, force: true });
await build({
  configFile: false,
  logLevel: 'warn',
  root: join(root, 'src/console/ui'),
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir,
    emptyOutDir: true,
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'], // what has light-dark()
    modulePreload: false,
    assetsInlineLimit: 0,
    license: { fileName: 'licences.txt' },
  },
});

const smallest = { level: constants.Z_BEST_COMPRESSION };
for (const entry of readdirSync(outDir, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath, entry.name);
  writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), smallest));
}
