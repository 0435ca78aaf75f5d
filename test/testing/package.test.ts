import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { installPackage, root } from '../support/installed-package.js';

const execute = promisify(execFile);
let folder: string;
let remove: () => void;

/** The examples, compiled as Nest compiles an application, beside the installed package. */
beforeAll(async () => {
  ({ folder, remove } = await installPackage());
  const files = ['orders/app.module.ts', 'orders/orders.gateway.ts', 'testing/orders.node-test.ts', 'testing/hangs.ts'];
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  for (const file of files) {
    const target = join(folder, file.replace(/ts$/, 'js'));
    mkdirSync(dirname(target), { recursive: true });
    const { outputText } = ts.transpileModule(readFileSync(join(root, 'test/apps', file), 'utf8'), {
      compilerOptions: {
        module: ts.ModuleKind.ES2022,
        target: ts.ScriptTarget.ES2023,
        experimentalDecorators: true,
        emitDecoratorMetadata: true,
      },
      fileName: file,
    });
    writeFileSync(target, outputText);
  }
});

afterAll(() => remove());

describe('an application with the installed package, under node:test,', () => {
  const run = async (file: string): Promise<string> => {
    const running = execute(process.execPath, ['--test', `testing/${file}`], { cwd: folder, timeout: 20_000 });
    return (await running.catch((error: { stdout: string }) => error)).stdout;
  };

  it('passes', async () => {
    expect(await run('orders.node-test.js')).toMatch(/# pass 2\n# fail 0\n/);
  });

  it('ends within 2 s when a test hangs', async () => {
    const output = await run('hangs.js');
    expect(output).toMatch(/# cancelled 1\n/);
    expect(Number(/ended after (\d+) ms/.exec(output)?.[1])).toBeLessThan(2_000);
  });
});
