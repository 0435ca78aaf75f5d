import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createContext, runInContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { build } from 'vite';
import type { Rollup } from 'vite';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import type * as Client from '../../src/client/index.js';
import { ScriptedServer, stopAll } from './support.js';

const root = new URL('../..', import.meta.url).pathname;
const dist = join(root, 'dist');
const execute = promisify(execFile);

afterEach(stopAll);

/** An entry as a front end's bundler makes it of the build. */
async function bundle(entry: string, format: 'es' | 'iife'): Promise<Rollup.OutputChunk> {
  const result = await build({
    configFile: false,
    logLevel: 'silent',
    build: {
      write: false,
      minify: true,
      target: 'es2022',
      lib: { entry: join(dist, 'client', entry), formats: [format], name: 'client' },
      // As in a front end, where a library is no namespace of its own.
      rollupOptions: {
        output: { generatedCode: { symbols: false } },
        external: ['react', /client\/(?!react)/].slice(0, entry === 'react.js' ? 2 : 0),
      },
    },
  });
  const [{ output }] = result as [Rollup.RollupOutput]; // because one format is asked for
  return output[0];
}

describe('the client of the build', () => {
  it('is at most 6,000 bytes, and its hooks 800 more, gzipped', async () => {
    const size = async (entry: string): Promise<number> => gzipSync((await bundle(entry, 'iife')).code).length;
    expect(await size('index.js')).toBeLessThanOrEqual(6_000);
    expect(await size('react.js')).toBeLessThanOrEqual(800);
  });

  it('bundles for a browser without a module of Node', async () => {
    expect((await bundle('index.js', 'es')).imports).toEqual([]);
  });

  it('runs where there is a WebSocket, timers and an AbortController, and nothing else', async () => {
    const server = await ScriptedServer.start();
    const { code } = await bundle('index.js', 'iife');
    const context = createContext({ WebSocket, setTimeout, clearTimeout, AbortController });
    const { createClient } = runInContext(`${code};client`, context) as typeof Client;
    const client = createClient({ url: server.url });
    expect(await client.request('echo', { a: 1 })).toEqual({ a: 1 });
    client.close();
  });

  it('is CommonJS as well', async () => {
    const server = await ScriptedServer.start();
    const require = createRequire(join(root, 'package.json'));
    const { createClient } = require('nestjs-ws-gateway/client') as typeof Client;
    const { nodeSocket } = require('nestjs-ws-gateway/client/node') as typeof import('../../src/client/node.js');
    const client = createClient({ url: server.url, createSocket: nodeSocket() });
    expect(await client.request('echo', 7)).toBe(7);
    client.close();
    expect(Object.keys(require('nestjs-ws-gateway/client/testing') as object)).toEqual(['createMockGateway']);
    expect(Object.keys(require('nestjs-ws-gateway/client/react') as object).toSorted()).toEqual([
      'useChannel',
      'useGateway',
      'usePush',
      'useStream',
    ]);
  });

  it('is a package of its own, which brings no other', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-client-'));
    const { stdout } = await execute('npm', ['pack', '--json', '--pack-destination', folder], {
      cwd: join(dist, 'client-package'),
    });
    const [{ filename, unpackedSize }] = JSON.parse(stdout) as [{ filename: string; unpackedSize: number }];
    await execute('npm', ['i', '--offline', '--no-audit', '--no-fund', '--prefix', folder, join(folder, filename)], {
      cwd: folder,
    });
    const { packages } = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')) as { packages: object };
    expect(Object.keys(packages).filter((path) => path !== '')).toEqual(['node_modules/nestjs-ws-gateway-client']);
    expect(unpackedSize).toBeLessThan(180_000);
    const script =
      "import('nestjs-ws-gateway-client').then((m) => console.log(Object.keys(m).length, typeof require('nestjs-ws-gateway-client').createClient))";
    expect((await execute(process.execPath, ['-e', script], { cwd: folder })).stdout).toMatch(/^\d function\n$/);
  }, 60_000);

  it.each([
    ['dist/client-package', ['.', 'react', 'node', 'testing'], 'strict'],
    ['.', ['client', 'client/react', 'client/node', 'client/testing'], 'node16'], // it has no folders for what ignores `exports`
  ])(
    'has the types that its files have: %s %j',
    async (folder, entries, profile) => {
      const to = mkdtempSync(join(tmpdir(), 'ws-gateway-types-'));
      const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', to];
      const { stdout } = await execute('npm', pack, { cwd: join(root, folder) });
      const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
      const attw = join(root, 'node_modules/@arethetypeswrong/cli/dist/index.js');
      const args = [
        attw,
        join(to, filename),
        '--profile',
        profile,
        '--no-definitely-typed',
        '--entrypoints',
        ...entries,
      ];
      await execute(process.execPath, args); // it fails, with what is wrong
    },
    60_000,
  );

  it.each(['.', 'dist/client-package'])(
    'publint has nothing to say of %s',
    async (folder) => {
      const pkgDir = join(root, folder);
      const { messages } = await publint({ pkgDir, level: 'warning' });
      const pkg = JSON.parse(readFileSync(join(pkgDir, 'package.json'), 'utf8')) as Record<string, unknown>;
      expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
    },
    60_000,
  );
});
