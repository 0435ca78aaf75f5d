import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { overrides, table } from './house/lint-rules.mjs';

const execute = promisify(execFile);
const at = (path: string): URL => new URL(`../${path}`, import.meta.url);
const [beside, rooms] = [true, false].map((isFile) =>
  Object.keys(table).filter((name) => name.endsWith('.ts') === isFile),
) as [string[], string[]]; // because there are two

describe('the house', () => {
  it('has the rooms and files of the table and no other', () => {
    const entries = readdirSync(at('src'), { withFileTypes: true });
    const namesOf = (isFile: boolean): string[] =>
      entries.filter((entry) => entry.isFile() === isFile).map(({ name }) => name);
    expect(namesOf(false).toSorted()).toEqual(rooms.toSorted());
    expect(namesOf(true).toSorted()).toEqual(beside.toSorted());
  });

  it('is linted by the table', () => {
    const config = JSON.parse(readFileSync(at('test/oxlint.json'), 'utf8')) as { overrides: { files: string[] }[] };
    expect(config.overrides.filter(({ files: [first = ''] }) => first.startsWith('**/src/'))).toEqual(overrides);
  });

  it.each(rooms)('says in the README of %s what it may import', (room) => {
    const names = table[room] ?? [];
    const line = names.length === 0 ? 'May import nothing of ours.' : `May import: ${names.join(', ')}.`;
    expect(readFileSync(at(`src/${room}/README.md`), 'utf8')).toContain(line);
  });

  it('hides at most 20 members of what it publishes by a mark: behind a face there is nothing to hide', () => {
    const files = readdirSync(at('src'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
    const marks = files.flatMap((name) => readFileSync(at(`src/${name}`), 'utf8').match(/@internal/g) ?? []);
    expect(marks.length).toBeLessThanOrEqual(20);
  });

  it('does not lint with an import against the table, or in a circle of types', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ws-gateway-house-'));
    const files = {
      'base/against.ts': "export type { S } from '../session/s.js';",
      'base/a.ts': "import type { B } from './b.js';\nexport type A = B | 'a';",
      'base/b.ts': "import type { A } from './a.js';\nexport type B = A | 'b';",
      'session/s.ts': "export type { C } from '../base/c.js';",
      'base/c.ts': 'export type C = string;',
      'email/options.ts': 'export type E = string;',
      'email/address.ts': 'export type A = string;',
      'ws-gateway.options.ts':
        "export type { E } from './email/options.js';\nexport type { A } from './email/address.js';",
      'main.ts': "export type { C } from './base/c.js';",
    };
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(folder, 'src', path, '..'), { recursive: true });
      writeFileSync(join(folder, 'src', path), text);
    }
    const oxlint = [at('node_modules/oxlint/bin/oxlint').pathname, '-c', at('test/oxlint.json').pathname];
    const linting = execute(process.execPath, [...oxlint, '--deny-warnings', '-f', 'json', folder]);
    const { stdout } = await linting.catch((error: { stdout: string }) => error);
    rmSync(folder, { recursive: true });
    const { diagnostics } = JSON.parse(stdout) as { diagnostics: { code: string; filename: string }[] };
    expect(diagnostics.map(({ code, filename }) => `${code} ${filename.split('/src/')[1]}`).toSorted()).toEqual([
      'eslint(no-restricted-imports) base/against.ts',
      'eslint(no-restricted-imports) main.ts',
      'eslint(no-restricted-imports) ws-gateway.options.ts',
      'import(no-cycle) base/a.ts',
      'import(no-cycle) base/b.ts',
    ]);
  });
});
