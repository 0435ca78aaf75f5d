import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { overrides, table } from './house/lint-rules.mjs';

const at = (path: string): URL => new URL(`../${path}`, import.meta.url);
const rooms = Object.keys(table);

describe('the house', () => {
  it('has the rooms of the table and no other', () => {
    const folders = readdirSync(at('src'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(folders.map(({ name }) => name).toSorted()).toEqual(rooms.toSorted());
  });

  it('is linted by the table', () => {
    const config = JSON.parse(readFileSync(at('test/oxlint.json'), 'utf8')) as { overrides: { files: string[] }[] };
    expect(config.overrides.filter(({ files: [first = ''] }) => first.startsWith('**/src/'))).toEqual(overrides);
  });

  it.each(rooms.filter((room) => existsSync(at(`src/${room}/README.md`))))(
    'says in the README of %s what it may import',
    (room) => {
      const names = table[room] ?? [];
      const line = names.length === 0 ? 'May import nothing of ours.' : `May import: ${names.join(', ')}.`;
      expect(readFileSync(at(`src/${room}/README.md`), 'utf8')).toContain(line);
    },
  );
});
