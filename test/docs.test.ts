import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ERRORS, type ErrorSpec } from '../src/protocol/errors.js';
import { DEFAULTS } from '../src/ws-gateway.options.js';

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

/** The rows of a Markdown table whose first column matches, as their cells. */
function rowsOf(text: string, first: RegExp): string[][] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    ) // prettier-ignore
    .filter(([cell]) => first.test(cell ?? ''));
}

describe('PROTOCOL.md', () => {
  it('has the catalogue, code for code', () => {
    const rows = rowsOf(read('src/protocol/PROTOCOL.md'), /^[A-Z][A-Z0-9_]+$/).filter((row) => row.length === 5);
    const expected = Object.entries<ErrorSpec>(ERRORS)
      .filter(([, spec]) => spec.isEnd !== true)
      .map(([code, { status, close, reconnect, fatal }]) => [
        code,
        String(status ?? ''),
        String(close ?? ''),
        close === undefined ? '' : reconnect ? 'yes' : 'no',
        fatal ? 'yes' : '',
      ]);
    expect(rows).toEqual(expected);
  });

  it('names every status and code of a refusal', () => {
    const rows = rowsOf(read('src/protocol/PROTOCOL.md'), /^\d{3}$/);
    for (const [status, codes] of rows) {
      for (const code of (codes ?? '').split(', '))
        expect((ERRORS as Record<string, ErrorSpec>)[code]?.status).toBe(Number(status));
    }
    expect(rows.length).toBeGreaterThan(5);
  });
});

const markdown = readdirSync(new URL('../', import.meta.url), { encoding: 'utf8' })
  .filter((file) => file.endsWith('.md'))
  .concat(within('src'), within('test'), within('.github'));
const folders = markdown.filter((file) => /^src\/[^/]+\/README\.md$/.test(file));

function within(folder: string): string[] {
  return readdirSync(new URL(`../${folder}/`, import.meta.url), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md') && !file.includes('node_modules'))
    .map((file) => `${folder}/${file}`);
}

/** The names by which GitHub and npm link to the headings of a text. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

/** The lines outside of code. */
function proseOf(text: string): string[] {
  return text.replaceAll(/^```[\s\S]*?^```$/gm, '').split('\n');
}

describe('README.md', () => {
  it('is a face: at most 250 lines and 14 KB', () => {
    const readme = read('README.md');
    expect(readme.split('\n').length - 1).toBeLessThanOrEqual(250);
    expect(Buffer.byteLength(readme)).toBeLessThanOrEqual(14 * 1024);
  });

  it('leads to every folder', () => {
    expect(folders.filter((file) => !read('README.md').includes(`](${file})`))).toEqual([]);
    expect(folders.length).toBeGreaterThan(10);
  });

  it('has options that the folders have', () => {
    const known = new Set(optionRows().map(([name]) => name));
    const named = rowsOf(read('README.md'), /^`[a-z][A-Za-z.]*`$/).map(([name = '']) => name.replaceAll('`', ''));
    expect(named).toHaveLength(12);
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });
});

/** The rows of the tables of options of all folders: a name and its default. */
function optionRows(): [string, string][] {
  return folders.flatMap((file) => {
    const tables = [...read(file).matchAll(/^\| option .*(\n\|.*)*/gm)].map(([table]) => table);
    return rowsOf(tables.join('\n'), /^`/).flatMap(([names = '', value = '']) => {
      const [first = '', ...others] = names.split(', ').map((name) => name.replaceAll('`', ''));
      const parent = first.slice(0, first.lastIndexOf('.'));
      return [first, ...others.map((name) => parent + name)].map((name): [string, string] => [name, value]);
    });
  });
}

describe('the READMEs of the folders', () => {
  it('have every option once, with its default', () => {
    const rows = optionRows();
    const names = rows.map(([name]) => name);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
    const documented = new Map(rows);
    const leaves = (tree: object, prefix = ''): [string, unknown][] =>
      Object.entries(tree).flatMap(([key, value]: [string, unknown]) =>
        typeof value === 'object' && value !== null && !Array.isArray(value)
          ? leaves(value, `${prefix}${key}.`)
          : [[prefix + key, value]],
      );
    const { compression, ...rest } = DEFAULTS;
    for (const [name, value] of leaves(rest)) {
      if (name === 'limits.maxHandlingBytesTotal') continue; // a share of what the process has
      const shown = Array.isArray(value)
        ? value.map((item) => `\`${String(item)}\``).join(', ')
        : `\`${String(value)}\``;
      expect([name, documented.get(name)]).toEqual([name, shown]);
    }
    expect(documented.get('limits.maxHandlingBytesTotal')).toBe('heap / 8');
    expect(read('src/connection/README.md')).toContain(`{ thresholdBytes: ${compression.thresholdBytes} }`);
  });
});

describe.each(markdown)('%s', (file) => {
  const text = read(file);

  it('quotes the applications that the tests run', () => {
    for (const [, path = '', code = ''] of text.matchAll(/<!-- (test\/apps\/\S+) -->\n\n```\w+\n([\s\S]*?)```/g))
      expect(read(path)).toContain(code);
  });

  it('links to nothing that is not there', () => {
    const missing = [...text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)].filter(([, path = '', anchor]) => {
      const target = path === '' ? file : join(file, '..', path);
      if (!existsSync(new URL(`../${target}`, import.meta.url))) return true;
      return anchor !== undefined && !anchorsOf(read(target)).includes(anchor);
    });
    expect(missing.map(([link]) => link)).toEqual([]);
  });

  it('names the actor', () => {
    expect(proseOf(text).join('\n')).not.toMatch(/\b(whoever|nobody|somebody|everybody|is had|told of|of use)\b/i);
  });

  it('has no line over 160 characters, tables apart', () => {
    const long = proseOf(text).filter((line) => line.length > 160 && !/^(\||May import: )/.test(line));
    expect(long).toEqual([]);
  });
});

it('every quote has its application', () => {
  const quotes = markdown.flatMap((file) => [...read(file).matchAll(/<!-- test\/apps\//g)]);
  expect(quotes.length).toBeGreaterThan(15);
});

it('the package is versioned like its changelog and says what it supports', () => {
  const { version, engines } = JSON.parse(read('package.json')) as { version: string; engines: { node: string } };
  expect(read('SECURITY.md')).toContain(`${version.split('.').slice(0, 2).join('.')}.x`);
  expect(engines.node).toBe('>=20.19');
});

it.each([
  ['checklist', /^\| §.*\| ([^|]+?) +\|$/gm, 12],
  ['table of bounds', /^\| (?!§|what|RFC|version|0\.|-).*\| ([^|]+?) +\|$/gm, 25],
])('the %s of SECURITY.md names tests that there are', (_, row, least) => {
  const tests = readdirSync(new URL('.', import.meta.url), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && file !== 'docs.test.ts')
    .map((file) => read(`test/${file}`))
    .join('\n');
  const names = [...read('SECURITY.md').matchAll(row)].map(([, name = '']) => name);
  expect(names.length).toBeGreaterThanOrEqual(least);
  for (const name of names) expect([name, tests.includes(name)]).toEqual([name, true]);
});
