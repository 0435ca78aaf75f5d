import { getMetadataStorage } from 'class-validator';
import type { ValidationError } from 'class-validator';
import { isSensitive } from '../data-protection/sensitive.js';
import type { ErrorDetail } from '../protocol/errors.js';
import { join, rulesOf, SENSITIVE, UNKNOWN_PROPERTY } from './dto-rules.js';

/** What class-validator found, in the words of the contract: declared properties only, and never the rejected value. */
export function detailsOfErrors(errors: readonly ValidationError[], prefix: string, limit: number): ErrorDetail[] {
  const details: ErrorDetail[] = [];
  collect(errors, prefix, details, limit);
  return details;
}

function collect(errors: readonly ValidationError[], parent: string, details: ErrorDetail[], limit: number): void {
  for (const error of errors) {
    if (details.length >= limit) return;
    if (error.target !== undefined && isSensitive(error.target, error.property)) {
      if (!details.some((detail) => detail.path === parent && detail.rule === SENSITIVE.rule)) {
        details.push({ path: parent, ...SENSITIVE });
      }
      continue;
    }
    const path = isDeclared(error) ? join(parent, error.property) : parent;
    for (const [rule, message] of Object.entries(error.constraints ?? {})) {
      if (rule !== 'whitelistValidation') details.push({ path, rule, message: safeMessage(error, rule, message) });
      else if (!details.some((detail) => detail.path === parent && detail.rule === UNKNOWN_PROPERTY.rule)) {
        details.push({ path: parent, ...UNKNOWN_PROPERTY }); // once, however many there are
      }
    }
    collect(error.children ?? [], path, details, limit);
  }
}

/** A property of a class or a position in an array; the keys of a Map are the client's. */
function isDeclared({ target, property }: ValidationError): boolean {
  if (target === undefined) return false;
  if (Array.isArray(target) || target instanceof Set) return true;
  return rulesOf(target.constructor).properties.has(property);
}

/** A rule's own message may quote the value (`$value`, or a function of it); then it says no more than the rule. */
function safeMessage(error: ValidationError, rule: string, message: string): string {
  return quotesValue(error, rule) ? `${isDeclared(error) ? error.property : 'it'} does not fit ${rule}` : message;
}

function quotesValue({ target, property, value }: ValidationError, name: string): boolean {
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
        return text.includes('$value') || text !== message({ ...given, value: undefined, object: {} });
      } catch {
        return true;
      }
    });
  });
}

function messageOf(message: unknown, args: object): string {
  return String(typeof message === 'function' ? (message as (args: object) => unknown)(args) : message);
}
