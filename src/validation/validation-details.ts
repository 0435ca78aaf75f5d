import { getMetadataStorage } from 'class-validator';
import type { ValidationError } from 'class-validator';
import { isSensitive } from '../data-protection/sensitive.js';
import type { ErrorDetail } from '../protocol/errors.js';
import { transformerMetadata } from './transformer-metadata.js';
import { join, rulesOf, SENSITIVE, UNKNOWN_PROPERTY } from './dto-rules.js';

/**
 * What class-validator found, in the words of the contract: declared properties only, and never the rejected value.
 *
 * @param dto the class of what was validated, for errors without a target, as Nest's ValidationPipe has them
 */
export function detailsOfErrors(
  errors: readonly ValidationError[],
  prefix: string,
  limit: number,
  dto?: unknown,
): ErrorDetail[] {
  const details: ErrorDetail[] = [];
  collect(errors, prefix, dto, details, limit);
  return details;
}

function collect(
  errors: readonly ValidationError[],
  parent: string,
  type: unknown,
  details: ErrorDetail[],
  limit: number,
): void {
  for (const error of errors) {
    if (details.length >= limit) return;
    const target = error.target ?? standInOf(type, error.property);
    if (target !== undefined && isSensitive(target, error.property)) {
      if (!details.some((detail) => detail.path === parent && detail.rule === SENSITIVE.rule)) {
        details.push({ path: parent, ...SENSITIVE });
      }
      continue;
    }
    const isKnown = isDeclared(target, error.property);
    const path = isKnown ? join(parent, error.property) : parent;
    for (const [rule, message] of Object.entries(error.constraints ?? {})) {
      if (rule !== 'whitelistValidation') {
        const text = quotesValue(error, target, rule)
          ? `${isKnown ? error.property : 'it'} does not fit ${rule}`
          : message;
        details.push({ path, rule, message: text });
      } else if (!details.some((detail) => detail.path === parent && detail.rule === UNKNOWN_PROPERTY.rule)) {
        details.push({ path: parent, ...UNKNOWN_PROPERTY }); // once, however many there are
      }
    }
    collect(error.children ?? [], path, typeBelow(type, error.property), details, limit);
  }
}

const PROBE = 'a value that no client sends';

const POSITION = /^\d+$/;

/** Has the decorators of the target, and none of its values; a class has no rule for a property that is a position. */
function standInOf(type: unknown, property: string): object | undefined {
  if (POSITION.test(property)) return [];
  return typeof type === 'function' ? (type.prototype as object) : undefined; // because a class has one
}

/** The class of what stands in a property by its `@Type()`; of the items where it is an array. */
function typeBelow(type: unknown, property: string): unknown {
  if (typeof type !== 'function' || POSITION.test(property)) return type;
  try {
    return transformerMetadata()
      ?.findTypeMetadata(type, property)
      ?.typeFunction?.({ newObject: {}, object: {}, property });
  } catch {
    return undefined; // it goes by the payload
  }
}

/** A property of a class or a position in an array; the keys of a Map are the client's. */
function isDeclared(target: object | undefined, property: string): boolean {
  if (target === undefined) return false;
  if (Array.isArray(target) || target instanceof Set) return true;
  return rulesOf(target.constructor).properties.has(property);
}

/** A rule's own message may quote the value (`$value`, or a function of it); then it says no more than the rule. */
function quotesValue({ property, value }: ValidationError, target: object | undefined, name: string): boolean {
  if (target === undefined) return true;
  const storage = getMetadataStorage();
  const rules = storage
    .getTargetValidationMetadatas(target.constructor, '', false, false)
    .filter((rule) => rule.propertyName === property && (rule.name ?? name) === name);
  return rules.some((rule) => {
    const given = {
      value: value as unknown,
      object: target,
      property,
      targetName: target.constructor.name,
      constraints: rule.constraints,
    };
    const own = storage.getTargetValidatorConstraints(rule.constraintCls).map(
      ({ instance }) =>
        (args: typeof given) =>
          instance.defaultMessage?.(args as never) ?? '',
    );
    const messages = rule.message === undefined ? own : [(args: typeof given) => messageOf(rule.message, args)];
    // A message that is the same without the payload does not tell of it.
    return messages.some((message) => {
      try {
        const text = message(given);
        // The value may have been taken out of the error, so one that no client has sent is tried, too.
        const other = [undefined, PROBE].map((probe) => message({ ...given, value: probe, object: {} }));
        return text.includes('$value') || other.some((said) => said !== text);
      } catch {
        return true;
      }
    });
  });
}

function messageOf(message: unknown, args: object): string {
  return String(typeof message === 'function' ? (message as (args: object) => unknown)(args) : message);
}
