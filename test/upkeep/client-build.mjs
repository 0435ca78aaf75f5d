// After the build: the client once more as CommonJS, and as the package without dependencies `nestjs-ws-gateway-client`.
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'vite';

const root = new URL('../..', import.meta.url).pathname;
const from = join(root, 'dist/client');
const cjs = join(from, 'cjs');
const ENTRIES = ['index', 'react', 'node', 'testing'];
const PROTOCOL = ['message'];

rmSync(cjs, { recursive: true, force: true });
await build({
  configFile: false,
  logLevel: 'warn',
  build: {
    outDir: cjs,
    minify: false,
    target: 'es2022',
    lib: { entry: Object.fromEntries(ENTRIES.map((name) => [name, join(from, `${name}.js`)])), formats: ['cjs'] },
    rollupOptions: {
      external: ['react', 'ws'],
      output: { entryFileNames: '[name].cjs', chunkFileNames: '[name].cjs' },
    },
  },
});

/** Declarations of CommonJS are files of their own: TypeScript tells the two by the extension. */
function declare(folder, names, target) {
  mkdirSync(target, { recursive: true });
  for (const name of names) {
    const text = readFileSync(join(folder, `${name}.d.ts`), 'utf8');
    writeFileSync(join(target, `${name}.d.cts`), text.replaceAll(/(from '|import\(')(\.[^']+)\.js'/g, "$1$2.cjs'"));
  }
}
/** Declarations that an entry shows; the others are of the inside. */
const declared = [...ENTRIES];
for (const name of declared) {
  const imports = readFileSync(join(from, `${name}.d.ts`), 'utf8').matchAll(/(?:from '|import\(')\.\/([^']+)\.js'/g);
  for (const [, other] of imports) if (!declared.includes(other)) declared.push(other);
}
declare(from, declared, cjs);
declare(join(root, 'dist/protocol'), PROTOCOL, join(from, 'protocol'));

const target = join(root, 'dist/client-package');
rmSync(target, { recursive: true, force: true });
cpSync(from, join(target, 'client'), {
  recursive: true,
  filter: (file) => !file.endsWith('.d.ts') || declared.includes(basename(file, '.d.ts')),
});
for (const name of PROTOCOL) {
  for (const kind of ['js', 'd.ts']) {
    cpSync(join(root, `dist/protocol/${name}.${kind}`), join(target, `protocol/${name}.${kind}`));
  }
}
copyFileSync(join(root, 'LICENSE'), join(target, 'LICENSE'));
copyFileSync(join(root, 'src/client/README.md'), join(target, 'README.md'));

const { version, license, engines, peerDependencies, exports } = JSON.parse(
  readFileSync(join(root, 'package.json'), 'utf8'),
);
const own = Object.entries(exports).flatMap(([path, kinds]) => {
  if (path !== './client' && !path.startsWith('./client/')) return [];
  return [[`.${path.slice('./client'.length)}`, JSON.parse(JSON.stringify(kinds).replaceAll('./dist/', './'))]];
});
const manifest = {
  name: 'nestjs-ws-gateway-client',
  version,
  description: 'A client of nestjs-ws-gateway for browsers, React Native and Node',
  license,
  type: 'module',
  sideEffects: false,
  engines,
  main: './client/cjs/index.cjs',
  types: './client/cjs/index.d.cts',
  exports: Object.fromEntries(own),
  peerDependencies: { react: peerDependencies.react, ws: '^8.18.0' },
  peerDependenciesMeta: { react: { optional: true }, ws: { optional: true } },
};
writeFileSync(join(target, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);

// For what resolves without `exports`: TypeScript's node10, older bundlers, Metro as it was.
for (const name of ENTRIES.filter((entry) => entry !== 'index')) {
  const paths = { main: `../client/cjs/${name}.cjs`, types: `../client/cjs/${name}.d.cts` };
  mkdirSync(join(target, name));
  writeFileSync(join(target, name, 'package.json'), `${JSON.stringify(paths, null, 2)}\n`);
}
