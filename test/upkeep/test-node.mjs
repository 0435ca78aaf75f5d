// Runs the tests on another line of Node, from the registry's package `node`: npm run test:node -- 24 [tests…]
import { spawnSync } from 'node:child_process';
import { dirname, delimiter } from 'node:path';
import { environment } from './production.mjs';

const DOWNLOAD_TIMEOUT_MS = 180_000;
const root = new URL('../..', import.meta.url).pathname;
const [line, ...tests] = process.argv.slice(2);
if (!/^\d{2}(\.\d+){0,2}$/.test(line ?? '')) {
  console.error('test:node takes a line of Node: npm run test:node -- 20, 22 or 24');
  process.exit(2);
}

const found = spawnSync('npx', ['--yes', '--prefer-offline', '--fetch-retries=0', `--package=node@${line}`, '--', 'node', '-p', 'process.execPath'], {
  cwd: root,
  env: environment,
  encoding: 'utf8',
  timeout: DOWNLOAD_TIMEOUT_MS,
}); // prettier-ignore
const node = found.stdout?.trim().split('\n').at(-1);
if (found.status !== 0 || !node) {
  console.error(`test:node: NOT TESTED, Node ${line} is neither in npm's cache nor to be had from the registry`);
  process.exit(1);
}
const env = { ...environment, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` };
const run = (args) => spawnSync(node, args, { cwd: root, env, stdio: 'inherit' }).status ?? 1;
const { stdout: version } = spawnSync(node, ['--version'], { encoding: 'utf8' });
console.log(`test:node: ${version.trim()}`);
const status =
  run(['node_modules/@nestjs/cli/bin/nest.js', 'build']) ||
  run(['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/vitest.config.ts', ...tests]);
console.log(`test:node: ${version.trim()} ${status === 0 ? 'passed' : 'FAILED'}`);
process.exit(status);
