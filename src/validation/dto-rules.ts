import { getMetadataStorage, ValidationTypes } from 'class-validator';
import { isSensitive } from '../data-protection/sensitive.js';
import { hasTransform } from './transformer-metadata.js';
import type { ErrorDetail } from '../protocol/errors.js';

/** What a class says of its properties, read once from the metadata of class-validator, class-transformer and TypeScript. */
interface DtoRules {
  readonly properties: ReadonlySet<string>;
  /** Properties validated as an object of a class; an array in its place is a misfit. */
  readonly objects: ReadonlySet<string>;
  /** Properties validated as objects in an array; an object in its place is a misfit. */
  readonly arrays: ReadonlySet<string>;
  /** Properties that a `@Transform()` makes: what the client sent is no longer what the class says. */
  readonly transformed: ReadonlySet<string>;
}

const rulesOfClass = new WeakMap<object, DtoRules>();

export function rulesOf(dto: object): DtoRules {
  let rules = rulesOfClass.get(dto);
  if (rules === undefined) rulesOfClass.set(dto, (rules = readRules(dto as NewableFunction)));
  return rules;
}

function readRules(dto: NewableFunction): DtoRules {
  const metadata = getMetadataStorage().getTargetValidationMetadatas(dto, '', false, false);
  const nested = metadata.filter(({ type }) => type === ValidationTypes.NESTED_VALIDATION);
  const names = nested.map(({ propertyName }) => propertyName);
  const typeOf = (name: string): unknown => Reflect.getMetadata('design:type', dto.prototype as object, name);
  return {
    properties: new Set(metadata.map(({ propertyName }) => propertyName)),
    objects: new Set(names.filter((name) => ![Array, Object, Set, Map, undefined].includes(typeOf(name) as never))),
    arrays: new Set(names.filter((name) => typeOf(name) === Array)),
    transformed: new Set(metadata.map(({ propertyName }) => propertyName).filter((name) => hasTransform(dto, name))),
  };
}

/** True for a class that class-validator knows rules of, its own or inherited. */
export function hasRules(type: unknown): type is new () => object {
  return typeof type === 'function' && type !== Object && rulesOf(type).properties.size > 0;
}

/** The name of an unknown property is what the client sent, so its parent is named. */
export const UNKNOWN_PROPERTY = { rule: 'unknownProperty', message: 'has a property that is not allowed' } as const;

/** All that is said of a property with `@Sensitive()`. */
export const SENSITIVE = { rule: 'sensitive', message: 'a sensitive property is not valid' } as const;

export function join(parent: string, property: string): string {
  return parent === '' ? property : `${parent}.${property}`;
}

/**
 * What class-transformer and class-validator let through: properties named like a method, which the first drops without
 * a word (`toString`, `constructor`), and an array where the class has an object, which the second takes item by item.
 *
 * @param plain the payload
 * @param instance what was made of it, and found valid
 */
export function misfit(plain: unknown, instance: unknown, path: string): ErrorDetail | undefined {
  if (!isObject(plain) || !isObject(instance) || typeof instance.constructor !== 'function') return undefined;
  if (Array.isArray(plain))
    return firstOf(plain.keys(), (index) => misfit(plain[index], instance[index], join(path, String(index))));
  const rules = rulesOf(instance.constructor);
  return firstOf(Object.keys(plain), (key) => {
    if (rules.transformed.has(key)) return undefined;
    if (isDropped(key, instance)) return { path, ...UNKNOWN_PROPERTY };
    const value = plain[key];
    // Below what the class declares there may be anything, and no name of it goes back.
    const child = rules.properties.has(key) ? join(path, key) : path;
    const found = misplaced(value, child, rules, key) ?? misfit(value, instance[key], child);
    return found !== undefined && isSensitive(instance, key) ? { path, ...SENSITIVE } : found;
  });
}

function misplaced(value: unknown, path: string, rules: DtoRules, key: string): ErrorDetail | undefined {
  const isArray = Array.isArray(value);
  if (isArray && rules.objects.has(key)) return { path, rule: 'isObject', message: 'must be an object' };
  if (!isArray && isObject(value) && rules.arrays.has(key))
    return { path, rule: 'isArray', message: 'must be an array' };
  return undefined;
}

/** A name that the class has already, as a method, a getter or by Object: class-transformer does not set those. */
function isDropped(key: string, instance: Record<PropertyKey, unknown>): boolean {
  return key in Object.prototype || (!Object.hasOwn(instance, key) && key in instance && !hasSetter(key, instance));
}

function hasSetter(key: string, instance: object): boolean {
  for (let holder: unknown = instance; holder !== null; holder = Object.getPrototypeOf(holder)) {
    const descriptor = Object.getOwnPropertyDescriptor(holder, key);
    if (descriptor !== undefined) return descriptor.set !== undefined;
  }
  return false;
}

function firstOf<T>(items: Iterable<T>, find: (item: T) => ErrorDetail | undefined): ErrorDetail | undefined {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isObject(value: unknown): value is Record<PropertyKey, unknown> {
  return typeof value === 'object' && value !== null;
}
