import { getMetadataStorage } from 'class-validator';
import { contain } from '../base/contain.js';
import { hasRules } from './dto-rules.js';
import { transformerMetadata } from './transformer-metadata.js';

/** How deep nested classes are followed: a class may nest itself. */
const MAX_DEPTH = 4;

/** By the name of a rule: a value that it lets through, given its constraints. */
const BY_RULE: Readonly<Record<string, (constraints: readonly unknown[]) => unknown>> = {
  isIn: ([values]) => (Array.isArray(values) ? (values as unknown[])[0] : undefined),
  isEnum: ([, values]) => (Array.isArray(values) ? (values as unknown[])[0] : undefined),
  equals: ([value]) => value,
  isEmail: () => 'ada@example.com',
  isEmailAddress: () => 'ada@example.com',
  isUuid: () => '7c1c7a53-6a8a-4d0e-9d0a-8f2b6f3f0c11',
  isUrl: () => 'https://example.com/',
  isDateString: () => '2026-01-31T12:00:00Z',
  isIso8601: () => '2026-01-31T12:00:00Z',
  isBoolean: () => true,
  min: ([least]) => least,
  max: ([most]) => Math.min(1, Number(most)),
  isPositive: () => 1,
  isInt: () => 1,
  isNumber: () => 1,
  minLength: ([least]) => 'x'.repeat(Math.min(64, Number(least))),
  isLength: ([least]) => 'x'.repeat(Math.min(64, Math.max(1, Number(least)))),
  isString: () => 'text',
  isArray: () => [],
  isObject: () => ({}),
};

/**
 * A payload to begin with, made of the rules of a class: required properties alone, each with a value that most of its rules let through.
 *
 * @returns undefined for what has no rules
 */
export function exampleOf(type: unknown, depth = 0): Record<string, unknown> | undefined {
  if (!hasRules(type)) return undefined;
  const metadata = getMetadataStorage().getTargetValidationMetadatas(type, '', false, false);
  const properties = new Map<string, typeof metadata>();
  for (const each of metadata) properties.set(each.propertyName, [...(properties.get(each.propertyName) ?? []), each]);
  const example: Record<string, unknown> = {};
  for (const [name, rules] of properties) {
    if (rules.some((rule) => rule.type === 'conditionalValidation')) continue;
    const nested = rules.some((rule) => rule.type === 'nestedValidation');
    const value = nested ? nestedOf(type, name, depth) : valueOf(rules);
    example[name] = rules.some(({ each }) => each) || (nested && declaredType(type, name) === Array) ? [value] : value;
  }
  return example;
}

function valueOf(rules: readonly { name?: string; constraints?: unknown[] }[]): unknown {
  for (const [name, make] of Object.entries(BY_RULE)) {
    const rule = rules.find((each) => each.name === name);
    const value = rule && make(rule.constraints ?? []);
    if (value !== undefined) return value;
  }
  return 'text';
}

function nestedOf(type: new () => object, name: string, depth: number): unknown {
  if (depth >= MAX_DEPTH) return {};
  const typeFunction = transformerMetadata()?.findTypeMetadata(type, name)?.typeFunction;
  let inner: unknown = declaredType(type, name);
  if (typeFunction !== undefined) {
    contain(
      () => (inner = typeFunction({ newObject: {}, object: {}, property: name })),
      () => undefined,
    ); // no example then
  }
  return exampleOf(inner, depth + 1) ?? {};
}

function declaredType(type: new () => object, name: string): unknown {
  return Reflect.getMetadata('design:type', type.prototype as object, name);
}
