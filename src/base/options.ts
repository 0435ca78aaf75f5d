import type { Type } from '@nestjs/common';

/** Where an option stands: every complaint about it begins with its name. */
export class Place {
  constructor(
    /** What is wrong, at all places. */
    readonly problems: string[] = [],
    readonly name = '',
  ) {}

  member(name: string): Place {
    return new Place(this.problems, this.name === '' ? name : `${this.name}.${name}`);
  }

  item(key: number | string): Place {
    return new Place(this.problems, `${this.name}[${JSON.stringify(key)}]`);
  }

  /** @returns nothing, so that a reader can return it */
  complain(what: string): undefined {
    this.problems.push(this.name === '' ? `the options ${what}` : `${this.name} ${what}`);
  }
}

/** A part of a JSON Schema, draft 2020-12. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** The declaration of one option: G may be given, R is what the module works with, D is the default. */
export class Option<out G, out R = G, out D = undefined> {
  /** For the types alone. */
  declare readonly given: G;

  /**
   * @param schema what a JSON file may have; undefined where JSON has no such thing
   * @param parse makes what the module works with; where it cannot, it complains and returns undefined
   */
  constructor(
    readonly fallback: D,
    readonly schema: JsonSchema | undefined,
    private readonly parse: (given: unknown, place: Place) => R | undefined,
  ) {}

  /** @returns the default after a complaint */
  read(given: unknown, place: Place): R {
    const parsed = given === undefined ? undefined : this.parse(given, place);
    const resolved = parsed === undefined && this.fallback !== undefined ? this.parse(this.fallback, place) : parsed;
    return resolved as R; // because it is undefined only where there is no default
  }
}

/** An option that is off unless it is given. Its fallback says what its members have by default where it is given. */
export class Optional<out G, out R, out D> extends Option<G, R, D> {
  constructor(
    readonly off: R,
    fallback: D,
    schema: JsonSchema | undefined,
    parse: (given: unknown, place: Place) => R | undefined,
  ) {
    super(fallback, schema, parse);
  }

  override read(given: unknown, place: Place): R {
    return given === undefined ? this.off : super.read(given, place);
  }
}

/** An option that is taken as it is given; undefined only where there is no default. */
export type Plain<T, D> = Option<T, D extends undefined ? T | undefined : T, D>;

type Members = Readonly<Record<string, Option<unknown, unknown, unknown>>>;
/** What is given for options of these names. Mapped from the declaration, so that editors show the doc comments there. */
export type Given<M extends Members> = { -readonly [K in keyof M]?: M[K]['given'] };
export type Resolved<M extends Members> = { readonly [K in keyof M]: ReturnType<M[K]['read']> };
export type Defaults<M extends Members> = {
  readonly [K in keyof M as undefined extends M[K]['fallback'] ? never : K]: M[K]['fallback'];
};
export type GivenOf<O extends Option<unknown, unknown, unknown>> = O['given'];
export type ResolvedOf<O extends Option<unknown, unknown, unknown>> = ReturnType<O['read']>;
/** Looks at how the options of a group fit each other; returns what the module works with. */
type Finish<M extends Members, R> = (
  resolved: Resolved<M>,
  place: Place,
  given: Readonly<Record<string, unknown>>,
) => R;

/** Options that stand together in one object. */
export class Group<M extends Members, R = Resolved<M>> extends Option<Given<M>, R, Defaults<M>> {
  constructor(
    readonly members: M,
    finish: Finish<M, R>,
  ) {
    const options = Object.entries(members);
    const each = (part: (option: Members[string]) => unknown): object =>
      Object.fromEntries(options.map(([name, option]) => [name, part(option)]).filter(([, has]) => has !== undefined));
    const properties = each(({ schema }) => schema);
    super(
      each(({ fallback }) => fallback) as Defaults<M>, // because it has them by their names
      { type: 'object', additionalProperties: false, properties },
      (value, place) => {
        const given = membersOf(value, place, Object.keys(members));
        const read = options.map(([name, option]) => [name, option.read(given[name], place.member(name))]);
        return finish(Object.fromEntries(read) as Resolved<M>, place, given); // because each option has read its own
      },
    );
  }

  override read(given: unknown, place: Place): R {
    return super.read(given === undefined ? {} : given, place);
  }
}

export function group<const M extends Members>(members: M): Group<M>;
export function group<const M extends Members, R>(members: M, finish: Finish<M, R>): Group<M, R>;
export function group<const M extends Members>(
  members: M,
  finish: Finish<M, unknown> = (read) => read,
): Group<M, unknown> {
  return new Group(members, finish);
}

interface HasMembers {
  readonly members: Members;
}

/** Some options of a group, none of which has a default. */
export type Overrides<G extends HasMembers, K extends keyof G['members']> = Option<
  Given<Pick<G['members'], K>>,
  Partial<Resolved<Pick<G['members'], K>>>,
  undefined
