import { readdirSync, readFileSync } from 'node:fs';
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
    const expected = Object.entries<ErrorSpec>(ERRORS).map(([code, { status, close, reconnect, fatal }]) => [
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

describe('README.md', () => {
  const readme = read('README.md');

  it('has every option with its default', () => {
    const documented = new Map(
      rowsOf(readme, /^`[a-z]/).map(([name = '', value]) => [name.replaceAll('`', ''), value]),
    );
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
    expect(readme).toContain(`{ thresholdBytes: ${compression.thresholdBytes} }`);
  });

  it('quotes the applications that the tests run', () => {
    const quotes = [...readme.matchAll(/<!-- (test\/apps\/\S+) -->\n\n```\w+\n([\s\S]*?)```/g)];
    expect(quotes.length).toBeGreaterThan(3);
    for (const [, path = '', code = ''] of quotes) expect(read(path)).toContain(code);
  });

  it('links to nothing that is not there', () => {
    for (const [, target = ''] of readme.matchAll(/\]\((?!https?:)([^)#]+)\)/g))
      expect(read(target).length).toBeGreaterThan(0);
  });
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
    .filter((file) => file.endsWith('.test.ts') && file !== 'docs.test.ts')
    .map((file) => read(`test/${file}`))
    .join('\n');
  const names = [...read('SECURITY.md').matchAll(row)].map(([, name = '']) => name);
  expect(names.length).toBeGreaterThanOrEqual(least);
  for (const name of names) expect([name, tests.includes(name)]).toEqual([name, true]);
});
