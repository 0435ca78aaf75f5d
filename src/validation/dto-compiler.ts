import { getMetadataStorage, ValidationTypes } from 'class-validator';
import type { ClassConstructor, TransformFnParams } from 'class-transformer';
import { containResult } from '../base/contain.js';
import { isThenable } from '../base/thenable.js';
import { fence, unfenced } from './dto-fence.js';
import { acceptsForSure } from './fast-predicates.js';
import { PLAIN_TO_CLASS, transformerMetadata } from './transformer-metadata.js';
import type { TransformerMetadata, TypeMetadata } from './transformer-metadata.js';

/**
 * Compiles the accept path of a DTO class: what class-transformer and class-validator do to a valid payload, as closures
 * over class-validator's own predicates, without their metadata look-ups, error objects and promises. What they refuse,
 * and what cannot be compiled, is left to them.
 */

/** The instance of a valid payload, or {@link REFUSED}: then class-validator has the verdict and the words for it. */
export type Accept = (plain: object) => object | typeof REFUSED;

export const REFUSED = Symbol('refused');

/** The rule that keeps a class from being compiled. */
export class Uncompilable extends Error {}

type Rule = ReturnType<ReturnType<typeof getMetadataStorage>['getTargetValidationMetadatas']>[number] & {
  readonly validateIf?: (object: object, value: unknown) => boolean;
};
type Convert = (value: unknown, key: string, plain: object) => unknown;
type Check = (value: unknown, instance: object) => boolean;

interface Property {
  readonly name: string;
  readonly convert: Convert;
  readonly check: Check;
}

/** A rule that turned out to be asynchronous, though it is not declared so. */
export interface Verdict {
  readonly object: object;
  readonly property: string;
  readonly rule: string;
  readonly accepted: PromiseLike<unknown>;
}

/** Verdicts that the accept path has been promised since they were last taken. */
let verdicts: Verdict[] | undefined;
/** True where the accept path has refused without asking, because the rule has to be waited for. */
let isLeft = false;

/** The promised verdicts of the accept path that has just run, and whether it left one to class-validator. Each is given once. */
export function takeVerdicts(): { promised: readonly Verdict[]; isLeft: boolean } | undefined {
  if (verdicts === undefined && !isLeft) return undefined;
  const taken = { promised: verdicts ?? [], isLeft };
  verdicts = undefined;
  isLeft = false;
  return taken;
}

const compiled = new WeakMap<object, Accept | Uncompilable>();

/**
 * The compiled accept path of a class. Made when it is first asked for, since decorators of the application's may rely on
 * a container that is set up after the class.
 *
 * @throws Uncompilable naming the first rule that stands in the way
 */
export function acceptOf(dto: ClassConstructor<object>): Accept {
  let accept = compiled.get(dto);
  if (accept === undefined) {
    // A class may hold itself: who asks while it is being compiled gets what looks it up later.
    compiled.set(dto, (plain) => acceptOf(dto)(plain));
    try {
      accept = compile(dto);
    } catch (error) {
      accept = error instanceof Uncompilable ? error : new Uncompilable('its constructor throws');
    }
    compiled.set(dto, accept);
  }
  if (accept instanceof Uncompilable) throw accept;
  return accept;
}

function compile(dto: ClassConstructor<object>): Accept {
  fence(dto);
  const prototype = dto.prototype as object;
  const rules = new Map<string, Rule[]>();
  for (const rule of getMetadataStorage().getTargetValidationMetadatas(dto, '', false, false) as Rule[]) {
    rules.set(rule.propertyName, [...(rules.get(rule.propertyName) ?? []), rule]);
  }
  const transformer = transformerMetadata();
  if (transformer === undefined) throw new Uncompilable('class-transformer keeps its metadata elsewhere');
  if (transformer.getStrategy(dto) !== 'none') throw new Uncompilable('@Exclude() or @Expose() of the class');
  Reflect.construct(dto, []); // one that throws is not compiled

  const properties = [...rules].map(([name, list]): Property => {
    if (name in Object.prototype || name === '__proto__') throw new Uncompilable(`${name} is a name of Object's`);
    if (name in prototype) throw new Uncompilable(`${name} is a member of the prototype`);
    return { name, convert: convertOf(transformer, dto, name, list), check: checkOf(list) };
  });
  const converters = new Map(properties.map(({ name, convert }) => [name, convert]));
  const { keysOf, propertyOf } = namesOf(transformer, dto, rules);

  return (plain) => {
    const instance = new dto() as Record<string, unknown>;
    for (const key of keysOf(plain)) {
      const property = propertyOf.get(key) ?? key;
      const convert = converters.get(property);
      if (convert === undefined) return REFUSED; // an unknown property
      const value = convert(plain[key as never], property, plain);
      if (value === REFUSED) return REFUSED;
      instance[property] = value;
    }
    for (const { name, check } of properties) if (!check(instance[name], instance)) return REFUSED;
    return instance;
  };
}