>;

/**
 * The options of a group that a part of the application may have otherwise than the rest. What is not given is not among what is read.
 *
 * @param place where the group itself stands, for the complaint about an option that is not one of these
 */
export function overrides<G extends HasMembers, K extends keyof G['members'] & string>(
  place: string,
  { members }: G,
  some: readonly K[],
): Overrides<G, K> {
  const properties = Object.fromEntries(some.map((name) => [name, members[name]?.schema]));
  const schema = { type: 'object', additionalProperties: false, properties };
  const shared = Object.keys(members).filter((name) => !some.some((one) => one === name));
  const parse = (value: unknown, at: Place): Partial<Resolved<Pick<G['members'], K>>> => {
    const given = membersOf(value, at, Object.keys(members));
    for (const name of shared.filter((one) => given[one] !== undefined))
      at.member(name).complain(`is one for all paths: set ${place}.${name}`);
    const read = some
      .filter((name) => given[name] !== undefined)
      .map((name) => [name, members[name]?.read(given[name], at.member(name))]);
    return Object.fromEntries(read) as Partial<Resolved<Pick<G['members'], K>>>; // because each option has read its own
  };
  return new Option(undefined, schema, parse);
}

/** @param must what the option must be, for the complaint, which shows what it is */
function plain<T, D>(
  must: string,
  schema: JsonSchema | undefined,
  passes: (given: unknown) => boolean,
  fallback?: D,
): Plain<T, D> {
  const parse = (given: unknown, place: Place): unknown => {
    if (!passes(given)) return place.complain(`must be ${must}, got ${show(given)}`);
    return Array.isArray(given) ? [...(given as unknown[])] : given;
  };
  return new Option(fallback, schema, parse) as Plain<T, D>; // because what passes is a T
}

/** A whole number. */
export function whole<const D extends number | undefined = undefined>(
  min: number,
  max: number,
  fallback?: D,
): Plain<number, D> {
  const schema = { type: 'integer', minimum: min, maximum: max };
  return plain(`an integer from ${min} to ${max}`, schema, isWhole(min, max), fallback);
}

/** A number of things, of which `Infinity` means no limit. JSON has no such number: a file has `null` there. */
export function count<const D extends number | undefined = undefined>(
  min: number,
  max: number,
  fallback?: D,
): Plain<number, D> {
  const schema = { type: ['integer', 'null'], minimum: min, maximum: max };
  const passes = (given: unknown): boolean => given === Infinity || isWhole(min, max)(given);
  return plain(`an integer from ${min} to ${max}, or Infinity`, schema, passes, fallback);
}

/** One whole number or more, in a list. */
export function wholes<const D extends readonly number[]>(
  min: number,
  max: number,
  fallback: D,
): Plain<readonly number[], D> {
  const schema = { type: 'array', minItems: 1, items: { type: 'integer', minimum: min, maximum: max } };
  const passes = (given: unknown): boolean =>
    Array.isArray(given) && given.length > 0 && given.every(isWhole(min, max));
  return plain(`a list of integers from ${min} to ${max}`, schema, passes, fallback);
}

export function flag<const D extends boolean | undefined = undefined>(fallback?: D): Plain<boolean, D> {
  return plain('true or false', { type: 'boolean' }, (given) => typeof given === 'boolean', fallback);
}

export function oneOf<const T extends string, const D extends NoInfer<T> | undefined = undefined>(
  allowed: readonly T[],
  fallback?: D,
): Plain<T, D> {
  return plain(`one of ${allowed.join(', ')}`, { enum: allowed }, isOneOf(allowed), fallback);
}

/** One or more of these, each once. */
export function someOf<const T extends string, const D extends readonly NoInfer<T>[] | undefined = undefined>(
  allowed: readonly T[],
  fallback?: D,
): Plain<readonly T[], D> {
  const schema = { type: 'array', minItems: 1, uniqueItems: true, items: { enum: allowed } };
  const passes = (given: unknown): boolean =>
    Array.isArray(given) && given.length > 0 && new Set(given).size === given.length && given.every(isOneOf(allowed));
  return plain(`a list of one or more of ${allowed.join(', ')}, each once`, schema, passes, fallback);
}

export function text<const D extends string | undefined = undefined>(
  min: number,
  max: number,
  fallback?: D,
): Plain<string, D> {
  const schema = { type: 'string', minLength: min, maxLength: max };
  const passes = (given: unknown): boolean => typeof given === 'string' && given.length >= min && given.length <= max;
  return plain(`a string of ${min} to ${max} characters`, schema, passes, fallback);
}

