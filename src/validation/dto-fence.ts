import { getMetadataStorage, ValidationTypes } from 'class-validator';
import { containResult } from '../base/contain.js';
import { isThenable } from '../base/thenable.js';
import { rulesOf } from './dto-rules.js';
import { isTransformOfSealed } from './sealed.decorator.js';
import { convertedPropertiesOf, PLAIN_TO_CLASS, transformerMetadata } from './transformer-metadata.js';

type Call = (...args: never[]) => unknown;
type Rule = ReturnType<ReturnType<typeof getMetadataStorage>['getTargetValidationMetadatas']>[number] & {
  validateIf?: Call;
};

const fencedClasses = new WeakSet<object>();
/** By what stands in its place. */
const originals = new WeakMap<Call, Call>();

/** Promises that transforms have returned since {@link collectPromises} was called; undefined while it is not. */
let collected: PromiseLike<unknown>[] | undefined;

const ignore = (): void => undefined;

/**
 * Takes the rejection of each promise that a `@Transform()`, a condition or a rule of a class, or of a class in it, returns:
 * class-transformer and class-validator leave some of them alone, and a rejection that has no handler ends the process.
 * Their own handling stays as it is. Once for each class.
 */
export function fence(dto: unknown): void {
  if (typeof dto !== 'function' || fencedClasses.has(dto)) return;
  fencedClasses.add(dto);
  for (const rule of getMetadataStorage().getTargetValidationMetadatas(dto, '', false, false)) fenceRule(rule);
  for (const name of new Set([...rulesOf(dto).properties, ...convertedPropertiesOf(dto)])) fenceProperty(dto, name);
}

function fenceRule(rule: Rule): void {
  if (rule.validateIf !== undefined) rule.validateIf = fenced(rule.validateIf);
  if (rule.type === ValidationTypes.CONDITIONAL_VALIDATION) {
    rule.constraints = rule.constraints.map((given) => (typeof given === 'function' ? fenced(given as Call) : given)); // because it is the condition
  }
  if (rule.type !== ValidationTypes.CUSTOM_VALIDATION) return;
  for (const { instance } of getMetadataStorage().getTargetValidatorConstraints(rule.constraintCls)) {
    if (Object.isExtensible(instance)) instance.validate = fenced(instance.validate);
  }
}

function fenceProperty(dto: object, name: string): void {
  const transformer = transformerMetadata();
  for (const transform of transformer?.findTransformMetadatas(dto, name, PLAIN_TO_CLASS) ?? []) {
    if (!isTransformOfSealed(transform.transformFn)) transform.transformFn = fenced(transform.transformFn, true);
  }
  for (const held of heldClasses(dto, name)) fence(held);
}

/** Classes that a property may be made of, by its `@Type()`. */
function heldClasses(dto: object, property: string): unknown[] {
  const type = transformerMetadata()?.findTypeMetadata(dto, property);
  const discriminator = type?.options?.discriminator as { subTypes: { value: unknown }[] } | undefined; // because class-transformer declares it so
  const subTypes = discriminator?.subTypes.map(({ value }) => value) ?? [];
  try {
    return [...subTypes, type?.typeFunction?.({ newObject: {}, object: {}, property })];
  } catch {
    return subTypes; // it goes by the payload
  }
}

function fenced<T extends Call>(call: T, isTransform = false): T {
  if (originals.has(call)) return call;
  const fencing = function (this: unknown, ...args: never[]): unknown {
    const result = call.apply(this, args);
    if (isThenable(result)) {
      containResult(result, ignore); // what waits for it hears of it all the same
      if (isTransform) collected?.push(result);
    }
    return result;
  };
  originals.set(fencing, call);
  return fencing as T; // because it is called as the other
}

/** The function itself: for a caller that sees to what it returns. */
export function unfenced<T extends Call>(call: T): T {
  return (originals.get(call) as T | undefined) ?? call; // because fenced() has put it there
}

/** Calls what converts a payload. @returns what it made, and the promises that transforms have put into it */
export function collectPromises<T>(convert: () => T): { made: T; promises: readonly PromiseLike<unknown>[] } {
  const promises: PromiseLike<unknown>[] = (collected = []);
  try {
    return { made: convert(), promises };
  } finally {
    collected = undefined;
  }
}