/** Which keys of a payload class-transformer reads, and the property of each: `@Expose({ name })` and `@Exclude()`. */
function namesOf(
  transformer: TransformerMetadata,
  dto: ClassConstructor<object>,
  rules: ReadonlyMap<string, unknown>,
): { keysOf: (plain: object) => string[]; propertyOf: ReadonlyMap<string, string> } {
  const propertyOf = new Map<string, string>();
  const exposed = transformer.getExposedMetadatas(dto).map(({ propertyName, options = {} }) => {
    const { name, ...rest } = options;
    if (Object.keys(rest).length > 0) throw new Uncompilable(`${propertyName} has an @Expose() with options`);
    if (!rules.has(propertyName)) throw new Uncompilable(`${propertyName} has no rule`); // and so none passes
    if (name !== undefined && !propertyOf.has(name)) propertyOf.set(name, propertyName);
    return name ?? propertyName;
  });
  const excluded = new Set<string>();
  for (const { propertyName, options = {} } of transformer.getExcludedMetadatas(dto)) {
    if (Object.keys(options).length > 0) throw new Uncompilable(`${propertyName} has an @Exclude() with options`);
    excluded.add(propertyName);
  }
  if (exposed.length + excluded.size === 0) return { keysOf: Object.keys, propertyOf };
  // What is exposed is read also where the payload lacks it: a @Transform() may have a default for it.
  const keysOf = (plain: object): string[] =>
    [...new Set([...Object.keys(plain), ...exposed])].filter((key) => !excluded.has(key));
  return { keysOf, propertyOf };
}

// --- What class-transformer does to a value ---

function convertOf(
  transformer: TransformerMetadata,
  dto: ClassConstructor<object>,
  name: string,
  rules: readonly Rule[],
): Convert {
  const type = transformer.findTypeMetadata(dto, name);
  const isNested = rules.some((rule) => rule.type === ValidationTypes.NESTED_VALIDATION);
  if (isNested && type === undefined) throw new Uncompilable(`${name} is nested without @Type()`);
  if (type?.options?.discriminator !== undefined) throw new Uncompilable(`${name} has a discriminator`);
  const design: unknown = Reflect.getMetadata('design:type', dto.prototype as object, name);
  if (isCollection(design)) throw new Uncompilable(`${name} is a collection of its own kind`);
  const convertType = type === undefined ? cloneOf : typeConversion(name, type.typeFunction, isNested, design);
  const transforms = transformer.findTransformMetadatas(dto, name, PLAIN_TO_CLASS);
  if (transforms.length === 0) return convertType;
  for (const { options = {} } of transforms) {
    const { toClassOnly: _, ...rest } = options;
    if (Object.keys(rest).length > 0) throw new Uncompilable(`${name} has a @Transform() with options`);
  }
  let waits = false;
  return (value, key, obj) => {
    if (waits) return leave() || REFUSED;
    let result = convertType(value, key, obj);
    if (result === REFUSED) return REFUSED;
    for (const { transformFn } of transforms) {
      result = transformFn({ value: result, key, obj, type: PLAIN_TO_CLASS as never, options: TRANSFORM_OPTIONS });
    }
    if (isThenable(result)) {
      waits = true; // class-transformer calls it from now on, so that it is called once
      promise({ object: obj, property: key, rule: name, accepted: result.then(() => true) });
    }
    return result;
  };
}

/** A Set, a Map or a class of arrays: class-transformer makes one of a payload's array. */
export function isCollection(design: unknown): boolean {
  if (typeof design !== 'function' || design === Array) return false;
  return design === Map || design === Set || 'push' in (design.prototype as object) || design.prototype instanceof Set;
}

/** What class-transformer hands to a @Transform() when it is given no options. */
const TRANSFORM_OPTIONS: TransformFnParams['options'] = Object.freeze({
  enableCircularCheck: false,
  enableImplicitConversion: false,
  excludeExtraneousValues: false,
  excludePrefixes: undefined as never, // because its types know only what it is when it is set
  exposeDefaultValues: false,
  exposeUnsetFields: true,
  groups: undefined as never,
  ignoreDecorators: false,
  strategy: undefined as never,
  targetMaps: undefined as never,
  version: undefined as never,
});

/** Plain JSON without a class is taken as it is; a key that class-transformer would lose makes it class-validator's. */
const cloneOf: Convert = (value) => (isClean(value) ? value : REFUSED);

function isClean(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) return value.every(isClean);
  for (const key of Object.keys(value)) if (key in Object.prototype || !isClean(value[key as never])) return false;
  return true;
}

