import { parse, pathToRegexp } from 'path-to-regexp';
import type { Keys, Token } from 'path-to-regexp';
import { NO_PARAMS } from '../base/path-params.js';
import type { PathParams } from '../base/path-params.js';
import { GatewayError } from '../protocol/errors.js';

/** Longest path that is compared with patterns, in UTF-16 units: a longer one is no gateway's. */
const MAX_PATH_LENGTH = 2_048;

/** What one segment of a path is: a text, parts of which one is a parameter, a parameter, or a wildcard for it and those behind. */
type Segment =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'mixed'; readonly start: string; readonly end: string; readonly shape: string }
  | { readonly kind: 'param' }
  | { readonly kind: 'wildcard' };

/** How the paths of one pattern are to those of another. */
type Relation = 'apart' | 'narrower' | 'wider' | 'alike';

/**
 * The path of a gateway as it is declared: a text, or a pattern as Nest's routes have it (`/ocpp/:station`, `/files/*path`,
 * `/a{/:b}`). It is compared as it came, case and percent-encoding included; only what parameters are is decoded.
 */
export class PathPattern {
  /** Names of its parameters. */
  readonly names: readonly string[];
  /** Undefined for a path without parameters. */
  readonly #regexp: RegExp | undefined;
  /** What each group of the expression holds; a name has one in each alternative that has it. */
  readonly #captures: Keys;
  readonly #alternatives: readonly (readonly Segment[])[];

  /** @throws Error for a path that cannot be read, and for a name that stands in it twice */
  constructor(readonly source: string) {
    if (!/[:*{\\]/.test(source)) {
      this.names = [];
      this.#captures = [];
      const text = { type: 'text', value: source } as const;
      refuseUnreachable(source, [text]);
      this.#alternatives = [segmentsOf([text])];
      return;
    }
    const { regexp, keys, tokens } = read(source);
    const alternatives = alternativesOf(tokens);
    for (const alternative of alternatives) {
      refuseTwins(source, alternative);
      refuseUnreachable(source, alternative);
    }
    this.#regexp = regexp;
    this.#captures = keys;
    this.names = [...new Set(keys.map(({ name }) => name))];
    this.#alternatives = alternatives.map(segmentsOf);
  }

  /** True for a path without parameters. */
  get isText(): boolean {
    return this.#regexp === undefined;
  }

  matches(path: string): boolean {
    return this.#regexp === undefined ? path === this.source : this.#regexp.test(path);
  }

  /**
   * The parameters of a path that it matches.
   *
   * @throws GatewayError BAD_UPGRADE for one that is malformed: its percent-encoding, or a segment `.` or `..`, which no client
   * sends that knows RFC 3986
   */
  paramsOf(path: string): PathParams {
    const found = this.#regexp?.exec(path);
    if (found === undefined || found === null) return NO_PARAMS;
    // Without a prototype: "__proto__" and "constructor" are legal names.
    const params = Object.create(null) as Record<string, string | string[]>;
    this.#captures.forEach(({ name, type }, index) => {
      const raw = found[index + 1];
      if (raw === undefined) return; // of an alternative that it is not
      params[name] = type === 'wildcard' ? raw.split('/').map(decoded) : decoded(raw);
    });
    return Object.freeze(params);
  }

  relationTo(other: PathPattern): Relation {
    const relations = this.#alternatives.flatMap((one) => other.#alternatives.map((two) => relationOf(one, two)));
    const others = new Set(relations.filter((relation) => relation !== 'apart'));
    if (others.size === 0) return 'apart';
    return others.size === 1 ? ([...others][0] as Relation) : 'alike'; // because it has one
  }
}

interface Served<T> {
  readonly pattern: PathPattern;
  readonly value: T;
}

/** What is served at the paths of one port: of the patterns that a path matches, the narrowest is its own. */
export class Paths<T> {
  // A path without parameters costs one look-up, however many patterns there are.
  readonly #texts = new Map<string, T>();
  readonly #patterns: Served<T>[] = [];

  get(source: string): T | undefined {
    return this.#texts.get(source) ?? this.#patterns.find(({ pattern }) => pattern.source === source)?.value;
  }

  get values(): T[] {
    return [...this.#texts.values(), ...this.#patterns.map(({ value }) => value)];
  }

  /** @throws Error where a path that is there already can match the same, and neither is the narrower one */
  add(source: string, value: T): void {
    const pattern = new PathPattern(source);
    if (pattern.isText) return void this.#texts.set(source, value);
    const alike = this.#patterns.find((known) => pattern.relationTo(known.pattern) === 'alike');
    if (alike !== undefined) {
      throw new Error(
        `Gateways at ${alike.pattern.source} and ${source} can match the same path: make one the narrower`,
      );
    }
    const wider = this.#patterns.findIndex((known) => pattern.relationTo(known.pattern) === 'narrower');
    this.#patterns.splice(wider === -1 ? this.#patterns.length : wider, 0, { pattern, value });
  }

  find(path: string): T | undefined {
    return this.#texts.get(path) ?? this.#patternOf(path)?.value;
  }

  /**
   * The parameters of a path that {@link find} has found.
   *
   * @throws GatewayError BAD_UPGRADE for one that is malformed
   */
  paramsOf(path: string): PathParams {
    return this.#texts.has(path) ? NO_PARAMS : (this.#patternOf(path)?.pattern.paramsOf(path) ?? NO_PARAMS);
  }

  #patternOf(path: string): Served<T> | undefined {
    if (path.length > MAX_PATH_LENGTH) return undefined;
    return this.#patterns.find(({ pattern }) => pattern.matches(path));
  }
}

