import { Transform } from 'class-transformer';
import type { TransformFnParams } from 'class-transformer';
import { getMetadataStorage, registerDecorator, ValidatorConstraint } from 'class-validator';
import type { ValidationArguments, ValidatorConstraintInterface } from 'class-validator';
import { NOT_OPENED } from '../data-protection/ws-seal.js';

/** The properties that have been opened, by the object that holds them: a payload, then the instance made of it. */
const opened = new WeakMap<object, Set<string>>();

/** Says of an object, a payload or an instance, that what it holds in this property has been opened. */
export function markOpened(holder: object, property: string): void {
  const properties = opened.get(holder);
  if (properties === undefined) opened.set(holder, new Set([property]));
  else properties.add(property);
}

function isOpened(holder: object, property: string): boolean {
  return opened.get(holder)?.has(property) ?? false;
}

/** Stands for a value that was not opened, so that no rule takes it for what it claims to be. */
const UNOPENED = Symbol('unopened');

@ValidatorConstraint({ name: NOT_OPENED.rule })
class OpenedConstraint implements ValidatorConstraintInterface {
  validate(value: unknown, args?: ValidationArguments): boolean {
    if (value === UNOPENED || value === undefined || args === undefined) return false;
    markOpened(args.object, args.property); // a second pipe may validate the instance once more
    return true;
  }

  defaultMessage(): string {
    return NOT_OPENED.message;
  }
}

function openedOnly({ value, obj, key }: TransformFnParams): unknown {
  const holder = obj as object; // because class-transformer transforms the properties of objects
  const given: unknown = value;
  if (isOpened(holder, key)) return given;
  return given === undefined || given === null ? undefined : UNOPENED;
}

/**
 * The property arrives sealed, as `WsSeal.seal()` and the clients make it, for the event of the message and the subject of
 * its session. It is opened before validation, so that the property's other rules see its plain JSON value, of whatever
 * type. It may stand in nested classes and in arrays of them, and in classes that are sealed themselves. What does not
 * open is VALIDATION_FAILED with the rule `sealed`, and then nothing else is said of the message.
 *
 * Nobody else's validation opens it: a class with such a property is not valid there, unless it holds null or nothing
 * where `@IsOptional()` allows that. In one message at most 100 sealed values
 * are opened, and none after the tenth that did not.
 *
 * @example
 * class PayoutDto {
 *   @Sealed() @IsIBAN() iban!: string;
 * }
 */
export function Sealed(): PropertyDecorator {
  return (target, property) => {
    if (typeof property === 'symbol') throw new TypeError('A symbol is no property of a JSON object');
    // Fail closed: without the mark that it was opened, the value does not get as far as a handler.
    Transform(openedOnly, { toClassOnly: true })(target, property);
    registerDecorator({
      name: NOT_OPENED.rule,
      target: target.constructor,
      propertyName: property,
      validator: OpenedConstraint,
    });
  };
}

/** The properties of a class that are sealed, inherited ones included. */
export function sealedPropertiesOf(dto: object): ReadonlySet<string> {
  const rules = getMetadataStorage().getTargetValidationMetadatas(dto as NewableFunction, '', false, false);
  return new Set(
    rules.filter((rule) => rule.constraintCls === OpenedConstraint).map(({ propertyName }) => propertyName),
  );
}

/** Is this the `@Transform()` that `@Sealed()` is made of? It changes nothing of a value that has been opened. */
export function isTransformOfSealed(transformFn: unknown): boolean {
  return transformFn === openedOnly;
}
