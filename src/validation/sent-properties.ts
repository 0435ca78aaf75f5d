import type { ValidationError } from 'class-validator';
import { transformerMetadata } from './transformer-metadata.js';

/** What class-validator says with `forbidNonWhitelisted` of a property without a rule. */
const UNKNOWN = 'whitelistValidation';

/**
 * Only what the client sent can be unknown: with the fields of ES2022 an instance has all properties that its class declares,
 * and a constructor or a transform may add others. Takes what was said of those out of the errors.
 *
 * @param plain what the client has sent in this place
 */
export function ofClient(errors: ValidationError[], plain: unknown): ValidationError[] {
  return errors.filter((error) => {
    const { constraints, children, target, property } = error;
    if (constraints?.[UNKNOWN] !== undefined && !isSent(plain, target, property)) delete constraints[UNKNOWN];
    if (children !== undefined && children.length > 0)
      error.children = ofClient(children, sentAt(plain, target, property));
    return Object.keys(constraints ?? {}).length > 0 || (error.children ?? []).length > 0;
  });
}

/** What is no object any more came as a text that a transform has read. */
function isSent(plain: unknown, target: object | undefined, property: string): boolean {
  if (plain === undefined || plain === null) return false;
  return typeof plain !== 'object' || keyOf(plain, target, property) !== undefined;
}

function sentAt(plain: unknown, target: object | undefined, property: string): unknown {
  if (typeof plain !== 'object' || plain === null) return plain;
  const key = keyOf(plain, target, property);
  return key === undefined ? undefined : plain[key as never];
}

/** The payload's key of a property: its own name, or one that `@Expose()` gives it. */
function keyOf(plain: object, target: object | undefined, property: string): string | undefined {
  if (Object.hasOwn(plain, property)) return property;
  const type: unknown = target?.constructor;
  if (typeof type !== 'function') return undefined;
  const exposed = transformerMetadata()?.getExposedMetadatas(type) ?? [];
  return exposed.find(({ propertyName, options }) => {
    return propertyName === property && options?.name !== undefined && Object.hasOwn(plain, options.name);
  })?.options?.name;
}
