import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);
export const root = new URL('../..', import.meta.url).pathname;

/**
 * An application's folder with the packed package, unpacked as an install would. What the package depends on is linked from
 * this repository, so that the test needs no registry: only what package.json names, and `others`.
 */
export async function installPackage(others: readonly string[] = []) {
  const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-pack-'));
  const installed = join(folder, 'node_modules', 'nestjs-ws-gateway');
  const { stdout } = await execute('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], {
    cwd: root,
  });
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  await mkdir(installed, { recursive: true });
  await execute('tar', ['-xzf', join(folder, filename), '-C', installed, '--strip-components=1']);
  const manifest = (await import(join(installed, 'package.json'), { with: { type: 'json' } })) as {
    default: Record<'dependencies' | 'optionalDependencies' | 'peerDependencies', Record<string, string>>;
  };
  const { dependencies, optionalDependencies, peerDependencies } = manifest.default;
  for (const name of [...Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies }), ...others]) {
    await mkdir(join(folder, 'node_modules', name, '..'), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
  }
  return { folder, installed, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
