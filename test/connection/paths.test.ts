import { performance } from 'node:perf_hooks';
import { describe, expect, it } from 'vitest';
import { PathPattern, Paths } from '../../src/connection/paths.js';

describe('a path pattern', () => {
  it.each([
    ['/ws', '/ws', {}],
    ['/ocpp/:version/:station', '/ocpp/1.6/CS%201', { version: '1.6', station: 'CS 1' }],
    ['/files/*path', '/files/a/b%2Fc', { path: ['a', 'b/c'] }],
    ['/a{/:b}', '/a', {}],
    ['/a{/:b}', '/a/%F0%9F%98%80', { b: '😀' }],
    ['/v:version/x', '/v2/x', { version: '2' }],
    ['/:__proto__', '/1', JSON.parse('{"__proto__":"1"}')],
  ])('%s has the parameters of %s', (source, path, params) => {
    const pattern = new PathPattern(source);
    expect(pattern.matches(path)).toBe(true);
    expect(Object.entries(pattern.paramsOf(path))).toEqual(Object.entries(params as object));
  });

  it.each([
    ['/ws', '/WS'],
    ['/a/:b', '/a'],
    ['/a/:b', '/a/'],
    ['/a/:b', '/A/b'],
    ['/a/:b', '/a/b/c'],
    ['/a/:b', '/%61/b'],
    ['/a/*b', '/a'],
  ])('%s does not match %s', (source, path) => {
    expect(new PathPattern(source).matches(path)).toBe(false);
  });

  it.each(['/a/%', '/a/%zz', '/a/%C3%28', '/a/%ff', '/a/..', '/a/%2e'])('refuses %s as malformed', (path) => {
    const problem = expect.objectContaining({ code: 'BAD_UPGRADE' }) as Error;
    expect(() => new PathPattern('/a/:b').paramsOf(path)).toThrow(problem);
    expect(() => new PathPattern('/*b').paramsOf(path)).toThrow(problem);
  });

  it.each([
    ['/a/*', 'Missing parameter name at index 4: /a/*'],
    ['/:a?', 'Unexpected ? at index 3'],
    ['/:a:b', 'Missing text before "b" param'],
    ['/:a/*a', 'two parameters "a"'],
  ])('%s cannot be read', (source, problem) => {
    expect(() => new PathPattern(source)).toThrow(problem);
  });

  it.each(['/:a-:b-:c/:d', '/*a/x/*b/x/*c', '/a{/:b}{/:c}{/:d}', '/*a-*b-*c/x', '/:a.:b.:c.:d.x'])(
    '%s is no regular expression that a stranger can keep busy',
    (source) => {
      const paths = new Paths<number>();
      paths.add(source, 1);
      const units = ['a', '-', '.', '/x', '/a', 'a-a/', '/x/', '%61', '-/'];
      for (const unit of units) {
        const path = `/${unit.repeat(16_000)}`;
        const begun = performance.now();
        for (const cut of [1_000, 2_000, 2_047, 16_000]) paths.find(path.slice(0, cut));
        expect(performance.now() - begun).toBeLessThan(100);
      }
    },
  );
});

describe('paths', () => {
  const found = (sources: string[], path: string): string | undefined => {
    const paths = new Paths<string>();
    for (const source of sources) paths.add(source, source);
    return paths.find(path);
  };

  it.each([
    ['/a/b', ['/*x', '/a/:y', '/a/b', '/:x/:y']],
    ['/a/:y', ['/*x', '/a/*z', '/a/:y']],
    ['/a/v:z', ['/:x/:y', '/a/:y', '/a/v:z']],
    ['/a/*x/b', ['/a/*x', '/a/*x/b']],
  ])('finds the narrowest of what matches, %s, in whatever order they are declared', (narrowest, sources) => {
    const path = narrowest.replace(/[:*]\w/g, 'b');
    expect(found(sources, path)).toBe(narrowest);
    expect(found(sources.toReversed(), path)).toBe(narrowest);
  });

  it.each([
    ['/a/:x', '/a/:y'],
    ['/a/:x', '/:y/b'],
    ['/a/*x', '/a/*y'],
    ['/a{/:x}', '/a/:y'],
    ['/v:x', '/v:y'],
    ['/:x-a', '/b-:y'],
    ['/a/*z', '/:x/:y'],
  ])('%s and %s can match the same, and stop the start', (one, two) => {
    expect(() => found([one, two], '/')).toThrow(`Gateways at ${one} and ${two} can match the same path`);
  });

  it.each([
    ['/a/:x', '/b/:x'],
    ['/a/:x', '/a/:x/:y'],
    ['/v:x', '/w:y'],
    ['/:x/a', '/:y/b'],
    ['/*x/a', '/*y/b'],
    ['/a', '/:x'],
  ])('%s and %s live side by side', (one, two) => {
    expect(found([one, two], '/nothing/of/the/kind/at/all')).toBeUndefined();
  });

  it('knows no path that is longer than 2,048 characters by a pattern', () => {
    expect(found(['/:x'], `/${'a'.repeat(2_047)}`)).toBe('/:x');
    expect(found(['/:x'], `/${'a'.repeat(2_048)}`)).toBeUndefined();
  });
});