function read(source: string): Pick<ReturnType<typeof pathToRegexp>, 'regexp' | 'keys'> & { tokens: Token[] } {
  try {
    const data = parse(source);
    return { ...pathToRegexp(data, { sensitive: true, trailing: false }), tokens: data.tokens };
  } catch (error) {
    const [problem] = (error as Error).message.split('; visit');
    throw unreadable(String(problem), error);
  }
}

function unreadable(problem: string, cause?: unknown): Error {
  return new Error(`A gateway's path cannot be read: ${problem}`, { cause });
}

/** Paths are compared as they come, and none comes with one of these. */
function refuseUnreachable(source: string, tokens: readonly Token[]): void {
  if (tokens.every((token) => token.type !== 'text' || /^[!"$->@-~]*$/.test(token.value))) return;
  throw unreadable(`it has a space, "?", "#" or a letter that clients send percent-encoded: ${source}`);
}

function refuseTwins(source: string, tokens: readonly Token[]): void {
  const names = tokens.map((token) => ('name' in token ? token.name : undefined)).filter((name) => name !== undefined);
  const twin = names.find((name, index) => names.indexOf(name) !== index);
  if (twin !== undefined) throw new Error(`The path ${source} has two parameters "${twin}"`);
}

function decoded(raw: string): string {
  let text: string;
  try {
    text = decodeURIComponent(raw);
  } catch {
    throw new GatewayError('BAD_UPGRADE', { message: 'Malformed percent-encoding in the path' });
  }
  if (text === '.' || text === '..') throw new GatewayError('BAD_UPGRADE', { message: 'Dot segment in the path' });
  return text;
}

/** The pattern with and without each of its groups. path-to-regexp has refused more than 256. */
function alternativesOf(tokens: readonly Token[]): Token[][] {
  let alternatives: Token[][] = [[]];
  for (const token of tokens) {
    const ends = token.type === 'group' ? [[], ...alternativesOf(token.tokens)] : [[token]];
    alternatives = alternatives.flatMap((one) => ends.map((end) => [...one, ...end]));
  }
  return alternatives;
}

function segmentsOf(tokens: readonly Token[]): Segment[] {
  const segments: Token[][] = [[]];
  for (const token of tokens) {
    if (token.type !== 'text') segments.at(-1)?.push(token);
    else {
      for (const [index, value] of token.value.split('/').entries()) {
        if (index > 0) segments.push([]);
        if (value !== '') segments.at(-1)?.push({ type: 'text', value });
      }
    }
  }
  return segments.map(segmentOf);
}

function segmentOf(tokens: readonly Token[]): Segment {
  const textAt = (index: number): string => {
    const token = tokens.at(index);
    return token?.type === 'text' ? token.value : '';
  };
  if (tokens.some(({ type }) => type === 'wildcard')) return { kind: 'wildcard' };
  if (tokens.every(({ type }) => type === 'text'))
    return { kind: 'text', text: tokens.map((_, i) => textAt(i)).join('') };
  if (tokens.length === 1) return { kind: 'param' };
  const shape = tokens.map((token) => (token.type === 'text' ? token.value : ':')).join('');
  return { kind: 'mixed', start: textAt(0), end: textAt(-1), shape };
}

const WIDTH = { text: 0, mixed: 1, param: 2, wildcard: 3 } as const;

/** Compares segment by segment from the front, and from the back where a wildcard takes up what is between. */
function relationOf(one: readonly Segment[], two: readonly Segment[]): Relation {
  const isWild = ({ kind }: Segment): boolean => kind === 'wildcard';
  if (!one.some(isWild) && !two.some(isWild) && one.length !== two.length) return 'apart';
  let isNarrower = false;
  let isWider = false;
  for (const from of [0, 1]) {
    for (let index = from; index < Math.min(one.length, two.length); index++) {
      const [a, b] = from === 0 ? [one[index], two[index]] : [one.at(-index), two.at(-index)];
      if (a === undefined || b === undefined || areApart(a, b)) return 'apart';
      if (WIDTH[a.kind] < WIDTH[b.kind]) isNarrower = true;
      if (WIDTH[a.kind] > WIDTH[b.kind]) isWider = true;
      if (isWild(a) || isWild(b)) break;
    }
  }
  if (isNarrower === isWider) return 'alike';
  return isNarrower ? 'narrower' : 'wider';
}

function areApart(one: Segment, two: Segment): boolean {
  if (one.kind === 'param' || two.kind === 'param' || one.kind === 'wildcard' || two.kind === 'wildcard') return false;
  if (one.kind === 'text' && two.kind === 'text') return one.text !== two.text;
  const [a, b] = [edgesOf(one), edgesOf(two)];
  const mayStart = a.start.startsWith(b.start) || b.start.startsWith(a.start);
  const mayEnd = a.end.endsWith(b.end) || b.end.endsWith(a.end);
  return !mayStart || !mayEnd;
}

function edgesOf(segment: Segment): { readonly start: string; readonly end: string } {
  if (segment.kind === 'text') return { start: segment.text, end: segment.text };
  return segment.kind === 'mixed' ? segment : { start: '', end: '' };
}