function typeConversion(
  name: string,
  typeFunction: TypeMetadata['typeFunction'],
  isNested: boolean,
  design: unknown,
): Convert {
  const target: unknown = typeFunction?.({ newObject: {}, object: {}, property: name });
  const primitive = PRIMITIVES.get(target);
  if (primitive !== undefined) {
    const convert = (value: unknown): unknown =>
      Array.isArray(value) ? value.map(convert) : value === null || value === undefined ? value : primitive(value);
    return (value) => (isClean(value) ? convert(value) : REFUSED); // `{"toString":1}` would throw
  }
  if (typeof target !== 'function' || target === Object || target === Array)
    throw new Uncompilable(`${name} has an unusual @Type()`);
  if (!isNested) throw new Uncompilable(`${name} has a @Type() that is not validated`);
  const accept = acceptOf(target as ClassConstructor<object>);
  // class-validator would take an array item by item where the class has an object, and an object for an array.
  const mayBeArray = design === Array || design === Object || design === undefined;
  const mustBeArray = design === Array;
  const one = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value; // the check refuses what it may not be
    return Array.isArray(value) ? REFUSED : accept(value);
  };
  return (value) => {
    if (!Array.isArray(value)) return mustBeArray && typeof value === 'object' && value !== null ? REFUSED : one(value);
    if (!mayBeArray) return REFUSED;
    const items: unknown[] = [];
    for (const item of value) {
      const converted = one(item);
      if (converted === REFUSED) return REFUSED;
      items.push(converted);
    }
    return items;
  };
}

const PRIMITIVES = new Map<unknown, (value: unknown) => unknown>([
  [String, String],
  [Number, Number],
  [Boolean, Boolean],
  [Date, (value) => new Date(value as string)],
]);

// --- What class-validator asks of a value ---

function checkOf(rules: readonly Rule[]): Check {
  const conditions: Check[] = [];
  const checks: Check[] = [];
  for (const rule of rules) {
    if ((rule.groups ?? []).length > 0) throw new Uncompilable(`${rule.propertyName} has groups`);
    switch (rule.type) {
      case ValidationTypes.CONDITIONAL_VALIDATION: {
        const [condition] = rule.constraints as [(object: object, value: unknown) => boolean];
        conditions.push((value, instance) => condition(instance, value));
        break;
      }
      case ValidationTypes.CUSTOM_VALIDATION:
      case ValidationTypes.IS_DEFINED:
        checks.push(...predicatesOf(rule));
        break;
      case ValidationTypes.NESTED_VALIDATION:
        checks.push(isNestedValue);
        break;
      case ValidationTypes.WHITELIST:
        break;
      default:
        throw new Uncompilable(`${rule.propertyName} has a rule of the kind ${rule.type}`);
    }
  }
  if (conditions.length === 0) return (value, instance) => checks.every((check) => check(value, instance));
  // class-validator asks every condition, also after the first has said no.
  return (value, instance) =>
    !conditions.map((condition) => condition(value, instance)).every(Boolean) ||
    checks.every((check) => check(value, instance));
}

/** The objects in it have been checked when they were made; what is no object is refused here. */
const isNestedValue: Check = (value) => {
  if (value === undefined) return true; // class-validator lets it pass, but no null
  return Array.isArray(value)
    ? value.every((item) => isNestedValue(item, value))
    : typeof value === 'object' && value !== null;
};

function predicatesOf(rule: Rule): Check[] {
  const constraints = getMetadataStorage().getTargetValidatorConstraints(rule.constraintCls);
  return constraints.map(({ async: isAsync, instance, name }) => {
    if (isAsync) throw new Uncompilable(`${rule.propertyName} has an async rule`);
    const { propertyName: property, each, constraints: given, validateIf } = rule;
    const shortcut = acceptsForSure(rule, instance);
    const validate = unfenced(instance.validate);
    let waits = false;
    const ask = (value: unknown, object: object, whole: unknown): boolean => {
      if (shortcut?.(value)) return true;
      const args = { targetName: object.constructor.name, property, object, value: whole, constraints: given };
      const verdict: unknown = validate.call(instance, value, args);
      if (typeof verdict === 'boolean') return verdict;
      if (!isThenable(verdict)) return Boolean(verdict);
      waits = true; // class-validator asks from now on, so that no payload is shown to the rule twice
      return promise({ object, property, rule: name, accepted: verdict });
    };
    const check: Check = (value, object) => {
      if (waits) return leave();
      return each ? eachOf(value, object, ask) : ask(value, object, value);
    };
    return validateIf === undefined ? check : (value, object) => !validateIf(object, value) || check(value, object);
  });
}

function leave(): false {
  isLeft = true;
  return false;
}

/** Goes on as if the rule had accepted; the verdict is waited for in the end. */
function promise(verdict: Verdict): true {
  containResult(verdict.accepted, () => undefined); // the payload may be refused for another reason before
  (verdicts ??= []).push(verdict);
  return true;
}

function eachOf(
  value: unknown,
  object: object,
  ask: (item: unknown, object: object, whole: unknown) => boolean,
): boolean {
  if (value instanceof Set || value instanceof Map) return false; // class-validator knows how
  if (!Array.isArray(value)) return ask(value, object, value);
  // class-validator shows each item to the predicate together with the whole value.
  return value.every((item) => ask(item, object, value));
}
