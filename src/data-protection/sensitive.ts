/** The decorated properties of each class, by its prototype. */
const sensitive = new WeakMap<object, Set<string>>();
let isUsed = false;

/**
 * Only the handler sees the property. A payload that breaks one of its rules is VALIDATION_FAILED with the
 * rule `sensitive` under the path of the property's parent, so the client learns neither its name nor the rule. Where an error of
 * the application has an instance of the class in its `details`, the property is left out.
 *
 * @example
 * class SignInDto {
 *   @Sensitive() @Length(12, 128) password!: string;
 * }
 */
export function Sensitive(): PropertyDecorator {
  return (target, property) => {
    if (typeof property === 'symbol') throw new TypeError('A symbol is no property of a JSON object');
    isUsed = true;
    const properties = sensitive.get(target);
    if (properties === undefined) sensitive.set(target, new Set([property]));
    else properties.add(property);
  };
}

/** True for a property that is decorated in the object's class or in one that it inherits from. */
export function isSensitive(holder: object, property: string): boolean {
  if (!isUsed) return false;
  for (let prototype: unknown = holder; prototype !== null; prototype = Object.getPrototypeOf(prototype)) {
    if (sensitive.get(prototype as object)?.has(property)) return true; // because only null is no object here
  }
  return false;
}

/**
 * Details of an error, without the sensitive properties of the objects in them.
 *
 * @throws TypeError for what is no JSON
 */
export function withoutSensitive(details: unknown): unknown {
  if (!isUsed || typeof details !== 'object' || details === null) return details;
  const json = JSON.stringify(details, function (this: object, key: string, value: unknown) {
    return isSensitive(this, key) ? undefined : value;
  }) as string | undefined; // because a toJSON() may say so
  return json === undefined ? undefined : (JSON.parse(json) as unknown);
}
