import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

/** What npm puts into the environment of a script is about this folder, and would hold for another one, too. */
export const environment = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^npm_(?!config_(registry|cache|userconfig|globalconfig)$)/i.test(name),
  ),
);

/** Runs npm in a folder. */
export function npm(args, cwd, options = {}) {
  return spawnSync('npm', args, { cwd, env: environment, encoding: 'utf8', maxBuffer: 2 ** 26, ...options });
}

/**
 * Calls `use` with a folder that has the manifest and the lock of what is installed with this package, its peers and optional
 * packages included, and nothing that only its development needs. No registry is asked: the lock knows it all.
 */
export function withProductionTree(root, use) {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const folder = mkdtempSync(join(tmpdir(), 'upkeep-'));
  try {
    const tree = join(folder, basename(manifest.name)); // npm takes the folder's name for the package's
    const { devDependencies: _, scripts: __, ...rest } = manifest;
    cpSync(join(root, 'package-lock.json'), join(tree, 'package-lock.json'));
    writeFileSync(join(tree, 'package.json'), JSON.stringify(rest));
    const args = ['install', '--package-lock-only', '--offline', '--ignore-scripts', '--no-audit', '--no-fund'];
    const { status, stderr } = npm(args, tree);
    if (status !== 0) throw new Error(`npm ${args.join(' ')}:\n${stderr}`);
    return use(tree);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