/** A name as HTTP has them (RFC 9110 §5.6.2): of a cookie, for one. */
export function token(): Plain<string, undefined> {
  const pattern = /^[\w!#$%&'*+.^`|~-]{1,256}$/;
  return plain(
    "a name of letters, digits and -_.!#$%&'*+^`|~",
    { type: 'string', pattern: pattern.source },
    matches(pattern),
  );
}

/** The path of a URL, without its query. */
export function path<const D extends string>(fallback: D): Plain<string, D> {
  const pattern = /^\/[^\s?#]*$/;
  const must = 'a path, which begins with a slash and holds no space, "?" or "#"';
  return plain(must, { type: 'string', pattern: pattern.source }, matches(pattern), fallback);
}

/** A name, or a list of names. */
export function names(): Option<string | readonly string[], readonly string[] | undefined> {
  const name = { type: 'string', minLength: 1 };
  const schema = { anyOf: [name, { type: 'array', minItems: 1, items: name }] };
  const isName = (one: unknown): boolean => typeof one === 'string' && one !== '';
  return new Option(undefined, schema, (given, place) => {
    const list: readonly unknown[] = Array.isArray(given) ? [...(given as unknown[])] : [given];
    if (list.length > 0 && list.every(isName)) return list as readonly string[]; // because each is one
    return place.complain(`must be a non-empty string or a list of them, got ${show(given)}`);
  });
}

/** An item of a list: how a complaint names such items, and shows one; how one is read, undefined when it is bad. */
export interface Item<T> {
  readonly names: string;
  readonly schema: JsonSchema;
  readonly read: (given: unknown) => T | undefined;
}

/** A list of what has a form of its own. Each bad item is complained of: of a list of thousands, the operator has to know which. */
export function listOf<T, const D extends readonly string[] | undefined = undefined>(
  item: Item<T>,
  fallback?: D,
  { min = 0, max = Infinity } = {},
): Option<readonly string[], D extends undefined ? readonly T[] | undefined : readonly T[], D> {
  const bounds = { ...(min > 0 && { minItems: min }), ...(max < Infinity && { maxItems: max }) };
  const schema = { type: 'array', ...bounds, items: item.schema };
  const parse = (given: unknown, place: Place): readonly (T | undefined)[] | undefined => {
    if (!Array.isArray(given)) {
      const isItem = item.read(given) !== undefined;
      return place.complain(
        isItem ? `must be a list: [${show(given)}]` : `must hold ${item.names}, in a list, got ${show(given)}`,
      );
    }
    if (given.length < min || given.length > max) {
      return place.complain(`must be a list of ${min} to ${max} ${item.names}, got ${given.length}`);
    }
    return given.map((one: unknown) => {
      const read = item.read(one);
      if (read === undefined) place.complain(`must hold ${item.names}, got ${show(one)}`);
      return read;
    });
  };
  return new Option(fallback, schema, parse) as ReturnType<typeof listOf<T, D>>; // because nothing goes on after a complaint
}

/** A function of the application's. What it returns is checked each time. */
export function callable<F>(): Plain<F, undefined> {
  return plain('a function', undefined, (given) => typeof given === 'function');
}

/** Objects that have a method, or classes whose instances do. */
export function instances<T>(method: string): Plain<readonly (Type<T> | T)[], undefined> {
  const has = (item: unknown): boolean =>
    typeof (item as Record<string, unknown> | null | undefined)?.[method] === 'function';
  const isOne = (item: unknown): boolean => has(typeof item === 'function' ? item.prototype : item);
  const must = `a list of classes, or objects, with a method ${method}()`;
  return plain(must, undefined, (given) => Array.isArray(given) && given.every(isOne));
}

function isWhole(min: number, max: number): (given: unknown) => boolean {
  return (given) => Number.isInteger(given) && (given as number) >= min && (given as number) <= max;
}

function isOneOf(allowed: readonly string[]): (given: unknown) => boolean {
  return (given) => allowed.some((one) => one === given);
}

function matches(pattern: RegExp): (given: unknown) => boolean {
  return (given) => typeof given === 'string' && pattern.test(given);
}

/** The members of an object, or none; complains of an object with others than the known ones. */
export function membersOf(given: unknown, place: Place, known?: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    place.complain(`must be an object, got ${kindOf(given)}`);
    return {};
  }
  const strange = Object.keys(given).filter((name) => known?.includes(name) === false);
  for (const name of strange) place.member(name).complain('is not an option');
  return given as Record<string, unknown>; // because it is an object
}

/** What stands where an object belongs, without its content: that may be a secret in the wrong place. */
function kindOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'a list' : `a ${typeof value}`;
}

/** A bad value, as a message shows it. */
export function show(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value);
  if (typeof value === 'string')
    return value.length <= 64 ? JSON.stringify(value) : `a string of ${value.length} characters`;
  return Array.isArray(value) ? JSON.stringify(value).slice(0, 100) : `a value of type ${typeof value}`;
}
